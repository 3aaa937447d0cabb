"""Two drivers on one run, as real processes: the second is refused, or takes the place of the first, which then ends.

Without these, a driver that was stopped, or that a failed node left running, might write beside the one that goes on.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import slow_search
from aftermath import settled, sound
from process_tree import alive

from nas import store
from nas.records import DriverTookOver

TRIALS = 10
SLOW, QUICK = "3.0", "0.1"  # seconds of a trial; the first driver would need half a minute
ELSEWHERE = ["unshare", "--uts", "sh", "-c", 'hostname elsewhere && exec "$0" "$@"']


def driver(run: Path, seconds: str, *before: str, **environment: str) -> subprocess.Popen[str]:
    calls = run.parent / "calls"
    calls.mkdir(exist_ok=True)
    words = [sys.executable, slow_search.__file__, str(run), str(TRIALS), seconds, json.dumps({"workers": 1})]
    variables = {**os.environ, "NAS_TEST_CALLS": str(calls), **environment}
    return subprocess.Popen([*before, *words], env=variables, stderr=subprocess.PIPE, text=True)


def wait(until: Callable[[], object], what: str, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < limit, f"{what} did not come"
        time.sleep(0.02)


def ended(run: Path) -> int:
    return sum(store.history(run).tally.values())


def begun(run: Path) -> bool:
    return store.exists(run / "journal") and any(t.attempts for t in store.history(run).trials.values())


def drivers(run: Path) -> list[DriverTookOver]:
    return [e.event for e in store.read(run / "journal") if isinstance(e.event, DriverTookOver)]


def superseded(first: subprocess.Popen[str], second: subprocess.Popen[str], run: Path, *, stopped: bool) -> None:
    """The second has taken over: the first says so and ends with exit code 4, and nothing that it does counts."""
    before = ended(run)
    wait(lambda: ended(run) > before, "a trial of the second driver")
    if stopped:
        first.send_signal(signal.SIGCONT)
    said = first.communicate(timeout=60)[1]
    assert first.returncode == 4, said
    assert f"{run}: another driver has taken this run over; this one stops" in said
    assert second.wait(timeout=60) == 0, second.communicate()[1]
    settled(run, TRIALS)


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped", "running"])
def test_a_requeued_job_takes_the_place_of_its_earlier_self(tmp_path: Path, stopped: bool) -> None:
    """After a node failure SLURM begins the job again, and what it had started there may go on, or wake up later."""
    run = tmp_path / "run"
    first = driver(run, SLOW, SLURM_JOB_ID="17")
    wait(lambda: begun(run), "a trial of the first driver")
    if stopped:
        first.send_signal(signal.SIGSTOP)
    refused = driver(run, QUICK, SLURM_JOB_ID="18")  # another job, or none: the first one lives
    said = refused.communicate(timeout=60)[1]
    assert refused.returncode == 4
    assert f"{run} is held by process {first.pid} on {os.uname().nodename}, which is alive" in said
    second = driver(run, QUICK, SLURM_JOB_ID="17", SLURM_RESTART_COUNT="1")
    wait(lambda: len(drivers(run)) == 2, "the second driver")
    superseded(first, second, run, stopped=stopped)
    assert [(one.pid, one.restart) for one in drivers(run)] == [(first.pid, 0), (second.pid, 1)]


@pytest.mark.skipif(
    subprocess.run([*ELSEWHERE, "true"], capture_output=True).returncode != 0, reason="no host name of one's own here"
)
def test_another_hosts_driver_is_waited_for_until_its_heart_stands_still(tmp_path: Path) -> None:
    run = tmp_path / "run"
    first = driver(run, SLOW, *ELSEWHERE, NAS_TEST_STANDSTILL="5")
    wait(lambda: begun(run), "a trial of the first driver")
    refused = driver(run, QUICK, NAS_TEST_STANDSTILL="5")
    said = refused.communicate(timeout=60)[1]
    assert refused.returncode == 4
    assert f"{run} is held by process {first.pid} on elsewhere, which is alive (its heartbeat moves)" in said
    first.send_signal(signal.SIGSTOP)
    sound(run)
    second = driver(run, QUICK, NAS_TEST_STANDSTILL="5")
    wait(lambda: len(drivers(run)) == 2, "the second driver")
    assert alive({first.pid})
    superseded(first, second, run, stopped=True)
    assert [one.host for one in drivers(run)] == ["elsewhere", os.uname().nodename]
