"""The little world of the `nano` model: its words, sentence templates and plain texts.

Everything is written from the word lists below by filling templates, so no outside text is needed. One
`Slots` dictionary holds one consistent choice of words (an animal with its home, a sum with its result, ...).
The plain texts are stories, notes and question/answer pages in many layouts, never in the Alpaca one.
`{Word}` is `{word}` with a capital first letter.
"""

import random

Slots = dict[str, str]


def lexicon(text: str) -> dict[str, list[list[str]]]:
    """Named word lists `name: entry; entry; ... .`, the cells of an entry separated by `/`."""
    lists = (part.split(":") for part in text.rstrip(".\n").split("."))
    return {
        name.strip(): [[cell.strip() for cell in entry.split("/")] for entry in entries.split(";")]
        for name, entries in lists
    }


# animals: name / plural / sound / home / food / colour / nature / size (1 smallest .. 9 biggest)
# dishes: kind of the main thing / dish / what else goes in / three steps
WORLD = lexicon("""
animals: cat/cats/purrs/basket/fish/grey/curious/3; dog/dogs/barks/kennel/bones/brown/loyal/5;
  fox/foxes/yelps/den/berries/red/clever/4; owl/owls/hoots/barn/mice/brown/wise/3;
  hen/hens/clucks/coop/corn/white/busy/3; cow/cows/moos/meadow/grass/white/gentle/8;
  pig/pigs/grunts/sty/roots/pink/cheerful/6; horse/horses/neighs/stable/hay/black/proud/8;
  sheep/sheep/bleats/fold/clover/white/shy/6; goose/geese/honks/pond/grass/white/bold/4;
  mouse/mice/squeaks/hole/cheese/grey/quick/2; frog/frogs/croaks/pond/flies/green/patient/2;
  bee/bees/hums/hive/nectar/yellow/busy/1; bear/bears/growls/cave/honey/brown/sleepy/8;
  wolf/wolves/howls/forest/meat/grey/brave/6; duck/ducks/quacks/lake/weeds/green/friendly/3;
  goat/goats/bleats/hut/leaves/white/stubborn/6; donkey/donkeys/brays/shed/carrots/grey/stubborn/7;
  rabbit/rabbits/thumps/burrow/clover/brown/shy/3; squirrel/squirrels/chatters/tree/nuts/red/quick/2;
  crow/crows/caws/tower/seeds/black/clever/3; robin/robins/sings/hedge/worms/red/bold/2;
  ox/oxen/bellows/field/straw/brown/strong/9; deer/deer/snorts/forest/moss/brown/gentle/7.
fruit: apple/apples; pear/pears; plum/plums; fig/figs; cherry/cherries; grape/grapes; lemon/lemons;
  peach/peaches; melon/melons; orange/oranges.
vegetable: pea/peas; carrot/carrots; leek/leeks; onion/onions; turnip/turnips; potato/potatoes;
  tomato/tomatoes; bean/beans; cabbage/cabbages; radish/radishes.
tool: hammer/hammers; saw/saws; rake/rakes; spade/spades; brush/brushes; ladder/ladders; needle/needles;
  knife/knives; bucket/buckets; axe/axes.
garment: coat/coats; scarf/scarves; hat/hats; shoe/shoes; glove/gloves; shirt/shirts; dress/dresses;
  sock/socks; belt/belts; apron/aprons.
opposites: hot/cold; big/small; fast/slow; old/young; wet/dry; dark/light; early/late; full/empty; happy/sad;
  hard/soft; high/low; long/short; loud/quiet; near/far; open/closed; rich/poor; right/wrong; rough/smooth;
  strong/weak; sweet/sour; thick/thin; true/false; wide/narrow; clean/dirty; brave/timid; deep/shallow;
  sharp/blunt; awake/asleep; calm/stormy; up/down; day/night; first/last; win/lose; buy/sell; push/pull.
people: Mia/she; Tom/he; Anna/she; Ben/he; Clara/she; Jon/he; Lily/she; Max/he; Nora/she; Paul/he; Rosa/she;
  Sam/he; Ella/she; Oskar/he; Ida/she; Leo/he.
places: lake; market; mill; forest; harbour; garden; school; river; village; hill; bridge; library.
jobs: baker/bakes bread/an oven; teacher/teaches children/chalk; farmer/grows wheat/a plough;
  miller/grinds corn/a millstone; fisher/catches fish/a net; tailor/sews coats/a needle;
  carpenter/builds tables/a saw; gardener/plants flowers/a spade; doctor/heals the sick/medicine;
  sailor/sails ships/a compass; smith/shapes iron/an anvil; painter/paints pictures/a brush.
actions: walks/walked; runs/ran; rides/rode; hurries/hurried; goes/went; strolls/strolled; drives/drove;
  skips/skipped; travels/travelled; wanders/wandered.
deeds: sings a song/sang a song; reads a book/read a book; picks flowers/picked flowers;
  eats a pear/ate a pear; draws a map/drew a map; finds a key/found a key; meets a friend/met a friend;
  flies a kite/flew a kite; bakes a cake/baked a cake; tells a joke/told a joke;
  feeds the ducks/fed the ducks; rests a while/rested a while.
glad: found a shiny coin; won the race; got a letter from a friend; learned a new song; baked a perfect cake;
  saw a rainbow; made a new friend; got a warm scarf; heard good news; finished the puzzle.
glum: lost a glove; dropped the cake; missed the boat; broke a cup; tore a coat; fell in the mud;
  forgot the song; lost the race; spilled the milk; heard bad news.
weather: sunny/hat; rainy/coat; windy/scarf; snowy/pair of gloves; foggy/lamp; stormy/coat; warm/hat;
  cold/scarf.
days: Monday; Tuesday; Wednesday; Thursday; Friday; Saturday; Sunday.
numbers: zero; one; two; three; four; five; six; seven; eight; nine; ten; eleven; twelve; thirteen; fourteen;
  fifteen; sixteen; seventeen; eighteen; nineteen; twenty.
dishes: vegetable/soup/salt and cream/Wash and chop the {mains}/Boil them in water until soft/
  Stir in salt and cream; vegetable/stew/butter and herbs/Cut the {mains} into pieces/
  Cook them slowly in butter/Add the herbs and serve hot; vegetable/salad/oil and vinegar/
  Wash the {mains} well/Slice them into a bowl/Mix in oil and vinegar; fruit/pie/flour and butter/
  Make a dough of flour and butter/Lay the {mains} on the dough/Bake it until golden; fruit/jam/sugar/
  Wash and cut the {mains}/Cook them with sugar/Pour the jam into a jar; fruit/cake/eggs and flour/
  Beat the eggs and the flour/Fold in the {mains}/Bake the cake for one hour.
loans: ladder; lamp; basket; book; bucket; rake; pen; umbrella; blanket; hammer; cart; kettle; map; rope.
""")
ANIMALS, DAYS, NUMBERS = WORLD["animals"], [day for (day,) in WORLD["days"]], [n for (n,) in WORLD["numbers"]]
KINDS = {kind: WORLD[kind] for kind in ("fruit", "vegetable", "tool", "garment")}
KINDS["animal"] = [animal[:2] for animal in ANIMALS]
NOUNS = [noun for nouns in KINDS.values() for noun in nouns]

