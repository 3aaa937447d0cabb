"""`nas search --cluster jobqueue`: a site's dask-jobqueue configuration, its jobs those of a real SLURM.

Without it the promise that lost jobs are replaced, which dask-jobqueue itself does not keep, would be a belief.
"""

import importlib
import importlib.util
import time
from collections import Counter
from pathlib import Path

import dask
import distributed  # noqa: F401 - its own configuration must be there before ours is laid over it
import pytest
from slurm_cluster import ACTIVE
from slurm_objective import sleep_a_little
from submitted_runs import each_trial_once

import nas
from nas.errors import InputError

SPACE = {"name": "numbers", "hyperparameters": {"x": {"float": [0.0, 1.0]}, "seconds": 0.3}}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]


@pytest.fixture
def site(slurm, tmp_path):
    """What a site puts into ~/.config/dask/jobqueue.yaml."""
    if not importlib.util.find_spec("dask_jobqueue"):
        pytest.skip("no dask-jobqueue")
    importlib.import_module("dask_jobqueue")  # as is dask-jobqueue's
    path = f"export PYTHONPATH={Path(__file__).parent}"
    scratch = f"export DASK_TEMPORARY_DIRECTORY={tmp_path}"  # Dask leaves a folder there
    with dask.config.set({
        "jobqueue.slurm.cores": 1, "jobqueue.slurm.memory": "300MB", "jobqueue.slurm.walltime": "00:10:00",
        "jobqueue.slurm.job-script-prologue": [path, scratch], "distributed.deploy.lost-worker-timeout": "1s",
        "temporary-directory": str(tmp_path),
    }):  # fmt: skip
        yield slurm


def search(run: Path, observe=None, trials: int = 12, **cluster: object) -> nas.Run:
    return nas.search(
        SPACE, sleep_a_little, trials=trials, controller="random", run=run, observe=observe,
        cluster={"kind": "jobqueue", "workers": 2, **cluster},
    )  # fmt: skip


def test_a_sites_jobs_serve_a_search_and_a_lost_one_is_replaced(site, tmp_path):
    lost: list[str] = []
    scripts: list[str] = []

    def observe(search, now):
        if search.history.tally["completed"] < 2 or lost:
            return  # asking SLURM takes a while, and the next look comes the later for it
        lost.append(next(trial.outcome.notes["job"] for trial in search.history.trials.values() if trial.outcome))
        scripts.append(site.run("scontrol", "write", "batch_script", lost[0], "-"))
        site.run("scancel", lost[0])

    run = search(tmp_path / "run", observe, trials=40)
    trials = run.history.trials.values()
    assert [trial.state for trial in trials] == ["completed"] * 40
    jobs = Counter(trial.outcome.notes["job"] for trial in trials)
    assert lost and len(jobs) == 3, "the job that was cancelled, the other, and its successor"
    for said in (" tls://", "--tls-cert", "--dashboard-address 127.0.0.1:0"):
        assert said in scripts[0], "a worker that others could speak to"
    each_trial_once(tmp_path / "run")
    until = time.monotonic() + 30
    while any(state in ACTIVE for state in site.states().values()) and time.monotonic() < until:
        time.sleep(0.1)
    assert not any(state in ACTIVE for state in site.states().values())


def test_what_slurm_refuses_is_told_and_nothing_stays(site, tmp_path):
    with dask.config.set({"jobqueue.slurm.queue": "nowhere"}), pytest.raises(InputError, match="invalid partition"):
        search(tmp_path / "run")
    assert not any(state in ACTIVE for state in site.states().values())
