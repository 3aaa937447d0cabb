"""A snapshot is a cache of replay: with it and without it a resumed run is in the same state, bit for bit.

Without this a run that was gone on with would quietly be another run, or be lost with a file that may be deleted.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest
from test_resume import CONTROLLERS, planned, proposals

from nas import driver, durable, provenance, snapshots, store
from nas.cluster.inline import InlineExecutor
from nas.errors import InputError
from nas.machine import Search
from nas.plan import Plan, going_on
from nas.records import DriverTookOver, LateResult, Proposal, RunEnded, Succeeded
from nas.report.status import of as status_of
from nas.space import Space
from nas.store import snapshot
from nas.store.recorded_trials import RecordedTrials

NOW = 2e9  # the clock of every claim here, so that states can be compared
ALL = {**{name: CONTROLLERS[name] for name in ("rl", "evolution", "optuna:tpe")}, "random": "random"}
REPEATED = {
    "hyperparameters": {"x": {"choice": [1, 2, 3]}, "y": {"choice": ["a", "b"]}}
}  # random search repeats itself


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: NOW)


def claimed(plan: Plan, run: Path, said: list[str]) -> tuple[store.Journal, Search]:
    check = partial(going_on, plan, folder=run)
    return snapshots.claim(run, partial(driver.machine, plan), lambda h: check(history=h), said.append, salvage=False)


def recorded(plan: Plan, entries: list[store.Entry], run: Path, kept_at: int) -> Path:
    """A run of which ``entries`` are recorded, with a snapshot made after ``kept_at`` of them."""
    journal, search = claimed(plan, run, [])
    keeper = snapshots.Keeper(journal, search, pytest.fail)
    for number, entry in enumerate(entries, start=1):
        if not isinstance(entry.event, DriverTookOver) or number > 1:
            journal.append([(entry.event, entry.time)])
            search.apply(entry.event, entry.time)
        if number == kept_at:
            keeper.keep()
            keeper.wait()
    journal.close()
    return run


def state(plan: Plan, run: Path, to: Path, *, kept: bool = True, said: list[str] | None = None) -> dict[str, Any]:
    """All of the state that a resume of a copy of ``run`` begins with, and its next proposals."""
    shutil.copytree(run, to)
    if not kept:
        (to / "journal" / snapshot.NAME).unlink()
    said = [] if said is None else said
    journal, search = claimed(plan, to, said)
    journal.close()
    lazy = isinstance(search.history.trials, RecordedTrials)
    there = (run / "journal" / snapshot.NAME).exists()
    assert lazy == (kept and there and not said), "a snapshot that fits is used, and nothing is said of it"
    number = len(search.history.trials)
    found = {
        "digest": search.digest(),
        "machine": {key: sorted(map(repr, value)) if isinstance(value, list) else value for key, value in
                    orjson.loads(search.save()).items()},
        "history": orjson.loads(search.history.save()),
        "controller": search.controller.save(),
        "asked": [search.controller.ask(number), search.controller.ask(number + 1)],
        "trials": orjson.dumps(list(search.history.trials.values())),
        "lines": (journal.lines.lengths.tobytes(), journal.lines.trials.tobytes()),
    }  # fmt: skip
    found["machine"].pop("unsettled")  # looked at again by the next turn, in vain
    shutil.rmtree(to)
    return found


@pytest.mark.parametrize("name", ALL)
def test_with_a_snapshot_or_without_the_state_and_what_is_proposed_next_are_the_same(
    name: str, memory_path: Path
) -> None:
    plan = planned(ALL[name])
    driver.run(plan, memory_path / "whole")
    entries = store.read(memory_path / "whole/journal")
    ends = [number for number, entry in enumerate(entries, start=1) if isinstance(entry.event, RunEnded)]
    for kept_at, cut in [(17, 40), (41, 41), (ends[0], ends[0])]:
        run = recorded(plan, entries[:cut], memory_path / "cut", kept_at)
        replayed = state(plan, run, memory_path / "without", kept=False)
        assert state(plan, run, memory_path / "with") == replayed, f"snapshot after {kept_at} of {cut}"
        shutil.rmtree(run)


@pytest.mark.parametrize("name", ["rl", "evolution", "random", "optuna:tpe"])
def test_a_run_that_is_stopped_again_and_again_proposes_what_the_whole_one_does(
    name: str, memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each driver leaves a snapshot, and the next begins with it; budgets stop them."""
    monkeypatch.setattr(snapshots, "EVERY", 2)
    plan = planned(ALL[name])
    one = one_slot(plan)
    driver.run(one, memory_path / "whole")
    for trials in (3, 4, 9, 18):
        said: list[str] = []
        ended = driver.run(with_budget(one, trials), memory_path / "run", note=said.append)
        assert (ended.reason, said) == ("budget", [])
    assert proposals(memory_path / "run") == proposals(memory_path / "whole")
    assert state(one, memory_path / "run", memory_path / "with")["trials"] == orjson.dumps(
        list(store.history(memory_path / "run").trials.values())
    )


