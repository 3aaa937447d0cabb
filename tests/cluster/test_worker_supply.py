"""Who keeps the worker jobs at their number: what a person hears of jobs that wait, and when a search gives up.

Without these a search in the foreground would wait all night for jobs that can never start, without a word; or end for
good because a batch system was away for minutes.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nas.cluster.batch import workers
from nas.cluster.batch.run import Supply
from nas.cluster.batch.system import Queued
from nas.cluster.batch.workers import TopUp
from nas.errors import InputError, Interrupted, SearchFailed

WAITS = Queued("18_0", "workers", "PENDING", "waits", "Priority")
NEVER = Queued("18_0", "workers", "PENDING", "waits", "PartitionTimeLimit", never=True)


@dataclass
class Site:
    """A batch system of two workers' jobs: its answers, and what was asked of it."""

    queue: list[Queued] = field(default_factory=list)
    silent: bool = False
    refuses: bool = False
    over: bool = False
    looks: int = 0
    submitted: int = 0

    def jobs(self) -> list[Queued]:
        self.looks += 1
        if self.silent:
            raise SearchFailed("SLURM does not show its queue: connect failure")
        return self.queue

    def submit(self, count: int) -> None:
        if self.refuses:
            raise InputError("SLURM refuses the job: Invalid account")
        self.submitted += count

    def sees(self, looks: int) -> None:
        """Wait until it has been looked at so often from now on."""
        until, wanted = time.monotonic() + 60, self.looks + looks
        while self.looks < wanted:
            assert time.monotonic() < until
            time.sleep(0.005)


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Site], TopUp]]:
    monkeypatch.setattr(workers, "LOOK", 0.01)
    monkeypatch.setattr(workers, "SOON", 0.01)
    started: list[TopUp] = []

    def make(site: Site) -> TopUp:
        supply = Supply(2, 1, site.jobs, lambda: site.over, site.submit, lambda: None)
        started.append(TopUp(supply, Path("run/logs")))
        return started[0]

    yield make
    for one in started:
        one.stop()


def told(top_up: TopUp, workers: int = 0) -> str:
    """What is said next."""
    until = time.monotonic() + 60
    while not (said := top_up.report(workers)):
        assert time.monotonic() < until
        time.sleep(0.005)
    return said


def test_jobs_that_wait_are_told_once_for_each_change_and_not_while_workers_are_there(start):
    site = Site([WAITS, WAITS])
    top_up = start(site)
    assert told(top_up) == "no worker yet; workers: 2 waiting (Priority): 18_0 18_0"
    site.sees(3)
    assert top_up.report(0) == ""
    site.queue = [NEVER, WAITS]
    assert told(top_up) == (
        "no worker yet; workers: 1 can never start (PartitionTimeLimit): 18_0; workers: 1 waiting (Priority): 18_0"
    )
    site.queue = [WAITS, WAITS]
    site.sees(2)
    assert top_up.report(1) == ""
    assert "2 waiting" in told(top_up), "the last worker has gone again"
    assert site.submitted == 0


def test_jobs_that_end_as_soon_as_they_start_end_the_search_where_no_worker_is_there(start):
    site = Site()
    top_up = start(site)
    site.sees(workers.FUTILE + 2)
    assert site.submitted >= 2 * workers.FUTILE and top_up.report(1) == ""
    with pytest.raises(SearchFailed, match=r"no worker comes up: the jobs end as soon as they start; see run/logs/"):
        top_up.report(0)


def test_a_job_that_is_refused_is_told_at_once_and_ends_the_search_in_its_words(start):
    site = Site(refuses=True)
    top_up = start(site)
    assert told(top_up) == "no worker yet; SLURM refuses the job: Invalid account"
    site.sees(workers.FUTILE + 1)
    with pytest.raises(SearchFailed, match="no worker comes up: SLURM refuses the job: Invalid account"):
        top_up.report(0)


def test_a_batch_system_that_does_not_answer_is_waited_for(start):
    """Jobs may wait there, and start any moment."""
    site = Site([WAITS, WAITS], silent=True)
    top_up = start(site)
    site.sees(3 * workers.FUTILE)
    assert told(top_up) == "no worker yet; SLURM does not show its queue: connect failure"
    site.silent = False
    assert told(top_up) == "no worker yet; workers: 2 waiting (Priority): 18_0 18_0"


def test_what_was_cancelled_is_not_submitted_again(start):
    site = Site(over=True)
    top_up = start(site)
    site.sees(2)
    with pytest.raises(Interrupted, match="jobs were cancelled"):
        top_up.report(0)
    assert site.submitted == 0


def test_workers_that_were_let_go_are_not_replaced_and_those_that_are_of_use_still_are(start):
    """At the end of a search: else each idle job that is released is followed by another, as idle."""
    runs = Queued("18_0", "workers", "RUNNING", "runs")
    site = Site([runs, runs])
    top_up = start(site)
    top_up.want(1)
    site.queue = [runs]
    site.sees(3)
    assert site.submitted == 0
    site.queue = []
    site.sees(2)
    top_up.stop()
    assert 1 <= site.submitted <= top_up.futile, "one at each look"
