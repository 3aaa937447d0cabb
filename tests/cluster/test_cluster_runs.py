"""A whole run on local workers: what it opens to the network, and what kills in the middle of it cost."""

import contextlib
import json
import os
import random
import signal
import socket
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from aftermath import settled
from process_tree import LOOPBACK, command, descendants, listeners

import nas
from nas import config as configs
from nas import driver, store, stragglers
from nas.cluster.dask import DaskExecutor
from nas.cluster.environment import environment
from nas.cluster.local import LocalDask
from nas.config import CallableConfig
from nas.plan import PRELOAD, Plan
from nas.plan import plan as plan_of
from nas.records import TrialReported
from nas.space import Space

SPACE = {"name": "numbers", "hyperparameters": {"x": {"float": [0.0, 1.0]}}}


def test_no_process_of_a_run_hears_the_network(tmp_path):
    """TCP and UDP, IPv4 and IPv6: nobody but this host may reach scheduler, workers or children."""
    heard: dict[str, str] = {}
    kinds: Counter[str] = Counter()
    looked = tmp_path / "looked"  # at everything, while both children were at work

    def objective(candidate, context):
        until = time.monotonic() + 20
        while not looked.exists() and time.monotonic() < until:
            time.sleep(0.02)
        return 1.0

    def look(search, now):
        tree = {pid: command(pid) for pid in (os.getpid(), *descendants(os.getpid()))}
        for kind in ("cluster.worker", "cluster.forkserver"):
            kinds[kind] = max(kinds[kind], sum(kind in words for words in tree.values()))
        heard.update({address: tree[pid] for address, pid in listeners(set(tree)).items()})
        if kinds["cluster.worker"] >= 2 and kinds["cluster.forkserver"] >= 4:
            looked.touch()

    nas.search(SPACE, objective, trials=6, cluster={"workers": 2}, run=tmp_path / "run", observe=look)
    assert kinds["cluster.worker"] >= 2
    assert kinds["cluster.forkserver"] >= 4, "two servers, each with a child"
    assert len(heard) >= 3, "scheduler and workers listen somewhere, else this test looks in the wrong place"
    assert [(address, who) for address, who in heard.items() if not address.startswith(LOOPBACK)] == []


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
@pytest.mark.parametrize(("family", "everywhere"), [(socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")])
def test_the_look_at_the_network_sees_every_kind_of_socket(family, everywhere, kind):
    with socket.socket(family, kind) as hearing:
        hearing.bind((everywhere, 0))
        if kind == socket.SOCK_STREAM:
            hearing.listen()
        port = f":{hearing.getsockname()[1]:04X}"
        found = {address for address in listeners({os.getpid()}) if address.endswith(port)}
    assert len(found) == 1
    assert not found.pop().startswith(LOOPBACK)


def test_a_candidate_that_kills_its_workers_is_tried_on_another_host_and_then_set_aside(tmp_path):
    """Two nodes, of which this machine is both. Else it would kill twenty-one workers, and all on one node."""

    def objective(candidate, context):
        if context.trial == 1:
            time.sleep(0.5)  # the other worker is idle by then, and so is this one when it has come back
            worker = int(Path(f"/proc/{os.getppid()}/stat").read_text().rpartition(")")[2].split()[1])
            os.kill(worker, signal.SIGKILL)
            time.sleep(60)
        return 1.0

    def connect(folder):
        members = LocalDask([{**environment(1, ""), "SLURMD_NODENAME": node} for node in ("n1", "n2")], None)
        return DaskExecutor(members.client, objective, members=members)

    values = {"name": "killer", "space": "x", "objective": "objective", "controller": "random"}
    config = CallableConfig.model_validate(values | {"reward": {"maximize": "value"}, "budget": {"trials": 3}})
    ended = driver.run(Plan(config, Space.read(SPACE), objective, connect), tmp_path / "run")
    killer = ended.history.trials[1]
    assert [trial.state for trial in ended.history.trials.values()] == ["completed", "failed", "completed"]
    assert killer.outcome.kind == "crashed"
    assert sorted(attempt.host for attempt in killer.attempts) == ["n1", "n2"]


def test_a_batch_that_is_killed_for_its_memory_is_trained_in_halves(tmp_path):
    """Nothing raises where a slot's memory ends: a trainer that halves where something does would be killed twice.

    A batch has 660 MiB resident, and half of it 500, where malloc leaves no holes: large blocks are mapped here.
    """
    wide = {"conv": {"filters": 512, "kernel": 1}}
    network = [wide, *4 * [{"activation": "gelu"}], {"global_pool": "average"}, {"linear": 10}]
    space, config = tmp_path / "wide.yaml", tmp_path / "config.yaml"
    space.write_text(json.dumps({"architecture": network, "hyperparameters": {"batch_size": 512}}))
    train = {"epochs": 1, "precision": "fp32"}
    said = {"space": str(space), "task": {"dataset": "digits"}, "controller": "random", "train": train}
    config.write_text(json.dumps(said | {"budget": {"trials": 1}}))

    def connect(folder):
        members = LocalDask([{**environment(1, ""), "MALLOC_MMAP_THRESHOLD_": str(1 << 20)}], None)
        return DaskExecutor(members.client, plan.objective, preload=PRELOAD, memory=580 << 20, members=members)

    plan = replace(plan_of(configs.load(config)), connect=connect)
    trial = driver.run(plan, tmp_path / "run").history.trials[0]
    killed, halved = (attempt.outcome for attempt in trial.attempts)
    assert (killed.kind, killed.fresh, trial.outcome) == ("out_of_memory", True, halved)
    again = driver.run_again(plan, tmp_path / "run", 0)
    for notes in (halved.notes, again.notes):
        assert (notes["batch_size"], notes["micro_batch"]) == (512, 256)
        assert notes["micro_batch_reason"] == "out of memory in an earlier attempt"
    assert again.metrics["loss"] == halved.metrics["loss"], "it is repeated as it was trained"


def test_a_hanging_attempt_is_cut_off_and_the_last_one_is_overtaken_by_its_copy(tmp_path, monkeypatch):
    """Two hang for ever, of which only others' lengths tell; without a deadline nothing else would end them."""
    monkeypatch.setattr(stragglers, "FLOOR", 2.0)
    monkeypatch.setattr(stragglers, "COPIED_FLOOR", 0.5)

    def objective(candidate, context):
        began = tmp_path / f"began-{context.trial}"
        if context.trial in (0, 13) and not began.exists():
            began.touch()
            time.sleep(600)
        time.sleep(0.05)
        return float(context.trial)

    run = nas.search(SPACE, objective, trials=14, controller="random", cluster={"workers": 2}, run=tmp_path / "run")
    trials = run.history.trials
    assert [trial.state for trial in trials.values()] == ["completed"] * 14
    assert trials[0].attempts[0].cut.startswith("cut off after")
    assert [(attempt, outcome.kind) for attempt, outcome in trials[13].late] == [(0, "preempted")]
    assert run.history.ended.digest == store.history(tmp_path / "run").ended.digest


def test_a_budget_of_epochs_is_kept_to_within_one_on_each_worker(tmp_path):
    """Counted on each worker for itself, or when an attempt ends, it would be overdrawn by any number. An epoch takes
    50 ms here, and as long as the report of the one before is on its way, however busy the machine is."""
    run, trained = tmp_path / "run", tmp_path / "trained"

    def objective(candidate, context):
        def recorded(epoch):
            events = (entry.event for entry in store.read(run / "journal") if isinstance(entry.event, TrialReported))
            return any((event.trial, event.step) == (context.trial, epoch) for event in events)

        for epoch in range(1, 1000):
            time.sleep(0.05)
            with trained.open("a") as file:
                file.write(f"{context.trial}\n")
            context.report(epoch, {"value": 1.0})
            while not recorded(epoch):
                time.sleep(0.01)
        return 1.0

    def connect(folder):
        members = LocalDask([environment(1, "")] * 2, None)
        return DaskExecutor(members.client, objective, members=members)

    values = {"name": "long", "space": "x", "objective": "objective", "controller": "random"}
    config = CallableConfig.model_validate(values | {"reward": {"maximize": "value"}, "budget": {"epochs": 16}})
    ended = driver.run(Plan(config, Space.read(SPACE), objective, connect, epochs=1000), run)
    assert (ended.reason, ended.history.epochs_trained) == ("budget", 16)
    assert 16 <= len(trained.read_text().split()) <= 16 + 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_kills_of_workers_and_children_cost_no_trial(tmp_path, number):
    """As a shutdown does it: children before workers, some milliseconds apart. Every trial ends once, and trained."""
    chance, before = random.Random(1), descendants(os.getpid())
    began = tmp_path / "began"
    began.mkdir()
    kills: Counter[str] = Counter()

    def objective(candidate, context):
        (began / f"{context.trial}-{os.getpid()}").touch()
        time.sleep(1.5)
        return candidate.hyperparameters["x"]

    def kill(search, now):
        just_now = [path for path in began.iterdir() if now - path.stat().st_mtime < 1]
        if kills["times"] >= 3 or not just_now:
            return
        kills["times"] += 1
        for pid in sorted(descendants(os.getpid()) - before, reverse=True):  # the youngest first
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may have gone with its worker
                kills["workers"] += "cluster.worker" in command(pid)
                os.kill(pid, number)
            time.sleep(chance.uniform(0.0, 0.02))
        for path in just_now:
            path.unlink()

    run = nas.search(
        SPACE, objective, trials=4, controller="random", cluster={"workers": 2}, run=tmp_path / "run", observe=kill,
    )  # fmt: skip
    assert kills["times"] >= 2  # workers that live through a SIGTERM need no time to come back for a third
    assert kills["workers"] == 2 * kills["times"]
    trials = run.history.trials.values()
    assert [trial.state for trial in trials] == ["completed"] * 4
    assert sum(attempt.lost for trial in trials for attempt in trial.attempts) >= 2, "the kills came when nothing ran"
    settled(tmp_path / "run", 4)
