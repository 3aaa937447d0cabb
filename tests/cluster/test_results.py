"""Results as files: adopted when they are this attempt's own and whole, and as if absent otherwise."""

import dataclasses
from pathlib import Path

import pytest

from nas import results
from nas.errors import DiskFailed
from nas.records import Attempt, Failed, Succeeded

GOOD = Succeeded({"accuracy": 0.9}, 12.0, {"dtype": "bfloat16"}, fresh=False, place="host/1")


@pytest.fixture
def attempt(tmp_path):
    return Attempt("run", 3, 0, {}, "hash", 1, str(tmp_path / "trials" / "3"))


def found(attempt):
    return results.read_result(attempt)


def test_a_result_reads_back_as_it_was(attempt):
    results.write_result(attempt, GOOD)
    assert found(attempt) == (0, GOOD)


@pytest.mark.parametrize("other", [{"run": "another"}, {"trial": 4}, {"hash": "another"}, {"replicate": 1}])
def test_a_result_of_something_else_is_as_if_absent(attempt, other):
    results.write_result(attempt, GOOD)
    assert found(dataclasses.replace(attempt, **other)) is None


def test_a_result_in_another_attempts_folder_is_as_if_absent(attempt):
    results.write_result(attempt, GOOD)
    (Path(attempt.folder) / "0").rename(Path(attempt.folder) / "1")
    assert found(attempt) is None


def test_a_result_with_any_byte_lost_or_changed_is_as_if_absent(attempt):
    results.write_result(attempt, GOOD)
    path = Path(attempt.folder) / "0" / "result.json"
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        assert found(attempt) is None
        path.write_bytes(whole[:cut] + bytes([whole[cut] ^ 1]) + whole[cut + 1 :])
        assert found(attempt) is None
    path.write_bytes(whole)
    assert found(attempt) == (0, GOOD)


@pytest.mark.parametrize(
    ("outcome", "settled"),
    [
        (GOOD, True),
        (Failed("error", "x", fresh=False), True),
        (Failed("timeout", "x", fresh=True), True),
        (Failed("timeout", "x", fresh=False), False),  # to be repeated in a fresh child
        (Failed("crashed", "x", fresh=False), False),
        (Failed("out_of_memory", "x", fresh=False), False),
        (Failed("out_of_memory", "x", may_halve=True), False),  # to be repeated with half of what passed at once
        (Failed("lost", "x"), False),
        (Failed("preempted", "x"), False),
    ],
)
def test_only_what_says_something_of_the_candidate_answers_its_trial(attempt, outcome, settled):
    results.write_result(attempt, outcome)
    assert (found(attempt) is not None) == settled
    later = dataclasses.replace(attempt, attempt=1)
    results.write_result(later, GOOD)
    assert found(attempt) == ((0, outcome) if settled else (1, GOOD))
    everything = list(results.read_results(attempt))
    assert everything == [(0, outcome), (1, GOOD)]


def test_attempts_are_read_by_number_not_by_name(attempt):
    for number in (10, 9):
        results.write_result(dataclasses.replace(attempt, attempt=number), Succeeded({"n": float(number)}))
    assert found(attempt) == (9, Succeeded({"n": 9.0}))


def test_a_folder_that_cannot_be_made_is_a_disk_failure(attempt):
    with pytest.raises(DiskFailed):
        results.write_result(dataclasses.replace(attempt, folder="/proc/no/such"), GOOD)
