"""Participants of a chat: rounds with an adapter, and the template of each."""

from __future__ import annotations

import shutil
from typing import Any

import msgspec
import pytest

from engine.chat.conversation import BASE
from engine.chat.participants import begin, find_speakers, load_request_of
from engine.dataset.templates import template_of
from engine.errors import RoundError
from engine.files.paths import Workspace
from engine.runs.event_log import EventWriter
from engine.runs.events import Prepared
from engine.spec.round import Round, Status
from tests.support.rounds import change_spec, give_adapter, make_round, make_spec, write_rows


def trained(workspace: Workspace, number: int = 1, data_format: str = "", **settings: Any) -> Round:
    """A round with an adapter in its run directory, whose engine said in which form it found the rows."""
    round_ = give_adapter(workspace, make_round(number, spec=make_spec(**settings)))
    if data_format:
        writer = EventWriter(workspace.run_dir(round_.id).events)
        writer.append(
            Prepared(
                time=1.0, device="cpu", dtype="float32", parameters=1, trainable_parameters=1, train_samples=1,
                eval_samples=1, total_steps=1, steps_per_epoch=1, data_format=data_format,
            )
        )  # fmt: skip
        writer.close()
    return round_


@pytest.mark.parametrize(
    ("settings", "data_format", "template"),
    [
        ({"data__prompt_template": "{prompt} ->"}, "alpaca", "{prompt} ->"),
        ({"data__prompt_template": "chat_template"}, "alpaca", "chat_template"),
        ({}, "alpaca", "alpaca"),
        ({}, "messages", "chat_template"),
        ({}, "sharegpt", "chat_template"),
        ({}, "prompt-completion", "{prompt}"),
        ({}, "text", "{prompt}"),
        ({"data__format": "messages"}, "", "chat_template"),
        ({}, "", "auto"),
    ],
)
def test_round_is_asked_as_it_was_trained(
    workspace: Workspace, settings: dict[str, Any], data_format: str, template: str
) -> None:
    round_ = trained(workspace, data_format=data_format, **settings)
    (speaker,) = begin(workspace, [round_]).speakers
    assert (speaker.key, speaker.number, speaker.prompt_template) == (round_.id, 1, template)


def test_form_that_an_earlier_engine_did_not_write_down_is_looked_up_in_the_data(workspace: Workspace) -> None:
    file = write_rows(workspace.root / "rows.jsonl")
    round_ = trained(workspace, data__path=str(file))
    assert begin(workspace, [round_]).speakers[0].prompt_template == "alpaca"
    file.write_text("no JSON")
    assert begin(workspace, [round_]).speakers[0].prompt_template == "auto"


def test_template_stays_what_it_is_for_a_form_that_is_not_known() -> None:
    assert (template_of("", "auto"), template_of("newer", "auto"), template_of("", "alpaca")) == (
        "auto", "auto", "alpaca",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (Status.IMPORTED, "was imported without its adapter: train it here"),
        (Status.RUNNING, "is still training: chat with its adapter when it has ended"),
        (Status.QUEUED, "is not trained yet"),
        (Status.FAILED, r"has no adapter in .*: resume it"),
        (Status.FINISHED, r"has no adapter in .*: resume it"),
    ],
)
def test_round_without_an_adapter_says_why(workspace: Workspace, status: Status, words: str) -> None:
    with pytest.raises(RoundError, match=f"round 7 {words}"):
        begin(workspace, [make_round(7, status)])


def test_rounds_that_cannot_be_had_together_are_told(workspace: Workspace) -> None:
    rounds = [
        trained(workspace, 1), trained(workspace, 2, model__path="other/model"),
        trained(workspace, 3, model__dtype="float16"), trained(workspace, 4, lora__bias="all"),
    ]  # fmt: skip
    with pytest.raises(RoundError, match=r"rounds 1 and 2 differ in their base model \(some/model, auto and other/"):
        begin(workspace, rounds[:2])
    with pytest.raises(RoundError, match="rounds 1 and 3 differ in their base model"):
        begin(workspace, [rounds[0], rounds[2]])
    with pytest.raises(RoundError, match=r"round 4 trained biases .*chat with it alone"):
        begin(workspace, [rounds[0], rounds[3]])
    assert begin(workspace, [rounds[3]]).speakers[0].number == 4
    with pytest.raises(RoundError, match="5 rounds are marked: choose at most 4"):
        begin(workspace, [rounds[0]] * 5)


def test_adapter_behind_a_link_is_not_followed(workspace: Workspace) -> None:
    round_ = trained(workspace)
    run = workspace.run_dir(round_.id)
    run.adapter.rename(workspace.root / "elsewhere")
    run.adapter.symlink_to(workspace.root / "elsewhere")
    with pytest.raises(RoundError, match="is a link, and links are not followed here"):
        begin(workspace, [round_])


def test_kept_conversation_goes_on_with_those_who_are_here(workspace: Workspace) -> None:
    rounds = [trained(workspace, number) for number in (1, 2, 3)]
    saved = begin(workspace, rounds).with_base(True)
    shutil.rmtree(workspace.run_dir(rounds[1].id).adapter)
    matched, silent = find_speakers(workspace, rounds[1:], saved)
    assert matched == saved
    assert "round 1 of this conversation is not in this workspace" in silent[rounds[0].id]
    assert "round 2 has no adapter" in silent[rounds[1].id]
    opening = load_request_of(workspace, matched, list(silent))
    assert opening.adapters == {rounds[2].id: f"runs/{rounds[2].id}/adapter"}


def test_base_model_that_a_file_names_is_not_believed(workspace: Workspace) -> None:
    """It may name code to run; the round's own does not."""
    round_ = trained(workspace)
    saved = begin(workspace, [round_]).with_base(True)
    model = msgspec.structs.replace(saved.model, path="evil/model", trust_remote_code=True)
    forged = msgspec.structs.replace(saved, model=model)
    matched, silent = find_speakers(workspace, [round_], forged)
    assert (load_request_of(workspace, matched).model, silent) == (round_.spec.model, {})
    _, silent = find_speakers(workspace, [], forged)
    assert set(silent) == {round_.id, BASE}


def test_round_whose_base_changed_is_silent(workspace: Workspace) -> None:
    rounds = [trained(workspace, 1), trained(workspace, 2)]
    saved = begin(workspace, rounds)
    rounds[1] = msgspec.structs.replace(rounds[1], spec=change_spec(rounds[1].spec, model__path="other"))
    assert "differ in their base model" in find_speakers(workspace, rounds, saved)[1][rounds[1].id]
