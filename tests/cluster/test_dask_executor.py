"""The Dask executor on local workers: what only real processes can show."""

import dataclasses
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from behaviours import behave
from conftest import happenings_until_answer, run_all, wait_for_slots
from process_tree import LOOPBACK, alive, command, descendants, listeners, wait_until_gone

from nas.cluster.connect import connect
from nas.cluster.dask import DaskExecutor
from nas.cluster.environment import environment
from nas.cluster.local import LocalDask
from nas.cluster.settings import ClusterSettings
from nas.errors import SearchFailed
from nas.records import Answered, Attempt, SlotsChanged, Succeeded


def workers_of(pid: int) -> set[int]:
    return {child for child in descendants(pid) if "nas.cluster.worker" in command(child)}


@pytest.mark.parametrize(
    ("do", "kind"), [("_exit", "crashed"), ("fault", "crashed"), ("fill memory", "out_of_memory"), ("sleep", "timeout")]
)
def test_what_would_end_a_process_ends_one_attempt(dask_executor, attempt, do, kind):
    bad, good = attempt(do, deadline=0.5 if do == "sleep" else None), attempt()
    before = workers_of(os.getpid())
    outcomes = {answer.trial: answer.outcome for answer in run_all(dask_executor, bad, good)}
    assert outcomes[bad.trial].kind == kind
    assert isinstance(outcomes[good.trial], Succeeded)
    assert workers_of(os.getpid()) == before


def test_attempts_find_the_malloc_settings_and_the_threads_they_may_use(dask_executor, attempt):
    """Without the malloc settings CPU training runs at half its speed, and nothing else shows it."""
    [answer] = run_all(dask_executor, attempt("look around"))
    notes = answer.outcome.notes
    expected = {"OMP_NUM_THREADS": "1", "MALLOC_TRIM_THRESHOLD_": "17179869184", "CUDA_VISIBLE_DEVICES": ""}
    assert notes["environment"] == expected
    assert (notes["device"], notes["threads"]) == ("cpu", 1)


def test_training_in_a_reused_child_and_a_fresh_one_is_the_same_bit_for_bit(dask_executor, attempt):
    outcomes = [run_all(dask_executor, attempt("train", fresh=fresh))[0].outcome for fresh in (False, False, True)]
    assert {outcome.fresh for outcome in outcomes} == {True, False}
    assert len({tuple(outcome.metrics.items()) for outcome in outcomes}) == 1


def test_attempts_run_side_by_side(dask_executor, attempt, tmp_path):
    """Else two slots are one."""
    guests = [attempt("meet", place=str(tmp_path / "place"), guests=2) for _ in range(2)]
    assert all(isinstance(answer.outcome, Succeeded) for answer in run_all(dask_executor, *guests))


def test_nothing_of_the_tree_listens_beyond_loopback(dask_executor, attempt):
    one = attempt("sleep")
    dask_executor.start(one)
    tree = {os.getpid(), *descendants(os.getpid())}
    found = listeners(tree)
    dask_executor.cancel(one.trial, one.attempt)
    happenings_until_answer(dask_executor)
    assert len(found) >= 4, "scheduler and workers listen somewhere, else this test looks in the wrong place"
    assert [address for address in found if not address.startswith(LOOPBACK)] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
def test_ctrl_c_and_the_end_of_the_terminal_reach_no_worker(dask_executor, attempt, tmp_path, number):
    """They must end their attempts when the driver asks for it, not die beside it."""
    one = attempt("sleep", marker=str(tmp_path / "marker"), deadline=2.0)
    dask_executor.start(one)
    while not (tmp_path / "marker").exists():
        assert dask_executor.wait(0.05) == []
    below = descendants(os.getpid())
    assert os.getsid(0) not in {os.getsid(pid) for pid in below}, "a terminal signals its own session"
    for pid in below:
        os.kill(pid, number)
    [answer] = [h for h in happenings_until_answer(dask_executor) if isinstance(h, Answered)]
    assert answer.outcome.kind == "timeout", "the attempt did not go on"
    [answer] = run_all(dask_executor, attempt())
    assert isinstance(answer.outcome, Succeeded)
    child = {int((tmp_path / "marker").read_text())}
    assert below - child <= alive(below)


