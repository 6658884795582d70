from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from itertools import groupby
from pathlib import Path

import pytest
from textual.events import Paste
from textual.widgets import Input, OptionList

from engine.api import Cockpit
from engine.files.drafts import Drafts
from engine.spec.fields import SpecField, flatten, format_value, parse_value, spec_fields
from engine.spec.overrides import set_line
from engine.spec.presets import load_preset, shipped_presets
from engine.spec.round import Status
from engine.spec.schema import Spec
from tests.support.pilot import AppPilot, OpenApp, enter, on_screen, open_form, shown, until
from tests.support.rounds import change_spec, make_round, write_model, write_rows, write_safetensors
from tui.screens.form.fields.row import FieldRow, control_id
from tui.screens.form.screen import EditScreen
from tui.screens.form.spec_form import SpecForm
from tui.screens.form.start_from import Origin
from tui.screens.rounds.table import RoundTable
from tui.widgets.choice import Choice
from tui.widgets.sanitized_input import SanitizedInput

OTHER_VALUES = {
    "model.revision": "", "model.dtype": "bfloat16", "model.load_in_4bit": "false", "model.load_in_8bit": "false",
    "model.attn_implementation": "eager", "model.trust_remote_code": "true",
    "data.format": "alpaca", "data.name": "", "data.split": "", "data.revision": "", "data.columns": "output=output",
    "data.prompt_template": r"Q: {prompt}\nA:", "data.samples": "30", "data.chat_template": "chatml",
    "data.eval_fraction": "0.25",
    "data.eval_path": "e.jsonl", "data.eval_name": "", "data.eval_split": "", "data.eval_samples": "4", "data.mix": "",
    "data.max_length": "48", "data.drop_copies": "true",
    "data.supervised_tokens": "all", "data.reasoning": "shown", "data.seed": "7",
    "lora.r": "16", "lora.lora_alpha": "64", "lora.use_rslora": "true", "lora.lora_dropout": "0.05",
    "lora.target_modules": "k_proj, o_proj", "lora.target_parameters": "", "lora.exclude_modules": r".*\.0\..*k_proj",
    "lora.modules_to_save": "norm", "lora.trainable_token_indices": "3, <a>", "lora.bias": "lora_only",
    "lora.use_dora": "true", "lora.init_lora_weights": "gaussian", "lora.loraplus_lr_ratio": "16",
    "lora.initial_adapter": "",
    "train.learning_rate": "3e-4", "train.per_device_train_batch_size": "2",
    "train.gradient_accumulation_steps": "3", "train.num_train_epochs": "1.5", "train.max_steps": "9",
    "train.eval_strategy": "steps", "train.eval_steps": "0.25", "train.warmup_steps": "0.1",
    "train.lr_scheduler_type": "cosine", "train.lr_scheduler_kwargs": "num_cycles=1",
    "train.optim": "adafactor", "train.adam_beta1": "0.8", "train.adam_beta2": "0.99", "train.adam_epsilon": "1e-6",
    "train.weight_decay": "0.01", "train.max_grad_norm": "0",
    "train.logging_steps": "1", "train.save_strategy": "steps", "train.save_steps": "4",
    "train.save_total_limit": "2", "train.early_stopping_patience": "1", "train.load_best_model_at_end": "true",
    "train.sample_tokens": "12", "train.gradient_checkpointing": "true", "train.micro_batches": "fixed",
    "train.torch_compile": "true", "train.seed": "8",
    "generation.examples": "50", "generation.max_new_tokens": "64",
}  # fmt: skip


@asynccontextmanager
async def cloning(open_app: OpenApp, cockpit: Cockpit, spec: Spec, **size: tuple[int, int]) -> AsyncIterator[AppPilot]:
    """The form on a clone of round 1, which has `spec`."""
    cockpit.store.add(lambda number: make_round(number, spec=spec))
    async with open_app(cockpit, **size) as pilot:
        await open_form(pilot)
        yield pilot


@pytest.fixture
def queued_spec(idle_cockpit: Cockpit) -> Callable[[int], Spec]:
    return lambda number: idle_cockpit.store.get(number).spec


