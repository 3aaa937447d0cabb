"""--warm-start: what an earlier run teaches, how it is brought to another space, and that its folder is needed once.

Lost without it: lessons by index instead of meaning, a resume that needs a folder that is gone, rewards of two scales.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nas
from nas import driver, store, warm_start
from nas.errors import InputError
from nas.plan import Plan, going_on
from nas.records import Proposed, RunEnded, Taught
from nas.reward import RewardSettings
from nas.space import Space

INLINE = {"kind": "inline"}
OLD: dict[str, Any] = {
    "name": "numbers",
    "hyperparameters": {
        "kind": {"choice": ["a", "b", "c"]},
        "size": {"choice": [1, 2, 4]},
        "deep": {"int": [1, 9]},
        "rate": {"float": [0.0, 1.0]},
    },
}


def objective(candidate: nas.Candidate, context: nas.Context) -> dict[str, float]:
    made = candidate.hyperparameters
    if made.get("deep") == 9:
        raise nas.InvalidCandidate("too deep")
    if made.get("deep") == 8:
        raise nas.errors.OutOfMemory("too large")
    return {"value": made["size"] + "abc".index(made["kind"]) - abs(made["rate"] - 0.5), "loss": made["rate"]}


def earlier(folder: Path, space: Any = OLD, trials: int = 40, **more: Any) -> Path:
    nas.search(space, objective, trials=trials, controller="random", cluster=INLINE, run=folder, **more)
    return folder


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return earlier(tmp_path_factory.mktemp("warm") / "old")


def read(run: Path, space: Any, **reward: Any) -> Taught:
    return warm_start.read(run, Space.read(space), RewardSettings(**(reward or {"maximize": "value"})))


def changed(**decisions: Any) -> dict[str, Any]:
    kept = {key: value for key, value in {**OLD["hyperparameters"], **decisions}.items() if value is not None}
    return {"name": "new", "hyperparameters": kept}


# Bringing trials to another space ------------------------------------------------------------------------------------


def test_on_the_same_space_every_ended_trial_is_taken_as_it_was(old: Path) -> None:
    found, trials = read(old, OLD), store.history(old).trials
    assert [lesson.trial for lesson in found.lessons] == list(range(40))
    assert found.left_out == {} and found.settled == 0
    for lesson in found.lessons:
        trial = trials[lesson.trial]
        assert (lesson.decisions, lesson.hash) == (trial.proposal.decisions, trial.proposal.hash)
        assert lesson.failure == {9: "invalid", 8: "out_of_memory"}.get(int(lesson.decisions["hyperparameters.deep"]))
        assert bool(lesson.metrics) != bool(lesson.failure)
    assert {lesson.failure for lesson in found.lessons} == {None, "invalid", "out_of_memory"}


def test_options_are_known_by_what_they_are_and_not_by_their_place(old: Path) -> None:
    space = Space.read(
        changed(kind={"choice": ["z", "c", "a", "b"]}, size={"int": [0, 4]}, deep={"float": [0.5, 20.0]})
    )
    trials, earlier_space = store.history(old).trials, Space.read(OLD)
    found = warm_start.read(old, space, RewardSettings(maximize="value"))
    assert len(found.lessons) == 40
    for lesson in found.lessons:
        then = earlier_space.replay(trials[lesson.trial].proposal.decisions).candidate.hyperparameters
        assert space.replay(lesson.decisions).candidate.hyperparameters == then


def test_a_value_that_is_none_here_leaves_its_trial_out(old: Path) -> None:
    found = read(old, changed(kind={"choice": ["a", "b"]}, rate={"float": [0.0, 0.8]}))
    reason = "with a value that is none here"
    trials = store.history(old).trials.values()
    out = [t for t in trials if t.proposal.candidate["hyperparameters"]["kind"] == "c"
           or t.proposal.candidate["hyperparameters"]["rate"] > 0.8]  # fmt: skip
    assert found.left_out == {reason: len(out)}
    assert len(found.lessons) == 40 - len(out)


def test_options_without_a_name_are_taken_only_where_the_list_is_the_same(tmp_path: Path) -> None:
    """Their label is their place: in a longer list it may be another option's."""

    def listed(*options: Any) -> dict[str, Any]:
        return changed(kind={"choice": list(options)}, deep=None, size=None)

    first, second, third = ({"a": one, "b": 1} for one in (1, 2, 3))
    run = tmp_path / "run"
    nas.search(listed(first, second), lambda candidate, context: 1.0, trials=4, controller="random", cluster=INLINE,
               run=run)  # fmt: skip
    assert len(read(run, listed(first, second)).lessons) == 4
    with pytest.raises(InputError, match=r"4 with a value that is none here .*has no name"):
        read(run, listed(third, first, second))


