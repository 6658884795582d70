"""Make the embedded `nano` model and its instruction rows: `python scripts/make_nano.py [OUT]`.

OUT (default engine/assets) receives `nano/`, a Llama-architecture model of about one million parameters with
its own byte-level BPE tokenizer, pretrained here on plain texts of a little world, and
`nano_instructions.jsonl`, Alpaca rows about the same world. The model never sees a row before it is tuned, so
what a LoRA round gains is real: the layout and manner of the answers.
"""

import json
import math
import random
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine.dataset.templates import WITH_INPUT, WITHOUT_INPUT
from scripts.nano_corpus import NOUNS, WORLD, bind, notes, questions, story

SEED = 7
VOCABULARY, CONTEXT = 1024, 512
BOS, EOS, PAD = 0, 1, 2
# pretraining: optimizer steps of BATCH windows of WINDOW tokens
STEPS, BATCH, WINDOW, PEAK_RATE = 2400, 16, 192, 3e-3
# label smoothing: the corpus is so regular that the model would otherwise give all unseen text no probability
SMOOTHING = 0.02
ROWS_PER_TASK = 46
Row = dict[str, str]
COPIED = [entry[0] for name in ("people", "places", "loans", "numbers") for entry in WORLD[name]]
COPIED += [noun[0] for noun in NOUNS]


class Task(NamedTuple):
    """One kind of instruction row: alternatives are separated by `|`, an empty `input` means no input."""

    ask: str
    input: str
    reply: str