def test_a_killed_worker_costs_its_attempt_once_and_comes_back(dask_executor, attempt, tmp_path):
    marker = tmp_path / "marker"
    one = attempt("sleep", marker=str(marker))
    dask_executor.start(one)
    until = time.monotonic() + 10
    while not marker.exists():
        assert time.monotonic() < until
        time.sleep(0.02)
    [worker] = [pid for pid in workers_of(os.getpid()) if int(marker.read_text()) in descendants(pid)]
    below = descendants(worker)
    os.kill(worker, signal.SIGKILL)
    assert not wait_until_gone(below, 2)
    seen = happenings_until_answer(dask_executor)
    assert [h.outcome.kind for h in seen if isinstance(h, Answered)] == ["lost"]
    if SlotsChanged(2) not in seen:
        wait_for_slots(dask_executor, 2)
    answers = run_all(dask_executor, attempt(), attempt())
    assert all(isinstance(answer.outcome, Succeeded) for answer in answers)
    assert marker.read_text().count("\n") == 1, "it ran a second time"


def test_each_slot_sees_its_own_gpu(attempt, tmp_path):
    executor = connect(ClusterSettings(gpus=(4, 7)), behave, folder=tmp_path)
    try:
        wait_for_slots(executor, 2)
        guests = {"place": str(tmp_path / "place"), "guests": 2}  # one on each slot
        notes = [a.outcome.notes for a in run_all(executor, *[attempt("meet and look around", **guests) for _ in "ab"])]
    finally:
        executor.close()
    assert sorted(n["environment"]["CUDA_VISIBLE_DEVICES"] for n in notes) == ["4", "7"]
    assert {n["device"] for n in notes} == {"cuda"}


@pytest.fixture
def two_nodes(attempt, tmp_path) -> Iterator[DaskExecutor]:
    """Two workers on each of n1 and n2, both of which this machine is. In which order they are in line nobody knows."""
    guests = [attempt("meet", place=str(tmp_path / "place"), guests=4) for _ in range(4)]
    nodes = [{**environment(1, ""), "SLURMD_NODENAME": node} for node in ("n1", "n1", "n2", "n2")]
    members = LocalDask(nodes, None)
    executor = DaskExecutor(members.client, behave, members=members)
    try:
        run_all(executor, *guests)  # each worker has said by then where it is
        yield executor
    finally:
        executor.close()


def node_of(executor: DaskExecutor, attempt: Attempt) -> str:
    [answer] = run_all(executor, attempt)
    return answer.outcome.place.partition("/")[0]


def test_what_its_host_lost_and_what_is_copied_begins_on_another_host(two_nodes, attempt):
    """A broken node would else have all twenty tries, and a copy would hang on the disk on which the first one hangs.

    Where no other host is free, the same one is better than none.
    """
    for there, elsewhere in (("n1", "n2"), ("n2", "n1")):
        retried = dataclasses.replace(attempt(), avoid=(there,))
        assert node_of(two_nodes, retried) == elsewhere
        hangs = dataclasses.replace(attempt("sleep"), avoid=(elsewhere,))
        other = dataclasses.replace(attempt("sleep"), avoid=(there,))  # of each node one worker is free
        two_nodes.start(hangs)
        two_nodes.start(other)
        copy = dataclasses.replace(attempt(), trial=hangs.trial, attempt=1)
        assert node_of(two_nodes, copy) == elsewhere
        two_nodes.cancel(hangs.trial, hangs.attempt)
        two_nodes.cancel(other.trial, other.attempt)
        happenings_until_answer(two_nodes, 2)
    assert node_of(two_nodes, dataclasses.replace(attempt(), avoid=("n1", "n2"))) in ("n1", "n2")


