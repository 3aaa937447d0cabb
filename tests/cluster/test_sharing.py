"""Several slots on one GPU. Nothing here computes on one: what is tested is who starts where, and who is charged."""

import random
from pathlib import Path

import pytest
from behaviours import behave
from conftest import happenings_until_answer, run_all, wait_for_slots

import nas
from nas import store
from nas.cluster import connect as connecting
from nas.cluster.connect import check, connect
from nas.cluster.settings import ClusterSettings
from nas.cluster.sharing import CONTEXT, ENOUGH, HEADROOM, MEASURING, Room, Sharing, fitting
from nas.errors import InputError
from nas.records import Answered, SlotsChanged, Succeeded, settles

GIB = 1 << 30


@pytest.fixture
def two_slots(tmp_path, monkeypatch):
    """Of GPU 0, which the environment shows to be there."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    executor = connect(ClusterSettings(slots_per_gpu=2), behave, folder=tmp_path)
    wait_for_slots(executor, 2)
    yield executor
    executor.close()


def test_a_gpu_is_divided_by_what_nearly_all_attempts_needed():
    """Else one large candidate of a hundred leaves the rest of the GPU idle."""
    assert fitting([GIB] * (ENOUGH - 1), 80 * GIB, 16) == 1, "too few to go by"
    assert fitting([GIB] * 95 + [70 * GIB] * 5, 80 * GIB, 64) == fitting([GIB] * 100, 80 * GIB, 64) > 16
    assert fitting([GIB] * 90 + [70 * GIB] * 10, 80 * GIB, 64) == 1
    assert fitting([0.0] * ENOUGH, 80 * GIB, 16) == 16


@pytest.mark.parametrize("seed", range(20))
def test_as_many_as_fit_do_fit(seed):
    """Of attempts of one size, as a quantile says nothing of a few: one slot more would not."""
    rng = random.Random(seed)
    peak, memory = rng.uniform(0.1, 40) * GIB, rng.randrange(8, 141) * GIB
    slots = fitting([peak] * ENOUGH, memory, 10**6)
    need = max(HEADROOM * peak, MEASURING) + CONTEXT
    assert slots == 1 or slots * need < memory
    assert (slots + 1) * need > 0.94 * memory


def test_what_needs_more_takes_slots_away_again():
    """A search goes on to larger candidates: with the slots of the small ones they would be trained twice each."""
    sharing = Sharing(2, 16, 24 * GIB)
    assert sharing.workers == 2
    for _ in range(20):
        sharing.learn({"accuracy": 0.9, "peak_memory": GIB})
    assert (before := sharing.slots) > 8
    for _ in range(20):
        sharing.learn({"peak_memory": 6 * GIB})
    assert sharing.slots == 2 < before
    sharing.learn({"accuracy": 0.9})
    assert sharing.slots == 2


def test_who_must_be_alone_gets_the_gpu_that_is_soonest_empty_and_no_other_is_kept():
    running = [("0", False), ("0", False), ("1", False)]
    room = Room.of(2, ["0", "1", "2"], [*running, ("2", True)], waits=True)
    assert room.kept == "1"
    assert [room.takes(gpu, by_itself=True) for gpu in "012"] == [False, False, False]
    assert [room.takes(gpu, by_itself=False) for gpu in "012"] == [False, False, False]
    assert [room.size(gpu) for gpu in "012"] == [2, 1, 1]
    emptied = Room.of(2, ["0", "1", "2"], [running[0], ("2", True)], waits=True)
    assert [emptied.takes(gpu, by_itself=True) for gpu in "012"] == [False, True, False]
    assert [emptied.takes(gpu, by_itself=False) for gpu in "012"] == [True, False, False]


def test_slots_of_one_gpu_train_side_by_side_and_a_fresh_attempt_trains_alone(two_slots, attempt, tmp_path):
    """So an end of memory beside others is not charged, and the one that is was nobody else's doing."""
    place = str(tmp_path / "place")
    guests = [attempt("meet and look around", place=place, guests=2) for _ in range(2)]
    answers = run_all(two_slots, *guests)
    assert [a.outcome.notes["environment"]["CUDA_VISIBLE_DEVICES"] for a in answers] == ["0", "0"]
    gpu, fresh = str(tmp_path / "gpu"), (False, False, True, False, True)
    crowd = [attempt("alone or out of memory", place=gpu, fresh=one) for one in fresh]
    for one in crowd:
        two_slots.start(one)
    seen = happenings_until_answer(two_slots, len(crowd))
    alone = {one.trial for one in crowd if one.fresh}
    outcomes = {h.trial: h.outcome for h in seen if isinstance(h, Answered)}
    assert all(isinstance(outcome, Succeeded) for trial, outcome in outcomes.items() if trial in alone)
    failed = [outcome for trial, outcome in outcomes.items() if trial not in alone and outcome.outcome == "failed"]
    assert failed, "none ever trained beside another"
    assert {outcome.kind for outcome in failed} == {"out_of_memory"}
    assert not any(settles(outcome) for outcome in failed)
    assert SlotsChanged(1) in seen, "a driver that is not told would start what then waits"


def test_what_fails_on_a_gpu_of_its_own_is_charged(two_slots, attempt):
    for do, kind in (("out of memory", "out_of_memory"), ("_exit", "crashed")):
        [beside] = run_all(two_slots, attempt(do))
        [alone] = run_all(two_slots, attempt(do, fresh=True))
        assert (beside.outcome.kind, settles(beside.outcome)) == (kind, False)
        assert (alone.outcome.kind, settles(alone.outcome)) == (kind, True)


def test_a_search_charges_no_candidate_for_what_a_neighbour_took(tmp_path, monkeypatch):
    """From the child's answer to the trial's end: each of these fits, but not beside another."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    space = {"hyperparameters": {"do": "alone or out of memory", "place": str(tmp_path / "gpu"), "x": {"int": [1, 99]}}}
    nas.search(space, behave, trials=4, cluster={"slots_per_gpu": 2}, run=tmp_path / "run")
    trials = store.history(tmp_path / "run").trials.values()
    assert [trial.state for trial in trials] == ["completed"] * 4
    assert any(len(trial.attempts) == 2 for trial in trials), "none ever trained beside another"


def test_auto_begins_with_one_slot_and_starts_the_others_when_it_knows_what_fits(attempt, tmp_path, monkeypatch):
    """The real program, but for the card: a script tells its memory."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    _tells(tmp_path, monkeypatch, "echo 8192")
    monkeypatch.setattr(connecting, "_cores", lambda: 3)
    executor = connect(ClusterSettings(slots_per_gpu="auto"), behave, folder=tmp_path)
    try:
        wait_for_slots(executor, 1)
        seen = []
        for _ in range(ENOUGH):
            executor.start(attempt("need", bytes=2 * GIB))
            seen += happenings_until_answer(executor)
        assert not [h for h in seen if isinstance(h, SlotsChanged)]
        wait_for_slots(executor, 2)
        guests = [attempt("meet", place=str(tmp_path / "place"), guests=2) for _ in range(2)]
        assert all(isinstance(answer.outcome, Succeeded) for answer in run_all(executor, *guests))
    finally:
        executor.close()


def test_auto_without_a_word_on_the_memory_says_what_to_write(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    _tells(tmp_path, monkeypatch, "echo '[N/A]'")
    with pytest.raises(InputError, match=r"slots_per_gpu: auto asks nvidia-smi .*; write how many slots"):
        check(ClusterSettings(slots_per_gpu="auto"))


def _tells(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\n{says}\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
