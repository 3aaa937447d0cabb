"""`nas submit --to pbs` for real: SLURM's own qsub, qstat and qdel read the directives and run the jobs."""

import re
import shutil

import pytest
from submitted_runs import active, completed, each_trial_once, finished, wait

from nas.cluster.batch import record
from nas.errors import InputError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(autouse=True)
def _qsub(slurm):
    if not shutil.which("qsub"):
        why = "no qsub here: apt-get install slurm-wlm-torque"
        pytest.skip(why)


def test_a_run_of_pbs_jobs_from_submission_to_its_end(nas, slurm, tmp_path):
    """Its controller is warned on the way, and where PBS does not let it be rerun it submits another one."""
    run = tmp_path / "run"
    done = nas("submit", "queued.yaml", "--to", "pbs", "--run", run, "--time", "10", "--set", "budget.trials=24")
    controller, workers = done["jobs"]["controller"], done["jobs"]["workers"]
    assert {job["role"] for job in nas("status", run)["jobs"]} == {"controller", "workers"}
    shown = slurm.run("scontrol", "show", "job", workers)
    for said in ("TimeLimit=00:10:00", "MinMemoryNode=600M", "ArrayTaskId=", "Requeue=1"):
        assert said in shown, "a directive was read otherwise than it was meant"
    with pytest.raises(InputError, match=f"in the queue already .job {controller}"):
        nas("submit", "queued.yaml", "--to", "pbs", "--run", run)
    wait(lambda: completed(run) >= 2, "the first trials", run)
    slurm.run("scancel", "--batch", "--signal=USR1", controller)
    wait(lambda: finished(run), "the end of the search", run)
    wait(lambda: not active(slurm), "the end of the jobs", run)
    each_trial_once(run)
    said = "".join(path.read_text() for path in (run / "logs").glob("controller-*.log"))
    assert "this job cannot be requeued; job " in said and "the search ended" in said
    assert [job.role for job in record.read(run / "cluster")] == ["controller", "workers", "controller"]
    assert not list(run.rglob("*.tmp")) and not list(tmp_path.glob("*.[oe][0-9]*"))


def test_pbs_jobs_that_wait_are_shown_and_cancelled_and_a_refusal_is_pbss_own(nas, slurm, tmp_path):
    other = slurm.run("sbatch", "--parsable", "--mem=10M", "--output=/dev/null", "--wrap=sleep 600").strip()
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"(?s)PBS refuses the job.*invalid partition"):
        nas("submit", "queued.yaml", "--to", "pbs", "--run", run, "--partition", "nowhere")
    done = nas("submit", "queued.yaml", "--to", "pbs", "--run", run, "--partition", "short", "--time", "10")
    status = nas("status", run)
    assert status["state"] == "waiting"
    assert any(re.match("controller: 1 waiting", line) for line in status["queue"])
    assert set(done["jobs"].values()) <= set(nas("cancel", run)["cancelled"])
    assert active(slurm) == [other]
    slurm.run("scancel", other)