def test_closing_leaves_no_process_file_or_word_on_the_terminal(attempt, tmp_path, monkeypatch, capfd):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    before = descendants(os.getpid())
    executor = connect(ClusterSettings(workers=1), lambda candidate, context: 1.0, folder=tmp_path)
    wait_for_slots(executor, 1)
    executor.start(attempt())
    happenings_until_answer(executor)
    executor.start(attempt())
    executor.close()
    assert descendants(os.getpid()) <= before
    assert list(temporary.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "logs" / "worker-0.log").read_text()


def test_whatever_dies_every_attempt_is_answered_once(attempt, tmp_path):
    """Workers, fork servers and children killed at random moments: no answer is lost, none comes twice."""
    chance, before = random.Random(1), descendants(os.getpid())
    executor = connect(ClusterSettings(workers=2), lambda candidate, context: time.sleep(0.03) or 1.0)
    kinds: Counter[str] = Counter()
    try:
        waiting = {one.trial: one for one in (attempt() for _ in range(40))}
        for one in waiting.values():
            executor.start(one)
        kill_at, kills, until = 0.0, 0, time.monotonic() + 90
        while waiting:
            assert time.monotonic() < until, f"never answered: {sorted(waiting)}"
            for happening in executor.wait(0.05):
                if isinstance(happening, Answered):
                    del waiting[happening.trial]  # KeyError: answered twice
                    kinds[getattr(happening.outcome, "kind", "succeeded")] += 1
            ours = descendants(os.getpid()) - before
            if time.monotonic() > kill_at and ours and kills < 8 and kinds["succeeded"]:
                os.kill(chance.choice(sorted(ours)), signal.SIGKILL)
                kill_at, kills = time.monotonic() + chance.uniform(0.0, 0.3), kills + 1
    finally:
        executor.close()
    assert kills >= 4
    assert set(kinds) <= {"succeeded", "lost", "crashed"}  # a child killed alone did crash, for all that is known
    assert kinds["succeeded"] >= 28


def test_workers_that_do_not_come_up_end_the_run_with_what_they_said(monkeypatch):
    """Else a broken environment would look like an endless wait."""
    monkeypatch.setattr("nas.cluster.local.BOOT", "import no_such_module")
    monkeypatch.setattr("nas.cluster.local.LONGEST_PAUSE", 0.1)
    executor = connect(ClusterSettings(workers=1), behave)
    with pytest.raises(SearchFailed, match="no_such_module"):
        executor.wait(30)
    executor.close()


def test_workers_that_come_up_no_more_end_the_run_too(monkeypatch, tmp_path):
    """A disk that filled or an environment that was upgraded in the middle: not an endless wait with no slot."""
    monkeypatch.setattr("nas.cluster.local.LONGEST_PAUSE", 0.1)
    before = workers_of(os.getpid())
    executor = connect(ClusterSettings(workers=2), behave, folder=tmp_path)
    try:
        wait_for_slots(executor, 2)
        monkeypatch.setattr("nas.cluster.local.BOOT", "import no_such_module")
        for worker in workers_of(os.getpid()) - before:
            os.kill(worker, signal.SIGKILL)
        until = time.monotonic() + 30
        with pytest.raises(SearchFailed) as caught:
            while time.monotonic() < until:
                executor.wait(1)
    finally:
        executor.close()
    assert caught.value.exit_code == 3
    assert "no_such_module" in str(caught.value)
    assert str(tmp_path / "logs" / "worker-") in str(caught.value)


