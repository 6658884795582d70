"""Checkpoints that are damaged, cut short by kills and full disks, or asked for by signals: a round always goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.files.paths import RunDir
from engine.runs.checkpoints import NEEDED, is_valid, newest_valid_checkpoint
from engine.runs.event_log import read_events
from engine.runs.events import AnyEvent, Failed, Finished, Interrupted, Saved
from engine.runs.snapshot import RunSnapshot
from tests.support.disks import ENVIRONMENT, in_small_disk, needs_strace
from tests.support.faults.tried import Tried

Times = Callable[[int, int], int]
Reference = tuple[RunDir, list[AnyEvent]]
GRACE_SECONDS = 10.0


def truncate(file: Path, share: float) -> None:
    file.write_bytes(file.read_bytes()[: int(file.stat().st_size * share)])


def flip(file: Path, share: float) -> None:
    content = bytearray(file.read_bytes())
    content[int((len(content) - 1) * share)] ^= 1
    file.write_bytes(content)


def replace(file: Path, make: Callable[[Path], object]) -> None:
    file.unlink()
    make(file)


def link_to_a_good_one(file: Path) -> None:
    moved = file.rename(file.parent.parent / f"elsewhere-{file.name}")
    file.symlink_to(moved)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "emptied": lambda file: truncate(file, 0.0),
    "cut at a quarter": lambda file: truncate(file, 0.25),
    "cut by a byte": lambda file: file.write_bytes(file.read_bytes()[:-1]),
    "longer by a byte": lambda file: file.write_bytes(file.read_bytes() + b"\0"),
    "first byte flipped": lambda file: flip(file, 0.0),
    "middle byte flipped": lambda file: flip(file, 0.5),
    "last byte flipped": lambda file: flip(file, 1.0),
    "removed": Path.unlink,
    "a directory": lambda file: replace(file, Path.mkdir),
    "a pipe": lambda file: replace(file, os.mkfifo),
    "a link to a good one": link_to_a_good_one,
    "a link to nowhere": lambda file: replace(file, lambda place: place.symlink_to("/nowhere")),
    "a link to itself": lambda file: replace(file, lambda place: place.symlink_to(place)),
    "zeros": lambda file: file.write_bytes(bytes(file.stat().st_size)),
}


@pytest.mark.timeout(60)
def test_newest_whole_checkpoint_is_found_whatever_a_later_one_suffered(
    reference: Reference, tmp_path: Path, tried: Tried
) -> None:
    good = reference[0].checkpoint(18)
    names = sorted(path.name for path in good.iterdir())
    assert set(names) >= NEEDED
    wrong = []
    for name in names:
        for what, damage in DAMAGES.items():
            checkpoints = tmp_path / f"{name}-{what}"
            for step in (6, 18):
                shutil.copytree(reference[0].checkpoint(step), checkpoints / f"checkpoint-{step}")
            damage(checkpoints / "checkpoint-18" / name)
            if newest_valid_checkpoint(checkpoints) != (checkpoints / "checkpoint-6", [checkpoints / "checkpoint-18"]):
                # one flipped byte of the manifest may leave JSON that says the same, such as an E for an e
                wrong.append((name, what))
            shutil.rmtree(checkpoints)
    tried("F14", "each file of a checkpoint damaged in each way", len(names) * len(DAMAGES), len(wrong))
    assert wrong == []


def rename_all(manifest: dict[str, object], to: str) -> dict[str, object]:
    return {to + name: record for name, record in manifest.items()}


MANIFESTS: dict[str, Callable[[dict[str, object]], object]] = {
    "empty": lambda manifest: {},
    "a list": list,
    "without the adapter": lambda manifest: {name: manifest[name] for name in manifest if "adapter_model" not in name},
    "state alone": lambda manifest: {"state.json": manifest["state.json"]},
    "a file that leads out": lambda manifest: manifest | {"../checkpoint-6/state.json": manifest["state.json"]},
    "all files elsewhere": lambda manifest: rename_all(manifest, "../checkpoint-6/"),
    "absolute": lambda manifest: manifest | {"/etc/passwd": manifest["state.json"]},
    "null byte": lambda manifest: manifest | {"a\0b": manifest["state.json"]},
    "a name too long": lambda manifest: manifest | {"a" * 5000: manifest["state.json"]},
    "wrong sizes": lambda manifest: {name: {"size": -1, "sha256": ""} for name in manifest},
    "its own directory": lambda manifest: manifest | {".": manifest["state.json"]},
}


@pytest.mark.parametrize("change", MANIFESTS.values(), ids=MANIFESTS)
def test_manifest_that_vouches_for_too_little_or_leads_out_is_not_believed(
    reference: Reference, tmp_path: Path, tried: Tried, change: Callable[[dict[str, object]], object]
) -> None:
    for step in (6, 18):
        shutil.copytree(reference[0].checkpoint(step), tmp_path / f"checkpoint-{step}")
    manifest = tmp_path / "checkpoint-18" / "manifest.json"
    manifest.write_text(json.dumps(change(json.loads(manifest.read_text()))))
    found, _ = newest_valid_checkpoint(tmp_path)
    tried("F14", "a manifest that is wrong or leads out", 1, found != tmp_path / "checkpoint-6")
    assert found == tmp_path / "checkpoint-6"


def test_directory_that_is_no_checkpoint_of_its_step_is_none(
    reference: Reference, tmp_path: Path, tried: Tried
) -> None:
    good = reference[0].checkpoint(6)
    for name in (
        "checkpoint-6",
        "checkpoint-7",
        "checkpoint-006",
        "checkpoint-٦",
        "checkpoint-best",
        ".checkpoint-8.staged",
    ):
        shutil.copytree(good, tmp_path / name)
    (tmp_path / "checkpoint-9").symlink_to(good)
    (tmp_path / "checkpoint-10").write_bytes(b"")
    found, damaged = newest_valid_checkpoint(tmp_path)
    tried("F14", "renamed, linked and half-staged checkpoints", 6, found != tmp_path / "checkpoint-6")
    assert (found, damaged) == (tmp_path / "checkpoint-6", [tmp_path / "checkpoint-7"])


@pytest.mark.parametrize("damaged", [(18, 20), (6, 12, 18, 20)])
def test_engine_says_which_checkpoints_it_passes_over(
    reference: Reference, tmp_path: Path, tried: Tried, damaged: tuple[int, ...]
) -> None:
    from tests.support.rounds_to_train import figures_of, resumed_from, train_here

    run = RunDir(Path(shutil.copytree(reference[0].path, tmp_path / "run")))
    for step in damaged:
        truncate(run.checkpoint(step) / "training_state.safetensors", 0.5)
    events = train_here(run, resume=True)
    start = 12 if len(damaged) == 2 else None
    warnings = [f"checkpoint-{step} is damaged and is skipped" for step in sorted(damaged, reverse=True)]
    if start is None:
        warnings.append("every checkpoint of this round is damaged: it starts again from the beginning")
    same = figures_of(events) == figures_of(reference[1], after=start or 0)
    tried("F14", "the real engine going on from before damaged checkpoints", 1, not same)
    assert resumed_from(events) == start and same
    assert RunSnapshot(events).warnings == warnings
    assert isinstance(events[-1], Finished) and is_valid(run.checkpoint(20))


# A save of a checkpoint's five files, as the engine makes it, beside a good checkpoint of an earlier step.
SAVER = """
import sys
from pathlib import Path
from engine.runs.checkpoints import write_manifest
from engine.files.directories import write_directory
def write(directory):
    for name in ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "training_state.safetensors"):
        (directory / name).write_bytes(name.encode() * 3000)
    (directory / "state.json").write_bytes(b'{"step":12}')
    write_manifest(directory)