async def test_every_hyperparameter_is_edited_with_the_keyboard(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, tmp_path: Path
) -> None:
    paths = {
        "model.path": str(write_model(tmp_path / "m")), "data.path": str(write_rows(tmp_path / "r.jsonl")),
        "data.eval_path": str(write_rows(tmp_path / "e.jsonl")),
    }  # fmt: skip
    values = OTHER_VALUES | {"model.path": "./m", "data.path": "r.jsonl"}
    assert set(values) == set(spec_fields())
    async with cloning(open_app, idle_cockpit, nano_spec, size=(120, 50)) as pilot:
        for key, text in values.items():
            await enter(pilot, key, text)
        await pilot.press("ctrl+s")
        await until(pilot, lambda: len(idle_cockpit.store.rounds()) == 2, "the queued round")
    queued = idle_cockpit.store.get(2)
    assert flatten(queued.spec) == {key: parse_value(key, text) for key, text in (values | paths).items()}
    assert (queued.status, queued.parent) == (Status.QUEUED, 1)


async def test_round_is_queued_with_what_the_form_predicted(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    """The machine of the forms has no card; of the invented model not even the memory is known."""
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        await until(pilot, lambda: "rows to train on" in shown(pilot, "#plan"), "the plan")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: len(idle_cockpit.store.rounds()) == 2, "the queued round")
    predicted = idle_cockpit.store.get(2).predicted
    assert predicted is not None
    assert (predicted.device, predicted.is_gpu, predicted.cards) == ("this processor", False, ())
    assert (predicted.family, predicted.disk_bytes is not None) == ("llama", True)


async def test_forecast_that_fails_keeps_no_round_from_being_queued(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(spec: Spec, outcome: object) -> object:
        raise ZeroDivisionError

    monkeypatch.setattr("engine.planning.prediction.prediction_of", fail)
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        await until(pilot, lambda: "rows to train on" in shown(pilot, "#plan"), "the plan")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: len(idle_cockpit.store.rounds()) == 2, "the queued round")
    assert idle_cockpit.store.get(2).predicted is None


def explains(pilot: AppPilot, key: str) -> bool:
    return shown(pilot, "#explained").startswith(key)


