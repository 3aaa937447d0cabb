"""kill -9 of a run under a scheduler, with real Dask workers, while trials are paused; then it goes on.

Without this, what a killed driver's trials had reached at their rungs might be trained twice, or lost.
"""

from __future__ import annotations

import random
import shutil
import time
from pathlib import Path

import pytest
from aftermath import half_written, sound
from test_kill import CONFIG, SPACE, kill, lines_beside, start

from nas import store
from nas.records import TrialPaused

KILLS = 5


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_killed_at_random_moments_paused_trials_stay_where_they_were_and_go_on(tmp_path: Path) -> None:
    """Rungs after one and three of nine epochs; each kill comes some lines after the last."""
    seed = int(time.time())
    random_ = random.Random(seed)
    print("seed", seed)
    (tmp_path / "space.yaml").write_text(SPACE)
    config = tmp_path / "config.yaml"
    text = CONFIG.format(space=tmp_path / "space.yaml", trials=18)
    config.write_text(text.replace("epochs: 2", "epochs: 9").replace("controller: {rl: {warmup: 8}}", "controller: rl"))
    run = tmp_path / "run"
    words = ["search", str(config), "--run", str(run), "--scheduler", "asha"]
    reached: set[tuple[int, int]] = set()
    for number in range(KILLS):
        segments = set((run / "journal").glob("*.jsonl"))
        process = start(*words)
        wanted, began = random_.choice([10, 20, 30]), time.monotonic()
        while process.poll() is None and lines_beside(run, segments) < wanted and time.monotonic() - began < 40:
            time.sleep(0.01)
        time.sleep(random_.random() * 0.2)
        kill(process, "driver" if number % 2 else "everything")
        if store.exists(run / "journal") and store.history(run).started:
            sound(run)
    process = start(*words)
    assert process.wait(timeout=200) == 0, process.stderr.read().decode() if process.stderr else ""
    history = sound(run)
    assert half_written(run) == []
    entries = [entry.event for entry in store.read(run / "journal")]
    for event in entries:
        if isinstance(event, TrialPaused):
            assert (event.trial, event.step) not in reached, "a trial reached one rung twice"
            reached.add((event.trial, event.step))
    assert history.tally["completed"] >= 1
    assert history.tally["completed"] + history.tally["paused"] + history.tally["failed"] == 18
    for trial in history.trials.values():
        steps = [step for step, _ in trial.curve()]
        assert steps == sorted(set(steps))
        assert trial.outcome is not None
        if trial.state == "paused":
            assert (trial.reached, trial.outcome.metrics["epochs"]) in ((1, 1.0), (3, 3.0))
            counted = next(a for a in trial.attempts if a.outcome is trial.outcome)
            assert list((run / f"trials/{trial.number}/{counted.attempt}/state").iterdir())
        elif trial.state == "completed":
            assert trial.outcome.metrics["epochs"] == 9.0
    shutil.rmtree(run / "trials")
