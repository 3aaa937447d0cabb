"""What an earlier run teaches: its ended trials, as decisions of another space that is the same or overlaps.

    read(run, space, reward) -> Taught        goes into the new run's journal, which needs the earlier one no more

Each trial is walked through the new space. A decision takes what the earlier trial decided at the same path, by what it
means and not by its index: options may have been added or put in another order, ranges may have changed. What the
earlier trial does not have takes its ``default``, else the likeliest option, else the middle, as in a space's
``start:``. A trial is left out where

    - it says nothing of its candidate: it has not ended, repeats another, or machines took it
    - a value of it is none here, or its candidate is refused here: a constraint, or it can not be built
    - less than half of the decisions are its own
    - the new run's reward needs a metric that it has not

Of trials that become the same candidate here the best counts. Of more than MOST the best half is taken, and of the rest
some from the whole range of rewards.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from nas import reward, store
from nas.errors import InputError
from nas.history import History, Trial
from nas.pareto import Vector, best_first
from nas.records import MACHINE_FAILURES, Failed, Lesson, Succeeded, Taught
from nas.reward import RewardSettings
from nas.space import Decision, Draw, Index, Space
from nas.space.grammar.start import NoValue, usual, value_of

Found = tuple[Vector | None, Lesson, bool]  # the reward, None for a failure; whether a decision was settled

MOST = 512  # trials; RL's memory holds half as many, Optuna's samplers look at all
SHARE = 0.5  # of a candidate's decisions that must be the earlier trial's own


def read(run: Path, space: Space, settings: RewardSettings) -> Taught:
    """What the run in folder ``run`` teaches a search of ``space`` for this reward.

    Raises:
        InputError: there is no run, its journal is damaged, or there is nothing in it to learn; the message says why.
    """
    history = store.history(run)
    if history.started is None:
        raise InputError(f"{run}: this run had not begun; there is nothing to learn from it")
    earlier = Space.read(history.started.space, history.started.task)
    return taught(history, earlier, space, settings, str(run))


def taught(history: History, earlier: Space, space: Space, settings: RewardSettings, source: str) -> Taught:
    """The same of a history, whose trials are draws of ``earlier``. Raises InputError."""
    if space.decisions and not earlier.by_path.keys() & space.by_path.keys():
        raise InputError(
            f"{source}: its space has no decision in common with this one, so it can teach nothing (paths such as "
            f"{_some(earlier)} there, {_some(space)} here)"
        )
    found: list[Found] = []
    left_out: Counter[str] = Counter()
    lacking = ""
    for trial in history.trials.values():
        try:
            found.append(_lesson(trial, earlier, space, settings))
        except _LeftOut as why:
            left_out[why.reason] += 1
            lacking = lacking or why.detail
    kept = _some_of_many(_distinct(found, left_out), left_out)
    if not kept:
        counts = "; ".join(f"{count} {why}" for why, count in left_out.most_common()) or "it has no trial"
        raise InputError(f"{source}: nothing in this run can be learned from: {counts}{lacking and f' ({lacking})'}")
    kept.sort(key=lambda one: one[1].trial)
    assert history.started is not None
    settled = sum(some for _, _, some in kept)
    return Taught(source, history.started.run, [lesson for _, lesson, _ in kept], dict(left_out), settled)


def in_words(taught: Taught) -> str:
    """One line for the screen: ``taught from runs/a: 120 trials, 14 left out: 9 lost to machines, 5 ...``."""
    left = ", ".join(f"{count} {why}" for why, count in taught.left_out.items())
    line = f"taught from {taught.source}: {_trials(len(taught.lessons))}"
    line += f", {sum(taught.left_out.values())} left out: {left}" if left else ""
    return line + (f"; {taught.settled} with decisions that it did not have" if taught.settled else "")


def _trials(count: int) -> str:
    return f"{count} trial" + "s" * (count != 1)


def _some(space: Space) -> str:
    return f"'{space.decisions[0].path}'" if space.decisions else "none"


class _LeftOut(Exception):
    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason, self.detail = reason, detail


def _lesson(trial: Trial, earlier: Space, space: Space, settings: RewardSettings) -> Found:
    """Raises _LeftOut."""
    outcome = trial.outcome
    if trial.open or outcome is None:
        raise _LeftOut("not ended")
    if not trial.whole:  # its reward is of a shorter training than the others'
        raise _LeftOut("cut short by the scheduler")
    if trial.state == "duplicate":
        raise _LeftOut("repeats")
    if isinstance(outcome, Failed) and outcome.kind in MACHINE_FAILURES:
        raise _LeftOut("lost to machines")
    draw, settled = _drawn(trial.proposal.decisions, earlier, space)
    if draw.violated or (draw.invalid and isinstance(outcome, Succeeded)):
        raise _LeftOut("refused here", draw.violated or draw.invalid)
    if isinstance(outcome, Failed):
        return None, Lesson(trial.number, draw.decisions, draw.candidate.hash, failure=outcome.kind), settled
    lesson = Lesson(trial.number, draw.decisions, draw.candidate.hash, outcome.metrics, outcome.seconds)
    return _worth(outcome, settings), lesson, settled


def _worth(outcome: Succeeded, settings: RewardSettings) -> Vector:
    try:
        return reward.compute(settings, outcome.metrics, outcome.seconds).vector
    except InputError as error:
        raise _LeftOut("without a metric of this reward", str(error)) from None


def _drawn(decided: Mapping[str, int | float], earlier: Space, space: Space) -> tuple[Draw, bool]:
    """The candidate of the new space, and whether a decision was settled. Raises _LeftOut."""
    settled = 0

    def choose(decision: Decision) -> int | float:
        nonlocal settled
        if decision.path not in decided:
            settled += 1
            return usual(decision)
        return _translated(decided[decision.path], earlier.by_path[decision.path], decision)

    draw = space.walk(choose, masked=False)
    if settled > (1 - SHARE) * len(draw.decisions):
        raise _LeftOut("of mostly other decisions")
    return draw, settled > 0


def _translated(value: int | float, there: Decision, here: Decision) -> int | float:
    """A decision's value in another domain. Raises _LeftOut where it has none.

    The label of an option that is no scalar, reference or layer may be its place in the list: that says what it is only
    where the lists have as many options with the same labels.
    """
    if not isinstance(there, Index):
        meant: int | float | str = value
    elif there.values is not None:
        meant = there.values[int(value)]
    else:
        meant = there.labels[int(value)]
        if meant == str(value) and isinstance(here, Index) and here.labels != there.labels:
            raise _LeftOut("with a value that is none here", f"'{here.path}': option {meant} has no name")
    try:
        return value_of(here, meant)
    except NoValue as error:
        raise _LeftOut("with a value that is none here", f"'{here.path}' was {meant}: {error}") from None


def _distinct(found: list[Found], left_out: Counter[str]) -> list[Found]:
    """The best of each candidate, the best first and failures last."""
    succeeded = [(vector, one) for one in found if (vector := one[0]) is not None]
    order = [succeeded[at][1] for at in best_first([vector for vector, _ in succeeded])]
    best: dict[str, Found] = {}
    for one in (*order, *(one for one in found if one[0] is None)):
        best.setdefault(one[1].hash, one)
    if len(best) < len(found):
        left_out["the same candidate here as a better one"] += len(found) - len(best)
    return list(best.values())


def _some_of_many(ordered: list[Found], left_out: Counter[str]) -> list[Found]:
    if len(ordered) <= MOST:
        return ordered
    left_out[f"beyond {MOST}"] += len(ordered) - MOST
    rest = ordered[MOST // 2 :]
    return ordered[: MOST // 2] + [rest[at * len(rest) // (MOST // 2)] for at in range(MOST // 2)]
