"""What every executor does: the contract of nas.cluster, run by the inline one and by Dask's on local workers."""

import contextlib
import dataclasses
from pathlib import Path

import orjson
import pytest
from behaviours import behave
from conftest import happenings_until_answer, run_all, wait_for_slots

from nas import durable, results
from nas.cluster.inline import InlineExecutor
from nas.errors import DiskFailed
from nas.records import Answered, Failed, Reported, Succeeded


def test_an_attempt_is_answered_once_with_its_metrics(executor, attempt):
    one = attempt()
    [answer] = run_all(executor, one)
    assert (answer.trial, answer.attempt) == (one.trial, one.attempt)
    assert isinstance(answer.outcome, Succeeded)
    assert answer.outcome.metrics == {"value": 1.0}
    assert answer.outcome.place
    assert executor.wait(0.1) == []


@pytest.mark.parametrize(
    ("do", "kind", "message"),
    [
        ("raise", "error", "ArithmeticError: no such number"),
        ("invalid", "invalid", "a kernel larger than its image"),
        ("nan", "diverged", "the objective returned accuracy = nan"),
        ("leave", "crashed", "ended with exit code 3"),
        ("note a function", "error", "not JSON serializable"),
        ("name a file in Latin-1", "error", r"/no/such/caf\udce9"),
    ],
)
def test_what_a_candidate_does_wrong_is_a_value_and_the_executor_goes_on(executor, attempt, do, kind, message):
    bad, good = attempt(do), attempt()
    outcomes = {answer.trial: answer.outcome for answer in run_all(executor, bad, good)}
    failed = outcomes[bad.trial]
    assert isinstance(failed, Failed)
    assert failed.kind == kind
    assert message in failed.message
    assert isinstance(outcomes[good.trial], Succeeded)


def test_what_a_candidate_noted_before_it_ended_its_process_is_in_the_answer(executor, attempt):
    """Else nobody knows in which precision it trained that crashed, and `nas trial --run-again` would try another."""
    noted = [{"dtype": "bfloat16", "fallbacks": []}, {"dtype": "float32"}]
    [answer] = run_all(executor, attempt("leave", notes=noted))
    assert answer.outcome.kind == "crashed"
    assert answer.outcome.notes == {"dtype": "float32", "fallbacks": []}


def test_an_error_brings_its_traceback(executor, attempt):
    [answer] = run_all(executor, attempt("raise"))
    assert "behaviours.py" in answer.outcome.traceback


def test_reports_come_in_order_before_the_answer_and_hold_finite_numbers_only(executor, attempt):
    one = attempt("report")
    executor.start(one)
    seen = happenings_until_answer(executor)
    assert seen[:-1] == [Reported(one.trial, 0, step, {"accuracy": step / 10}) for step in range(1, 6)]
    assert isinstance(seen[-1], Answered)


def test_an_attempt_is_told_to_stop_at_a_report_and_no_other_is(executor, attempt):
    """Without it a scheduler could only kill: a trial could neither return what it reached nor write a checkpoint."""
    first, second = attempt("report until stopped"), attempt("report")
    if isinstance(executor, InlineExecutor):
        executor.hear = lambda report: executor.stop(first.trial, 0) if report.step == 3 else None
    executor.start(first)
    seen = []
    while not any(isinstance(h, Answered) for h in seen):
        seen += executor.wait(0.5)
        if Reported(first.trial, 0, 3, {"accuracy": 0.5}) in seen:
            executor.stop(first.trial, 0)
    outcome = next(h.outcome for h in seen if isinstance(h, Answered))
    assert isinstance(outcome, Succeeded)
    assert 3 <= outcome.metrics["step"] < 500
    executor.stop(first.trial, 0)  # too late: the next attempt must not take it for its own
    executor.stop(second.trial, 0)  # too early
    [answer] = run_all(executor, second)
    assert isinstance(answer.outcome, Succeeded)


def test_an_attempt_pauses_at_its_step_and_another_goes_on_from_what_it_left(executor, attempt):
    """Without it a promoted trial would be trained from the beginning again."""
    first = dataclasses.replace(attempt("count to nine"), until=3)
    [answer] = run_all(executor, first)
    assert answer.outcome.metrics == {"step": 3, "trained": 3}
    assert answer.outcome.step == 3
    second = dataclasses.replace(first, attempt=1, until=5, saved=0, since=1)  # the first's result does not answer it
    [answer] = run_all(executor, second)
    assert answer.outcome.metrics == {"step": 5, "trained": 2}
    lost = dataclasses.replace(first, attempt=2, until=None, saved=1, since=2)
    results.forget_state(first.folder, 1)
    [answer] = run_all(executor, lost)
    assert answer.outcome.metrics == {"step": 9, "trained": 9}
    assert not (Path(first.folder) / "2" / results.STATE).exists()  # nothing goes on from the last one