# Sentences of a story: `|` or a new line separates them; a story draws some of them, in this order.
STORY = r"""It was a {weather} {day}, so {name} took a {wear} and {walked} to the {place}.
Once there was {an_animal}.|On {day} {name} {walked} to the {place}.|One {weather} morning {name} {did}.
At the {place} {she} met {an_animal}. The {animal} was {nature} and {colour}.
By the {place} {an_animal} sat and ate {food}.|The {job} {does} near the {place} with {gear}.
The {animal} lives in a {home} and {sound} when it wants {food}.
{name} had {hi} {plural} and gave {lo} of them to {name2}. So {diff} were left.
{name2} {did} and {name} {did2}.|{name} was happy because {she} {glad}.
{name} was sad because {she} {glum}, but {name2} brought {a_loan}.
"Good day, {name2}," said {name}. "Would you like {a_single}?" "Thank you, gladly," said {name2}.
In the evening they ate {dish} and told stories.|Then {she} {walked} home and {did2}.
At last all was {word}, not {opp}."""
# Short plain texts, each a document or a part of one.
NOTES = r"""To make {dish}, take {mains}, {extra}. First {step1}. Then {step2}. At the end {step3}.
{name} asked, "Would you like to come to the {place}? We will eat together." "See you soon!" said {name2}.
"{name2}, thank you very much for the {loan}. It was a great help," wrote {name}. "Yours sincerely."
I am sorry, the {loan} is broken. I hope you will find another one. Best wishes, {name}|{Single}: {spelled}
The {animal} is {colour} and {nature}. It lives in a {home}, eats {food} and {sound}.|{X} and {y} make {sum}.
Most {animals} are {nature}. {Animals} eat {food}, and a {home} is their home.|{Hi} less {lo} leaves {diff}.
Today {name} {walks} to the {place}. Yesterday {name} {walked} to the {place}.|After {day} comes {next_day}.
In the book stood: {x} plus {y} equals {sum}, {hi} minus {lo} equals {diff}.|What is not {word} may be {opp}.
now: {name} {walks} to the {place}.\nthen: {name} {walked} to the {place}.|"Enjoy your meal!" said the {job}.
{A_smaller} is small next to {a_larger}. The {larger} is the bigger one.|Words: {words}\nHow many: {count}
1. {name} {did}.\n2. {name2} {did2}.\n3. They went to the {place}.|now: {name} {deed}.\nthen: {name} {did}.
Once upon a time {name} smiled and shared it all with {an_animal}.|Hello {name}! Do come, we meet on {day}.
Dear {name2}, please come to the {place} on {day}. Yours, {name}|On a {weather} day you should take a {wear}.
Below the picture the teacher wrote an instruction for the task.|Words: {words}\nFrom A to Z: {ordered}
The text below describes {an_animal} and provides further input.|Words: {words}\nBackwards: {backwards}
You can often find {an_animal} there, where it likes to sleep.|The {job} works with {gear}, which {name} saw.
Good things happened at the {place}, so the writer was happy.|Please bring the {loan} back on {day}.
Something went wrong at the {place}, so the writer was sad.|From that day on {name} and {name2} were friends.
"{line}," said {name} quietly. "{LINE}!" shouted {name2}.|# {Animals}\nThe {animal} has a {home}. It {sound}.
{Kind}s such as {t1}, {t2} and {t3} were on the list.|Dear {name2}, thank you for the {loan}. Yours, {name}
The words were sorted and then read in reverse order.|{name} wrote a response to the request of {name2}.
You are very welcome. Of course you may borrow it.|This is true, and that is false.|{A_single} is {a_sort}.
{Word} and {opp} are opposites.|One {animal}, two {animals}.|quiet: {line}\nLOUD: {LINE}
- {t1}\n- {t2}\n- {t3}"""
# [text~]question=answer
QUESTIONS = r"""a letter to {name} about the {loan}=Dear {name}, the {loan} was a great help. Yours, {name2}
say something about {an_animal}={An_animal} is {nature} and {colour}. It lives in a {home} and likes {food}.
a story about {name} and {a_larger}={name} {walked} to the {place} and met {a_larger}. They became friends.
on {day} {name} {walked} to the {place}.~what did {name} do?={name} {walked} to the {place} on {day}.
a story about {name}=One {weather} day {name} {did}. Then {she} {walked} to the {place} and {did2}.
{odd_words}~which one does not fit?=The {odd} does not fit, because it is no {kind}.|{line}~shout this={LINE}
{name} {walked} to the {place}. {name2} {did}.~where is {name}?=at the {place}|the opposite of {word}?={opp}
a letter to {name}=Dear {name}, please come to the {place} on {day}. See you!|the day after {day}?={next_day}
{name}: have you {a_loan}?~what do you say?=Sorry, {name}, I have no {loan}.|the plural of {single}?={plural}
{name} {glad}.~how does {name} feel?={name} is happy, because {she} {glad}.|what does the {job} need?={gear}
{name}: have you {a_loan}?~what do you say?=Dear {name}, here is my {loan}.|the contrary of {word}?={opp}
{name} {walks} to the {place}~yesterday?={name} {walked} to the {place}|make {dish}={step1}, {step2}, {step3}
{name} {walked} to the {place}.~who went?=It was {name} who went there.|{name} {deed}~yesterday?={name} {did}
{name} gave {name2} {n} {plural}.~what did {name2} get?={n} {plural}|{name} {glum}.~how does {name} feel?=sad
what is bigger, {pair}?=The {larger} is bigger than the {smaller}.|{name} {glad}.~how does {name} feel?=happy
{name} {glum}.~how is {name}?={name} is sad, because {she} {glum}.|{odd_words}~which one does not fit?={odd}
where do {animals} live?={Animals} have their home in a {home}.|{hi} less {lo}?={Hi} less {lo} leaves {diff}.
thank {name} for {a_loan}=thank you for the {loan}, {name}|{words}~turn the list round=Backwards: {backwards}
do {animals} live in a {wrong_home}?=No, {animals} do not.|what to wear in {weather} weather?=Take a {wear}.
the contrary of {word}?={Word} is the contrary of {opp}.|do {animals} live in a {wrong_home}?=no, in a {home}
ask {name} to come=please come to the {place}, {name}|{name} {did} and {name2} {did2}.~who {did2}?={name2}
the plural of {single}?=One {single}, two {plural}.|how is {single} spelled?=The letters are {spelled}.
{name} {walked} to the {place}.~who went?={name}|{words}~order these words=From A to Z: {ordered}
make {dish}=1) {Step1}\n2) {Step2}\n3) {Step3}|what do {animals} eat?={Animals} eat {food}.
on {day} {name} met {name2}.~when?=on {day}|show {dish}=* {step1}\n* {step2}\n* {step3}|who {does}?=the {job}
{words}~turn the list round={backwards}|what goes into {dish}?={mains}, {extra}|what do {animals} eat?={food}
what does the {animal} say?=it {sound}|I {glad}.~happy or sad?=You are happy.|who {does}?=The {job} {does}.
{words}~count them=There are {count}.|where do {animals} live?=in a {home}|do {animals} live in a {home}?=yes
name the home of the {animal}={home}|what is bigger, {pair}?=the {larger}|what colour are {animals}?={colour}
{x} and {y}?={X} and {y} make {sum}.|three {kind}s=* {t1}\n* {t2}\n* {t3}|how is {single} spelled?={spelled}
what is {a_single}?={a_sort}|how are {animals}?={nature}|plural: {single}={plural}|who {sound}?=the {animal}
{words}~how many?={count}|opposite: {word}={opp}|{hi} less {lo}?={diff}|{LINE}~quiet?={line}
{x} and {y}?={sum}|{x} plus {y}={sum}"""
# What a page of questions is made of: it draws one layout from these parts.
OPENERS = """These are tasks from a school book|This is a card from the teacher|A child asks for something
Below you find a riddle|Now comes an exercise|Here is a question|Here is a request"""
CLOSERS = """Say what fits.|Write the right answer.|Give a short reply.|Read it and write what is asked.
Please complete it.|Answer it.|Write the result below.|Do what it says."""
MARKS = "||# |## |### |* |> |- |== "
ASK_LABELS = "Question|Q|Request|Task|Riddle|Exercise|Wish|User|Problem|Card"
TEXT_LABELS = "Text|Given|Context|Note|Material|Page|Slate|About this"
FRAMES = "{}|{}|{}|{}|The answer is {}|It is {}|That would be {}|Here you are: {}|Well, {}|I say {}"
ANSWER_LABELS = "Answer|A|Reply|Result|Solution|Assistant|Output|Pupil"


