"""BLEU, chrF and ROUGE of answers, compared with the command lines of their libraries."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from engine.training.evaluation.text_metrics import CharacterTokenizer, mostly_chinese, score_texts

ENGLISH = (
    ["The cat sat on the mat.", "Owls live in barns, mostly.", "It is 3.5 metres long", "", "running quickly home"],
    ["The cat is on the mat.", "Owls live in a barn.", "It is 3.5 metres long.", "Nothing at all.", "He runs home."],
)
CHINESE = (
    ["猫坐在垫子上。", "今天天气很好", "我喜欢喝茶和 coffee"],
    ["猫在垫子上。", "今天的天气非常好。", "我喜欢喝茶和 coffee。"],
)


def write(directory: Path, texts: tuple[Sequence[str], Sequence[str]]) -> tuple[Path, Path]:
    files = directory / "answers.txt", directory / "expected.txt"
    for file, lines in zip(files, texts, strict=True):
        file.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return files


def command(*words: str | Path) -> str:
    done = subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize(("texts", "tokenize"), [(ENGLISH, "13a"), (CHINESE, "zh")], ids=["English", "Chinese"])
def test_bleu_and_chrf_are_those_of_sacrebleus_command_line(
    tmp_path: Path, texts: tuple[Sequence[str], Sequence[str]], tokenize: str
) -> None:
    answers, expected = write(tmp_path, texts)
    output = command(
        "sacrebleu", expected, "-i", answers, "-m", "bleu", "chrf", "--tokenize", tokenize, "-w", "6", "-f", "json"
    )
    theirs = {metric["name"].lower().rstrip("2"): metric for metric in json.loads(output)}
    scores = score_texts(*texts)
    assert scores.scores["bleu"] == pytest.approx(theirs["bleu"]["score"], abs=1e-6)
    assert scores.scores["chrf"] == pytest.approx(theirs["chrf"]["score"], abs=1e-6)
    assert scores.signatures["bleu"] == theirs["bleu"]["signature"]
    assert scores.signatures["chrf"] == theirs["chrf"]["signature"]


def test_rouge_is_that_of_rouge_scores_command_line(tmp_path: Path) -> None:
    answers, expected = write(tmp_path, ENGLISH)
    output = tmp_path / "rouge.csv"
    command(
        "rouge_score.rouge", f"--target_filepattern={expected}", f"--prediction_filepattern={answers}",
        f"--output_filename={output}", "--use_stemmer=true", "--aggregate=false",
    )  # fmt: skip
    rows = list(csv.DictReader(output.read_text().splitlines()))
    scores = score_texts(*ENGLISH)
    for name in ("rouge1", "rouge2", "rougeL"):
        f1 = [float(row[f"{name}-F"]) for row in rows]
        assert [answer[name] for answer in scores.each] == pytest.approx(f1, abs=1e-6)
        assert scores.scores[name] == pytest.approx(sum(f1) / len(f1), abs=1e-6)


def test_rouge_of_chinese_counts_characters_by_hand() -> None:
    """猫坐在垫子上 against 猫在垫子上: 5 of 6 and 5 of 5 characters, 3 of 5 and 3 of 4 pairs, all 5 in order."""
    (scores,) = score_texts(["猫坐在垫子上。"], ["猫在垫子上。"]).each
    assert scores["rouge1"] == pytest.approx(2 * (5 / 6) * 1 / (5 / 6 + 1))
    assert scores["rouge2"] == pytest.approx(2 * (3 / 5) * (3 / 4) / (3 / 5 + 3 / 4))
    assert scores["rougeL"] == pytest.approx(2 * (5 / 6) * 1 / (5 / 6 + 1))


def test_words_between_chinese_characters_are_stemmed_as_usual() -> None:
    assert CharacterTokenizer().tokenize("我在running 3公里") == ["我", "在", "run", "3", "公", "里"]


@pytest.mark.parametrize(
    ("texts", "chinese"),
    [
        (["plain words"], False),
        (["猫在垫子上"], True),
        (["one 猫 in a long English sentence"], False),
        (["", "123"], False),
    ],
)
def test_text_is_recognised_as_chinese_by_its_letters(texts: list[str], chinese: bool) -> None:
    assert mostly_chinese(texts) is chinese


def test_expected_answer_gets_the_full_score() -> None:
    texts = ["The cat sat on the mat, and slept.", "Owls live in a barn all year."]
    scores = score_texts(texts, texts)
    assert scores.scores == pytest.approx({"bleu": 100, "chrf": 100, "rouge1": 1, "rouge2": 1, "rougeL": 1})
