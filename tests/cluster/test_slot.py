"""A worker slot: what a candidate does costs its child alone, and children are used again only when that is safe."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from behaviours import behave
from process_tree import alive, descendants, wait_until_gone

from nas import results
from nas.cluster import environment
from nas.cluster.attempts import recorded
from nas.cluster.slot import Slot, pickled
from nas.errors import InputError
from nas.records import Failed, Succeeded, settles


@pytest.fixture
def slot():
    slot = Slot(pickled(behave), memory=300 << 20)
    yield slot
    slot.close()


def pid_of(outcome) -> int:
    return int(outcome.place.rpartition("/")[2])


def test_a_child_is_used_again_after_a_success_and_only_then(slot, attempt):
    outcomes = [slot.run(attempt(do)) for do in ("succeed", "succeed", "raise", "succeed")]
    assert [outcome.fresh for outcome in outcomes] == [True, False, False, True]
    assert len({pid_of(outcome) for outcome in outcomes[:3]}) == 1
    assert pid_of(outcomes[3]) != pid_of(outcomes[2])


def test_children_keep_what_torch_compiles_in_one_folder_whatever_their_tmpdir(attempt, tmp_path, monkeypatch):
    """Batch systems give each job a TMPDIR: every worker of a host would compile what the one beside it has."""
    monkeypatch.setattr(environment, "HERE", tmp_path)
    monkeypatch.delenv(environment.COMPILED, raising=False)  # torch sets it, too, where it was imported
    look = pickled(lambda candidate, context: context.note(kept=os.environ["TORCHINDUCTOR_CACHE_DIR"]) or 1.0)
    kept = []
    for job in ("1", "2"):
        monkeypatch.setenv("TMPDIR", str(tmp_path / job))
        own = Slot(look, preload=["torch._dynamo"] if job == "2" else ())
        try:
            kept.append(own.run(attempt()).notes["kept"])
        finally:
            own.close()
    shared = tmp_path / f"nas-compiled-{os.getuid()}"
    assert kept == [str(shared)] * 2
    assert shared.stat().st_mode & 0o777 == 0o700


def test_no_child_runs_programs_from_a_folder_that_is_not_this_users_alone(tmp_path, monkeypatch):
    """Everybody can write where it lies; and who names a folder gets that one."""
    monkeypatch.setattr(environment, "HERE", tmp_path)
    (tmp_path / "theirs").mkdir()
    (tmp_path / f"nas-compiled-{os.getuid()}").symlink_to("theirs")
    assert environment.compiled({}) == {}
    monkeypatch.setattr(environment, "HERE", tmp_path / "nowhere")
    assert environment.compiled({}) == {}
    monkeypatch.setattr(environment, "HERE", tmp_path / "theirs")
    assert environment.compiled({environment.COMPILED: "mine"}) == {}
    assert list(environment.compiled({})) == [environment.COMPILED]


def test_an_attempt_that_wants_a_fresh_child_gets_one(slot, attempt):
    first, second = slot.run(attempt()), slot.run(attempt(fresh=True))
    assert second.fresh
    assert pid_of(first) != pid_of(second)


@pytest.mark.parametrize(
    ("do", "message"), [("_exit", "ended with exit code 4"), ("fault", "killed by SIGSEGV"), ("leave", "exit code 3")]
)
def test_a_crash_says_how_and_brings_the_end_of_the_log(slot, attempt, do, message):
    one = attempt(do)
    outcome = slot.run(one)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.fresh) == ("crashed", True)
    assert message in outcome.message
    if do == "fault":
        assert "behaviours.py" in outcome.traceback  # faulthandler's, from log.txt
    assert results.read_result(one) == (0, outcome)
    assert isinstance(slot.run(attempt()), Succeeded)


def test_memory_beyond_the_limit_ends_the_child(slot, attempt):
    outcome = slot.run(attempt("fill memory"))
    assert outcome.kind == "out_of_memory"
    assert "allowed are 0.31 GB (cluster.memory)" in outcome.message


def test_what_was_killed_for_memory_is_told_to_halve_and_then_charged(slot, attempt):
    """No exception reached it, so nothing was halved: charged at once, a batch that fits in two parts would fail."""
    one = attempt("fill memory")
    whole = slot.run(one)
    half = slot.run(dataclasses.replace(one, attempt=1, fresh=True, halve=True))
    assert [(outcome.fresh, outcome.may_halve, settles(outcome)) for outcome in (whole, half)] == [
        (True, True, False),
        (True, False, True),
    ]
    assert slot.run(dataclasses.replace(one, attempt=2)) == half
    notes = slot.run(dataclasses.replace(attempt("look around"), halve=True)).notes
    assert (notes["memory"], notes["halve"]) == (300 << 20, True)


def test_a_deadline_ends_the_child_and_what_it_started(slot, attempt, tmp_path):
    outcome = slot.run(attempt("start a process and sleep", deadline=0.7, pids=str(tmp_path / "pids")))
    assert outcome.kind == "timeout"
    assert outcome.message == "not done within its 0.7 s"
    assert 0.7 <= outcome.seconds < 5
    assert not wait_until_gone({int((tmp_path / "pids").read_text()), pid_of(outcome)}, 1)


@pytest.mark.parametrize(
    ("do", "deadline", "kind"),
    [("sleep", 0.5, "timeout"), ("fill memory", None, "out_of_memory"), ("fault", None, "crashed")],
)
def test_what_a_killed_child_had_noted_is_in_its_record(slot, attempt, do, deadline, kind):
    """A trial that fell back to fp32 and then took too long would else be one of unknown precision."""
    one = attempt(do, deadline=deadline, notes=[{"dtype": "bfloat16"}, {"dtype": "float32", "fallbacks": ["bf16"]}])
    one = dataclasses.replace(one, halve=True)  # of what is killed for memory this attempt is the last
    outcome = slot.run(one)
    assert (outcome.kind, outcome.notes) == (kind, {"dtype": "float32", "fallbacks": ["bf16"]})
    assert results.read_result(one) == (0, outcome)


def test_output_of_an_attempt_is_in_its_log_and_nowhere_else(slot, attempt, capfd):
    one, other = attempt("print"), attempt()
    slot.run(one)
    slot.run(other)
    log = (Path(one.folder) / "0" / "log.txt").read_text()
    assert sorted(log.splitlines()) == ["last words", "to standard error", "to standard output", "to the shell"]
    assert (Path(other.folder) / "0" / "log.txt").read_text() == ""
    assert capfd.readouterr() == ("", "")


def test_a_failure_that_a_reused_child_may_be_to_blame_for_is_not_taken_for_the_trials(slot, attempt):
    """The search repeats it in a fresh child; that must train, not return the first failure."""
    slot.run(attempt())
    one = attempt("_exit")
    first = slot.run(one)
    second = slot.run(dataclasses.replace(one, attempt=1, fresh=True))
    third = slot.run(dataclasses.replace(one, attempt=2))
    assert (first.fresh, second.fresh) == (False, True)
    assert pid_of(first) != pid_of(second)
    assert third == second


def test_a_child_that_keeps_memory_is_retired(slot, attempt):
    places = [slot.run(attempt("keep memory", bytes=size)).place for size in (1000, 1000, 90 << 20, 1000)]
    assert places[0] == places[1] == places[2] != places[3]


def test_memory_that_is_freed_does_not_retire_a_child(slot, attempt):
    code = pickled(lambda candidate, context: float(len(b"x" * candidate.hyperparameters["bytes"])))
    own = Slot(code)
    try:
        places = {own.run(attempt(bytes=size)).place for size in (1000, 90 << 20, 1000)}
    finally:
        own.close()
    assert len(places) == 1


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_child_killed_before_or_after_it_wrote_its_result(attempt, when):
    """What was written stands; what was not is a crash, and is written by the slot."""

    def objective(candidate, context):
        from nas import durable

        if when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        durable.sync_folder = lambda folder: os.kill(os.getpid(), signal.SIGKILL)  # the last step of writing a file
        return 0.5

    own = Slot(pickled(objective))
    one = attempt()
    (Path(one.folder) / "0").mkdir(parents=True)
    try:
        outcome = own.run(one)
    finally:
        own.close()
    if when == "before":
        assert (outcome.kind, outcome.message) == ("crashed", "killed by SIGKILL")
    else:
        assert outcome.metrics == {"value": 0.5}
    assert results.read_result(one) == (0, outcome)


def wait_for(path: Path, seconds: float = 20) -> str:
    """What a file says, once it says something."""
    until = time.monotonic() + seconds
    while not path.exists() or not path.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)
    return path.read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1], ids=lambda number: number.name)
def test_a_child_that_was_asked_to_end_is_not_to_blame(slot, attempt, tmp_path, number):
    """A walltime or a shutdown may reach it before its worker: then its trial runs again, and nothing is written."""
    one = attempt("sleep", marker=str(tmp_path / "marker"))
    threading.Thread(target=lambda: os.kill(int(wait_for(tmp_path / "marker")), number)).start()
    outcome = slot.run(one)
    assert (outcome.kind, outcome.message) == ("preempted", f"ended by {number.name}")
    assert not (Path(one.folder) / "0" / results.FILE).exists()
    assert isinstance(slot.run(attempt()), Succeeded)


def worker_process(tmp_path: Path, do: str) -> subprocess.Popen[bytes]:
    """A process with a slot that runs one attempt of a trial whose folder is ``tmp_path``."""
    files = {name: str(tmp_path / name) for name in ("pids", "marker")}
    script = f"""
