"""Results of attempts that are on record as lost. Without these, what was trained for nothing would be on no record."""

from __future__ import annotations

from nas.history import History
from nas.latecomers import KEPT, LOOK, Latecomers
from nas.records import (
    Answered,
    AttemptAnswered,
    AttemptStarted,
    Failed,
    LateResult,
    Outcome,
    Proposal,
    Proposed,
    Succeeded,
)

LOST = Failed("lost", "the worker died")
GOOD = Succeeded({"accuracy": 0.5})


def test_a_result_is_handed_on_once_and_looked_for_now_and_then() -> None:
    written: dict[tuple[int, int], Outcome] = {}
    looks: list[tuple[int, int]] = []

    def read(trial: int, attempt: int) -> Outcome | None:
        looks.append((trial, attempt))
        return written.get((trial, attempt))

    late = Latecomers(read)
    for trial, attempt, outcome in [(0, 0, LOST), (1, 0, GOOD), (2, 0, Failed("error", "")), (3, 1, LOST)]:
        late.hear(Answered(trial, attempt, outcome))
    assert list(late.come(0.0)) == [] and looks == [(0, 0), (3, 1)]
    written[3, 1] = GOOD
    assert list(late.come(LOOK / 2)) == [] and len(looks) == 2
    assert list(late.come(LOOK)) == [Answered(3, 1, GOOD)]
    assert list(late.come(2 * LOOK)) == [] and looks[-1] == (0, 0)


def test_what_a_file_says_again_is_no_late_result() -> None:
    """An attempt that found no place for its state wrote that it was lost."""
    late = Latecomers(lambda trial, attempt: LOST)
    late.hear(Answered(0, 0, LOST))
    assert [*late.come(0.0), *late.come(LOOK)] == []


def test_the_next_driver_looks_for_those_that_were_lost_latest_and_have_not_come() -> None:
    history = History()
    for number in range(KEPT + 3):
        history.apply(Proposed(Proposal(number, {}, {}, str(number))), 0.0)
        history.apply(AttemptStarted(number, 0), 1.0)
        history.apply(AttemptAnswered(number, 0, LOST), 1000.0 - number)
    history.apply(LateResult(1, 0, GOOD), 1000.0)
    looks: list[int] = []
    late = Latecomers(lambda trial, attempt: looks.append(trial))
    late.remember(history)
    assert list(late.come(0.0)) == []
    assert sorted(looks) == [0, *range(2, KEPT + 1)]
