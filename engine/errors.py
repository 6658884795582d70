"""Define the tree of errors that a person may read.

Every message is one sentence that names the thing, its value and the way out. `title` is the title of a dialog; the
command line prints the message alone.
"""

from __future__ import annotations

import os


class LoratuiError(Exception):
    """Base of all errors that the person can act on."""

    title = "Something went wrong"

    @property
    def message(self) -> str:
        return str(self)


class SpecError(LoratuiError):
    """A value of a spec that is not allowed. `key` is its dotted path in the spec, `""` if no single field is wrong."""

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
    """A round that cannot go on: the device lacks something, or the loss is not finite."""

    title = "The round failed"


class ConfigError(LoratuiError):
    """A configuration file that cannot be read, or holds a value that is not allowed."""

    title = "The configuration cannot be used"


class ConversationError(LoratuiError):
    """A conversation that cannot be read, named, continued or turned into a training example."""

    title = "The conversation cannot be used"


class UsageError(LoratuiError):
    """Options or arguments of a command that do not fit together."""

    title = "The command cannot be run"


class FileError(LoratuiError):
    """A file or directory that cannot be read, written or shared."""

    title = "A file cannot be used"


class ProcessError(LoratuiError):
    """A process that the system refuses to start."""

    title = "A process could not be started"


class RunnerStopped(ProcessError):
    """A runner that a signal has stopped, so that it neither trains nor ends."""

    title = "The runner is stopped"


class ProcessEnded(LoratuiError):
    """A worker process that ended and can answer nothing more."""

    title = "The process has ended"


class StoreError(LoratuiError):
    """`experiments.json` cannot be read or written."""

    title = "experiments.json cannot be used"


class StoreMissing(StoreError):
    """The workspace has no `experiments.json`."""

    title = "No rounds here yet"


class RoundError(LoratuiError):
    """A round that does not exist, or whose status does not allow the action."""

    title = "That round does not allow this"


class ReadOnly(LoratuiError):
    """A change to a workspace that is open for reading only."""

    title = "This workspace is open for reading only"


class StoreDamaged(StoreError):
    """An `experiments.json` that loratui did not write; `reason` says in a few words what is wrong with it."""

    title = "experiments.json is damaged"

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class StoreNewer(StoreError):
    """An `experiments.json` written by a later version of loratui, which this version does not change."""

    title = "experiments.json was written by a newer loratui"


def reason_of(error: OSError | ValueError) -> str:
    """Return the operating system's message on why a path could not be used."""
    return str(getattr(error, "strerror", None) or error).lower()


def reason_at(error: OSError) -> str:
    """Return the operating system's message, with the path that it is about in brackets, if it is about one."""
    return reason_of(error) + (f" ({os.fsdecode(error.filename)})" if error.filename else "")