import sys
sys.path[:] = {sys.path!r}
from behaviours import behave
from nas.cluster.slot import Slot, pickled
from nas.records import Attempt
candidate = {{"hyperparameters": {dict(do=do, **files)!r}}}
print(Slot(pickled(behave)).run(Attempt("run", 0, 0, candidate, "hash", 1, {str(tmp_path)!r})))
"""
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)


@pytest.mark.parametrize("gap", [0.0, 0.02])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
def test_a_kill_of_everything_that_comes_to_the_child_first_writes_no_failure(tmp_path, number, gap):
    """What is written is adopted and told: a shutdown would be charged to every candidate that trained."""
    worker = worker_process(tmp_path, "sleep")
    child = int(wait_for(tmp_path / "marker"))
    below = descendants(worker.pid)
    os.kill(child, number)
    time.sleep(gap)
    os.kill(worker.pid, number)
    said, _ = worker.communicate()
    assert b"crashed" not in said
    assert not (tmp_path / "0" / results.FILE).exists()
    assert not wait_until_gone(below, 2)


def test_a_child_and_its_fork_server_killed_together_are_nobodys_fault(slot, attempt, tmp_path):
    one = attempt("sleep", marker=str(tmp_path / "marker"))

    def kill() -> None:
        os.kill(int(wait_for(tmp_path / "marker")), signal.SIGKILL)
        time.sleep(0.1)
        os.kill(slot._server.pid, signal.SIGKILL)

    threading.Thread(target=kill).start()
    assert slot.run(one).kind == "lost"
    assert not (Path(one.folder) / "0" / results.FILE).exists()
    assert isinstance(slot.run(attempt()), Succeeded)


def test_what_a_child_started_ends_when_its_fork_server_is_killed(slot, attempt, tmp_path):
    """The kernel ends the child with its server, but not what the child had started."""
    threading.Thread(target=lambda: wait_for(tmp_path / "pids") and os.kill(slot._server.pid, signal.SIGKILL)).start()
    outcome = slot.run(attempt("start a process and sleep", pids=str(tmp_path / "pids")))
    assert outcome.kind == "lost"
    assert not wait_until_gone({int((tmp_path / "pids").read_text())}, 1)


def test_a_note_of_a_class_that_only_the_child_knows_arrives_as_plain_json(slot, attempt):
    one = attempt("note of a class that nobody else has")
    outcome = slot.run(one)
    assert isinstance(outcome, Succeeded)
    assert outcome.notes == {"size": {"width": 3}}
    assert results.read_result(one) == (0, outcome)


def test_a_slot_never_raises(slot, attempt):
    """What it raised would be a task's error to Dask, while its child went on training for nobody."""

    def on_report(step, metrics):
        raise RuntimeError("the network is gone")

    outcome = slot.run(attempt("report"), on_report)
    assert outcome.kind == "lost"
    assert "RuntimeError: the network is gone" in outcome.message
    assert isinstance(slot.run(attempt()), Succeeded)


