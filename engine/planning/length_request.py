"""Have the lengths of the rows of a spec measured by a process that has the tokenizer, and remember them.

The process is `engine.training.workers.row_lengths`. It does not use the network, and runs no code that comes with a
model. Lengths of local rows are remembered on disk until a file of the data or of the tokenizer changes.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path

import msgspec
from platformdirs import user_cache_path

from engine.dataset.data_files import files_of
from engine.dataset.load import check_source, local_data_path
from engine.dataset.readers import file_version
from engine.errors import LoratuiError, ModelError
from engine.files.atomic import NoPlainFile, read_plain, write_atomically
from engine.files.ownership import make_directory
from engine.planning.row_lengths import RowLengths
from engine.preflight.base_model import find_model_dir
from engine.spec.data import CHAT_TEMPLATES
from engine.spec.schema import Spec
from engine.spec.sources import data_to_read
from engine.system.worker_process import Refusal, WorkerProcess, WorkerSlot

VERSION = 1  # increase it when the same rows give other lengths
ANSWER_SECONDS = 60.0
TOKENIZER_FILES = ("*token*", "*.jinja", "*.model", "vocab*", "merges.txt", "config.json")
MOST_REMEMBERED = 200
MAX_BYTES = 8 * 1024**2  # of what is remembered of one spec
# Settings on which the lengths do not depend, as they are before the rows are cut and divided.
OTHER_SETTINGS = {"max_length": 512, "eval_fraction": 0.1, "eval_samples": None, "seed": 0, "drop_copies": False}
_answers: msgspec.json.Decoder[RowLengths | Refusal] = msgspec.json.Decoder(RowLengths | Refusal)


class LengthRequest:
    """Ask for the lengths of the rows of specs; an answer is repeated at once until a file changes."""

    def __init__(self, slot: WorkerSlot | None = None) -> None:
        """Ask by processes in `slot`; with the slot closed, nothing is measured any more."""
        self._known: dict[str, RowLengths | LoratuiError] = {}
        self._slot = slot or WorkerSlot()

    def known(self, spec: Spec) -> RowLengths | LoratuiError | None:
        """Return the lengths, or why they cannot be measured; None where that is not known yet."""
        try:
            key = _key(spec)
        except LoratuiError as error:
            return error
        if key not in self._known and (remembered := _remembered(key)) is not None:
            self._known[key] = remembered
        return self._known.get(key)

    def measure(self, spec: Spec) -> RowLengths | LoratuiError:
        """Return the lengths, or why they cannot be measured; this takes some seconds."""
        if (known := self.known(spec)) is not None:
            return known
        key = _key(spec)
        try:
            outcome: RowLengths | LoratuiError = self._ask(spec)
        except LoratuiError as error:
            outcome = error
        if not self._slot.is_closed:
            self._known[key] = outcome
            if isinstance(outcome, RowLengths):
                _remember(key, outcome)
        return outcome

    def _ask(self, spec: Spec) -> RowLengths:
        def start() -> WorkerProcess:
            offline = {"HF_HUB_OFFLINE": "1"}
            return WorkerProcess("engine.training.workers.row_lengths", "the measurement of the rows", offline)

        with self._slot.running(start, ANSWER_SECONDS) as process:
            model = msgspec.structs.replace(spec.model, trust_remote_code=False)
            process.send(msgspec.structs.replace(spec, model=model))
            lengths = process.receive(_answers)
        assert isinstance(lengths, RowLengths)
        return lengths


def _key(spec: Spec) -> str:
    """Return a hash of all that the lengths depend on: settings, and the versions of local files.

    Raises:
        LoratuiError: the model is not on this machine, or the data cannot be used.
    """
    directory = find_model_dir(spec.model.path, revision=spec.model.revision)
    if directory is None:
        raise ModelError(f"the tokenizer of {spec.model.path!r} is not on this machine")
    files = [file for pattern in TOKENIZER_FILES for file in sorted(directory.glob(pattern)) if file.is_file()]
    if (template := spec.data.chat_template) is not None and template not in CHAT_TEMPLATES:
        files.append(Path(template).expanduser())
    for part, named in data_to_read(spec.data):
        try:
            check_source(part)
            if (path := local_data_path(part.path)) is not None:
                files += files_of(path, part)
        except LoratuiError as error:
            raise named(error) from error
    versions = [(str(file), *file_version(file)) for file in files]
    data = msgspec.structs.replace(spec.data, **OTHER_SETTINGS)
    settings = (VERSION, spec.model.path, spec.model.revision, data, versions)
    return hashlib.blake2b(msgspec.msgpack.encode(settings), digest_size=24).hexdigest()


def _file(key: str) -> Path:
    return user_cache_path("loratui") / "row_lengths" / f"{key}.json"


def _remembered(key: str) -> RowLengths | None:
    """Return what is remembered under a key; None if there is nothing that can be read."""
    try:
        return msgspec.json.decode(read_plain(_file(key), max_bytes=MAX_BYTES), type=RowLengths)
    except (OSError, NoPlainFile, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _remember(key: str, lengths: RowLengths) -> None:
    """Write lengths, and remove the oldest ones; what cannot be written is measured again another time."""
    file = _file(key)
    with suppress(OSError):
        make_directory(file.parent, parents=True)
        write_atomically(file, msgspec.json.encode(lengths))
        newest_first = sorted(file.parent.glob("*.json"), key=lambda each: each.stat().st_mtime_ns, reverse=True)
        for old in newest_first[MOST_REMEMBERED:]:
            old.unlink(missing_ok=True)
