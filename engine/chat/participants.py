"""The participants of a chat: rounds with an adapter, on one base model, each with the template of its training."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import chain, islice

import msgspec

from engine.chat.conversation import BASE, MAX_SPEAKERS, Chat, Speaker
from engine.chat.protocol import LoadRequest
from engine.dataset.data_files import files_of
from engine.dataset.formats import detect
from engine.dataset.load import LOOKED_AT, local_data_path
from engine.dataset.readers import read_records
from engine.dataset.templates import template_of
from engine.errors import DatasetError, LoratuiError, RoundError, SpecError
from engine.files.paths import RunDir, Workspace
from engine.runs.event_log import read_events
from engine.runs.events import Prepared
from engine.spec.data import DataSpec
from engine.spec.round import ACTIVE, WAITING, Round, Status

ADAPTER_FILE = "adapter_config.json"


def begin(workspace: Workspace, rounds: Sequence[Round]) -> Chat:
    """Begin a conversation with the adapters of `rounds`, side by side.

    Raises:
        RoundError: there are too many, one has no adapter, or they cannot share a process.
    """
    if len(rounds) > MAX_SPEAKERS:
        raise RoundError(f"{len(rounds)} rounds are marked: choose at most {MAX_SPEAKERS} to chat with side by side")
    for round_ in rounds:
        check_adapter(workspace, round_)
        _check_together(rounds[0], round_, alone=len(rounds) == 1)
    speakers = tuple(
        Speaker(round_.id, round_.number, round_.name, trained_template(workspace.run_dir(round_.id), round_.spec.data))
        for round_ in rounds
    )
    return Chat(rounds[0].spec.model, speakers, time.time())


def check_adapter(workspace: Workspace, round_: Round) -> None:
    """Raise RoundError, with the way out, for a round without an adapter in its run directory."""
    if round_.status is Status.IMPORTED:
        raise RoundError(f"round {round_.number} was imported without its adapter: train it here to chat with it")
    run = workspace.run_dir(round_.id)
    run.check()
    if (run.adapter / ADAPTER_FILE).is_file():
        return
    if round_.status in ACTIVE:
        raise RoundError(f"round {round_.number} is still training: chat with its adapter when it has ended")
    if round_.status in WAITING:
        raise RoundError(f"round {round_.number} is not trained yet: chat with it when it is")
    raise RoundError(f"round {round_.number} has no adapter in {run.adapter}: resume it, or chat with another round")


def _check_together(first: Round, round_: Round, alone: bool) -> None:
    if round_.spec.model != first.spec.model:
        raise RoundError(
            f"rounds {first.number} and {round_.number} differ in their base model "
            f"({_model_words(first)} and {_model_words(round_)}): chat with one after the other"
        )
    if not alone and round_.spec.lora.bias != "none":
        raise RoundError(
            f"round {round_.number} trained biases of the base model (lora.bias {round_.spec.lora.bias}), which would "
            f"change the answers of others beside it: chat with it alone"
        )


def check_base(rounds: Sequence[Round], conversation: Chat) -> None:
    """Raise RoundError if the base model cannot answer beside the rounds of a conversation."""
    keys = {speaker.key for speaker in conversation.speakers}
    for round_ in rounds:
        if round_.id in keys and round_.spec.lora.bias != "none":
            raise RoundError(
                f"round {round_.number} trained biases of the base model (lora.bias {round_.spec.lora.bias}), which "
                f"would change the base model's answers: chat with the base model beside another round"
            )


def _model_words(round_: Round) -> str:
    model = round_.spec.model
    bits = ", 4 bits" if model.load_in_4bit else ", 8 bits" if model.load_in_8bit else ""
    revision = f"@{model.revision}" if model.revision is not None else ""
    return f"{model.path}{revision}, {model.dtype}{bits}"


def trained_template(run: RunDir, data: DataSpec) -> str:
    """Return the prompt template that a round was trained with, as `data.prompt_template`; `auto` if it is unknown.

    `auto` in its spec depends on the format of its rows: the one that the engine recorded, or, for an earlier engine
    that recorded none, the one of the data file now.
    """
    if data.prompt_template != "auto":
        return data.prompt_template
    try:
        prepared = [event for event in read_events(run.events, Prepared) if isinstance(event, Prepared)]
    except OSError:
        prepared = []
    data_format = prepared[-1].data_format if prepared else ""
    return template_of(data_format or _format_now(data), "auto")


def _format_now(data: DataSpec) -> str:
    if data.format != "auto":
        return data.format
    path = local_data_path(data.path)
    if path is None:
        return ""
    try:
        records = list(islice(chain.from_iterable(map(read_records, files_of(path, data))), LOOKED_AT))
        return detect(records, "auto", str(path)).name if records else ""
    except (DatasetError, SpecError):
        return ""


def find_speakers(workspace: Workspace, rounds: Sequence[Round], conversation: Chat) -> tuple[Chat, dict[str, str]]:
    """Match a saved conversation with the rounds of this workspace, and with the base model in their specs.

    The base model in the file is not trusted: it may name code to run.

    Returns:
        The conversation, and a sentence on each speaker that cannot answer now, by the speaker's key.
    """
    here = {round_.id: round_ for round_ in rounds}
    silent: dict[str, str] = {}
    answering: list[Round] = []
    for speaker in conversation.speakers:
        if speaker.key == BASE:
            continue
        round_ = here.get(speaker.key)
        try:
            if round_ is None:
                raise RoundError(f"{speaker.called} of this conversation is not in this workspace: start a new one")
            check_adapter(workspace, round_)
            _check_together(answering[0] if answering else round_, round_, alone=len(conversation.speakers) == 1)
            answering.append(round_)
        except LoratuiError as error:
            silent[speaker.key] = error.message
    if not answering:
        if conversation.has_base:
            silent[BASE] = (
                "the base model answers only beside a round of the conversation, and none is in this workspace"
            )
        return conversation, silent
    names = {round_.id: round_ for round_ in answering}
    speakers = tuple(
        msgspec.structs.replace(speaker, number=names[speaker.key].number, name=names[speaker.key].name)
        if speaker.key in names
        else speaker
        for speaker in conversation.speakers
    )
    return msgspec.structs.replace(conversation, model=answering[0].spec.model, speakers=speakers), silent


def load_request_of(workspace: Workspace, conversation: Chat, silent: Sequence[str] = ()) -> LoadRequest:
    """Make the request to load the base model and the adapters of the speakers that are not `silent`.

    The paths of the adapters begin in the workspace, which may be moved, and whose path may be no text.
    """
    adapters = {
        speaker.key: str(workspace.run_dir(speaker.key).adapter.relative_to(workspace.root))
        for speaker in conversation.speakers
        if speaker.adapter is not None and speaker.key not in silent
    }
    return LoadRequest(conversation.model, adapters)