write_directory(Path(sys.argv[1]) / "checkpoint-12", write)
print("told")
"""
CALLS = "openat,write,fsync,rename,mkdir,close,ftruncate,unlinkat,rmdir"


def save(checkpoints: Path, *inject: str) -> subprocess.CompletedProcess[str]:
    """The save, with faults injected into its calls on the checkpoints; `-P` leaves all others alone."""
    places = [checkpoints, checkpoints / "checkpoint-12", checkpoints / ".checkpoint-12.staged"]
    names = ("adapter_config.json", "adapter_model.safetensors", "tokenizer.json", "training_state.safetensors")
    places += [places[2] / name for name in (*names, "state.json", "manifest.json")]
    paths = [part for place in places for part in ("-P", str(place))]
    trace = ["strace", "-f", "-o", str(checkpoints.with_suffix(".trace")), *paths, "-e", f"trace={CALLS}", *inject]
    command = [*trace, sys.executable, "-P", "-c", SAVER, str(checkpoints)]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=60)


@needs_strace
@pytest.mark.parametrize("fault", ["signal=KILL", "error=ENOSPC", "error=EIO"])
def test_fault_at_any_system_call_of_a_save_leaves_the_checkpoint_before_it(
    reference: Reference, tmp_path: Path, tried: Tried, times: Times, fault: str
) -> None:
    def fresh(name: str) -> Path:
        checkpoints = tmp_path / name
        shutil.copytree(reference[0].checkpoint(6), checkpoints / "checkpoint-6")
        return checkpoints

    whole = fresh("whole")
    assert save(whole).stdout == "told\n"
    count = len(whole.with_suffix(".trace").read_text().splitlines()) - 1
    assert count > 30, "strace saw none of the save"
    lost, places = 0, range(1, count + 1, times(count // 4, 1))
    for place in places:
        checkpoints = fresh(f"{fault}-{place}")
        done = save(checkpoints, "-e", f"inject={CALLS}:{fault}:when={place}")
        found, damaged = newest_valid_checkpoint(checkpoints)
        told = done.stdout == "told\n"
        expected = {checkpoints / "checkpoint-12"} if told else {checkpoints / f"checkpoint-{step}" for step in (6, 12)}
        lost += found not in expected or bool(damaged)
        assert found in expected and damaged == [], (place, done.stderr)
        assert save(checkpoints).stdout == "told\n"
        assert {path.name for path in checkpoints.iterdir()} == {"checkpoint-6", "checkpoint-12"}
    tried("F14", "SIGKILL, ENOSPC, EIO at each system call of a save", len(places), lost)


def assert_told_is_kept(run: RunDir) -> int:
    """Every checkpoint that the events tell of is whole; how many are not."""
    saved = [event for event in read_events(run.events) if isinstance(event, Saved) and not event.final]
    return sum(not is_valid(run.path / event.path) for event in saved)


SAVING = {"train__save_steps": 1, "train__num_train_epochs": 1.0}


@pytest.fixture(scope="module")
def saving_reference(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> list[AnyEvent]:
    """The events of a round that saves after each of its nine steps, and that nothing happens to."""
    from tests.support.rounds_to_train import make_run, train_here

    return train_here(make_run(tmp_path_factory.mktemp("saving") / "run", tiny_model, **SAVING))


def assert_same_round(run: RunDir, whole: list[AnyEvent]) -> bool:
    ours, theirs = RunSnapshot(read_events(run.events)), RunSnapshot(whole)
    return (
        list(ours.curve.steps) == list(theirs.curve.steps)
        and list(ours.curve.losses) == list(theirs.curve.losses)
        and ours.result.eval_loss == theirs.result.eval_loss
        and ours.result.trained_tokens == theirs.result.trained_tokens
    )


class Round:
    """A round that is begun, hurt, and gone on with until it is finished; then another one."""

    def __init__(self, directory: Path, model: Path) -> None:
        self._directory, self._model = directory, model
        self._count = 0
        self.run = self._make()

    def _make(self) -> RunDir:
        from tests.support.rounds_to_train import make_run

        self._count += 1
        return make_run(self._directory / f"run-{self._count}", self._model, **SAVING)

    def begin_another(self) -> None:
        self.run = self._make()

    def start(self) -> tuple[subprocess.Popen[bytes], int]:
        """The engine, forked from a process that has imported what it needs, and how many events there were before."""
        from tests.support.rounds_to_train import start_engine

        before = len(read_events(self.run.events))
        return start_engine(self.run, *(["--resume"] if before else [])), before


def await_moment(run: RunDir, before: int, draw: random.Random) -> None:
    """Until a number of events drawn at random has come, and then a little."""
    wanted = before + draw.choice([1, 2, 5, 8, 10, 12, 14, 16, 18, 20, 24])
    deadline = time.monotonic() + 3.0
    while len(read_events(run.events)) < wanted and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(draw.uniform(0.0, 0.03))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_engine_killed_while_it_saves_goes_on_bit_for_bit(
    tiny_model: Path, saving_reference: list[AnyEvent], tmp_path: Path, tried: Tried, times: Times
) -> None:
    draw, round_ = random.Random(1), Round(tmp_path, tiny_model)
    kills, lost, finished = times(2, 60), 0, 0
    for _ in range(kills):
        engine, before = round_.start()
        await_moment(round_.run, before, draw)
        engine.send_signal(signal.SIGKILL)
        engine.wait()
        lost += assert_told_is_kept(round_.run)
        if isinstance(read_events(round_.run.events)[-1], Finished):
            lost += not assert_same_round(round_.run, saving_reference)
            finished += 1
            round_.begin_another()
    engine, _ = round_.start()
    assert engine.wait() == 0
    lost += not assert_same_round(round_.run, saving_reference)
    tried("F14", "kill -9 of the real engine at a random moment, then going on bit for bit", kills, lost)
    assert lost == 0
    assert not [path for path in round_.run.path.rglob(".*") if path.name.endswith((".staged", ".old"))]


@pytest.mark.timeout(600)
def test_signal_at_a_random_moment_ends_the_engine_in_time_and_it_goes_on_bit_for_bit(
    tiny_model: Path, saving_reference: list[AnyEvent], tmp_path: Path, tried: Tried, times: Times
) -> None:
    """The KILL that Slurm sends after its grace period finds nobody; one that comes too early harms nothing."""
    draw, round_ = random.Random(2), Round(tmp_path, tiny_model)
    signals, lost, slowest = times(2, 48), 0, 0.0
    for number in range(signals):
        signum = (signal.SIGTERM, signal.SIGUSR1)[number % 2]
        engine, before = round_.start()
        await_moment(round_.run, before, draw)
        sent = time.monotonic()
        engine.send_signal(signum)
        if number % 6 > 3:  # as after a grace period that was too short
            time.sleep(draw.uniform(0.0, 0.1))
            engine.send_signal(signal.SIGKILL)
        code = engine.wait()
        slowest = max(slowest, time.monotonic() - sent)
        events = read_events(round_.run.events)
        if code == 0:
            assert isinstance(events[-1], (Interrupted, Finished)), (signum, events[-1])
            if isinstance(events[-1], Interrupted) and events[-1].step:
                lost += not is_valid(round_.run.checkpoint(events[-1].step))
        else:
            assert code in (-signal.SIGKILL, -signum), code
        lost += assert_told_is_kept(round_.run)
        if isinstance(events[-1], Finished):
            lost += not assert_same_round(round_.run, saving_reference)
            round_.begin_another()
    engine, _ = round_.start()
    assert engine.wait() == 0
    lost += not assert_same_round(round_.run, saving_reference)
    tried("F17", "SIGTERM or SIGUSR1 to the real engine at a random moment, SIGKILL after it", signals, lost)
    assert lost == 0
    assert slowest < GRACE_SECONDS, f"one took {slowest:.1f} s"


def test_preemption_is_told_from_a_stop(tiny_model: Path, tmp_path: Path, tried: Tried) -> None:
    round_ = Round(tmp_path, tiny_model)
    engine, _ = round_.start()
    while not any(isinstance(event, Saved) for event in read_events(round_.run.events)):
        time.sleep(0.005)
    engine.send_signal(signal.SIGUSR1)
    assert engine.wait() == 0
    last = read_events(round_.run.events)[-1]
    tried("F17", "SIGUSR1 to the real engine", 1, not isinstance(last, Interrupted))
    assert isinstance(last, Interrupted)
    assert last.message == f"interrupted by the machine after step {last.step} of 9: resume it"


def test_full_disk_fails_the_round_in_a_sentence_and_keeps_the_checkpoint_before(
    small_disk: Path, tiny_model: Path, reference: Reference, tmp_path: Path, tried: Tried
) -> None:
    """The real engine on a disk that has room for two checkpoints and a half."""
    from tests.support.rounds_to_train import figures_of, make_run, train_here

    outside = make_run(tmp_path / "run", tiny_model)
    run, kept = small_disk / "run", tmp_path / "kept"
    script = 'cp -r "$1" "$2"; OMP_NUM_THREADS=1 "$3" -P -m engine.training "$2"; code=$?; cp -r "$2" "$4"; exit $code'
    room = 300
    done = in_small_disk(small_disk, room, script, str(outside.path), str(run), sys.executable, str(kept))
    events, found = read_events(kept / "events.jsonl"), newest_valid_checkpoint(kept / "checkpoints")[0]
    told = [event.step for event in events if isinstance(event, Saved)]
    assert done.returncode == 1, done.stderr
    last = events[-1]
    assert isinstance(last, Failed) and last.message.startswith("the disk is full at ")
    assert last.message.endswith(": free some space and resume")
    assert told and found == kept / "checkpoints" / f"checkpoint-{told[-1]}"
    assert not list((kept / "checkpoints").glob(".*"))
    again = train_here(RunDir(kept), resume=True)
    same = figures_of(again) == figures_of(reference[1], after=told[-1])
    tried("F14", "the real engine on a disk that fills up while it saves", 1, not same)
    assert same and isinstance(again[-1], Finished)
