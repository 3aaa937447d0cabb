"""The status screen: what is read off a history, and how it is said."""

import json
from pathlib import Path

import pytest
from report_golden import assert_golden

from nas import driver
from nas.cluster.inline import InlineExecutor
from nas.config import CallableConfig
from nas.history import History
from nas.plan import Plan
from nas.records import (
    AttemptAnswered,
    AttemptStarted,
    DriverTookOver,
    Failed,
    Proposal,
    Proposed,
    RunEnded,
    RunStarted,
    Succeeded,
    TrialEnded,
    TrialReported,
    WorkersChanged,
)
from nas.report.status import STATES, Best, RunningTrial, Status, diagnosis, line, live, of, screen
from nas.reward import RewardSettings
from nas.space import Space

CONFIG = {"budget": {"trials": 10, "time": 100.0}}
CANDIDATE = {"architecture": [{"conv": {"filters": 8, "kernel": 3}}], "hyperparameters": {}}


def history(*events) -> History:
    """Events at seconds 0, 10, 20, ... of a run with two workers."""
    result = History()
    first = [RunStarted("id", "digits", CONFIG, {}, {}, 1), DriverTookOver("host", 1, 1.0, "boot"), WorkersChanged(2)]
    for event in first:
        result.apply(event, 1000.0)
    for number, event in enumerate(events, 1):
        result.apply(event, 1000.0 + 10 * number)
    return result


def trial(number: int, outcome) -> list:
    state = "completed" if isinstance(outcome, Succeeded) else "failed"
    return [
        Proposed(Proposal(number, {}, CANDIDATE, str(number))),
        AttemptStarted(number, 0),
        AttemptAnswered(number, 0, outcome),
        TrialEnded(number, state, 0),
    ]


def test_a_running_search_is_read_off_its_history():
    events = [
        *trial(0, Succeeded({"accuracy": 0.8})),
        *trial(1, Failed("error", "")),
        Proposed(Proposal(2, {}, CANDIDATE, "2")),
        AttemptStarted(2, 0),
        TrialReported(2, 0, 3, {"loss": 0.5}),
    ]
    status = of(history(*events), RewardSettings(), now=1115.0, alive=True)
    assert status.state == "running"
    assert {state: n for state, n in status.trials.items() if n} == {"completed": 1, "failed": 1, "running": 1}
    assert status.best == Best(0, 0.8, {"accuracy": 0.8}, "conv 8 k3")
    assert status.running == [RunningTrial(2, 0, 15.0, 3, {"loss": 0.5})]
    assert status.elapsed_seconds == 115.0
    assert status.utilisation == pytest.approx((10 + 10 + 15) / (2 * 115))
    assert status.failures == {"error": 1}
    assert status.remaining_seconds == 0.0, "the time budget is used up, whatever the trials would still need"


def test_the_best_trial_tells_where_its_time_went():
    """Half of it in `data` or `evaluation` is mended by a setting, and nobody looks for what nobody shows."""
    noted = Succeeded({"accuracy": 0.8}, notes={"spent": {"data": 1.0, "forward": 3.0}})
    assert "data 25 %, forward 75 % of 4s" in screen(of(history(*trial(0, noted)), RewardSettings(), now=1040.0))
    others = Succeeded({"accuracy": 0.8}, notes={"spent": {"data": "long"}})
    assert "long" not in screen(of(history(*trial(0, others)), RewardSettings(), now=1040.0))


def test_the_share_of_rejected_draws_is_told():
    """Constraints that reject nearly everything make a search slow and narrow, and nobody would know why."""
    proposals = [Proposed(Proposal(number, {}, CANDIDATE, str(number), rejected=3 * number)) for number in range(3)]
    status = of(history(*proposals), RewardSettings(), now=1040.0, alive=True)
    assert status.rejected == 9
    assert "75% of 12 draws violated a constraint, and were drawn again" in screen(status)
    assert "drawn again" not in screen(of(history(proposals[0]), RewardSettings(), now=1040.0, alive=True))


def test_without_a_driver_nothing_is_said_to_run():
    status = of(history(Proposed(Proposal(0, {}, CANDIDATE, "0")), AttemptStarted(0, 0)), RewardSettings(), alive=False)
    assert (status.trials["running"], status.trials["pending"], status.running) == (0, 1, [])


@pytest.mark.parametrize(
    ("ended", "alive", "state"),
    [
        (None, True, "running"),
        (None, False, "interrupted"),
        ("interrupted", False, "interrupted"),
        ("budget", False, "finished"),
        ("exhausted", False, "finished"),
        ("diagnosis", False, "failed"),
    ],
)
def test_the_state_is_a_word_programs_can_rely_on(ended, alive, state):
    events = [RunEnded(ended, "why")] if ended else []
    assert of(history(*events), RewardSettings(), alive=alive).state == state