def test_a_full_disk_is_noted_beside_an_outcome_that_is_answered_all_the_same(attempt):
    """The outcome itself is frozen: who holds it must not see it change."""
    one, outcome = dataclasses.replace(attempt(), folder="/proc/no/such/place"), Succeeded({"value": 1.0})
    answered = recorded(one, outcome)
    assert "/proc/no/such/place" in answered.notes["result_not_written"]
    assert answered.metrics == outcome.metrics
    assert outcome.notes == {}


def test_cancel_from_another_thread_ends_the_attempt(slot, attempt):
    one = attempt("sleep")
    threading.Timer(0.3, slot.cancel, [one.trial, one.attempt]).start()
    outcome = slot.run(one)
    assert outcome.kind == "preempted"
    assert isinstance(slot.run(attempt()), Succeeded)


def test_a_killed_fork_server_costs_one_attempt_which_is_nobodys_fault(slot, attempt):
    slot.run(attempt())
    server = slot._server.pid
    threading.Timer(0.3, os.kill, [server, signal.SIGKILL]).start()
    assert slot.run(attempt("sleep")).kind == "lost"
    assert isinstance(slot.run(attempt()), Succeeded)


def test_a_disk_without_room_for_the_result_is_not_the_candidates_fault(slot, attempt):
    outcome = slot.run(dataclasses.replace(attempt(), folder="/proc/no/such/place"))
    assert outcome.kind == "lost"
    assert "no place for the result" in outcome.message


def test_an_objective_that_cannot_be_sent_is_refused_with_a_remedy():
    lock = threading.Lock()
    with pytest.raises(InputError, match="inside the objective"):
        pickled(lambda candidate, context: float(lock.locked()))


def test_an_objective_that_cannot_be_loaded_is_an_error_with_a_traceback(attempt):
    slot = Slot(b"not a pickle")
    try:
        outcome = slot.run(attempt())
    finally:
        slot.close()
    assert outcome.kind == "error"
    assert "UnpicklingError" in outcome.message


def test_nothing_outlives_a_killed_worker(tmp_path):
    """Child, what the child started, and fork server: all gone within 2 s of a SIGKILL."""
    worker = worker_process(tmp_path, "start a process and sleep")
    wait_for(tmp_path / "pids")
    below = descendants(worker.pid)
    assert len(alive(below)) == 3
    worker.kill()
    worker.communicate()
    assert not wait_until_gone(below, 2)