async def test_arrows_go_through_the_fields_and_each_says_what_it_does(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    """The usual fields of each section, then the line of the others, which enter opens."""
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        form = pilot.app.screen.query_one(SpecForm)
        form.focus_field("model.path")
        in_sight = {row.entry.field.key for row in form.query(FieldRow)}
        for fields in by_section().values():
            folded = [field for field in fields if field.key not in in_sight]
            for field in fields:
                if field.key in in_sight:
                    await until(pilot, partial(explains, pilot, field.key), field.key)
                    await pilot.press("down")
            await until(pilot, partial(explains, pilot, f"{len(folded)} more fields"), "the line of the others")
            await pilot.press("enter", "down")
            for field in folded:
                await until(pilot, partial(explains, pilot, field.key), field.key)
                assert field.description in shown(pilot, "#explained")
                assert field.allowed in shown(pilot, "#explained")
                await pilot.press("down")


def by_section() -> dict[str, list[SpecField]]:
    """The fields of each section, in the order of the spec."""
    return {group: [*fields] for group, fields in groupby(spec_fields().values(), lambda field: field.group)}


@pytest.mark.parametrize("size", [(80, 24), (110, 32), (120, 36), (80, 22)])
async def test_field_one_is_in_is_in_sight(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, size: tuple[int, int]
) -> None:
    """From the start, when the plan that comes in below the form leaves it less room."""
    async with cloning(open_app, idle_cockpit, nano_spec, size=size) as pilot:
        await until(pilot, lambda: "steps" in shown(pilot, "#plan"), "the plan")
        form, field = pilot.app.screen.query_one(SpecForm), pilot.app.screen.focused
        assert field is not None and field.id == control_id("train.learning_rate")
        await until(pilot, lambda: form.region.contains_region(field.region), "the field in sight")


async def test_wrong_value_is_told_as_one_types_and_queues_nothing(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    wrong = {"lora.r": "0", "train.learning_rate": "fast", "data.eval_fraction": "1", "lora.target_modules": ""}
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        for key, text in wrong.items():
            await enter(pilot, key, text)
            message = f"{key} is {text!r}: it must be {spec_fields()[key].allowed}"
            await until(pilot, partial(shows, pilot, "#plan", message), message)
            assert message in shown(pilot, ".-invalid .field-error")
            await enter(pilot, "train.seed", "5")
            await pilot.press("ctrl+s")
            focused = pilot.app.screen.focused
            assert on_screen(pilot, "EditScreen") and focused is not None and focused.id == control_id(key)
            await pilot.press("ctrl+r")
            await until(pilot, lambda: not pilot.app.screen.query(".-invalid"), "the value as it was")
    assert len(idle_cockpit.store.rounds()) == 1


def shows(pilot: AppPilot, selector: str, text: str) -> bool:
    return text in shown(pilot, selector)


async def test_what_follows_from_the_spec_is_told_live(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    async with cloning(open_app, idle_cockpit, nano_spec, size=(120, 40)) as pilot:
        # 40 rows, a tenth held out, 4 rows a step: 36 / 4 = 9 steps.
        await until(pilot, lambda: "36 rows to train on · 4 held out" in shown(pilot, "#plan"), "the plan")
        assert "9 steps, 9 per epoch · warm-up 0 steps (0 %)" in shown(pilot, "#plan")
        # Two of seven layers of 4 x 4, with r 8: 2 * 8 * (4 + 4) parameters.
        assert "adapter: 128 parameters, on 29 % of the layers · 2 KiB a checkpoint" in shown(pilot, "#plan")
        await enter(pilot, "train.gradient_accumulation_steps", "3")
        await enter(pilot, "train.num_train_epochs", "2")
        await enter(pilot, "train.warmup_steps", "0.5")
        await until(pilot, lambda: "effective batch 12 = 4 × 3" in shown(pilot, "#plan"), "the batch")
        await until(
            pilot, lambda: "6 steps, 3 per epoch · warm-up 3 steps (50 %)" in shown(pilot, "#plan"), "the steps"
        )
        await enter(pilot, "train.save_strategy", "epoch")
        checkpoints = "after steps 3, 6 · the adapter at the end"
        await until(pilot, lambda: checkpoints in shown(pilot, "#plan"), "the checkpoints")
        await enter(pilot, "train.save_strategy", "no")
        await until(pilot, lambda: "train.save_strategy is no: " in shown(pilot, "#plan"), "the warning")
        assert checkpoints in shown(pilot, "#plan")
        await enter(pilot, "train.load_best_model_at_end", "true")
        await until(pilot, lambda: "adapter with the lowest eval loss" in shown(pilot, "#plan"), "the best")
        rows = Path(nano_spec.data.path).with_name("others.jsonl")
        rows.write_text('{"question": "a", "answer": "b", "system": "c", "source\\u001b": "d"}\n' * 3)
        await enter(pilot, "data.path", str(rows))
        columns = "prompt: question, completion: answer, system"
        facts = f"prompt-completion rows ({columns}): 3 · read as conversations, as some have a system message"
        await until(pilot, lambda: facts in shown(pilot, "#plan"), "the other rows")
        assert "not used: source␛" in shown(pilot, "#plan")
        await enter(pilot, "data.mix", f"2*{rows}")
        await until(pilot, lambda: f"others.jsonl: {facts}" in shown(pilot, "#plan"), "the rows of the other source")


async def test_data_and_model_are_looked_at_before_the_start(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    refused = {
        "lora.target_modules": ("q_proj, c_attn", "it has down_proj, gate_proj, k_proj"),
        "data.path": ("/no/such/rows.jsonl", "no such file or directory"),
        "data.samples": ("41", "set it to at most 40"),
        "model.path": ("/no/such/model", "there is no config.json in it"),
    }
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        for key, (text, reason) in refused.items():
            await enter(pilot, key, text)
            await until(pilot, partial(shows, pilot, "#plan", reason), reason)
            pilot.app.clear_notifications()
            await pilot.press("ctrl+s")
            await until(pilot, lambda: bool(pilot.app._notifications), "the refusal")
            await pilot.press("ctrl+r")
    assert len(idle_cockpit.store.rounds()) == 1


async def test_changed_fields_are_marked_against_the_parent_and_can_be_reset(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        await enter(pilot, "train.learning_rate", "0.00020")
        assert not pilot.app.screen.query(".-changed"), "another spelling of the same number is no change"
        await enter(pilot, "train.learning_rate", "1e-3")
        (row,) = pilot.app.screen.query(".-changed")
        assert row.render_line(0).text.split() == ["learning_rate", "●", "was", "2e-4"]
        await pilot.press("ctrl+r")
        await pilot.pause()
        assert not pilot.app.screen.query(".-changed")
        assert pilot.app.screen.query_one("#train-learning_rate", Input).value == "2e-4"


async def test_click_turns_a_choice(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    async with cloning(open_app, idle_cockpit, nano_spec, size=(120, 90)) as pilot:
        dtype = pilot.app.screen.query_one("#model-dtype", Choice)
        before = dtype.choices.index(dtype.value)
        await pilot.click("#model-dtype")
        after = dtype.choices[(before + 1) % len(dtype.choices)]
        await until(pilot, lambda: dtype.value == after, "the next value")


async def test_note_and_name_go_with_the_round(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        await pilot.press("ctrl+n", *"try [b]more[/b]", "enter", *"rank")
        pilot.app.screen.query_one("#name", Input).focus()
        await pilot.press("ctrl+u", *"wider")
        await pilot.press("ctrl+s")
        await until(pilot, lambda: on_screen(pilot, "LiveScreen"), "the queued round")
        await pilot.press("escape")
        table = pilot.app.screen.query_one(RoundTable)
        await until(pilot, lambda: table.selected_number == 2, "the cursor on it")
    assert (idle_cockpit.store.get(2).name, idle_cockpit.store.get(2).note) == ("wider", "try [b]more[/b]\nrank")


@pytest.mark.parametrize(("index", "preset"), [*enumerate(shipped_presets(), 1)])
async def test_presets_open_in_the_form(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, index: int, preset: str
) -> None:
    idle_cockpit.store.add(lambda number: make_round(number, spec=nano_spec))
    async with open_app(idle_cockpit) as pilot:
        await until(pilot, lambda: bool(shown(pilot, "#detail")), "the round")
        await pilot.press("n", *["down"] * index, "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        screen = pilot.app.screen
        assert isinstance(screen, EditScreen)
        source = load_preset(preset).source
        assert shown(pilot, "#title") == f"New round  from preset {preset}" + (f" · after {source}" if source else "")
        values = {key: format_value(value) for key, value in flatten(load_preset(preset).spec).items()}
        form = screen.query_one(SpecForm)
        assert {key: format_value(value) for key, value in form.values().items()} == values


async def test_leaving_asks_if_no_draft_can_be_kept(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    idle_cockpit.drafts = Drafts(idle_cockpit.workspace.root)
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        await enter(pilot, "lora.r", "16")
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the question")
        await pilot.press("n")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        await pilot.press("ctrl+r", "escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")


async def test_stored_text_is_shown_harmless_and_kept_until_it_is_edited(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    hostile = "\x1b[31mred\u202e\tx"
    spec = change_spec(nano_spec, data__path=hostile)
    async with open_app(idle_cockpit, size=(120, 40)) as pilot:
        screen = EditScreen(idle_cockpit, Origin(spec, hostile), Path("/"))
        await pilot.app.push_screen(screen)
        await pilot.pause()
        name = screen.query_one("#name", SanitizedInput)
        path = screen.query_one("#data-path", SanitizedInput)
        for field in (name, path):
            assert field.value == "␛[31mred\ufffd␉x"
            assert field.text == hostile
        assert not screen.unsaved
        assert screen.query_one(SpecForm).values()["data.path"] == hostile
        path.value += "y"
        await pilot.pause()
        assert screen.unsaved
        assert screen.query_one(SpecForm).values()["data.path"] == "␛[31mred\ufffd␉xy"
        screen.query_one(SpecForm).reset_field(path)
        await pilot.pause()
        assert path.text == hostile


async def paste(pilot: AppPilot, text: str) -> None:
    """What a terminal sends when the person pastes."""
    pilot.app.post_message(Paste(text))
    await pilot.pause()


async def test_changes_are_told_as_a_set_line_and_copied(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        await pilot.press("ctrl+y")
        assert pilot.app.clipboard == ""
        await enter(pilot, "train.learning_rate", "3E-5")
        await enter(pilot, "lora.target_modules", "k_proj, o_proj")
        await enter(pilot, "lora.r", "0")
        line = "--set 'lora.target_modules=k_proj, o_proj' --set train.learning_rate=3e-5"
        await until(pilot, lambda: shown(pilot, "#changes") == f"changed: {line}", "the line")
        await pilot.press("ctrl+y")
        assert pilot.app.clipboard == line
        changed = change_spec(nano_spec, train__learning_rate=3e-5, lora__target_modules=("k_proj", "o_proj"))
        assert line == set_line(changed, nano_spec)


async def test_pasted_line_fills_in_its_fields_wherever_one_is(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    line = "loratui new --from 1 --name wide --set lora.r=64 \\\n --set train.lr_scheduler_type=cosine\n"
    wanted = {"lora.r": 64, "train.lr_scheduler_type": "cosine"}
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        form, name = pilot.app.screen.query_one(SpecForm), pilot.app.screen.query_one("#name", SanitizedInput)
        before = form.values()
        for field in ("train.learning_rate", "lora.bias", "model.path"):
            name.value = ""
            form.focus_field(field)
            await pilot.pause()
            await paste(pilot, line)
            await until(pilot, lambda: form.changes() == wanted, "the fields")
            assert form.values() == before | wanted
            assert name.text == "wide"
            messages = [note.message for note in pilot.app._notifications]
            assert messages == ["the pasted line set 2 fields; left out: --from 1"]
            pilot.app.clear_notifications()
            for key in wanted:
                form.focus_field(key)
                await pilot.press("ctrl+r")
            await until(pilot, lambda: form.changes() == {}, "the values as they were")


async def test_pasted_line_that_cannot_be_taken_is_told(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    refused = {
        "--set lora.R=3": "which is not a field", "--set lora.bias=some": "it must be one of none, all, lora_only",
    }  # fmt: skip
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        for text, reason in refused.items():
            await paste(pilot, text)
            assert any(reason in note.message for note in pilot.app._notifications)
            assert pilot.app.screen.query_one(SpecForm).changes() == {}


async def test_pasted_value_is_a_value(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        await pilot.press("end", "ctrl+u")
        await paste(pilot, "2×10^-4")
        assert pilot.app.screen.query_one("#train-learning_rate", SanitizedInput).value == "2×10^-4"
        await until(pilot, lambda: "warm-up" in shown(pilot, "#plan"), "the plan")


async def ticked(pilot: AppPilot) -> list[str]:
    """The lines of the list of modules."""
    options = pilot.app.screen.query_one(OptionList)
    return [str(options.get_option_at_index(index).prompt) for index in range(options.option_count)]


async def test_modules_of_the_model_are_ticked_off(open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec) -> None:
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        form = pilot.app.screen.query_one(SpecForm)
        form.focus_field("lora.target_modules")
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "TargetModulesScreen"), "the list")
        lines = await ticked(pilot)
        assert lines[0].startswith("[ ] all-linear")
        assert [line.split() for line in lines if "[x]" in line] == [["[x]", "q_proj", "1×"], ["[x]", "v_proj", "1×"]]
        assert ["[", "]", "lm_head", "1×"] in [line.split() for line in lines]
        index = next(index for index, line in enumerate(lines) if "k_proj" in line)
        await pilot.press(*["down"] * index, "space", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert set(form.values()["lora.target_modules"]) == {"q_proj", "k_proj", "v_proj"}
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "TargetModulesScreen"), "the list")
        await pilot.press("space", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert form.values()["lora.target_modules"] == "all-linear"
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "TargetModulesScreen"), "the list")
        await pilot.press("j", "x", "escape")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert form.values()["lora.target_modules"] == "all-linear", "escape leaves the field as it was"


async def test_name_that_the_model_lacks_stays_in_the_list(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        await enter(pilot, "lora.target_modules", "c_attn")
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "TargetModulesScreen"), "the list")
        assert ["[x]", "c_attn", "not", "in", "this", "model"] in [line.split() for line in await ticked(pilot)]


async def test_regular_expression_stands_alone_in_the_list(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    pattern = r".*\.[qv]_proj"
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        form = pilot.app.screen.query_one(SpecForm)
        await enter(pilot, "lora.target_modules", pattern)
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "TargetModulesScreen"), "the list")
        assert [line for line in await ticked(pilot) if "[x]" in line] == [f"[x] {pattern}  a regular expression"]
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert form.values()["lora.target_modules"] == pattern
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "TargetModulesScreen"), "the list")
        await pilot.press("down", "space", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert isinstance(form.values()["lora.target_modules"], tuple)


async def test_parameters_that_hold_experts_are_ticked_off(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    key, model = "lora.target_parameters", Path(nano_spec.model.path)
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        form = pilot.app.screen.query_one(SpecForm)
        form.focus_field(key)
        await pilot.press("enter")
        await until(pilot, lambda: bool(pilot.app._notifications), "the refusal")
        assert any("type the names of the parameters" in note.message for note in pilot.app._notifications)
        experts = {
            f"model.layers.0.moe.experts.{n}.{name}.weight": [4, 4] for n in (0, 1) for name in ("w1", "w2", "w3")
        }
        write_safetensors(model / "model.safetensors", experts)
        (model / "config.json").write_text(json.dumps({"model_type": "mixtral", "num_hidden_layers": 1}))
        await pilot.press("enter")
        await until(pilot, lambda: on_screen(pilot, "TargetModulesScreen"), "the list")
        lines = [line.split()[-2:] for line in await ticked(pilot)]
        assert lines == [["experts.down_proj", "1×"], ["experts.gate_up_proj", "1×"]]
        await pilot.press("space", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert form.values()[key] == ("experts.down_proj",)


async def test_model_that_is_not_here_leaves_the_names_to_be_typed(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec
) -> None:
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        await enter(pilot, "model.path", "org/not-here")
        pilot.app.screen.query_one(SpecForm).focus_field("lora.target_modules")
        await pilot.press("enter")
        await until(pilot, lambda: bool(pilot.app._notifications), "the refusal")
        assert any("type the names of the modules" in note.message for note in pilot.app._notifications)
        assert on_screen(pilot, "EditScreen")


async def test_settings_are_kept_as_a_preset_and_offered(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    async with cloning(open_app, idle_cockpit, nano_spec) as pilot:
        await enter(pilot, "lora.r", "64")
        await pilot.press("ctrl+n", *"a wide one", "ctrl+f")
        await until(pilot, lambda: on_screen(pilot, "AskScreen"), "the question")
        await pilot.press(*"nano", "enter")
        assert "comes with loratui" in shown(pilot, "#ask-error")
        await pilot.press("ctrl+u", *"wide", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert load_preset("wide").spec.lora.r == 64
        await enter(pilot, "lora.r", "128")
        await pilot.press("ctrl+f")
        await until(pilot, lambda: on_screen(pilot, "AskScreen"), "the question")
        await pilot.press(*"wide", "enter")
        await until(pilot, lambda: on_screen(pilot, "ConfirmScreen"), "the warning")
        await pilot.press("n")
        assert load_preset("wide").spec.lora.r == 64
        await pilot.press("escape")
        await until(pilot, lambda: on_screen(pilot, "RoundsScreen"), "the table")
        await pilot.press("n", "end", "enter")
        await until(pilot, lambda: on_screen(pilot, "EditScreen"), "the form")
        assert "from preset wide" in shown(pilot, "#title")
        assert pilot.app.screen.query_one(SpecForm).values()["lora.r"] == 64


async def test_key_that_comes_before_the_fields_does_nothing(
    open_app: OpenApp, idle_cockpit: Cockpit, nano_spec: Spec, tmp_path: Path
) -> None:
    async with open_app(idle_cockpit) as pilot:
        for key in ("ctrl+s", "ctrl+n", "ctrl+o", "ctrl+r", "ctrl+y", "ctrl+f", "escape"):
            form = EditScreen(idle_cockpit, Origin(nano_spec, "nano"), tmp_path)
            pushed = pilot.app.push_screen(form)
            assert not form.is_mounted
            await pilot.app._check_bindings(key, priority=key not in ("escape", "ctrl+r"))
            await pushed
            await until(pilot, partial(is_open, pilot, form), "the form, as it was opened")
            await pilot.app.pop_screen()
    assert not idle_cockpit.store.rounds()


def is_open(pilot: AppPilot, form: EditScreen) -> bool:
    return pilot.app.screen is form and form.is_mounted
