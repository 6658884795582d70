"""What gets an adapter: names as the checkpoint and the live model have them, routers and Mamba's mixers left alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import transformers_weight_conversion
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    DeepseekV3Config,
    Gemma3Config,
    GptOssConfig,
    LlamaConfig,
    MambaConfig,
    MixtralConfig,
    PhimoeConfig,
    PretrainedConfig,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from engine.errors import SpecError
from engine.preflight.families import ADAPTED_EXPERTS, names_in_experts
from engine.preflight.target_modules import check_experts, check_target_parameters
from engine.training.model.adapter import add_adapter, check_adapter
from engine.training.model.targets import unadapted
from tests.support.passes import SMALL
from tests.support.rounds import make_spec

pytestmark = pytest.mark.filterwarnings("ignore:The following .*_pattern keys")

EXPERTS: dict[str, Any] = {"num_local_experts": 4, "num_experts_per_tok": 2}
STACKED = ("gate_up_proj", "down_proj")
MIXTRAL = MixtralConfig(**SMALL, **EXPERTS)
DEEPSEEK = DeepseekV3Config(
    **SMALL, n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, n_group=1, topk_group=1,
    first_k_dense_replace=1, n_shared_experts=1, q_lora_rank=8, kv_lora_rank=8, qk_nope_head_dim=8, qk_rope_head_dim=8,
    v_head_dim=8,
)  # fmt: skip
PHIMOE = PhimoeConfig(**SMALL, **EXPERTS)


def model_of(config: PretrainedConfig) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


def adapted(config: PretrainedConfig, targets: object, **settings: object) -> Any:
    with torch.device("meta"):
        return add_adapter(model_of(config), make_spec(lora__target_modules=targets, **settings))


@pytest.mark.parametrize(
    ("config", "targets", "dropout", "sentence"),
    [
        (
            MIXTRAL,
            "all-linear",
            0.1,
            "lora.lora_dropout is 0.1, but the experts of this model can only get an adapter without dropout: set "
            "it to 0, or name other modules in lora.target_modules",
        ),
        (MIXTRAL, ("w1", "w2", "w3"), 0.1, "lora.lora_dropout is 0.1, but the experts"),
        (MIXTRAL, ("w1",), 0.0, "lora.target_modules is w1, which cannot get an adapter in this model: Cannot convert"),
        (MIXTRAL, ("nothing",), 0.0, "lora.target_modules has 'nothing', which this model lacks: it has"),
        (PHIMOE, ("router",), 0.0, "lora.target_modules has 'router', which this model lacks: it has"),
        (
            MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=1, state_size=4),
            ("out_proj",),
            0.0,
            "lora.target_modules is out_proj, which cannot get an adapter in this model: [PEFT:PeftType.LORA] Module",
        ),
        (LlamaConfig(**SMALL), "(q|v)_proj", 0.0, "lora.target_modules is '(q|v)_proj', a regular expression that"),
        (MIXTRAL, r".*experts.*", 0.0, "lora.target_modules is '.*experts.*', a regular expression that also matches"),
        (PHIMOE, r".*router", 0.0, "lora.target_modules is '.*router', a regular expression that also matches"),
        (LlamaConfig(**SMALL), ("w1",), 0.0, "lora.target_modules has 'w1', which this model lacks: it has"),
    ],
)
def test_adapter_that_peft_cannot_make_is_refused_from_the_config_alone(
    config: PretrainedConfig, targets: object, dropout: float, sentence: str
) -> None:
    with pytest.raises(SpecError) as caught:
        check_adapter(make_spec(lora__target_modules=targets, lora__lora_dropout=dropout), config)
    assert caught.value.message.startswith(sentence) and "\n" not in caught.value.message


@pytest.mark.parametrize("targets", ["all-linear", ("w1", "w2", "w3"), ("q_proj", "w2")])
def test_names_of_the_checkpoint_reach_the_experts(targets: object) -> None:
    spec = make_spec(lora__target_modules=targets, lora__lora_dropout=0.0)
    check_adapter(spec, MIXTRAL)
    names = [
        name for name, _ in adapted(MIXTRAL, targets, lora__lora_dropout=0.0).named_parameters() if "lora_A" in name
    ]
    assert any("experts" in name for name in names)


def adapted_in(config: PretrainedConfig, targets: object, **settings: object) -> set[str]:
    """The paths that get an adapter, without those of layers."""
    model = adapted(config, targets, lora__lora_dropout=0.0, **settings)
    parts = (name.split(".lora_A")[0].split("layers.")[1] for name, _ in model.named_parameters() if "lora_A" in name)
    return {part.replace(".base_layer", "") for part in parts}


def test_routers_of_experts_are_left_alone_by_all_linear() -> None:
    attention = {f"{layer}.self_attn.{name}_proj" for layer in (0, 1) for name in "qkvo"}
    assert adapted_in(MIXTRAL, "all-linear") == attention | {"0.mlp.experts", "1.mlp.experts"}


def test_regular_expression_means_the_layers_that_it_matches_where_peft_would_take_all() -> None:
    assert adapted_in(MIXTRAL, r".*\.1\.self_attn\.[qk]_proj") == {"1.self_attn.q_proj", "1.self_attn.k_proj"}


DENSE = {f"{module}.{name}_proj" for module in ("0.mlp", "1.mlp.shared_experts") for name in ("gate", "up", "down")}
ATTENTION = {
    f"{layer}.self_attn.{name}"
    for layer in (0, 1)
    for name in ("q_a_proj", "q_b_proj", "kv_a_proj_with_mqa", "kv_b_proj", "o_proj")
}


@pytest.mark.parametrize(
    ("targets", "exclude", "expected"),
    [
        ("all-linear", None, {*ATTENTION, *DENSE, "1.mlp.experts"}),
        ("all-linear", ("kv_b_proj", "0.mlp.gate_proj"), {*ATTENTION, *DENSE, "1.mlp.experts"}),
        (("gate_proj", "up_proj", "down_proj"), None, {*DENSE, "1.mlp.experts"}),
        (
            r".*\.shared_experts\.(gate|up)_proj",
            None,
            {"1.mlp.shared_experts.gate_proj", "1.mlp.shared_experts.up_proj"},
        ),
        (r".*\.1\..*(o|down)_proj", r".*mlp.*", {"1.self_attn.o_proj"}),
    ],
)
def test_dense_layer_of_the_name_that_experts_had_gets_its_own_adapter(
    targets: object, exclude: object, expected: set[str]
) -> None:
    excluded = {f"{layer}.self_attn.kv_b_proj" for layer in (0, 1)} | {"0.mlp.gate_proj"}
    chosen = adapted_in(DEEPSEEK, targets, lora__exclude_modules=exclude)
    assert chosen == (expected - excluded if isinstance(exclude, tuple) else expected)


def test_parameters_get_an_adapter_as_plain_peft_gives_it() -> None:
    names = ("experts.gate_up_proj", "experts.down_proj")
    config = GptOssConfig(**SMALL, **EXPERTS, head_dim=8)
    ours = adapted(config, ("q_proj",), lora__target_parameters=names, lora__lora_dropout=0.0)
    plain = get_peft_model(model_of(config), LoraConfig(target_modules=["q_proj"], target_parameters=[*names]))
    assert sorted(ours.targeted_parameter_names) == sorted(plain.targeted_parameter_names)
    assert len(ours.targeted_parameter_names) == 4
    share, _ = unadapted(ours)
    assert share < 0.2


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"lora_dropout": 0.1},
            "lora.lora_dropout is 0.1, but a parameter of lora.target_parameters can only get an "
            "adapter with 0: set it to that, or leave lora.target_parameters empty",
        ),
        ({"use_dora": True}, "lora.use_dora is true, but a parameter of lora.target_parameters"),
        ({"init_lora_weights": "pissa"}, "lora.init_lora_weights is pissa, but a parameter of lora.target_parameters"),
    ],
)
def test_parameter_cannot_have_all_that_a_layer_has(settings: dict[str, object], sentence: str) -> None:
    options = {"target_parameters": ("mlp.experts.down_proj",), "lora_dropout": 0.0} | settings
    lora = make_spec(**{f"lora__{name}": value for name, value in options.items()}).lora
    with pytest.raises(SpecError) as caught:
        check_target_parameters(lora)
    assert caught.value.message.startswith(sentence)


def test_parameter_that_the_model_lacks_is_refused_from_the_config_alone() -> None:
    spec = make_spec(lora__target_parameters=("mlp.experts.w1",), lora__lora_dropout=0.0)
    with pytest.raises(
        SpecError, match=r"has 'mlp\.experts\.w1', which is not a parameter of this model: it has down_proj"
    ):
        check_adapter(spec, MIXTRAL)


def test_routers_and_mambas_mixers_are_left_alone_by_all_linear() -> None:
    names = [name for name, _ in adapted(PHIMOE, "all-linear").named_parameters() if "lora_A" in name]
    assert names and not any("router" in name for name in names)
    mamba = MambaConfig(vocab_size=97, hidden_size=32, num_hidden_layers=1, state_size=4)
    names = [name for name, _ in adapted(mamba, "all-linear").named_parameters() if "lora_A" in name]
    assert names and not any("out_proj" in name for name in names)


def test_regular_expression_chooses_the_modules_that_plain_peft_chooses() -> None:
    pattern = r".*\.1\.(self_attn\.[qk]_proj|mlp\.down_proj)"
    plain = get_peft_model(model_of(LlamaConfig(**SMALL)), LoraConfig(target_modules=pattern))
    ours = adapted(LlamaConfig(**SMALL), pattern)
    assert ours.targeted_module_names == plain.targeted_module_names
    assert ours.peft_config["default"].target_modules == pattern
    assert len(ours.targeted_module_names) == 3


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (
            {"exclude_modules": ("mlp",)},
            "lora.exclude_modules has 'mlp', which is not a layer of this model: it has down_proj",
        ),
        ({"exclude_modules": "w[1]"}, "lora.exclude_modules is 'w[1]', a regular expression that matches no layer"),
        ({"exclude_modules": ".*("}, "lora.exclude_modules is '.*(', which is not a valid regular expression"),
        ({"exclude_modules": (".*")}, "lora.target_modules is q_proj, which cannot get an adapter in this model"),
        ({"modules_to_save": ("q_proj",)}, "lora.target_modules is q_proj, which cannot get an adapter in this model"),
        (
            {"modules_to_save": ("head_lm",)},
            "lora.modules_to_save has 'head_lm', which is not a module of this model: it has act_fn",
        ),
    ],
)
def test_modules_that_the_model_lacks_are_refused_from_the_config_alone(
    settings: dict[str, object], sentence: str
) -> None:
    spec = make_spec(lora__target_modules=("q_proj",), **{f"lora__{name}": value for name, value in settings.items()})
    with pytest.raises(SpecError) as caught:
        check_adapter(spec, LlamaConfig(**SMALL))
    assert caught.value.message.startswith(sentence) and "\n" not in caught.value.message


def test_module_in_4_bits_is_not_trained_in_full() -> None:
    def check(name: str) -> None:
        check_adapter(make_spec(lora__modules_to_save=(name,), model__load_in_4bit=True), LlamaConfig(**SMALL))

    check("lm_head")
    check("embed_tokens")
    with pytest.raises(SpecError, match=r"lora\.modules_to_save has 'mlp', whose weights are quantised"):
        check("mlp")


@pytest.mark.parametrize("exclude", [("k_proj",), ("mlp.up_proj", "down_proj"), r".*\.0\..*"])
@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "k_proj", "up_proj", "down_proj")])
def test_modules_are_excluded_and_saved_as_plain_peft_does_it(targets: object, exclude: object) -> None:
    options: dict[str, Any] = {"exclude_modules": exclude, "modules_to_save": ("norm", "o_proj")}
    ours = adapted(LlamaConfig(**SMALL), targets, **{f"lora__{name}": value for name, value in options.items()})
    config = LoraConfig(task_type="CAUSAL_LM", target_modules=targets, **options)
    plain = get_peft_model(model_of(LlamaConfig(**SMALL)), config)
    assert sorted(ours.targeted_module_names) == sorted(plain.targeted_module_names)

    def trained(model: Any) -> set[str]:
        return {name for name, parameter in model.named_parameters() if parameter.requires_grad}

    assert trained(ours) == trained(plain)


def test_share_without_an_adapter_is_counted_by_hand() -> None:
    share, names = unadapted(adapted(LlamaConfig(**SMALL), "all-linear"))
    assert (share, names) == (0.0, ())
    share, names = unadapted(adapted(LlamaConfig(**SMALL), ("q_proj", "down_proj")))
    attention, feed_forward = 32 * 32, 32 * 48  # keys and values have half the heads
    rest = attention * (1 + 1 / 2 + 1 / 2) + 2 * feed_forward
    assert share == pytest.approx(rest / (3 * attention + 3 * feed_forward))
    assert set(names) == {"mlp.gate_proj", "mlp.up_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"}
    half = {"lora__exclude_modules": r".*mlp.*", "lora__modules_to_save": ("layers.0.mlp",)}
    share, _ = unadapted(adapted(LlamaConfig(**SMALL), "all-linear", **half))
    assert share == pytest.approx(3 * feed_forward / 2 / (3 * attention + 3 * feed_forward))
    share, names = unadapted(adapted(GptOssConfig(**SMALL, **EXPERTS, head_dim=8), "all-linear"))
    assert 0.7 < share < 1 and names[:2] == ("experts.gate_up_proj", "experts.down_proj")


@pytest.mark.parametrize("targets", ["all-linear", ("q_proj", "v_proj")])
def test_part_that_sees_is_never_trained(targets: object) -> None:
    eyes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 56, "patch_size": 14}
    config = Gemma3Config(text_config=SMALL, vision_config=eyes, mm_tokens_per_image=4)
    names = [name for name, _ in adapted(config, targets).named_parameters() if "lora_A" in name]
    assert names and all("language_model" in name for name in names)


def test_families_whose_experts_peft_adapts_are_those_it_knows() -> None:
    """Of those that this transformers has, all for text; named once more, as a form is checked without peft."""
    patterns = transformers_weight_conversion._MODEL_TO_CONVERSION_PATTERN
    known = {kind for kind, pattern in patterns.items() if pattern in transformers_weight_conversion._MOE_FUSED_TARGETS}
    for_text = {kind for kind in known if kind in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES}
    assert for_text <= ADAPTED_EXPERTS
    assert {kind for kind in ADAPTED_EXPERTS if kind in CONFIG_MAPPING} <= known
    names = transformers_weight_conversion._MOE_TARGET_MODULE_MAPPING
    for kind in ADAPTED_EXPERTS & known:
        before, last = [[old for old, new in names[patterns[kind]].items() if new == each] for each in STACKED]
        assert names_in_experts(kind) == (*before, *last)


def test_experts_with_dropout_are_refused_before_a_round_is_queued() -> None:
    all_linear = make_spec(lora__target_modules="all-linear", lora__lora_dropout=0.1).lora
    with pytest.raises(SpecError, match="can only get an adapter without dropout"):
        check_experts(all_linear, {"model_type": "mixtral"})
    check_experts(all_linear, {"model_type": "llama"})
    check_experts(make_spec(lora__target_modules="all-linear", lora__lora_dropout=0.0).lora, {"model_type": "mixtral"})
    check_experts(make_spec(lora__lora_dropout=0.1).lora, {"model_type": "mixtral"})