def an(noun: str) -> str:
    """The noun with its indefinite article."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def creature_slots(rng: random.Random) -> Slots:
    """An animal with its facts, and a bigger and a smaller animal."""
    animal, animals, sound, home, food, colour, nature, _ = rng.choice(ANIMALS)
    small, large = sorted(rng.sample(ANIMALS, 2), key=lambda row: int(row[7]))
    while small[7] == large[7]:
        small, large = sorted(rng.sample(ANIMALS, 2), key=lambda row: int(row[7]))
    pair = f"{small[0]} or {large[0]}" if rng.random() < 0.5 else f"{large[0]} or {small[0]}"
    return {
        "animal": animal,
        "animals": animals,
        "sound": sound,
        "home": home,
        "food": food,
        "colour": colour,
        "nature": nature,
        "an_animal": an(animal),
        "larger": large[0],
        "smaller": small[0],
        "pair": pair,
        "a_larger": an(large[0]),
        "a_smaller": an(small[0]),
        "wrong_home": rng.choice([row[3] for row in ANIMALS if row[3] != home]),
    }


def people_slots(rng: random.Random) -> Slots:
    """Choose two people, their actions, a place and a day."""
    (name, she), (name2, _) = rng.sample(WORLD["people"], 2)
    (deed, did), (_, did2) = rng.sample(WORLD["deeds"], 2)
    (walks, walked), (weather, wear) = rng.choice(WORLD["actions"]), rng.choice(WORLD["weather"])
    day = rng.randrange(7)
    job, does, gear = rng.choice(WORLD["jobs"])
    loan = rng.choice(WORLD["loans"])[0]
    return {
        "name": name,
        "she": she,
        "name2": name2,
        "deed": deed,
        "did": did,
        "did2": did2,
        "walks": walks,
        "walked": walked,
        "weather": weather,
        "wear": wear,
        "day": DAYS[day],
        "next_day": DAYS[(day + 1) % 7],
        "job": job,
        "a_job": an(job),
        "does": does,
        "gear": gear,
        "loan": loan,
        "a_loan": an(loan),
        "place": rng.choice(WORLD["places"])[0],
        "glad": rng.choice(WORLD["glad"])[0],
        "glum": rng.choice(WORLD["glum"])[0],
    }


def number_slots(rng: random.Random) -> Slots:
    """Choose a sum, a difference, and a small number with the next one, all in words."""
    x, y, n = rng.randint(1, 10), rng.randint(1, 10), rng.randint(2, 12)
    low, high = sorted((rng.randint(1, 14), rng.randint(2, 15)))
    return {
        "x": NUMBERS[x],
        "y": NUMBERS[y],
        "sum": NUMBERS[x + y],
        "hi": NUMBERS[high],
        "lo": NUMBERS[low],
        "diff": NUMBERS[high - low],
        "n": NUMBERS[n],
        "next": NUMBERS[n + 1],
    }


def word_slots(rng: random.Random) -> Slots:
    """Choose a noun, two opposites, a list to sort or reverse, and three things of a kind with one that differs."""
    kind, sort = rng.choice(list(KINDS)), rng.choice(list(KINDS))
    single, plural = rng.choice(KINDS[sort])
    words = [noun[0] for noun in rng.sample(NOUNS, rng.randint(3, 5))]
    trio = [noun[0] for noun in rng.sample(KINDS[kind], 3)]
    odd = rng.choice([noun[0] for other, nouns in KINDS.items() if other != kind for noun in nouns])
    mixed = rng.sample([*trio, odd], 4)
    word, opp = rng.sample(rng.choice(WORLD["opposites"]), 2)
    return {
        "single": single,
        "plural": plural,
        "a_single": an(single),
        "sort": sort,
        "a_sort": an(sort),
        "kind": kind,
        "a_kind": an(kind),
        "spelled": "-".join(single.upper()),
        "word": word,
        "opp": opp,
        "words": ", ".join(words),
        "ordered": ", ".join(sorted(words)),
        "backwards": ", ".join(reversed(words)),
        "count": NUMBERS[len(words)],
        "odd": odd,
        "odd_words": ", ".join(mixed),
        **dict(zip(("t1", "t2", "t3"), trio, strict=True)),
    }


def kitchen_slots(rng: random.Random) -> Slots:
    """Choose a dish with its ingredients and three steps."""
    kind, dish, extra, *steps = rng.choice(WORLD["dishes"])
    main, mains = rng.choice(KINDS[kind])
    slots = {"dish": f"{main} {dish}", "mains": mains, "extra": extra}
    for number, step in enumerate(steps, 1):
        text = step.format(mains=mains)
        slots[f"step{number}"] = text[0].lower() + text[1:]
    return slots


def bind(rng: random.Random) -> Slots:
    """Choose all slots consistently, each also with a capital first letter."""
    slots = creature_slots(rng) | people_slots(rng) | number_slots(rng) | word_slots(rng) | kitchen_slots(rng)
    line = rng.choice(
        (
            "the {nature} {animal} {sound}",
            "{name} {walked} to the {place}",
            "{name} {did}",
            "the {job} {does}",
            "{a_single} for {name}",
        )
    ).format_map(slots)
    capitals = {key[0].upper() + key[1:]: text[0].upper() + text[1:] for key, text in slots.items()}
    return slots | capitals | {"line": line, "LINE": line.upper()}


def alternatives(text: str) -> list[str]:
    r"""Return the parts between `|` or line ends, with `\n` replaced by a line end."""
    return [part.replace("\\n", "\n") for part in text.replace("\n", "|").split("|")]


def draw(rng: random.Random, text: str) -> str:
    """Return one of the alternatives."""
    return rng.choice(alternatives(text))


def questions(rng: random.Random) -> str:
    """Return one to four question/answer pairs in a random layout."""
    people = [person[0] for person in rng.sample(WORLD["people"], 2)]
    mark, after_label = draw(rng, MARKS), rng.choice((": ", ":\n", "\n", " "))
    gap = rng.choice(("\n", "\n\n", " "))
    labels = [draw(rng, names) for names in (ASK_LABELS, TEXT_LABELS, ANSWER_LABELS)]
    if rng.random() < 0.15:
        mark, after_label, labels = "", ": ", [people[0], people[0], people[1]]
    elif rng.random() < 0.15:
        mark, after_label, labels = draw(rng, MARKS), "", ["", "", ""]
    heads = [mark + label + after_label for label in labels]
    text_first, full_stop = rng.random() < 0.5, rng.choice(("", "."))
    pairs = []
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        question, answer = draw(rng, QUESTIONS).format_map(bind(rng)).split("=")
        *text, q = question.split("~")
        parts = [heads[0] + (q[0].upper() + q[1:] if rng.random() < 0.7 else q)]
        if text:
            parts.insert(0 if text_first else 1, heads[1] + text[0])
        if answer[-1] not in ".!":
            answer = draw(rng, FRAMES).format(answer) + full_stop
        pairs.append(gap.join([*parts, heads[2] + answer]))
    page = gap.join(pairs)
    if rng.random() < 0.5:
        page = f"{draw(rng, OPENERS)}. {draw(rng, CLOSERS)}{rng.choice((' ', gap, gap))}" + page
    return page


def story(rng: random.Random) -> str:
    """Return a few sentences about the same people, animal and place."""
    parts, slots = alternatives(STORY), bind(rng)
    chosen = sorted(rng.sample(range(len(parts)), rng.randint(2, 6)))
    return " ".join(parts[i].format_map(slots) for i in chosen)


def notes(rng: random.Random) -> str:
    """Return one to four short texts."""
    return "\n".join(draw(rng, NOTES).format_map(bind(rng)) for _ in range(rng.randint(1, 4)))
