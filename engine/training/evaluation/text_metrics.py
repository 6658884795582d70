"""BLEU, chrF and ROUGE of a model's answers, by the field's own libraries and on their own scales."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenizers import DefaultTokenizer, Tokenizer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

ROUGES = ("rouge1", "rouge2", "rougeL")
CHINESE_SHARE = 0.3  # of a text's letters; above it the text counts as Chinese


@dataclass(frozen=True)
class TextScores:
    """Scores of a set of answers and of each by itself, by the metric's name.

    Attributes:
        scores: `bleu` and `chrf` from 0 to 100, of the corpus; `rouge1`, `rouge2`, `rougeL` as mean F1 from 0 to 1.
        each: the same for each answer, with sentence BLEU.
        signatures: sacrebleu's description of its settings, by metric.
    """

    scores: dict[str, float]
    each: tuple[dict[str, float], ...]
    signatures: dict[str, str]


class CharacterTokenizer(Tokenizer):  # type: ignore[misc]  # rouge_score has no annotations
    """A tokenizer with rouge-score's words, and each Chinese character as a word, which rouge-score would drop."""

    def __init__(self) -> None:
        self._plain = DefaultTokenizer(use_stemmer=True)

    def tokenize(self, text: str) -> list[str]:
        parts = "".join(f" {letter} " if is_chinese(letter) else letter for letter in text).split()
        return [word for part in parts for word in ([part] if is_chinese(part) else self._plain.tokenize(part))]


def is_chinese(text: str) -> bool:
    """Return whether `text` is one CJK ideograph."""
    return len(text) == 1 and unicodedata.name(text, "").startswith("CJK UNIFIED IDEOGRAPH")


def mostly_chinese(texts: Sequence[str]) -> bool:
    """Return whether most words are not separated by spaces."""
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    return bool(letters) and sum(map(is_chinese, letters)) / len(letters) > CHINESE_SHARE


def score_texts(answers: Sequence[str], expected: Sequence[str]) -> TextScores:
    """Score `answers`, at least one, against `expected` by BLEU, chrF and ROUGE.

    BLEU and chrF are sacrebleu's with its defaults (M. Post, A Call for Clarity in Reporting BLEU Scores, 2018), BLEU
    with its `zh` tokenizer where the expected texts are mostly Chinese. ROUGE is rouge-score's with its stemmer (C.-Y.
    Lin, ROUGE: A Package for Automatic Evaluation of Summaries, 2004).
    """
    chinese = mostly_chinese(expected)
    tokenize = "zh" if chinese else "13a"
    bleu, sentence, chrf = BLEU(tokenize=tokenize), BLEU(tokenize=tokenize, effective_order=True), CHRF()
    rouge = RougeScorer(list(ROUGES), use_stemmer=True, tokenizer=CharacterTokenizer() if chinese else None)
    references = [list(expected)]
    scores = {"bleu": bleu.corpus_score(list(answers), references).score}
    scores["chrf"] = chrf.corpus_score(list(answers), references).score
    each = []
    for answer, reference in zip(answers, expected, strict=True):
        rouge_scores = rouge.score(reference, answer)
        each.append(
            {
                "bleu": sentence.sentence_score(answer, [reference]).score,
                "chrf": chrf.sentence_score(answer, [reference]).score,
                **{name: rouge_scores[name].fmeasure for name in ROUGES},
            }
        )
    scores |= {name: sum(answer_scores[name] for answer_scores in each) / len(each) for name in ROUGES}
    signatures = {"bleu": str(bleu.get_signature()), "chrf": str(chrf.get_signature())}
    return TextScores(scores, tuple(each), signatures)