def one_slot(plan: Plan) -> Plan:
    return replace(plan, connect=lambda folder: InlineExecutor(plan.objective, slots=1))


def with_budget(plan: Plan, trials: int) -> Plan:
    budget = plan.config.budget.model_copy(update={"trials": trials})
    return replace(plan, config=plan.config.model_copy(update={"budget": budget}))


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path.insert(0, {tests!r})
    from test_resume import CONTROLLERS, objective, planned
    from test_snapshots import ALL, one_slot
    from nas import driver, snapshots
    from dataclasses import replace
    snapshots.EVERY = 3
    def dies(candidate, context):
        if context.trial == 13:
            os.kill(os.getpid(), signal.SIGKILL)
        return objective(candidate, context)
    plan = planned(ALL["rl"])
    driver.run(one_slot(replace(plan, objective=dies)), Path({run!r}))
"""


def test_after_kill_9_the_last_snapshot_gives_the_state_of_a_replay(tmp_path: Path) -> None:
    script = KILLED.format(tests=str(Path(__file__).parent), run=str(tmp_path / "run"))
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    plan = one_slot(planned(ALL["rl"]))
    kept = state(plan, tmp_path / "run", tmp_path / "with")
    assert kept == state(plan, tmp_path / "run", tmp_path / "without", kept=False)
    driver.run(plan, tmp_path / "whole")
    driver.run(plan, tmp_path / "run")
    assert proposals(tmp_path / "run") == proposals(tmp_path / "whole")


@pytest.fixture(scope="module")
def evolved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Path]:
    plan = planned(CONTROLLERS["evolution"])
    run = tmp_path_factory.mktemp("evolved") / "run"
    driver.run(plan, run)
    return plan, run


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda data: None, "there is no snapshot"),
        (lambda data: b"", "its snapshot is damaged"),
        (lambda data: data[:-1], "its snapshot is damaged"),
        (lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:], "its snapshot is damaged"),
        (lambda data: b'{"a":1}\n' + data, "its snapshot is damaged"),
        (lambda data: resealed(data, code="older"), "its snapshot was written by other code"),
        (lambda data: resealed(data, format=99), "its snapshot was written by other code"),
        (lambda data: resealed(data, covers=[{"epoch": 1, "length": 300, "checksum": "0"}]), "is not of this journal"),
    ],
    ids=["missing", "empty", "cut", "flipped", "other first line", "other code", "other format", "other journal"],
)
def test_a_snapshot_that_is_not_to_be_trusted_is_told_in_a_line_and_the_journal_is_replayed(
    spoil: Any, why: str, evolved: tuple[Plan, Path], memory_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a run of any length; only that there is none is not worth a line while the run is young (below)."""
    monkeypatch.setattr(snapshots, "FEW", 1)
    plan, run = evolved
    sound = state(plan, run, memory_path / "sound")
    spoilt = memory_path / "spoilt"
    shutil.copytree(run, spoilt)
    path = spoilt / "journal" / snapshot.NAME
    data = spoil(path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)
    said: list[str] = []
    assert state(plan, spoilt, memory_path / "copy", said=said) == sound
    assert len(said) == 1
    assert why in said[0]
    assert said[0].endswith("its journal is replayed")


def test_a_young_run_without_a_snapshot_is_replayed_without_a_word(
    evolved: tuple[Plan, Path], memory_path: Path
) -> None:
    """A kill in the first half minute leaves none, and nothing is amiss."""
    plan, run = evolved
    copy = memory_path / "copy"
    shutil.copytree(run, copy)
    (copy / "journal" / snapshot.NAME).unlink()
    said: list[str] = []
    journal, _ = claimed(plan, copy, said)
    journal.close()
    assert said == []


def resealed(data: bytes, **changes: Any) -> bytes:
    line, _, body = data.partition(b"\n")
    return durable.seal({**durable.unseal(line + b"\n"), **changes}) + body


