"""A sweep as it is stored: `sweeps/<number>.json` of a workspace. What came of it is in its rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Literal

import msgspec
from filelock import FileLock
from msgspec import Struct

from engine.errors import RoundError, StoreError, reason_of
from engine.files.atomic import read_plain, write_atomically
from engine.files.ownership import make_directory
from engine.files.paths import Workspace
from engine.spec.portable import with_located_paths, with_portable_paths
from engine.spec.schema import Spec
from engine.sweeps.space import Space, read_space

SamplerName = Literal["grid", "random", "tpe", "gp"]
LOCK_SECONDS = 10.0


class Sweep(Struct, frozen=True, kw_only=True):
    """One sweep.

    Attributes:
        ranges: the text that a person typed for each field that varies or depends on one, by its key.
        spec: of its trials, in all other fields.
        parent: number of the round that this spec is from.
        trials: the most settings that are tried; None for all of a grid.
        budget_seconds: how long its rounds may train, all together; no setting is begun after that.
        repeats: rounds of each setting, which differ in `train.seed`.
        seed: of the sampler.
        stopped: when it was stopped, in seconds since the epoch; None if it goes on.
        message: why it was stopped, if not by a person.
        removed: when it was removed; None if it was not. Its number is never used again.
        created: in seconds since the epoch.
    """

    number: int
    name: str = ""
    note: str = ""
    ranges: dict[str, str]
    spec: Spec
    parent: int | None = None
    sampler: SamplerName = "tpe"
    trials: int | None = None
    budget_seconds: float | None = None
    repeats: int = 1
    seed: int = 0
    stopped: float | None = None
    message: str = ""
    removed: float | None = None
    created: float

    @property
    def space(self) -> Space:
        """The space that its ranges describe.

        Raises:
            SpecError: a text of them is not allowed.
        """
        space, _ = read_space([f"{key}={text}" for key, text in self.ranges.items()])
        return space


class SweepStore:
    """The sweeps of a workspace; any number of processes may use it at once."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._directory = workspace.sweeps_dir

    def sweeps(self) -> list[Sweep]:
        """Return all sweeps that were not removed, by number; those that cannot be read are in `unreadable`."""
        read = [each for each in self._all() if isinstance(each, Sweep)]
        return sorted((each for each in read if each.removed is None), key=lambda each: each.number)

    def unreadable(self) -> list[str]:
        """Return a sentence on each file that cannot be read."""
        return [each for each in self._all() if isinstance(each, str)]

    def signature(self) -> tuple[tuple[str, int, int], ...]:
        """Return a value that changes whenever a sweep does; cheap enough to call often."""
        signature = []
        for path in sorted(self._directory.glob("*.json")):
            with suppress(OSError):  # it was removed meanwhile
                status = path.stat()
                signature.append((path.name, status.st_mtime_ns, status.st_ino))
        return tuple(signature)

    def get(self, number: int) -> Sweep:
        """Return one sweep; raises RoundError if there is none with this number."""
        sweep = next((each for each in self.sweeps() if each.number == number), None)
        if sweep is None:
            raise RoundError(f"there is no sweep {number}: `loratui sweep ls` lists them")
        return sweep

    def add(self, make: Callable[[int], Sweep], least: int = 1) -> Sweep:
        """Add the sweep that `make` returns for its number, which is at least `least`; numbers are never used twice.

        Raises:
            StoreError: the disk refuses.
        """
        with self._locked():
            numbers = [int(path.stem) for path in self._directory.glob("*.json") if path.stem.isdecimal()]
            sweep = make(max([least, *(number + 1 for number in numbers)]))
            self._write(sweep)
        return sweep

    def update(self, number: int, **changes: Any) -> Sweep:
        """Change fields of a sweep.

        Raises:
            RoundError: there is no such sweep.
            StoreError: the disk refuses.
        """
        with self._locked():
            sweep = msgspec.structs.replace(self.get(number), **changes)
            self._write(sweep)
        return sweep

    def _all(self) -> list[Sweep | str]:
        """Return each sweep, or a sentence on why its file cannot be read."""
        sweeps: list[Sweep | str] = []
        for path in sorted(self._directory.glob("*.json")):
            try:
                sweep = msgspec.json.decode(read_plain(path), type=Sweep)
            except OSError as error:
                sweeps.append(f"{path} cannot be read: {reason_of(error)}")
            except (ValueError, RecursionError) as error:  # msgspec's errors and NoPlainFile are ValueErrors
                sweeps.append(f"{path} is no sweep ({error}): correct it, or restore it from a backup")
            else:
                located = with_located_paths(sweep.spec, self._workspace.root)
                sweeps.append(msgspec.structs.replace(sweep, spec=located))
        return sweeps

    def _write(self, sweep: Sweep) -> None:
        path = self._directory / f"{sweep.number:04d}.json"
        portable = msgspec.structs.replace(sweep, spec=with_portable_paths(sweep.spec, self._workspace.root))
        try:
            write_atomically(path, msgspec.json.format(msgspec.json.encode(portable), indent=1))
        except OSError as error:
            raise StoreError(f"{path} could not be written: {reason_of(error)}") from error

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other processes from writing; raises StoreError if the lock cannot be had."""
        lock = FileLock(self._directory / "sweeps.lock", timeout=LOCK_SECONDS)
        try:
            make_directory(self._directory, parents=True)
            lock.acquire()
        except OSError as error:  # filelock's Timeout is one
            raise StoreError(f"{lock.lock_file} cannot be locked: {reason_of(error)}") from error
        try:
            yield
        finally:
            lock.release()
