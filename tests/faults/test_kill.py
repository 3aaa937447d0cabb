"""kill -9 of the real command, with real Dask workers, at random moments; then the run goes on.

Without this, "a kill at any moment costs nothing" would be a hope. One run is killed and resumed again and again, which
also tests resuming what was itself resumed.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aftermath import half_written, sound
from process_tree import descendants, wait_until_gone

from nas import store

SPACE = """
name: tiny
architecture:
  - conv: {filters: {choice: [4, 6, 8]}, kernel: 3}
  - activation: {choice: [relu, gelu]}
  - repeat: {times: {int: [0, 2]}, of: {choice: [{residual: [{conv: {filters: 4, kernel: 3}}]}, identity]}}
  - global_pool: average
  - linear: {units: =task.classes}
hyperparameters:
  batch_size: {choice: [128, 256]}
  optimizer: {sgd: {learning_rate: {float: [0.01, 1.0], log: true}, momentum: {float: [0.5, 0.95]}}}
"""

CONFIG = """
name: killed
space: {space}
task: {{dataset: digits, validation: 0.2}}
controller: {{rl: {{warmup: 8}}}}
budget: {{trials: {trials}}}
train: {{epochs: 2, precision: fp32}}
cluster: {{kind: local, workers: 2, threads: 1}}
"""

# What may stand last in a journal when a kill comes. Not among them: late_result, which takes an answer to an attempt
# that nobody waits for; tests/search/test_machine.py has those.
KINDS = {
    "driver_took_over", "run_started", "budget_changed", "workers_changed", "proposed", "attempt_started",
    "attempt_answered", "trial_reported", "trial_ended", "run_ended",
}  # fmt: skip


def last_kind(run: Path) -> str:
    entries = store.read(run / "journal")
    return entries[-1].event.event if entries else ""


def start(*words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "nas", *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def segment_of(run: Path) -> tuple[Path, list[bytes]]:
    """The newest segment and its whole lines."""
    segment = sorted((run / "journal").glob("*.jsonl"))[-1]
    return segment, [line for line in segment.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def last_turn(run: Path) -> tuple[list[str], list[int]]:
    """The newest segment's events, and the places among them at which its last turn can be cut."""
    records = [json.loads(line) for line in segment_of(run)[1]]
    turn = [i for i, record in enumerate(records) if record["time"] == records[-1]["time"] and i > 0]
    return [record["body"]["event"] for record in records], turn


def cut_inside_last_turn(run: Path, wanted: set[str], random_: random.Random) -> None:
    """Leave a prefix of the last turn's lines, as a kill inside write(2) or a power cut does.

    Of the prefixes, one that ends in an event of a wanted kind where there is one, else any.
    """
    segment, lines = segment_of(run)
    kinds, turn = last_turn(run)
    aimed = [i for i in turn if kinds[i - 1] in wanted]
    if turn:
        keep = random_.choice(aimed or turn)
        segment.write_bytes(b"".join(lines[:keep]) + lines[keep][: random_.randrange(len(lines[keep]))])


def would_leave(run: Path, torn: bool) -> set[str]:
    """Kinds of which a kill now could leave one last in the journal."""
    if not lines_beside(run, set()):
        return set()
    kinds, turn = last_turn(run)
    return {kinds[i - 1] for i in turn} if torn and turn else set(kinds[-1:])


def kill(process: subprocess.Popen[bytes], what: str) -> None:
    """Kill driver, or everything below it too, and see that nothing of it lives on."""
    below = descendants(process.pid)
    for pid in [process.pid, *(below if what == "everything" else ())]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait(timeout=10)
    left = wait_until_gone(below, 5)
    assert not left, f"left behind after the {what} was killed: {left}"


def kill_a_worker(process: subprocess.Popen[bytes], random_: random.Random) -> bool:
    """SIGKILL one process below the driver: a Dask worker, a fork server, or a training child. False: there is none."""
    below = sorted(descendants(process.pid))
    with contextlib.suppress(ProcessLookupError, IndexError):
        os.kill(random_.choice(below), signal.SIGKILL)
        return True
    return False


def lines_beside(run: Path, segments: set[Path]) -> int:
    """How many lines the driver has written to a segment that is not among ``segments``."""
    return sum(path.read_bytes().count(b"\n") for path in set((run / "journal").glob("*.jsonl")) - segments)


