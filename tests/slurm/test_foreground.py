"""`nas search --cluster slurm`: the search here, its workers jobs of a real SLURM, and what becomes of these."""

import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from aftermath import settled
from slurm_cluster import SlurmCluster
from slurm_objective import STEPS, count_slowly, sleep_a_little, wait_for_a_file

import nas
from nas import store
from nas.cluster.batch import workers
from nas.errors import Interrupted
from nas.records import TrialEnded
from nas.submit import command


def space(seconds: float) -> dict[str, object]:
    return {"name": "numbers", "hyperparameters": {"x": {"float": [0.0, 1.0]}, "seconds": seconds}}


def search(run: Path, *, trials: int, seconds: float = 0.3, observe=None, **cluster: object) -> nas.Run:
    settings = {"kind": "slurm", "memory": "300M", "time": 10, **cluster}
    return nas.search(
        space(seconds), sleep_a_little, trials=trials, controller="random", cluster=settings, run=run, observe=observe
    )  # fmt: skip


def ended_once(run: Path, trials: int) -> None:
    events = [entry.event for entry in store.read(run / "journal")]
    assert sorted(event.trial for event in events if isinstance(event, TrialEnded)) == list(range(trials))


def active(slurm: SlurmCluster) -> dict[str, str]:
    return {job: state for job, state in slurm.states().items() if state in ("PENDING", "RUNNING", "CONFIGURING")}


def test_workers_are_jobs_that_come_share_the_trials_are_replaced_and_go(slurm, tmp_path, monkeypatch):
    """Two workers on one node, by srun; one job is cancelled mid-run and replaced; at the end none is left."""
    monkeypatch.setattr(workers, "LOOK", 0.5)
    seen = SimpleNamespace(cancelled="", workers=0)

    def observe(search, now):
        seen.workers = max(seen.workers, search.history.workers)
        done = [trial for trial in search.history.trials.values() if trial.state == "completed"]
        if len({trial.outcome.notes["job"] for trial in done}) < 2 or seen.cancelled:
            return  # asking SLURM takes a while, and the next look comes the later for it
        seen.cancelled = next(job for job, state in slurm.states().items() if state == "RUNNING")
        slurm.run("scancel", seen.cancelled)

    run = search(tmp_path / "run", trials=20, seconds=0.6, workers=4, nodes=2, observe=observe)
    trials = run.history.trials.values()
    assert [trial.state for trial in trials] == ["completed"] * 20
    assert seen.cancelled and seen.workers == 4
    ended_once(tmp_path / "run", 20)
    until = time.monotonic() + 30
    while (active(slurm) or "COMPLETING" in slurm.states().values()) and time.monotonic() < until:
        time.sleep(0.1)
    assert active(slurm) == {}
    assert slurm.states()[seen.cancelled] == "CANCELLED" and len(slurm.states()) == 3
    assert not (tmp_path / "run" / "cluster" / "scheduler.json").exists()
    for path, mode in (("", 0o700), ("tls", 0o700), ("tls/key.pem", 0o600), ("tls/cert.pem", 0o600)):
        assert (tmp_path / "run" / "cluster" / path).stat().st_mode & 0o777 == mode


def test_the_command_has_its_workers_from_slurm(nas_command, slurm, tmp_path):
    """By the flag alone, of a config that says nothing of SLURM but how large a worker is."""
    known, run = set(slurm.states()), tmp_path / "run"
    nas_command("search", "queued.yaml", "--cluster", "slurm", "--run", run, "--set", "budget.trials=2")
    settled(run, 2)
    assert len(set(slurm.states()) - known) == 2 and active(slurm) == {}


def test_a_worker_that_has_nothing_to_do_at_the_end_is_released(slurm, tmp_path):
    """While the last trial runs on: else all nodes of a run are held, and paid for, until its longest trial is over."""
    known, run = set(slurm.states()), tmp_path / "run"
    ended: dict[str, str] = {}

    def observe(search, now):
        if search.history.tally["completed"] == 2 and search.history.running:
            ended.update((job, state) for job, state in slurm.states().items() if job not in known)
            if "COMPLETED" in ended.values():
                (tmp_path / "released").touch()

    numbers = space(0.2)
    numbers["hyperparameters"] |= {"until": str(tmp_path / "released"), "after": 1}
    nas.search(
        numbers, wait_for_a_file, trials=3, controller="random", run=run, observe=observe,
        cluster={"kind": "slurm", "memory": "300M", "time": 10, "workers": 2},
    )  # fmt: skip
    settled(run, 3)
    assert sorted(ended.values()) == ["COMPLETED", "RUNNING"], "nobody was released, or was asked for again"
    idle = next(job for job, state in ended.items() if state == "COMPLETED")
    assert "ended: released" in (run / f"logs/workers-{idle}.log").read_text()