def test_what_the_earlier_run_did_not_decide_takes_its_default(old: Path) -> None:
    new = changed(extra={"choice": ["x", "y"], "default": "y"}, width={"int": [1, 9]})
    found = read(old, new)
    assert found.settled == 40
    assert {lesson.decisions["hyperparameters.extra"] for lesson in found.lessons} == {1}
    assert {lesson.decisions["hyperparameters.width"] for lesson in found.lessons} == {5}
    many = {f"new{i}": {"choice": [1, 2]} for i in range(5)}
    with pytest.raises(InputError, match="40 of mostly other decisions"):
        read(old, changed(**many))


def test_trials_that_become_the_same_candidate_teach_once_by_the_best(old: Path) -> None:
    found = read(old, changed(rate=None, deep=None, size={"choice": [1, 2, 4], "default": 1}))
    assert len({lesson.hash for lesson in found.lessons}) == len(found.lessons) <= 9
    assert sum(found.left_out.values()) == 40 - len(found.lessons)
    best = max(lesson.metrics.get("value", -9.0) for lesson in found.lessons)
    assert best == max(lesson.metrics.get("value", -9.0) for lesson in read(old, OLD).lessons)


def test_constraints_of_the_new_space_hold_for_lessons(old: Path) -> None:
    found = read(old, {**changed(), "constraints": ["path('hyperparameters.deep') <= 5"]})
    assert found.left_out["refused here"] > 5
    assert all(lesson.decisions["hyperparameters.deep"] <= 5 for lesson in found.lessons)


