"""The one tree of errors a person may read.

Every message is one sentence that names the thing, its value and the way out. `title` heads a dialog; the command
line prints the message alone.
"""

from __future__ import annotations


class LoratuiError(Exception):
    """Anything that goes wrong in a way the person can act on."""

    title = "Something went wrong"

    @property
    def message(self) -> str:
        return str(self)


class SpecError(LoratuiError):
    """A value of a spec that is not allowed. `key` is the spec's dotted path, `""` when no single field is at fault."""

    title = "This spec cannot be trained"

    def __init__(self, message: str, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class DatasetError(LoratuiError):
    """Training data that is missing, unreadable, or not what the spec says it is."""

    title = "The data cannot be used"


class ModelError(LoratuiError):
    """A base model that is missing, unreadable, or lacks what the spec asks of it."""

    title = "The base model cannot be used"


class TrainingError(LoratuiError):
    """A round that cannot go on: the device lacks something, or the loss is no number."""

    title = "The round failed"


class ProcessEnded(LoratuiError):
    """A process that was asked something is gone, and answers nothing more."""

    title = "The process has ended"


class StoreError(LoratuiError):
    """`experiments.json` cannot be read or written."""

    title = "experiments.json cannot be used"


class StoreMissing(StoreError):
    """There is no `experiments.json` in the workspace."""

    title = "No rounds here yet"


class RoundError(LoratuiError):
    """A round that does not exist, or is not in a state that allows what was asked."""

    title = "That round does not allow this"


class ReadOnly(LoratuiError):
    """Something was to be changed in a workspace that is open for reading only."""

    title = "This workspace is open for reading only"


class StoreDamaged(StoreError):
    """What lies in the place of `experiments.json` is nothing that loratui wrote; `reason` says why, in a few words."""

    title = "experiments.json is damaged"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StoreNewer(StoreError):
    """`experiments.json` is of a later version of loratui, and is not changed by this one."""

    title = "experiments.json is of a newer loratui"


def reason_of(error: OSError | ValueError) -> str:
    """The system's own words for why a path could not be used."""
    return str(getattr(error, "strerror", None) or error).lower()