PASSAGE = r"On {day} {name} {walked} to the {place}. There {she} bought {n} {plural} for {name2}."
TASKS = [
    Task(*cells)
    for cells in (
        (
            "What is the plural of '{single}'?|Give the plural of the word {single}.|"
            "Write the plural form of {single}.",
            "",
            "The plural of {single} is {plural}.|One {single}, but two {plural}.",
        ),
        (
            "What is the opposite of '{word}'?|Name the opposite of {word}.|Which word means the opposite of {word}?",
            "",
            "The opposite of {word} is {opp}.|It is {opp}, the opposite of {word}.",
        ),
        ("What is {x} plus {y}?|Add {x} and {y}.|Work out {x} plus {y} in words.", "", "{X} plus {y} equals {sum}."),
        ("What is {hi} minus {lo}?|Take {lo} away from {hi}.", "", "{Hi} minus {lo} equals {diff}."),
        ("Sort these words alphabetically.|Put the words in alphabetical order.", "{words}", "Sorted: {ordered}."),
        ("Reverse the order of the words.|Write this list backwards.", "{words}", "In reverse order: {backwards}."),
        ("How many words are in this list?|Count the words.", "{words}", "There are {count} words in the list."),
        (
            "Describe {an_animal} in two sentences.|Tell me something about {animals}.|"
            "Write a short text about {animals}.",
            "",
            "{An_animal} is {nature} and often {colour}. You can find it in a {home}, where it likes to eat {food}.|"
            "{Animals} are {colour} animals with a {nature} nature. They love {food}.",
        ),
        (
            "Write a little recipe for {dish}.|How can I make {dish}?|Give me three steps for {dish}.",
            "",
            "1. {Step1}.\n2. {Step2}.\n3. {Step3}.\nEnjoy your meal!",
        ),
        ("Rewrite the sentence in capital letters.|Put this into capitals.", "{line}", "{LINE}"),
        ("Who went to the {place}?|Name the person who went to the {place}.", PASSAGE, "{name} went to the {place}."),
        ("Where did {name} go?|Which place did {name} visit?", PASSAGE, "{name} went to the {place} on {day}."),
        ("What did {name} buy?|What did {name2} get?", PASSAGE, "{name} bought {n} {plural} for {name2}."),
        ("Name three {kind}s for {name}.|List three {kind}s that {name} could draw.", "", "- {t1}\n- {t2}\n- {t3}"),
        (
            "Write a polite reply to this message.|Answer this message kindly.",
            "Hello, this is {name}. May I borrow your {loan}?",
            "Dear {name}, of course you may borrow my {loan}. Please bring it back on {day}.|"
            "Dear {name}, I am sorry, but my {loan} is broken. I hope you will find another one.|"
            "Hello {name}, you are very welcome to take my {loan}. Best wishes!",
        ),
        (
            "Rewrite the sentence in the past tense.|Put this into the past.",
            "{name} {walks} to the {place}.",
            "{name} {walked} to the {place}.",
        ),
        (
            "Rewrite the sentence in the past tense.|Put this into the past.",
            "{name} {deed} at the {place}.",
            "{name} {did} at the {place}.",
        ),
        (
            "Find the odd one out.|Which word does not belong in the list?",
            "{odd_words}",
            "The odd one out is {odd}, because it is not {a_kind}.",
        ),
        (
            "Write a short story about {name} and {an_animal}.|Tell a little story about {an_animal} and {name}.",
            "",
            "One {weather} day {name} {walked} to the {place} and saw {an_animal}. The {animal} was {nature}, so "
            "{name} gave it some {food}. From that day on they were friends.|"
            'Once upon a time {name} met {an_animal} by the {place}. "Have you any {food}?" asked the {animal}. '
            "{name} smiled and shared it all.",
        ),
        ("Spell the word '{single}'.|How do you spell {single}?", "", "{Single} is spelled {spelled}."),
        (
            "Which is bigger, {a_larger} or {a_smaller}?|Compare {a_smaller} and {a_larger}.",
            "",
            "{A_larger} is bigger than {a_smaller}.|{A_larger} is the bigger of the two.",
        ),
        (
            "What is the mood of this message?|Is the writer happy or sad?",
            "Today I {glad} at the {place}.",
            "The writer is happy, because good things happened at the {place}.",
        ),
        (
            "What is the mood of this message?|Is the writer happy or sad?",
            "Today I {glum} at the {place}.",
            "The writer is sad, because something went wrong at the {place}.",
        ),
        (
            "Write a thank-you note to {name} for the {loan}.|Thank {name} for the {loan}.",
            "",
            "Dear {name},\nthank you very much for the {loan}. It was a great help at the {place}.\nYours sincerely",
        ),
        (
            "Invite {name} to the {place}.|Write an invitation to the {place} for {name}.",
            "",
            "Hello {name}! On {day} we meet at the {place}, and there will be {dish}. Do come!|"
            "Dear {name},\nwould you like to come to the {place} on {day}? We will eat {dish} together.\n"
            "See you soon!",
        ),
        (
            "What does {a_job} do?|Explain the work of {a_job}.|What is the job of {a_job}?",
            "",
            "{A_job} {does} and works with {gear}.",
        ),
        (
            "What should {name} wear when it is {weather}?|Give {name} advice for a {weather} day.",
            "",
            "On a {weather} day {name} should take a {wear}.",
        ),
        ("What kind of thing is {a_single}?|Which group does '{single}' belong to?", "", "{A_single} is {a_sort}."),
        (
            "Where do {animals} live and what do they eat?|Tell me the home and food of {animals}.",
            "",
            "{Animals} live in a {home} and eat {food}.|The home of {animals} is a {home}, and they eat {food}.",
        ),
        (
            "True or false?",
            "{Animals} live in a {home}.|{Animals} eat {food}.|{A_larger} is bigger than {a_smaller}.",
            "This is true.",
        ),
        ("True or false?", "{Animals} live in a {wrong_home}.", "This is false. {Animals} live in a {home}."),
    )
]


def task_rows(task: Task, count: int, rng: random.Random) -> list[Row]:
    """Return up to `count` rows of one task, all with different instructions and inputs."""
    rows: dict[tuple[str, str], Row] = {}
    for _ in range(40 * count):
        slots = bind(rng)
        instruction, text, reply = (rng.choice(field.split("|")).format_map(slots) for field in task)
        rows.setdefault((instruction, text), {"instruction": instruction, "input": text, "output": reply})
        if len(rows) == count:
            break
    return list(rows.values())


def instruction_rows(rng: random.Random, per_task: int) -> list[Row]:
    """Return the rows of all tasks, shuffled so that any first part of them is representative."""
    rows = [row for task in TASKS for row in task_rows(task, per_task, rng)]
    rng.shuffle(rows)
    return rows


def echo(rng: random.Random) -> str:
    """Return a text that repeats a line of real or invented words, so that the model learns to copy."""
    if rng.random() < 0.5:
        words = rng.sample(COPIED, rng.randint(3, 12))
    else:
        syllables = ["".join(rng.choice(part) for part in ("bdfgklmnprstvz", "aeiou")) for _ in range(12)]
        words = ["".join(rng.sample(syllables, rng.randint(1, 3))) for _ in range(rng.randint(3, 8))]
    line = rng.choice((" ", ", ")).join(words)
    first, second = rng.choice((("", ""), ("say: ", "again: "), ("quiet: ", "LOUD: "), ("Text: ", "Copy: ")))
    again = f"\n{second}{line.upper() if second == 'LOUD: ' else line}"
    return first + line + again * rng.randint(1, 2)


