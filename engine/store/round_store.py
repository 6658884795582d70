"""The index of rounds in `experiments.json`: which rounds there are, and what is changed, removed and restored.

Per-step values are never stored here.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from tinydb import TinyDB
from tinydb.table import Document

from engine.errors import RoundError, StoreError, reason_of
from engine.files.paths import Workspace
from engine.runs.spec_file import merge_fields
from engine.spec.portable import with_located_paths
from engine.spec.round import Round, Status
from engine.spec.schema import Spec
from engine.store.documents import RoundReader, state_of, to_round, valid_rounds
from engine.store.draft import put_documents, set_meta
from engine.store.home import Whereabouts, recorded_home
from engine.store.json_format import SCHEMA, Tables, refuse_newer
from engine.store.json_storage import Signature
from engine.store.repair import last_number, meta_of, notices_of
from engine.store.store_file import StoreFile
from engine.store.trash import Removed, forget, move_from_trash, move_to_trash, redate, removed_in


class RoundStore:
    """The rounds of one workspace. Any number of processes and threads may use it at once.

    With `readonly` nothing is ever written or locked, and a damaged file stays as it is.

    Raises:
        ReadOnly: from every method that writes, if `readonly`.
        StoreMissing, StoreError: from every method, if the file is missing, or cannot be read or written. A damaged
            file is repaired at its first use, and `notices` says so.
    """

    def __init__(self, workspace: Workspace, *, readonly: bool = False) -> None:
        self._workspace = workspace
        self._file = StoreFile(workspace, readonly=readonly)
        self._cached: tuple[Tables, list[Round], list[str]] | None = None
        self._seen_from: tuple[Tables, Whereabouts] | None = None

    def exists(self) -> bool:
        return self._file.exists()

    def check_writable(self) -> None:
        """Raise ReadOnly if the workspace is open for reading only."""
        self._file.check_writable()

    def signature(self) -> Signature | None:
        """Return a value that changes whenever a round does; cheap enough to call often."""
        return self._file.signature()

    def create(self, rounds: tuple[Round, ...] = ()) -> None:
        """Create `experiments.json`; raises StoreError if it exists."""
        self._file.create({str(round_.number): msgspec.to_builtins(round_) for round_ in rounds})

    def rounds(self) -> list[Round]:
        """Return all rounds by number; broken ones are left out, and `notices` names them."""
        return list(self._load()[0])

    def notices(self) -> list[str]:
        """Return sentences about the file: how it was repaired, and what is wrong with it."""
        _, broken = self._load()
        meta = meta_of(self._file.read())
        notices = notices_of(meta)
        if broken:
            notices.append(broken[0] + (f"; so are {len(broken) - 1} more" if len(broken) > 1 else ""))
        try:
            refuse_newer(meta.get("schema"))
        except StoreError as error:
            notices.append(error.message)
        return [*notices, self._file.unsure] if self._file.unsure else notices

    def dismiss(self) -> None:
        """Drop the notices of repairs, for other processes too."""
        self._file.dismiss()

    def get(self, number: int) -> Round:
        """Return one round; raises RoundError if the number is unknown."""
        document = self._file.read()["rounds"].get(str(number))
        if document is None:
            raise RoundError(f"there is no round {number}: `loratui ls` lists them")
        return self._whereabouts().seen(self._to_round(number, document))

    def identity(self) -> str:
        """Return what the workspace keeps when it is moved or copied, "" if nothing was ever written here."""
        try:
            return str(meta_of(self._file.read()).get("id") or "")
        except StoreError:
            return ""

    def is_at_home(self) -> bool:
        """Return True if the runner of this machine may train the rounds of this workspace."""
        return self._whereabouts().at_home

    def make_home_here(self) -> None:
        """Make this place the workspace's home: what trained or waited elsewhere is interrupted or held from now on.

        Raises:
            RoundError: another machine, which shares the directory, is training a round of it; nothing is changed.
        """
        if (whereabouts := self._whereabouts()).is_recorded:
            return
        self.check_writable()
        whereabouts.check_ended(valid_rounds(self._file.read()))
        with self._file.draft() as draft:
            whereabouts = self._whereabouts()
            changes = whereabouts.changes(valid_rounds(self._file.read()))
            whereabouts.drop_shared_names()
            self._put_changes(draft, changes)
            set_meta(draft, home=msgspec.to_builtins(whereabouts.here))

    def add(self, make: Callable[[int], Round]) -> Round:
        """Add the round that `make` returns for its number; numbers are never used twice."""
        with self._file.draft() as draft:
            number = 1 + last_number(self._file.read())
            round_ = make(number)
            draft.table("rounds").insert(Document(msgspec.to_builtins(round_), doc_id=number))
            return self._located(round_)

    def update(self, number: int, allowed: frozenset[Status] | None = None, **changes: Any) -> Round:
        """Change fields of one round; fields that this version does not know stay.

        Raises:
            RoundError: the number is unknown, or the status is not in `allowed`; nothing is changed.
        """
        with self._file.draft() as draft:
            round_ = self.get(number)
            if allowed is not None and round_.status not in allowed:
                words = " or ".join(sorted(allowed))
                raise RoundError(f"{state_of(round_)}: this can be done only to a round that is {words}")
            return self._put_changes(draft, {number: changes})[number]

    def update_each(self, changes: Callable[[list[Round]], Mapping[int, Mapping[str, Any]]]) -> list[Round]:
        """Change fields of several rounds at once: all of the changes are written, or none.

        Args:
            changes: gets all rounds by number and returns the new values of fields, by round and field. It is called
                under the lock, so that no other process changes the rounds before the write. Nothing is written if it
                returns no round.

        Returns:
            All rounds by number, after the change.

        Raises:
            RoundError: `changes` names a round that does not exist, or raises it itself; nothing is changed.
        """
        with self._file.draft() as draft:
            rounds = self.rounds()
            changed = self._put_changes(draft, changes(rounds))
            return [changed.get(round_.number, round_) for round_ in rounds]

    def remove(self, number: int, forbidden: frozenset[Status]) -> Round:
        """Move one round to the trash and return it; `restore` brings it back until `forget` removes it there.

        Raises:
            RoundError: the number is unknown, or the status is `forbidden`.
        """
        self.check_writable()
        self._whereabouts().check_ended(each for each in valid_rounds(self._file.read()) if each.number == number)
        with self._file.draft() as draft:
            round_ = self.get(number)
            if round_.status in forbidden:
                raise RoundError(f"round {number} is {round_.status}: stop it first with `loratui stop {number}`")
            set_meta(draft, schema=SCHEMA, last_number=last_number(self._file.read()))
            move_to_trash(draft, self._file.read(), number)
            return round_

    def removed(self) -> list[Removed]:
        """Return the rounds in the trash, by number."""
        return removed_in(self._file.read())

    def redate_removed(self) -> None:
        """Have the week of each round that was removed while the clock was wrong begin now, and note whose is over."""
        now = time.time()
        if any(removed.corrections(now) for removed in self.removed()):
            with self._file.draft() as draft:
                redate(draft, now)

    def restore(self, number: int) -> Round:
        """Bring a round back from the trash; raises RoundError if it is not there."""
        with self._file.draft() as draft:
            return self._whereabouts().seen(self._to_round(number, move_from_trash(draft, number)))

    def forget(self, numbers: Iterable[int]) -> None:
        """Delete rounds in the trash for good."""
        with self._file.draft() as draft:
            forget(draft, numbers)

    def rebuild(self) -> tuple[int, Path | None]:
        """Write the file again: its valid rounds, those of the backup where one is broken, and those of `runs/`.

        Returns:
            The number of rounds now, and the path of the old file (None if there was none).
        """
        aside = self._file.rebuild()
        return len(self._load()[0]), aside

    def _load(self) -> tuple[list[Round], list[str]]:
        """Return the rounds by number, and a sentence on each that is broken."""
        tables = self._file.read()
        if self._cached is None or self._cached[0] is not tables:
            rounds, broken, whereabouts = [], [], self._whereabouts()
            reader = RoundReader(self._spec_located)
            for key, document in tables["rounds"].items():
                try:
                    rounds.append(whereabouts.seen(reader.read(int(key), document)))
                except StoreError as error:
                    broken.append(error.message)
            self._cached = tables, sorted(rounds, key=lambda round_: round_.number), broken
        return self._cached[1], self._cached[2]

    def _whereabouts(self) -> Whereabouts:
        tables = self._file.read()
        if self._seen_from is None or self._seen_from[0] is not tables:
            recorded, may_lock = recorded_home(meta_of(tables)), not self._file.readonly
            try:
                seen_from = Whereabouts(self._workspace, recorded, lambda: valid_rounds(tables), may_lock)
            except OSError as error:
                raise StoreError(f"{self._workspace.root} cannot be examined: {reason_of(error)}") from error
            self._seen_from = tables, seen_from
        return self._seen_from[1]

    def _put_changes(self, draft: TinyDB, changes: Mapping[int, Mapping[str, Any]]) -> dict[int, Round]:
        """Put the changes into the draft and return the changed rounds, so that nothing is read after the write."""
        documents = {}
        for number, fields in changes.items():
            self.get(number)
            old = self._file.read()["rounds"][str(number)]
            documents[number] = merge_fields(old, msgspec.to_builtins(dict(fields)))
        put_documents(
            draft.table("rounds"), [Document(document, doc_id=number) for number, document in documents.items()]
        )
        seen = self._whereabouts().seen
        return {number: seen(self._to_round(number, document)) for number, document in documents.items()}

    def _to_round(self, number: int, document: Mapping[str, Any]) -> Round:
        return self._located(to_round(number, document))

    def _located(self, round_: Round) -> Round:
        """Return the round with the paths of its spec absolute."""
        spec = self._spec_located(round_.spec)
        return round_ if spec is round_.spec else msgspec.structs.replace(round_, spec=spec)

    def _spec_located(self, spec: Spec) -> Spec:
        return with_located_paths(spec, self._workspace.root)
