"""`nas submit --to sge` on a real Grid Engine: the directives, the queue, an end, a new beginning."""

import contextlib
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from sge_cluster import SgeCluster, lacking
from submitted_runs import completed, each_trial_once, finished, wait

from nas import store
from nas.errors import InputError
from nas.records import DriverTookOver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def cluster() -> Iterator[SgeCluster]:
    if why := lacking():
        pytest.skip(f"no Grid Engine to test with: {why}")
    cluster = SgeCluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def sge(cluster, monkeypatch) -> SgeCluster:
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    return cluster


def warn(sge: SgeCluster, job: str) -> None:
    """SIGUSR1 for the job's process, as a site's warning."""
    ours = [f"{name}\0".encode() for name in (f"JOB_ID={job}", f"SGE_ROOT={sge.folder}")]
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            controls = entry.name.isdecimal() and b"nas.submit.controller" in (entry / "cmdline").read_bytes()
            if controls and all(one in (entry / "environ").read_bytes() for one in ours):
                os.kill(int(entry.name), signal.SIGUSR1)


def test_a_run_of_grid_engines_jobs_whose_controller_begins_again(sge, nas_command, tmp_path):
    """A warned controller ends with 99, Grid Engine starts it again, and the search goes on with the same workers."""
    nas, run = nas_command, tmp_path / "run"
    done = nas("submit", "queued.yaml", "--to", "sge", "--run", run, "--time", "10", "--set", "budget.trials=24")
    controller, workers = done["jobs"]["controller"], done["jobs"]["workers"]
    seen = {(job["role"], job["job"]) for job in nas("status", run)["jobs"]}
    assert seen == {("controller", controller), ("workers", f"{workers}.1"), ("workers", f"{workers}.2")}
    with pytest.raises(InputError, match=f"in the queue already .job {controller}"):
        nas("submit", "queued.yaml", "--to", "sge", "--run", run)
    wait(lambda: completed(run) >= 2, "the first trials", run)
    warn(sge, controller)
    wait(lambda: finished(run), "the end of the search", run)
    wait(lambda: not sge.jobs(), "the end of the jobs", run)
    log = (run / "logs" / f"controller-{controller}.log").read_text()
    assert f"job {controller} is requeued" in log and "the search ended" in log
    drivers = [entry.event for entry in store.read(run / "journal") if isinstance(entry.event, DriverTookOver)]
    assert len(drivers) == 3, "the one that submitted, the one that was warned, and the one that went on"
    each_trial_once(run)
    assert not list(run.rglob("*.tmp"))


def test_grid_engines_jobs_that_wait_are_shown_and_cancelled(sge, nas_command, tmp_path):
    nas, run = nas_command, tmp_path / "run"
    other = sge.run("qsub", "-terse", "-b", "y", "-o", "/dev/null", "-j", "y", "sleep", "600").strip()
    with pytest.raises(InputError, match=r"Grid Engine refuses the job.*unknown queue .nowhere"):
        nas("submit", "queued.yaml", "--to", "sge", "--run", run, "--partition", "nowhere")
    done = nas("submit", "queued.yaml", "--to", "sge", "--run", run, "--option", f"hold_jid={other}")
    status = nas("status", run)
    assert any(re.match(r"controller: 1 can never start \(held\)", line) for line in status["queue"])
    assert len(nas("cancel", run)["cancelled"]) == 3 and done["jobs"]["controller"]
    assert sge.jobs() == [other]
    sge.run("qdel", other)
    wait(lambda: not sge.jobs(), "the end of the other job", seconds=30)