def test_jobs_that_can_never_start_are_said_so_and_cancelled_jobs_end_the_search(slurm, tmp_path, monkeypatch):
    """Else a person waits all night for a partition that ends jobs after a minute, and sees nothing of it."""
    monkeypatch.setattr(workers, "LOOK", 1.0)
    run = tmp_path / "run"

    def observe(of, now):
        if any("workers: 1 can never start (Partition" in str(one.message) for one in told):
            command.cancel(run)

    with (
        pytest.warns(RuntimeWarning, match="no worker yet; workers: 1") as told,
        pytest.raises(Interrupted, match="jobs were cancelled"),
    ):
        search(run, trials=1, workers=1, partition="short", observe=observe)
    assert active(slurm) == {}
    assert len(told) == len({str(one.message) for one in told})


def test_trials_of_workers_that_slurm_ends_or_warns_go_on_where_they_were(slurm, tmp_path):
    """SIGTERM to every process of one worker's job, and SIGUSR1 to the other's: no step is made twice."""
    told: list[str] = []

    def observe(search, now):
        reached = [search.history.trials[trial].attempts[attempt].epochs for trial, attempt in search.history.running]
        if not told and len(reached) == 2 and min(reached) >= 2:
            told.extend(job for job, state in slurm.states().items() if state == "RUNNING")
            slurm.run("scancel", told[0])
            slurm.run("scancel", "--batch", "--signal=USR1", told[1])

    run = tmp_path / "run"
    nas.search(
        {"name": "numbers", "hyperparameters": {"x": {"float": [0.0, 1.0]}}}, count_slowly, trials=2, run=run,
        controller="random", cluster={"kind": "slurm", "memory": "300M", "time": 10, "workers": 2}, observe=observe,
    )  # fmt: skip
    history = settled(run, 2)
    assert len(told) == 2
    for trial in history.trials.values():
        first, *_, last = trial.attempts
        assert first.left_state and last.outcome.notes["job"] not in told
        assert not any(attempt.lost for attempt in trial.attempts)
    assert history.epochs_trained == 2 * STEPS
    assert not list(run.rglob("state/*"))


def test_a_worker_whose_node_fails_costs_its_attempt_and_slurm_begins_it_elsewhere(slurm, tmp_path):
    """Slurmd and the worker are gone at once, and SLURM notices later: NODE_FAIL, and the job is requeued."""
    seen, run = SimpleNamespace(node="", job=""), tmp_path / "run"

    def observe(search, now):
        running = dict(line.split() for line in slurm.run("squeue", "-h", "-t", "R", "-o", "%i %N").splitlines())
        if search.history.tally["completed"] and len(search.history.running) == 2 and not seen.node:
            seen.job, seen.node = next(iter(running.items()))
            slurm.fail_node(seen.node)
        if seen.node and "Restarts=1" in slurm.run("scontrol", "show", "job", seen.job):
            (tmp_path / "requeued").touch()

    numbers = space(0.2)
    numbers["hyperparameters"] |= {"until": str(tmp_path / "requeued"), "after": 0}
    nas.search(
        numbers, wait_for_a_file, trials=6, controller="random", run=run, observe=observe,
        cluster={"kind": "slurm", "memory": "7800M", "time": 10, "workers": 2},
    )  # fmt: skip
    trials = settled(run, 6).trials.values()
    assert (tmp_path / "requeued").exists() and (run / "trials/5").exists()
    assert [trial.state for trial in trials] == ["completed"] * 6
    lost = [trial for trial in trials if any(attempt.lost for attempt in trial.attempts)]
    assert lost, "the node failed while nothing ran on it"
    assert seen.node not in {trial.outcome.notes["node"] for trial in lost}
