"""One trial's page, for a success, a failure that was retried, and one that is still open."""

import json

import pytest
from report_golden import assert_golden

from nas.history import AttemptRecord, Trial
from nas.records import Failed, Proposal, Succeeded
from nas.report.trial import CURVE_ROWS, page, plain

CANDIDATE = {
    "architecture": [{"conv": {"filters": 16, "kernel": 3}}, {"residual": [{"norm": "batch"}, {"activation": "relu"}]}],
    "hyperparameters": {"batch_size": 256, "optimizer": {"adamw": {"learning_rate": 0.0031}}},
}
PROPOSAL = Proposal(12, {"architecture.0.conv.filters": 1}, CANDIDATE, "ab" * 32, log_probability=-4.2)
SPENT = {"data": 0.1, "forward": 1.2, "backward": 2.4, "optimizer": 0.04, "evaluation": 0.26}
AGAIN = "nas trial runs/digits 12 --run-again"


def succeeded() -> Trial:
    outcome = Succeeded(
        {"accuracy": 0.9833, "loss": 0.0712, "rows_per_second": 2_345.6, "share_of_peak": 0.31},
        seconds=4.125,
        notes={"dtype": "bfloat16", "dtype_reason": "the processor has AMX", "spent": SPENT, "peak_flops": 9.31e10},
        place="host/17",
    )
    lost = AttemptRecord(0, 1_790_000_000.0, answered=1_790_000_003.0, outcome=Failed("lost", "worker gone"))
    good = AttemptRecord(1, 1_790_000_004.0, fresh=True, answered=1_790_000_008.0, outcome=outcome)
    reports = [(0, 1, {"accuracy": 0.1})] + [
        (1, step, {"accuracy": 1 - 0.5**step, "loss": 0.5**step}) for step in range(1, 41)
    ]
    return Trial(PROPOSAL, 0.0, state="completed", attempts=[lost, good], outcome=outcome, reports=reports)


def failed() -> Trial:
    outcome = Failed("error", "ValueError: no\nsecond line", 'Traceback ...\n  File "x.py"\nValueError: no\n', 1.0)
    return Trial(
        PROPOSAL, 0.0, state="failed", attempts=[AttemptRecord(0, 1_790_000_000.0, outcome=outcome)], outcome=outcome
    )


def still_open() -> Trial:
    abandoned = AttemptRecord(0, 1_790_000_000.0, abandoned=True)
    return Trial(PROPOSAL, 0.0, state="running", attempts=[abandoned, AttemptRecord(1, 1_790_000_009.0)])


@pytest.mark.parametrize("make", [succeeded, failed, still_open])
def test_the_page_is_as_pinned(make):
    log = "".join(f"line {n}\n" for n in range(30))
    text = page(
        make(), run="runs/digits", reward=0.9833, log=log, log_file="runs/digits/trials/12/1/log.txt", again=AGAIN
    )
    assert_golden(text, f"trial_{make.__name__}.txt")


def test_the_page_ends_with_the_command_that_runs_it_again():
    assert page(failed(), run="r", again=AGAIN).splitlines()[-1].strip() == AGAIN


def test_a_curve_is_of_the_attempt_that_counts_and_thinned_with_both_ends():
    text = page(succeeded(), run="r", again=AGAIN)
    curve = text.partition("\ncurve\n")[2].partition("\nnotes")[0].strip().splitlines()
    steps = [int(row.split()[0]) for row in curve[3:]]
    assert len(steps) == CURVE_ROWS
    assert (steps[0], steps[-1]) == (1, 40)


def test_a_curve_over_all_the_numbers_that_there_are_is_drawn():
    trial = succeeded()
    trial.reports[1:] = [(1, step, {"a": value}) for step, value in enumerate([1e308, -1e308, 0.0, 5e-324])]
    assert "█▁▅▅" in page(trial, run="r", again=AGAIN)


def test_json_is_whole():
    read = json.loads(json.dumps(plain(succeeded(), run="r", reward=0.9833, log="x", again=AGAIN)))
    assert read["candidate"] == CANDIDATE
    assert len(read["curve"]) == 40
    assert [attempt["outcome"]["outcome"] for attempt in read["attempts"]] == ["failed", "succeeded"]
    assert read["outcome"]["metrics"]["accuracy"] == 0.9833