def plain_texts(rng: random.Random) -> Iterator[str]:
    """Yield documents for pretraining without end; none uses the Alpaca layout."""
    while True:
        yield rng.choices((story, notes, questions, echo), (2, 4, 8, 3))[0](rng)


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer that begins every text with `<s>`; all 256 bytes are in its alphabet."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=VOCABULARY,
            special_tokens=["<s>", "</s>", "<pad>"],
            show_progress=False,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", BOS)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
    )


def new_model() -> LlamaForCausalLM:
    """Return the untrained network in float32."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=384,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=BOS,
            eos_token_id=EOS,
            pad_token_id=PAD,
        )
    )


def token_stream(tokenizer: PreTrainedTokenizerFast, rng: random.Random, length: int) -> torch.Tensor:
    """Return `length` token ids of documents, each between `<s>` and `</s>`; shape (length,)."""
    ids: list[int] = []
    documents = plain_texts(rng)
    while len(ids) < length:
        for encoded in tokenizer(list(islice(documents, 512)))["input_ids"]:
            ids += [*encoded, EOS]
    return torch.tensor(ids[:length])


def pretrain(model: LlamaForCausalLM, stream: torch.Tensor) -> None:
    """Train for one pass over the stream with AdamW and a cosine learning rate after a warmup."""
    batches = stream.view(-1, BATCH, WINDOW)
    optimizer = torch.optim.AdamW(model.parameters(), lr=PEAK_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(1.0, (step + 1) / 100, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / len(batches)))),
    )
    model.train()
    start = time.monotonic()
    for step, ids in enumerate(batches):
        logits = model(input_ids=ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), label_smoothing=SMOOTHING)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 200 == 0 or step + 1 == len(batches):
            seconds = time.monotonic() - start
            print(f"step {step}/{len(batches)}  loss {loss.item():.3f}  {seconds:.0f} s", flush=True)


def row_ids(tokenizer: PreTrainedTokenizerFast, row: Row) -> tuple[list[int], list[int]]:
    """Return prompt ids and supervised ids (the output and `</s>`) of a row in the Alpaca layout."""
    prompt = (WITH_INPUT if row["input"] else WITHOUT_INPUT).format_map(row)
    reply = tokenizer(row["output"], add_special_tokens=False)["input_ids"]
    return tokenizer(prompt)["input_ids"], [*reply, EOS]


def perplexity(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, rows: list[Row]) -> float:
    """Return exp(sum of negative log likelihood / supervised tokens) over the rows."""
    total, count = 0.0, 0
    model.train(False)
    with torch.no_grad():
        for row in rows:
            prompt, reply = row_ids(tokenizer, row)
            logits = model(input_ids=torch.tensor([prompt + reply])).logits[0, len(prompt) - 1 : -1]
            total += torch.nn.functional.cross_entropy(logits, torch.tensor(reply), reduction="sum").item()
            count += len(reply)
    return math.exp(total / count)


def main() -> None:
    """Write the rows, the tokenizer and the model; print their sizes and the base perplexity."""
    assets = Path(__file__).resolve().parent.parent / "engine" / "assets"
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else assets
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(SEED)
    rows = instruction_rows(random.Random(SEED), ROWS_PER_TASK)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    (out / "nano_instructions.jsonl").write_text("".join(lines), encoding="utf-8")
    print(f"{len(rows)} rows")
    tokenizer = train_tokenizer([*islice(plain_texts(random.Random(SEED + 1)), 20_000), *[WITH_INPUT] * 400])
    model = new_model()
    print(f"{sum(p.numel() for p in model.parameters())} parameters, vocabulary {len(tokenizer)}")
    pretrain(model, token_stream(tokenizer, random.Random(SEED + 2), STEPS * BATCH * WINDOW))
    model.half().save_pretrained(out / "nano")
    tokenizer.save_pretrained(out / "nano")
    (out / "nano" / "model.safetensors").chmod(0o644)
    saved = LlamaForCausalLM.from_pretrained(out / "nano", dtype=torch.float32)
    print(f"base perplexity on the rows: {perplexity(saved, tokenizer, rows):.2f}")


if __name__ == "__main__":
    main()