def test_the_end_is_estimated_by_the_rate_so_far_and_cut_off_by_the_budget():
    def remaining(**changes):
        events = history(*trial(0, Succeeded({"accuracy": 0.8})))
        events.config = {"budget": {"trials": 10, "time": None} | changes}
        return of(events, RewardSettings(), now=1040.0, alive=True).remaining_seconds

    assert remaining() == pytest.approx(9 * 40.0)
    assert remaining(time=100.0) == pytest.approx(60.0)
    assert remaining(trials=None) is None


def test_json_has_the_keys_that_others_rely_on():
    status = json.loads(json.dumps(of(history(), RewardSettings()).plain()))
    assert {"state", "trials", "best", "workers", "utilisation", "elapsed_seconds"} <= set(status)
    assert set(status["trials"]) == set(STATES)
    events = [*trial(0, Succeeded({"accuracy": 0.8})), *trial(1, Failed("error", ""))]
    done = json.loads(json.dumps(of(history(*events), RewardSettings()).plain()))
    assert {"trial", "reward", "metrics"} <= set(done["best"])
    assert done["failures"] == {"error": 1}


WHOLE = Status(
    run="digits",
    state="running",
    trials={"completed": 20, "failed": 3, "duplicate": 1, "running": 2, "pending": 0},
    best=Best(
        17, 0.98333, {"accuracy": 0.98333, "loss": 0.0712, "parameters": 36400.0}, "conv 64 k5 > gelu > linear 10"
    ),
    workers=2,
    utilisation=0.934,
    elapsed_seconds=252.0,
    remaining_seconds=390.0,
    budget_trials=60,
    budget_seconds=3600.0,
    failures={"out_of_memory": 1, "error": 2},
    running=[RunningTrial(23, 0, 12.3, 3, {"accuracy": 0.95, "loss": 0.1}), RunningTrial(24, 1, 0.4)],
)
EMPTY = Status("", "interrupted", dict.fromkeys(STATES, 0))


@pytest.mark.parametrize(("name", "status"), [("status", WHOLE), ("status_empty", EMPTY)])
def test_the_screen_is_as_pinned(name, status):
    assert_golden(screen(status, 80), f"{name}.txt")
    assert max(map(len, screen(status, 80).splitlines())) <= 80


def test_what_stops_a_run_is_told_with_the_command_to_look_closer(tmp_path, monkeypatch):
    """A person whose search stopped must see at once what fails, how often, where, and what to type next."""
    monkeypatch.chdir(tmp_path)

    def objective(candidate, context):
        if context.trial % 5:
            raise FileNotFoundError(f"no file /data/{context.trial}.bin")
        return 1.0

    values = {"name": "line", "space": "line", "objective": "objective", "controller": "random"}
    plan = Plan(
        CallableConfig.model_validate(values | {"reward": {"maximize": "value"}, "budget": {"trials": 50}}),
        Space.read({"hyperparameters": {"x": {"float": [0.0, 1.0]}}}),
        objective,
        lambda folder: InlineExecutor(objective),
    )
    ended = driver.run(plan, Path("runs/line"))
    assert ended.exit_code == 3
    assert_golden(diagnosis(ended.history.ended, ended.folder) + "\n", "diagnosis.txt")
    shown = screen(of(ended.history, RewardSettings(maximize="value")), folder=ended.folder)
    assert "  look at  nas trial runs/line 7\n" in shown


def test_the_line_is_one_line():
    assert line(WHOLE) == (
        "20 of 60 completed, 3 failed (out_of_memory 1, error 2), 1 duplicate, 2 running; best 0.9833 (trial 17); "
        "4m12s of 1h00m, about 6m30s left"
    )
    assert "\n" not in line(EMPTY)


@pytest.mark.parametrize("status", [WHOLE, EMPTY])
def test_the_live_display_shows_the_screen(status):
    from rich.console import Console

    console = Console(width=80, record=True, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
    console.print(live(status))
    assert screen(status, 80) in console.export_text()


def test_the_bar_of_the_live_screen_has_a_line_of_its_own() -> None:
    """On a real terminal the screen began behind the bar, cut off at the right."""
    from io import StringIO

    from rich.console import Console

    out = StringIO()
    Console(file=out, width=100, force_terminal=True, color_system=None).print(live(WHOLE))
    bar, first, *_ = out.getvalue().splitlines()
    assert set(bar.strip()) <= set("━╸╺ ")
    assert first.strip()
    assert not set(first) & set("━╸╺")