def test_one_worker_that_does_not_come_up_is_no_end_while_another_is_up(monkeypatch, attempt):
    monkeypatch.setattr("nas.cluster.local.LONGEST_PAUSE", 0.1)
    before = workers_of(os.getpid())
    executor = connect(ClusterSettings(workers=2), behave)
    try:
        wait_for_slots(executor, 2)
        monkeypatch.setattr("nas.cluster.local.BOOT", "import no_such_module")
        os.kill(min(workers_of(os.getpid()) - before), signal.SIGKILL)
        until = time.monotonic() + 30
        while max(member.failures for member in executor.members._members) < 6:
            assert time.monotonic() < until
            executor.wait(0.1)
        [answer] = run_all(executor, attempt())
        assert isinstance(answer.outcome, Succeeded)
    finally:
        executor.close()


def test_an_answer_that_got_lost_is_read_from_its_file(attempt, monkeypatch):
    """Else the slot would wait for it for ever, and the run with it."""
    monkeypatch.setattr("nas.cluster.dask.ANSWER_LIMIT", 0.5)
    executor = connect(ClusterSettings(workers=1), behave)
    try:
        wait_for_slots(executor, 1)
        executor.client.unsubscribe_topic(executor.name)
        [answer] = run_all(executor, attempt())
        assert answer.outcome.metrics == {"value": 1.0}
        [answer] = run_all(executor, dataclasses.replace(attempt(), folder="/proc/no/such/place"))
        assert answer.outcome.kind == "lost"
        assert "did not come" in answer.outcome.message
        executor.client.subscribe_topic(executor.name, print)  # for ``close``
    finally:
        executor.close()


@pytest.mark.skipif(
    subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode != 0,
    reason="this kernel lets nobody have a network of his own",
)
def test_a_host_without_loopback_is_told_so_at_once(tmp_path):
    """Dask tries for half a minute, and leaves a traceback of its own."""
    process = driver(tmp_path, "1.0", "unshare", "-rn")
    _, said = process.communicate(timeout=20)
    assert said.splitlines()[-1].startswith("nas.errors.InputError: this host does not reach itself at 127.0.0.1 (")
    assert list((tmp_path / "temporary").iterdir()) == []


SCRIPT = """
import sys, time
sys.path[:] = {path!r}
import nas.cluster.connect, nas.cluster.settings, nas.records
executor = nas.cluster.connect.connect(
    nas.cluster.settings.ClusterSettings(workers=2), lambda candidate, context: {body}, folder=None)
for trial in range(2):
    executor.start(nas.records.Attempt("run", trial, 0, {{}}, "hash", 1, {folder!r} + "/%d" % trial))
answers = 0
while answers < 2:
    for happening in executor.wait(1):
        answers += isinstance(happening, nas.records.Answered)
        print(happening, flush=True)
executor.close()
"""


def driver(tmp_path: Path, body: str, *before: str) -> subprocess.Popen[str]:
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(path=sys.path, folder=str(tmp_path), body=body))
    (tmp_path / "temporary").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*before, sys.executable, str(script)], env=environment, **pipes)


def test_a_script_without_a_main_guard_runs_once(tmp_path):
    """Five lines in a file are how people begin; workers must not import the program's main module again."""
    process = driver(tmp_path, "float(context.trial)")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert out.count("Answered") == 2
    assert err == ""


def test_nothing_outlives_a_killed_driver(tmp_path):
    """SIGKILL of the driver: workers, fork servers and children are gone 3 s later, and so are their files."""
    began = f"open({str(tmp_path)!r} + '/began-%d' % context.trial, 'w')"
    process = driver(tmp_path, f"{began} and __import__('time').sleep(60)")
    try:
        until = time.monotonic() + 30
        while len(list(tmp_path.glob("began-*"))) < 2:
            assert time.monotonic() < until and process.poll() is None, process.stderr.read()
            time.sleep(0.05)
        below = descendants(process.pid)
        assert len(below) == 6  # two workers, each with a fork server and its child
    finally:
        process.kill()
    assert not wait_until_gone(below, 3)
    assert list((tmp_path / "temporary").iterdir()) == []
    process.communicate()