def finished(run: Path) -> dict[int, tuple[str, str, dict[str, float]]]:
    """Of every ended trial: its candidate, how it ended, and what it measured (times and memory aside)."""
    found = {}
    for number, trial in store.history(run).trials.items():
        if not trial.open and trial.outcome is not None:
            metrics = getattr(trial.outcome, "metrics", {})
            measured = {name: metrics[name] for name in ("accuracy", "loss") if name in metrics}
            found[number] = (trial.proposal.hash, trial.state, measured)
    return found


MORE = 20  # trials


@dataclass
class Kills:
    """What was done to one run: the journal's last event when the kill came, and after a torn write."""

    at: Counter[str] = field(default_factory=Counter)
    torn: Counter[str] = field(default_factory=Counter)
    of_workers: int = 0


def kill_and_resume(tmp_path: Path, kills: int, trials: int, seed: int) -> Kills:
    """One run, killed and gone on with ``kills`` times (more, while a kind of last event is missing), then ended."""
    random_ = random.Random(seed)
    (tmp_path / "space.yaml").write_text(SPACE)
    config = tmp_path / "config.yaml"
    config.write_text(CONFIG.format(space=tmp_path / "space.yaml", trials=trials))
    run = tmp_path / "run"
    done, ever = Kills(), {}
    for number in itertools.count():
        seen = {*done.at, *done.torn}
        if number >= kills and (seen >= KINDS or number >= 2 * kills):
            break
        segments = set((run / "journal").glob("*.jsonl"))
        workers = str(1 + number % 3 // 2)  # budget and cluster change from one driver to the next
        budget = trials + number % 3 + MORE * done.at["run_ended"]  # of a run that has ended, nothing is left to kill
        process = start("search", str(config), "--run", str(run), "--trials", str(budget), "--workers", workers)
        kills_workers = number % 4 == 3
        wanted, began = random_.choice([0, 1, 2, 3, 4, 6, 8, 12, 16, 24]), time.monotonic()
        missing = KINDS - seen if number >= kills // 2 else set()
        if number < 2 or missing:  # the moments of a start, which are soon over
            wanted = 2
        elif kills_workers:
            wanted = max(wanted, 12)
        while process.poll() is None and lines_beside(run, segments) < wanted and time.monotonic() - began < 30:
            time.sleep(0.005)
            if kills_workers and lines_beside(run, segments) > wanted // 2 and not done.of_workers > number // 4:
                done.of_workers += kill_a_worker(process, random_)
        time.sleep(random_.random() * 0.3 * (number >= 2 and not missing))
        until = time.monotonic() + 10  # from half way on, a moment of a kind that is still missing is waited for
        while missing and process.poll() is None and time.monotonic() < until:
            if would_leave(run, torn=bool(number % 2)) & missing:
                break
            time.sleep(0.002)
        kill(process, "driver" if number % 4 < 2 else "everything")
        if not store.exists(run / "journal"):
            continue
        ever |= finished(run)
        done.at[last_kind(run)] += 1
        if number % 2:
            cut_inside_last_turn(run, KINDS - seen, random_)
            done.torn[last_kind(run)] += 1
        if store.history(run).started:
            sound(run)
    process = start("search", str(config), "--run", str(run), "--trials", str(trials))
    assert process.wait(timeout=150) == 0, process.stderr.read().decode() if process.stderr else ""
    done.at[last_kind(run)] += 1
    history = sound(run)
    # Also what a torn write took from the journal is there again: proposed alike, and adopted or trained alike.
    assert {number: finished(run).get(number) for number in ever} == ever, "a finished trial was lost or changed"
    states = Counter(trial.state for trial in history.trials.values())
    assert states["completed"] + states["failed"] >= trials
    assert states["running"] + states["pending"] == 0
    assert half_written(run) == []
    shutil.rmtree(run / "trials")
    return done


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_random_moments_no_finished_trial_is_lost_or_doubled(tmp_path: Path) -> None:
    """Other moments in each run, and one of every kind in all of them. A start costs some 6 s of the processor."""
    seed = int(time.time())
    done = kill_and_resume(tmp_path, kills=8, trials=80, seed=seed)
    print(f"seed {seed}: journal's last event at each kill:", dict(done.at), "after torn writes:", dict(done.torn))
    assert {*done.at, *done.torn} >= KINDS, f"no kill came after {KINDS - {*done.at, *done.torn}}"
    assert done.of_workers >= 1