def test_an_attempt_that_is_told_to_leaves_its_state_and_another_goes_on_from_it(executor, attempt):
    """Without it what a preempted worker trained is trained again."""
    first = attempt("count to nine", pause=0.2)
    if isinstance(executor, InlineExecutor):
        executor.hear = lambda report: executor.stop(first.trial, 0, leave=True) if report.step == 3 else None
    executor.start(first)
    seen = []
    while not any(isinstance(h, Answered) for h in seen):
        seen += executor.wait(0.5)
        if Reported(first.trial, 0, 3, {"value": 3.0}) in seen:
            executor.stop(first.trial, 0, leave=True)
    outcome = next(h.outcome for h in seen if isinstance(h, Answered))
    assert (outcome.kind, outcome.message) == ("preempted", f"preempted; it left its state at step {outcome.step}")
    assert 3 <= outcome.step < 9
    assert results.read_attempt(first) == outcome, "where the driver dies now, the next one finds it"
    [answer] = run_all(executor, dataclasses.replace(first, attempt=1, saved=0))
    assert answer.outcome.metrics == {"step": 9, "trained": 9 - outcome.step}


def test_told_to_leave_at_its_last_step_an_attempt_has_ended(attempt):
    """A result that was there would be trained for once more."""
    one, executor = attempt("count to nine"), InlineExecutor(behave)
    executor.hear = lambda report: executor.stop(one.trial, 0, leave=True) if report.step == 9 else None
    [answer] = run_all(executor, one)
    assert (answer.outcome.metrics, answer.outcome.stopped) == ({"step": 9, "trained": 9}, False)


def test_the_result_is_in_the_folder_when_the_answer_comes(executor, attempt):
    """Without it, a killed driver would train again what was trained."""
    one = attempt()
    [answer] = run_all(executor, one)
    line = (Path(one.folder) / "0" / "result.json").read_bytes()
    record = durable.unseal(line)
    assert {name: record[name] for name in ("run", "trial", "attempt", "hash")} == {
        "run": one.run,
        "trial": one.trial,
        "attempt": 0,
        "hash": one.hash,
    }
    assert results.read_result(one) == (0, answer.outcome)


def test_a_trial_that_is_answered_already_is_not_trained_again(executor, attempt, tmp_path):
    marker = tmp_path / "marker"
    one = attempt(marker=str(marker))
    [first] = run_all(executor, one)
    again = type(one)(**{name: getattr(one, name) for name in one.__slots__} | {"attempt": 1})
    [second] = run_all(executor, again)
    assert second.attempt == 1
    assert second.outcome == first.outcome
    assert len(marker.read_text().splitlines()) == 1


def test_a_cancelled_attempt_is_answered_and_costs_no_slot(executor, attempt):
    one = attempt("sleep")
    executor.start(one)
    executor.cancel(one.trial, one.attempt)
    [answer] = [h for h in happenings_until_answer(executor, seconds=20) if isinstance(h, Answered)]
    assert answer.outcome.kind == "preempted"
    assert not (Path(one.folder) / "0" / "result.json").exists()
    answers = run_all(executor, attempt(), attempt())
    assert all(isinstance(answer.outcome, Succeeded) for answer in answers)


def test_more_attempts_than_slots_are_all_answered(executor, attempt):
    attempts = [attempt() for _ in range(7)]
    assert {answer.trial for answer in run_all(executor, *attempts)} == {one.trial for one in attempts}


def test_global_generators_start_from_the_attempts_seed(executor, attempt):
    """Else an objective that forgets to seed would give other numbers in a reused child than in a fresh one."""
    draws = {answer.outcome.metrics["draw"] for answer in run_all(executor, *[attempt("draw") for _ in range(4)])}
    assert len(draws) == 1


# The inline executor's own ------------------------------------------------------------------------------------------


def test_inline_completes_in_the_order_that_it_is_told(attempt):
    """Resume is tested with scripted orders of completion: they must be what happens."""
    executor = InlineExecutor(lambda candidate, context: float(context.trial), slots=3, order=lambda started: -1)
    wait_for_slots(executor, 3)
    attempts = [attempt() for _ in range(3)]
    answers = run_all(executor, *attempts)
    assert [answer.trial for answer in answers] == [one.trial for one in reversed(attempts)]


def test_inline_cuts_an_attempt_off_at_a_report_even_where_exceptions_are_caught(attempt):
    def stubborn(candidate, context):
        with contextlib.suppress(Exception):
            context.report(1, {})
        return 1.0

    executor, one = InlineExecutor(stubborn), attempt()
    executor.hear = lambda report: executor.cancel(report.trial, report.attempt)
    wait_for_slots(executor, 1)
    [answer] = run_all(executor, one)
    assert answer.outcome.kind == "preempted"
    assert not (Path(one.folder) / "0" / "result.json").exists()


def test_what_listening_inline_raises_is_no_failure_of_the_candidate(attempt):
    """The driver journals in there: a full disk must end the run, not the trial."""
    executor = InlineExecutor(behave)

    def refuse(report):
        raise DiskFailed("no space left")

    executor.hear = refuse
    wait_for_slots(executor, 1)
    executor.start(attempt("report"))
    with pytest.raises(DiskFailed):
        executor.wait(0.0)


def test_inline_and_dask_write_the_same_result(attempt, dask_executor, tmp_path):
    def result(executor):
        one = attempt("report")
        run_all(executor, one)
        record = durable.unseal((Path(one.folder) / "0" / "result.json").read_bytes())
        own = ("seconds", "place", "fresh")
        return {k: v for k, v in record.items() if k not in ("trial", "hash", "outcome")}, {
            k: v for k, v in record["outcome"].items() if k not in own
        }

    inline = InlineExecutor(behave)
    wait_for_slots(inline, 1)
    assert result(inline) == result(dask_executor)
    assert orjson.dumps(result(inline))
