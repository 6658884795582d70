"""Remarks on a spec: settings that the literature would not choose, each with its source and a remedy.

A remark never keeps a round from being queued. There is no rule without a source that can be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container

import msgspec

from engine.planning.remarks.remark import Case, Remark
from engine.planning.remarks.row_rules import few_held_out, rows_cut
from engine.spec.plan import planned_epochs

LORA_WITHOUT_REGRET = "https://thinkingmachines.ai/blog/lora/"
TRL_ON_LORA = "https://huggingface.co/docs/trl/lora_without_regret"
UNSLOTH_GUIDE = "https://unsloth.ai/docs/get-started/fine-tuning-llms-guide/lora-hyperparameters-guide"
LION = "https://arxiv.org/abs/2302.06675"
QLORA = "https://arxiv.org/abs/2305.14314"
RSLORA = "https://arxiv.org/abs/2312.03732"
VLLM = "https://github.com/vllm-project/vllm/blob/main/vllm/lora/peft_helper.py"
SGLANG = "https://github.com/sgl-project/sglang/issues/40835"

# Modules of attention as transformers names them, in families of all kinds; all others are of feed-forward layers.
ATTENTION = frozenset({
    "q_proj", "k_proj", "v_proj", "o_proj", "out_proj", "qkv_proj", "query_key_value", "c_attn", "Wqkv", "in_proj_qkv",
})  # fmt: skip
LARGE_BATCH, SMALLER_BATCH = 32, 16
USUAL_RATE, LOW_RATE, HIGH_RATE = 2e-4, 5e-5, 1e-2  # small models bear high ones
LION_RATE = 1e-4  # a third of 3e-4, as its paper has it; a tenth of 1e-3
MOST_WARM_UP, USUAL_WARM_UP = 0.1, 0.05
MOST_EPOCHS = 3
MOST_DROPOUT = 0.1
HIGH_RANK = 64


def remarks_on(case: Case, silenced: Container[str] = frozenset()) -> list[Remark]:
    """Return the remarks on a spec, those of the rules `silenced` last."""
    remarks = [
        msgspec.structs.replace(remark, rule=name, silenced=name in silenced)
        for name, rule in RULES.items()
        if (remark := rule(case)) is not None
    ]
    return sorted(remarks, key=lambda remark: remark.silenced)


def _attention_only(case: Case) -> Remark | None:
    modules = case.spec.lora.target_modules
    names = {name.rpartition(".")[2] for name in modules} if isinstance(modules, tuple) else set()
    if not names or names - ATTENTION:
        return None
    share = f", on {100 * case.adapter.share:.0f} % of the layers' weights" if case.adapter is not None else ""
    return Remark(
        "lora.target_modules",
        f"lora.target_modules is {', '.join(modules)}{share}: adapters on attention alone learned less than those on "
        f"all linear layers, and a higher rank did not make up for it",
        LORA_WITHOUT_REGRET,
        {"lora.target_modules": "all-linear"},
    )


def _large_batch(case: Case) -> Remark | None:
    if case.plan.effective_batch < LARGE_BATCH:
        return None
    rows = min(case.spec.train.per_device_train_batch_size, SMALLER_BATCH)
    per_epoch = case.plan.steps_per_epoch
    steps = f", and an epoch has {per_epoch:,} steps" if per_epoch is not None else ""
    return Remark(
        "train.gradient_accumulation_steps",
        f"the effective batch is {case.plan.effective_batch}{steps}: LoRA loses more by large batches than full "
        f"fine-tuning does, whatever its rank, and fewer than {LARGE_BATCH} rows are advised",
        TRL_ON_LORA,
        {
            "train.per_device_train_batch_size": str(rows),
            "train.gradient_accumulation_steps": str(max(1, SMALLER_BATCH // rows)),
        },
    )


def _low_rate(case: Case) -> Remark | None:
    rate = case.spec.train.learning_rate
    if "lion" in case.spec.train.optim or case.spec.lora.loraplus_lr_ratio is not None or rate > LOW_RATE:
        return None
    return Remark(
        "train.learning_rate",
        f"train.learning_rate is {rate:g}, which is one for full fine-tuning: the best one for LoRA was about ten "
        f"times as high, at nearly any rank",
        LORA_WITHOUT_REGRET,
        {"train.learning_rate": f"{USUAL_RATE:g}"},
    )


def _high_rate(case: Case) -> Remark | None:
    rate = case.spec.train.learning_rate
    if "lion" in case.spec.train.optim or rate <= HIGH_RATE:
        return None
    return Remark(
        "train.learning_rate",
        f"train.learning_rate is {rate:g}: guides start at {USUAL_RATE:g}, and too high a rate makes training unstable",
        UNSLOTH_GUIDE,
        {"train.learning_rate": f"{USUAL_RATE:g}"},
    )


def _high_rate_of_lion(case: Case) -> Remark | None:
    rate = case.spec.train.learning_rate
    if "lion" not in case.spec.train.optim or rate <= LION_RATE:
        return None
    return Remark(
        "train.learning_rate",
        f"train.learning_rate is {rate:g} with {case.spec.train.optim}: Lion wants three to ten times less than "
        f"AdamW, and a weight decay as many times higher",
        LION,
        {"train.learning_rate": f"{USUAL_RATE / 5:g}"},
    )


def _long_warm_up(case: Case) -> Remark | None:
    if case.plan.warmup_steps is None or case.plan.total_steps is None or case.plan.warmup_share is None:
        return None
    if case.plan.warmup_steps <= math.ceil(MOST_WARM_UP * case.plan.total_steps):
        return None
    return Remark(
        "train.warmup_steps",
        f"warm-up is {case.plan.warmup_steps:,} of {case.plan.total_steps:,} steps "
        f"({100 * case.plan.warmup_share:.0f} %): guides give it 5 to 10 %, and the rate is below its peak all that "
        f"time",
        UNSLOTH_GUIDE,
        {"train.warmup_steps": f"{USUAL_WARM_UP:g}"},
    )


def _many_epochs(case: Case) -> Remark | None:
    epochs = planned_epochs(case.spec.train, case.plan)
    if epochs is None or epochs <= MOST_EPOCHS:
        return None
    remedy = {} if case.spec.train.max_steps is not None else {"train.num_train_epochs": str(MOST_EPOCHS)}
    return Remark(
        "train.num_train_epochs" if remedy else "train.max_steps",
        f"the round goes over its rows {epochs:g} times: guides advise one to three, since later ones learn the "
        f"rows by heart; train.load_best_model_at_end would keep the adapter from before that",
        UNSLOTH_GUIDE,
        remedy,
    )


def _high_dropout(case: Case) -> Remark | None:
    dropout = case.spec.lora.lora_dropout
    if dropout <= MOST_DROPOUT:
        return None
    return Remark(
        "lora.lora_dropout",
        f"lora.lora_dropout is {dropout:g}: QLoRA found 0.1 useful up to 13 billion parameters and 0.05 above; the "
        f"evidence is not clear, as other guides train without any",
        QLORA,
        {"lora.lora_dropout": f"{MOST_DROPOUT:g}"},
        settled=False,
    )


def _plain_high_rank(case: Case) -> Remark | None:
    lora = case.spec.lora
    if lora.r < HIGH_RANK or lora.use_rslora:
        return None
    return Remark(
        "lora.use_rslora",
        f"lora.r is {lora.r} without lora.use_rslora: divided by the rank rather than its root, the update of a high "
        f"rank learns as slowly as that of a low one; the evidence is not clear, as others found a fixed lora_alpha of "
        f"32 to do as well at any rank",
        RSLORA,
        {"lora.use_rslora": "true"},
        settled=False,
    )


def _dora_in_vllm(case: Case) -> Remark | None:
    if not case.spec.lora.use_dora:
        return None
    return Remark(
        "lora.use_dora",
        "lora.use_dora is true: vLLM refuses such an adapter, so that it has to be merged into its base to be served",
        VLLM,
        {"lora.use_dora": "false"},
    )


def _modules_in_vllm(case: Case) -> Remark | None:
    if not case.spec.lora.modules_to_save:
        return None
    return Remark(
        "lora.modules_to_save",
        f"lora.modules_to_save is {', '.join(case.spec.lora.modules_to_save)}: vLLM refuses such an adapter, so that "
        f"it has to be merged into its base to be served",
        VLLM,
        {"lora.modules_to_save": ""},
    )


def _rslora_in_sglang(case: Case) -> Remark | None:
    if not case.spec.lora.use_rslora:
        return None
    alpha = round(case.spec.lora.lora_alpha * case.spec.lora.r**0.5)
    return Remark(
        "lora.use_rslora",
        f"lora.use_rslora is true: SGLang and llama.cpp ignore it and apply the adapter too weakly; without it a "
        f"lora.lora_alpha of {alpha} comes to the same",
        SGLANG,
        {"lora.use_rslora": "false", "lora.lora_alpha": str(alpha)},
    )


Rule = Callable[[Case], Remark | None]
RULES: dict[str, Rule] = {
    "attention-only": _attention_only,
    "large-batch": _large_batch,
    "low-rate": _low_rate,
    "high-rate": _high_rate,
    "lion-rate": _high_rate_of_lion,
    "long-warm-up": _long_warm_up,
    "many-epochs": _many_epochs,
    "high-dropout": _high_dropout,
    "plain-high-rank": _plain_high_rank,
    "few-held-out": few_held_out,
    "rows-cut": rows_cut,
    "dora-served": _dora_in_vllm,
    "modules-served": _modules_in_vllm,
    "rslora-served": _rslora_in_sglang,
}
