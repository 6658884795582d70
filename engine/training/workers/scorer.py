"""Evaluation of a round's adapter and its base model on the rows of another file."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import Any

import msgspec
from peft import PeftModel

from engine.compare.bootstrap import mean_per_token
from engine.compare.extra_evaluations import ExtraEvaluation, ScoreProgress
from engine.dataset.column_map import read_beside
from engine.dataset.rows import Rows
from engine.errors import ModelError
from engine.files.paths import RunDir
from engine.runs.event_log import read_events
from engine.runs.events import Prepared
from engine.spec.schema import Spec
from engine.training.data.cut import CutExamples, cut
from engine.training.data.load import load_rows
from engine.training.data.token_cache import tokenise_cached
from engine.training.data.tokenize import Example
from engine.training.evaluation.perplexity import Evaluation, evaluate, scores_of
from engine.training.loop.provenance import data_hash
from engine.training.model.biases import BaseBiases, without_warning_of_biases
from engine.training.model.forward import Forward, choose_forward
from engine.training.model.loading import check_vocabulary, load_base_model, load_config, load_tokenizer
from engine.training.runtime.device import choose_device, out_of_memory, resolve_dtype, use_fast_kernels
from engine.training.runtime.hub_errors import first_line

DEFAULT_TOKENS = 2048  # at once, if the run did not record its budget


class AdapterScorer:
    """Scores the adapter of one run on the data of `spec`; `report` gets the progress."""

    def __init__(self, run: RunDir, spec: Spec, report: Callable[[ScoreProgress], None]) -> None:
        self._run = run
        self._spec = spec
        self._report = report

    def score(self) -> ExtraEvaluation:
        """Load the model, score the base model, then the adapter."""
        data = self._spec.data
        self._report(ScoreProgress("loading"))
        rows = read_beside(load_rows, data)
        cut_examples = self._cut_examples(rows)
        examples = cut_examples.examples
        with out_of_memory("while loading"):
            forward = self._forward(examples)
        tokens = self._tokens()
        with without_warning_of_biases(), forward.model.disable_adapter(), self._biases.in_place():
            base = self._evaluate("evaluating base", forward, examples, tokens)
        tuned = self._evaluate("evaluating", forward, examples, tokens)
        interval = mean_per_token(tuned.nlls, tuned.tokens)
        return ExtraEvaluation(
            time=time.time(),
            data=data,
            sha256=data_hash(data) or "",
            rows=len(examples),
            left_out=len(rows) - cut_examples.used_rows,
            supervised_tokens=tuned.supervised_tokens,
            eval_loss=_finite(tuned.eval_loss),
            perplexity=_finite(tuned.perplexity),
            eval_loss_interval=(interval.low, interval.high) if interval else None,
            base_eval_loss=_finite(base.eval_loss),
            base_perplexity=_finite(base.perplexity),
            scores=scores_of(tuned, examples),
            base_scores=scores_of(base, examples),
        )

    def _cut_examples(self, rows: Rows) -> CutExamples:
        own = msgspec.structs.replace(self._spec.model, path=str(self._run.adapter))
        self._tokenizer = load_tokenizer(own if (self._run.adapter / "tokenizer.json").is_file() else self._spec.model)
        tokenised = tokenise_cached(
            rows.usable,
            self._tokenizer,
            self._spec.data,
            lambda done, total: self._report(ScoreProgress("tokenising", done, total)),
        )
        return cut(tokenised.examples, self._spec.data.max_length, in_windows=rows.format.name == "text")

    def _forward(self, examples: list[Example]) -> Forward:
        device = choose_device()
        use_fast_kernels(device)
        config = load_config(self._spec)
        prepared = self._prepared()
        setting = prepared.dtype if prepared is not None and prepared.device == device.type else self._spec.model.dtype
        dtype = resolve_dtype(setting, device, config.get_text_config().hidden_size)
        base: Any = load_base_model(self._spec, config, dtype, device)
        rows = base.get_input_embeddings().num_embeddings
        check_vocabulary(rows, examples, self._tokenizer, self._spec.model)
        self._biases = BaseBiases(base)
        try:
            model = PeftModel.from_pretrained(base, str(self._run.adapter)).eval()
        except Exception as error:  # a damaged or unusual adapter may raise anything
            raise ModelError(
                f"the adapter of {self._run.name} cannot be put on {self._spec.model.path!r}: {first_line(error)}"
            ) from error
        own_attention = self._spec.model.attn_implementation != "auto"
        return choose_forward(model, device, dtype, max(map(len, examples)), own_attention=own_attention)

    def _prepared(self) -> Prepared | None:
        events = read_events(self._run.events, Prepared)
        return next((event for event in reversed(events) if isinstance(event, Prepared)), None)

    def _tokens(self) -> int:
        prepared = self._prepared()
        return prepared.micro_batch_tokens if prepared is not None and prepared.micro_batch_tokens else DEFAULT_TOKENS

    def _evaluate(self, phase: str, forward: Forward, examples: list[Example], tokens: int) -> Evaluation:
        with out_of_memory(f"while {phase}"):
            return evaluate(
                forward, examples, tokens, lambda done, total: self._report(ScoreProgress(phase, done, total))
            )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