def test_damage_in_the_journal_is_found_though_a_snapshot_covers_it(
    evolved: tuple[Plan, Path], memory_path: Path
) -> None:
    plan, run = evolved
    copy = shutil.copytree(run, memory_path / "copy")
    segment = copy / "journal/000001.jsonl"
    data = segment.read_bytes()
    segment.write_bytes(data[:700] + bytes([data[700] ^ 1]) + data[701:])
    for opening in (lambda: claimed(plan, copy, []), lambda: store.opening(copy, provenance.code())):
        with pytest.raises(InputError, match="damaged at byte"):
            opening()


def test_a_torn_tail_behind_what_a_snapshot_covers_is_not_accepted(
    evolved: tuple[Plan, Path], memory_path: Path
) -> None:
    plan, run = evolved
    sound = state(plan, run, memory_path / "sound")
    copy = shutil.copytree(run, memory_path / "copy")
    with (copy / "journal/000001.jsonl").open("ab") as file:
        file.write(b'{"sequence":99')
    assert state(plan, copy, memory_path / "torn") == sound


def test_a_settled_trial_that_answers_late_and_a_repeat_of_one_are_read_back(memory_path: Path) -> None:
    plan = replace(
        planned("random"), space=Space.read(REPEATED), objective=lambda candidate, context: {"accuracy": 1.0}
    )
    run = memory_path / "run"
    driver.run(with_budget(one_slot(plan), 5), run)
    journal, search = claimed(plan, run, [])
    assert isinstance(search.history.trials, RecordedTrials)
    late = LateResult(0, 0, Succeeded({"accuracy": 0.5}))
    journal.append([(late, NOW)])
    search.apply(late, NOW)
    assert search.history.trials[0].late == [(0, late.outcome)]
    journal.close()
    live = search.digest()
    with_it = state(plan, run, memory_path / "with")
    assert with_it == state(plan, run, memory_path / "without", kept=False)
    assert live != claimed_digest_before(plan, run, memory_path)
    history = store.opening(run, provenance.code())
    repeats = [trial for trial in history.trials.values() if trial.duplicate_of is not None]
    assert repeats
    assert all(trial.outcome == history.trials[trial.duplicate_of or 0].outcome for trial in repeats)
    assert 0 in history.trials
    assert len(history.trials) not in history.trials
    with pytest.raises(KeyError):
        history.trials[len(history.trials)]
    assert orjson.dumps(list(history.trials.values())) == orjson.dumps(list(store.history(run).trials.values()))


def test_the_status_of_a_run_that_was_gone_on_with_is_that_of_its_journal(
    evolved: tuple[Plan, Path], memory_path: Path
) -> None:
    """The live screen is told the best trial, and walks through no other that completed."""
    plan, run = evolved
    copy = shutil.copytree(run, memory_path / "copy")
    journal, search = claimed(plan, copy, [])
    journal.close()
    known = search.incumbents
    assert len(known.best) == 1
    live = status_of(search.history, plan.config.reward, alive=True, best=known.best, worst=known.worst)
    assert live.failures
    assert live == status_of(store.history(copy), plan.config.reward, alive=True)


def claimed_digest_before(plan: Plan, run: Path, memory_path: Path) -> str:
    """Of the run without the late result in its second segment."""
    copy = shutil.copytree(run, memory_path / "before")
    for path in copy.glob("journal/000002.*"):
        path.unlink()
    journal, search = claimed(plan, copy, [])
    journal.close()
    return search.digest()


def test_a_run_goes_on_where_no_snapshot_can_be_written(memory_path: Path) -> None:
    plan = planned(CONTROLLERS["evolution"])
    (memory_path / "run/journal" / snapshot.NAME / "in the way").mkdir(parents=True)
    said: list[str] = []
    assert driver.run(plan, memory_path / "run", note=said.append).reason == "budget"
    assert len(said) == 1
    assert "no snapshot was written" in said[0]


def test_only_what_is_needed_is_asked_of_a_controller_again(evolved: tuple[Plan, Path], memory_path: Path) -> None:
    """A resume from a snapshot tells the controller of no trial that it covers."""
    plan, run = evolved
    told: list[Proposal] = []

    def counting() -> Search:
        search = driver.machine(plan)
        whole = search.controller.began

        def began(proposal: Proposal) -> None:
            told.append(proposal)
            whole(proposal)

        search.controller.began = began  # type: ignore[method-assign]
        return search

    copy = shutil.copytree(run, memory_path / "copy")
    journal, _ = snapshots.claim(copy, counting, lambda history: None, pytest.fail, salvage=False)
    journal.close()
    assert told == []