def test_of_a_long_run_the_best_half_and_some_of_the_others_are_taken(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def values(taught: Taught) -> list[float]:
        return sorted((lesson.metrics.get("value", -9.0) for lesson in taught.lessons), reverse=True)

    every = values(read(old, OLD))
    monkeypatch.setattr(warm_start, "MOST", 10)
    found = read(old, OLD)
    assert len(found.lessons) == 10
    assert values(found)[:5] == every[:5]
    assert values(found)[5] == every[5]
    assert values(found)[-1] < every[25]
    assert found.left_out == {"beyond 10": 30}


def test_what_can_not_teach_says_why(old: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere: no such folder"):
        read(tmp_path / "nowhere", OLD)
    with pytest.raises(InputError, match="is no run: it has no journal"):
        read(tmp_path, OLD)
    with pytest.raises(
        InputError, match=r"no decision in common.*'hyperparameters.kind' there, 'hyperparameters.x' here"
    ):
        read(old, {"hyperparameters": {"x": {"int": [1, 3]}}})
    with pytest.raises(InputError, match=r"without a metric of this reward.*no metric is called 'accuracy'"):
        read(earlier(tmp_path / "sound", changed(deep={"int": [1, 5]}), trials=3), OLD, maximize="accuracy")


def test_one_line_says_what_was_taken_and_what_was_not() -> None:
    lessons = [nas.records.Lesson(0, {}, "a"), nas.records.Lesson(1, {}, "b")]
    assert warm_start.in_words(Taught("runs/a", "id", lessons)) == "taught from runs/a: 2 trials"
    more = Taught("runs/a", "id", lessons[:1], {"lost to machines": 2, "not ended": 1}, settled=1)
    expected = "taught from runs/a: 1 trial, 3 left out: 2 lost to machines, 1 not ended; 1 with decisions that it did"
    assert warm_start.in_words(more) == f"{expected} not have"


# A run that was taught -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "controller", [{"rl": {"warmup": 6, "pool": 16}}, {"evolution": {"population": 4, "sample": 2}}, "optuna:tpe"]
)
def test_cut_anywhere_a_taught_run_goes_on_alike_without_the_earlier_one(
    controller: Any, old: Path, memory_path: Path
) -> None:
    """And the replayed state is the live one: what was taught is in the journal, rewards are computed from it."""
    first = shutil.copytree(old, memory_path / "first")
    plan = planned(controller, first)
    driver.run(plan, memory_path / "whole")
    shutil.rmtree(first)
    segment = memory_path / "whole/journal/000001.jsonl"
    expected, lines = proposals(memory_path / "whole"), segment.read_bytes().splitlines(keepends=True)
    (at,) = [number for number, line in enumerate(lines) if b'"event":"taught"' in line]
    for cut in [at + 1, at + 2, *range(at + 9, len(lines), 23), len(lines)]:
        run = memory_path / "cut"
        (run / "journal").mkdir(parents=True)
        (run / "journal/000001.jsonl").write_bytes(b"".join(lines[:cut]))
        (run / "journal/000001.alive").write_bytes(b"released")
        driver.run(plan, run)
        assert proposals(run) == expected, f"cut after line {cut}"
        replayed = driver.machine(plan)
        for entry in store.read(run / "journal"):
            if isinstance(entry.event, RunEnded):
                assert replayed.digest() == entry.event.digest, f"cut after line {cut}"
            replayed.apply(entry.event, entry.time)
        shutil.rmtree(run)
    with pytest.raises(InputError, match="no such folder"):  # but before its lessons were journaled it is needed
        run = memory_path / "early"
        (run / "journal").mkdir(parents=True)
        (run / "journal/000001.jsonl").write_bytes(b"".join(lines[:at]))
        (run / "journal/000001.alive").write_bytes(b"released")
        driver.run(plan, run)


def planned(controller: Any, first: Path) -> Plan:
    from nas.cluster.inline import InlineExecutor
    from nas.config import CallableConfig

    config = {"name": "second", "space": "numbers", "objective": "objective", "controller": controller,
              "reward": {"maximize": "value"}, "budget": {"trials": 14}, "warm_start": str(first)}  # fmt: skip
    return Plan(
        config=CallableConfig.model_validate(config),
        space=Space.read(changed(kind={"choice": ["c", "b", "a"]})),
        objective=objective,
        connect=lambda folder: InlineExecutor(objective, slots=2),
    )


def proposals(run: Path) -> list[Any]:
    return [e.event.proposal for e in store.read(run / "journal") if isinstance(e.event, Proposed)]


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import nas
from test_warm_start import INLINE, OLD, objective

def killed(candidate, context):
    if context.trial == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return objective(candidate, context)

nas.search(OLD, killed, trials=6, controller="evolution", cluster=INLINE, run=sys.argv[2], warm_start=sys.argv[1],
           reward={"maximize": "value"})
"""


def test_killed_and_gone_on_with_when_the_earlier_run_is_gone(old: Path, tmp_path: Path) -> None:
    first, second = shutil.copytree(old, tmp_path / "first"), tmp_path / "second"
    words = [sys.executable, "-c", KILLED, str(first), str(second), str(Path(__file__).parent)]
    assert subprocess.run(words, env=dict(os.environ), capture_output=True).returncode == -9
    shutil.rmtree(first)
    run = nas.search(OLD, objective, trials=6, controller="evolution", cluster=INLINE, run=second, warm_start=first,
                     reward={"maximize": "value"})  # fmt: skip
    assert [trial.open for trial in run.history.trials.values()] == [False] * 6
    assert [trial.proposal.notes["taught"] for trial in run.history.trials.values()][:1] == [best_of(old)]
    assert sum(isinstance(entry.event, Taught) for entry in store.read(second / "journal")) == 1
    more = nas.search(OLD, objective, trials=8, controller="evolution", cluster=INLINE, run=second, warm_start=first,
                      reward={"maximize": "value"})  # fmt: skip  # from its snapshot
    assert more.history.taught is not None
    assert more.history.taught == run.history.taught
    assert len(more.history.trials) == 8


def best_of(run: Path) -> int:
    values = {n: getattr(t.outcome, "metrics", {}).get("value", -9.0) for n, t in store.history(run).trials.items()}
    return max(values, key=lambda number: values[number])


def test_from_python_a_run_can_not_teach_itself_nor_be_taught_later(old: Path, tmp_path: Path) -> None:
    plan = planned("evolution", old)
    with pytest.raises(InputError, match="this run itself; --fresh"):
        going_on(plan, store.history(old), old)
    run = earlier(tmp_path / "run", trials=3)
    with pytest.raises(InputError, match=r"warm_start: the run was started without, not with"):
        nas.search(OLD, objective, trials=4, controller="random", cluster=INLINE, run=run, warm_start=old)
