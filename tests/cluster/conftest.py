"""One Dask executor for all tests of this folder (its workers have torch preloaded), and attempts to start on it."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from behaviours import behave
from required import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 - hooks

from nas.cluster import Executor
from nas.cluster.connect import connect
from nas.cluster.inline import InlineExecutor
from nas.cluster.settings import ClusterSettings
from nas.records import Answered, Attempt, Happening, SlotsChanged

MEMORY = 700 << 20  # bytes; a child with torch has some 250 MB to begin with
_numbers = itertools.count()


@pytest.fixture
def attempt(tmp_path: Path) -> Callable[..., Attempt]:
    """attempt(do="raise", ...) -> an Attempt of a candidate that does so; each is a trial of its own."""

    def make(do: str = "succeed", fresh: bool = False, deadline: float | None = None, **settings: object) -> Attempt:
        trial = next(_numbers)
        candidate = {"architecture": [], "hyperparameters": {"do": do, **settings}}
        folder = str(tmp_path / "trials" / str(trial))
        return Attempt("run", trial, 0, candidate, f"hash-{trial}", 7, folder, fresh, deadline)

    return make


@pytest.fixture(scope="session")
def dask_executor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executor]:
    folder = tmp_path_factory.mktemp("run")
    settings = ClusterSettings(workers=2, memory=MEMORY)
    executor = connect(settings, behave, folder=folder, preload=["torch"])
    wait_for_slots(executor, 2)
    yield executor
    executor.close()


@pytest.fixture(params=["inline", "dask"])
def executor(request: pytest.FixtureRequest) -> Executor:
    if request.param == "dask":
        return request.getfixturevalue("dask_executor")
    executor = InlineExecutor(behave)
    wait_for_slots(executor, 1)
    return executor


def wait_for_slots(executor: Executor, slots: int, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if any(h == SlotsChanged(slots) for h in executor.wait(0.5)):
            return
    raise AssertionError(f"{slots} slots never came")


def happenings_until_answer(executor: Executor, answers: int = 1, seconds: float = 60) -> list[Happening]:
    """What happens until so many attempts were answered."""
    seen: list[Happening] = []
    until = time.monotonic() + seconds
    while sum(isinstance(h, Answered) for h in seen) < answers:
        assert time.monotonic() < until, f"no answer; seen {seen}"
        seen += executor.wait(0.5)
    return seen


def run_all(executor: Executor, *attempts: Attempt) -> Sequence[Answered]:
    for attempt in attempts:
        executor.start(attempt)
    return [h for h in happenings_until_answer(executor, len(attempts)) if isinstance(h, Answered)]
