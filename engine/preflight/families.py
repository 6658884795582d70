"""Facts about families of models, by the `model_type` of their config.json."""

from __future__ import annotations

from collections.abc import Mapping

LLAMA_LIKE = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
NEOX_LIKE = ("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")
# As transformers names the linear layers of an architecture (its modeling_*.py).
USUAL: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "granite", "olmo", "olmo2", "smollm3"),
        LLAMA_LIKE,
    ),
    **dict.fromkeys(("gpt_neox", "falcon", "bloom"), NEOX_LIKE),
    "gpt2": ("c_attn", "c_proj", "c_fc"),
    "opt": ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"),
    "phi": ("q_proj", "k_proj", "v_proj", "dense", "fc1", "fc2"),
    "phi3": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
    "stablelm": LLAMA_LIKE,
    "mpt": ("Wqkv", "out_proj", "up_proj", "down_proj"),
}
# peft adapts neither in these, as their mixers take the weights without calling the modules
# (_check_lora_target_modules_mamba in peft.tuners.tuners_utils).
MAMBA_FAMILIES = frozenset({"falcon_h1", "mamba", "mamba2", "falcon_mamba", "nemotron_h"})
MAMBA_MODULES = ("conv1d", "out_proj")
# Families whose weights, as `base_weights` has them, were compared with those that transformers loads.
KNOWN = frozenset({
    "apertus", "arcee", "bamba", "bitnet", "bloom", "codegen", "cohere", "cohere2", "cohere2_moe", "deepseek_v2",
    "deepseek_v3", "diffllama", "dots1", "ernie4_5", "ernie4_5_moe", "exaone4", "falcon", "falcon_h1", "falcon_mamba",
    "gemma", "gemma2", "gemma3", "gemma3_text", "gemma3n_text", "gemma4_text", "glm", "glm4", "glm4_moe",
    "glm4_moe_lite", "gpt2", "gpt_bigcode", "gpt_neo", "gpt_neox", "gpt_oss", "gptj", "granite", "granitemoe",
    "granitemoehybrid", "helium", "hunyuan_v1_dense", "hunyuan_v1_moe", "internlm3", "jamba", "lfm2", "lfm2_moe",
    "llama", "llama4", "llama4_text", "mamba", "mamba2", "mimo_v2_flash", "minicpm3", "minimax_m2", "ministral",
    "ministral3", "mistral", "mistral3", "mixtral", "mpt", "nanochat", "nemotron", "nemotron_h", "olmo", "olmo2",
    "olmo3", "olmoe", "opt", "persimmon", "phi", "phi3", "phimoe", "qwen2", "qwen2_5_vl", "qwen2_moe", "qwen3",
    "qwen3_5", "qwen3_5_moe_text", "qwen3_5_text", "qwen3_moe", "qwen3_next", "recurrent_gemma", "rwkv", "seed_oss",
    "smollm3", "stablelm", "starcoder2", "vaultgemma", "xglm", "zamba2",
})  # fmt: skip
# Multimodal families of which transformers loads only the part for text (MODEL_FOR_CAUSAL_LM_MAPPING_NAMES).
LOADED_AS_TEXT = frozenset({"llama4", "qwen3_5", "qwen3_5_moe"})
BASE_PREFIXES = ("model.", "transformer.", "gpt_neox.", "backbone.")  # base_model_prefix in transformers
# Beginnings of names as stored and as loaded.
PREFIXES = {"nemotron_h": ("backbone.", "model."), "gpt_neox": ("embed_out.", "lm_head.")}
# Families in whose experts peft's `all-linear` puts adapters too, knowing the weights
# (peft.utils.transformers_weight_conversion).
ADAPTED_EXPERTS = frozenset({
    "afmoe", "beam", "cohere2_moe", "deepseek_v2", "deepseek_v3", "deepseek_v32", "dots1", "ernie4_5_moe", "exaone_moe",
    "flex_olmo", "glm4_moe", "glm4_moe_lite", "glm4v_moe", "glm_moe_dsa", "hunyuan_v1_moe", "longcat_flash", "mellum",
    "minimax", "minimax_m2", "mixtral", "olmoe", "qwen3_moe", "qwen3_next", "sarvam_mla", "solar_open",
})  # fmt: skip
# The names by which peft knows the matrices of experts in these families: those before their activation, which
# transformers fuses, and the one after it (_MOE_TARGET_MODULE_MAPPING there).
NAMES_IN_EXPERTS = ("gate_proj", "up_proj", "down_proj")
OTHER_NAMES_IN_EXPERTS = dict.fromkeys(("minimax", "minimax_m2", "mixtral"), ("w1", "w3", "w2"))
ROUTER = "gate"


def family_of(config: Mapping[str, object]) -> str:
    """Return the family that a config.json names, empty if it names none."""
    kind = config.get("model_type")
    return kind if isinstance(kind, str) else ""


def names_in_experts(family: str) -> tuple[str, ...]:
    """Return the three names by which peft adapts the experts of a family, none if it has none for them."""
    return OTHER_NAMES_IN_EXPERTS.get(family, NAMES_IN_EXPERTS) if family in ADAPTED_EXPERTS else ()
