"""Which rounds can be talked to: those that left an adapter, on one base model, each asked as it was trained."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice

import msgspec

from engine.chat.conversation import BASE, MAX_SPEAKERS, Chat, Speaker
from engine.chat.protocol import LoadRequest
from engine.dataset.formats import detect
from engine.dataset.load import LOOKED_AT, local_data_file
from engine.dataset.readers import read_records
from engine.dataset.templates import template_of
from engine.errors import DatasetError, LoratuiError, RoundError
from engine.files.paths import RunDir, Workspace
from engine.runs.event_log import read_events
from engine.runs.events import Prepared
from engine.spec.round import ACTIVE, WAITING, Round, Status
from engine.spec.schema import DataSpec

ADAPTER_FILE = "adapter_config.json"


def begin(workspace: Workspace, rounds: Sequence[Round]) -> Chat:
    """A conversation with the adapters of `rounds`, side by side.

    Raises:
        RoundError: too many, one that has no adapter, or several that cannot be had in one process.
    """
    if len(rounds) > MAX_SPEAKERS:
        raise RoundError(f"{len(rounds)} rounds are marked, and at most {MAX_SPEAKERS} are talked to side by side")
    for round_ in rounds:
        check_adapter(workspace, round_)
        _check_together(rounds[0], round_, alone=len(rounds) == 1)
    speakers = tuple(
        Speaker(item.id, item.number, item.name, trained_template(workspace.run_dir(item.id), item.spec.data))
        for item in rounds
    )
    return Chat(rounds[0].spec.model, speakers, time.time())


def check_adapter(workspace: Workspace, round_: Round) -> None:
    """Raises RoundError, with the way out, for a round without an adapter in its run directory."""
    if round_.status is Status.IMPORTED:
        raise RoundError(f"round {round_.number} was imported without its adapter: train it here to talk to it")
    run = workspace.run_dir(round_.id)
    run.check()
    if (run.adapter / ADAPTER_FILE).is_file():
        return
    if round_.status in ACTIVE:
        raise RoundError(f"round {round_.number} is training: its adapter can be talked to when it has ended")
    if round_.status in WAITING:
        raise RoundError(f"round {round_.number} has not been trained yet: talk to it when it has")
    raise RoundError(f"round {round_.number} has no adapter in {run.adapter}: resume it, or talk to another round")


def _check_together(first: Round, round_: Round, alone: bool) -> None:
    if round_.spec.model != first.spec.model:
        raise RoundError(
            f"rounds {first.number} and {round_.number} differ in their base model "
            f"({_told(first)} and {_told(round_)}): talk to them one after the other"
        )
    if not alone and round_.spec.lora.bias != "none":
        raise RoundError(
            f"round {round_.number} trained biases of the base model (lora.bias {round_.spec.lora.bias}), which others "
            f"beside it would speak with too: talk to it alone"
        )


def check_base(rounds: Sequence[Round], conversation: Chat) -> None:
    """Raises RoundError where the base model cannot be had beside the rounds of a conversation."""
    keys = {item.key for item in conversation.speakers}
    for round_ in rounds:
        if round_.id in keys and round_.spec.lora.bias != "none":
            raise RoundError(
                f"round {round_.number} trained biases of the base model (lora.bias {round_.spec.lora.bias}), which "
                f"would then speak with them: talk to the base model beside another round"
            )


def _told(round_: Round) -> str:
    model = round_.spec.model
    return f"{model.path}, {model.dtype}{', 4 bits' if model.load_in_4bit else ''}"


def trained_template(run: RunDir, data: DataSpec) -> str:
    """What the prompts of a round were written in, as `data.prompt_template`; `auto` where nobody knows any more.

    `auto` in its spec goes by the form of its rows: as the engine found them, or, where an earlier engine did not
    write that down, as the data file has them now.
    """
    if data.prompt_template != "auto":
        return data.prompt_template
    try:
        prepared = [event for event in read_events(run.events, Prepared) if isinstance(event, Prepared)]
    except OSError:
        prepared = []
    found = prepared[-1].data_format if prepared else ""
    return template_of(found or _format_now(data), "auto")


def _format_now(data: DataSpec) -> str:
    if data.format != "auto":
        return data.format
    file = local_data_file(data.path)
    if file is None:
        return ""
    try:
        records = list(islice(read_records(file), LOOKED_AT))
        return detect(records, "auto", str(file)).name if records else ""
    except DatasetError:
        return ""


def find_speakers(workspace: Workspace, rounds: Sequence[Round], conversation: Chat) -> tuple[Chat, dict[str, str]]:
    """A conversation that was kept, on the base model of its rounds as they are here, and who of it is silent now.

    What a file says of the base model is not believed: it may name code to run.

    Returns:
        The conversation, and by the keys of speakers that cannot be asked a sentence on each.
    """
    here = {item.id: item for item in rounds}
    silent: dict[str, str] = {}
    found: list[Round] = []
    for speaker in conversation.speakers:
        if speaker.key == BASE:
            continue
        round_ = here.get(speaker.key)
        try:
            if round_ is None:
                raise RoundError(f"{speaker.called} of this conversation is not in this workspace: begin a new one")
            check_adapter(workspace, round_)
            _check_together(found[0] if found else round_, round_, alone=len(conversation.speakers) == 1)
            found.append(round_)
        except LoratuiError as error:
            silent[speaker.key] = error.message
    if not found:
        if conversation.has_base:
            silent[BASE] = "the base model is asked beside one of the rounds of a conversation, and none is here"
        return conversation, silent
    names = {item.id: item for item in found}
    speakers = tuple(
        msgspec.structs.replace(item, number=names[item.key].number, name=names[item.key].name)
        if item.key in names
        else item
        for item in conversation.speakers
    )
    return msgspec.structs.replace(conversation, model=found[0].spec.model, speakers=speakers), silent


def load_request_of(workspace: Workspace, conversation: Chat, silent: Sequence[str] = ()) -> LoadRequest:
    """What the talking process is to open: the base model and the adapters of those who are not `silent`."""
    adapters = {
        item.key: str(workspace.run_dir(item.key).adapter)
        for item in conversation.speakers
        if item.adapter is not None and item.key not in silent
    }
    return LoadRequest(conversation.model, adapters)
