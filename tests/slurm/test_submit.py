"""`nas submit --to slurm` against a real SLURM, as a person uses it: the commands, and what becomes of the run.

Without these, everything that is said of walltimes, lost jobs and requeued controllers would be a belief. The trainer's
own processes import torch, which is what takes the time.
"""

from collections import Counter
from pathlib import Path

import pytest
from aftermath import settled
from run_files import holds_no_pickle, mentions
from submitted_runs import active, completed, each_trial_once, finished, history, wait

from nas import store
from nas.cluster.batch import record
from nas.errors import InputError
from nas.records import DriverTookOver

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def test_submit_watch_finish(nas, slurm, tmp_path, monkeypatch):
    """And what is left of it when it is over: no process, no temporary file, no pickle, nothing of the environment."""
    monkeypatch.setenv("NAS_TEST_TOKEN", "correct-horse-battery-staple")
    run = tmp_path / "run"
    done = nas("submit", "queued.yaml", "--to", "slurm", "--run", run, "--time", "10")
    controller, workers = done["jobs"]["controller"], done["jobs"]["workers"]
    assert Counter(job.role for job in record.read(run / "cluster")) == {"controller": 1, "workers": 1}
    seen = {(job["role"], job["job"]) for job in nas("status", run)["jobs"]}
    assert seen == {("controller", controller), ("workers", f"{workers}_0"), ("workers", f"{workers}_1")}
    with pytest.raises(InputError, match=f"in the queue already .job {controller}"):
        nas("submit", "queued.yaml", "--to", "slurm", "--run", run)
    wait(lambda: finished(run), "the end of the search", run)
    wait(lambda: not active(slurm), "the end of the jobs", run)
    each_trial_once(run)
    status = nas("status", run)
    assert (status["state"], status["trials"]["completed"]) == ("finished", 4)
    assert slurm.states()[controller] == "COMPLETED"
    assert "the search ended" in (run / "logs" / f"controller-{controller}.log").read_text()
    places = {trial.outcome.place for trial in history(run).trials.values()}
    assert len({place.rpartition("/")[2] for place in places}) <= 4
    settled(run, 4)
    holds_no_pickle(run)
    assert mentions(run, "correct-horse-battery-staple") == mentions(run, "NAS_TEST_TOKEN") == []


def in_jobs(run: Path) -> list[tuple[str, int]]:
    """Job and restart of each driver that took the run over in a job."""
    drivers = [entry.event for entry in store.read(run / "journal") if isinstance(entry.event, DriverTookOver)]
    return [(driver.job, driver.restart) for driver in drivers if driver.job]


def test_a_cancelled_controller_a_requeued_one_and_the_end_by_nas_cancel(nas, slurm, tmp_path):
    """scancel of the controller stops the search with everything recorded, and the workers wait for the next one.

    SIGUSR1, a site's warning, has the job requeued, and it goes on by itself. `nas cancel` ends this run's jobs alone.
    """
    other = slurm.run("sbatch", "--parsable", "--mem=10M", "--output=/dev/null", "--wrap=sleep 600").strip()
    run = tmp_path / "run"
    done = nas("submit", "queued.yaml", "--to", "slurm", "--run", run, "--set", "budget.trials=1000")
    first, workers = done["jobs"]["controller"], done["jobs"]["workers"]
    wait(lambda: completed(run) >= 1, "the first trial", run)
    slurm.run("scancel", first)
    wait(lambda: not active(slurm, first), "the end of the controller", run)
    assert nas("status", run)["state"] == "interrupted"
    before = completed(run)

    again = nas("resume", run, "--to", "slurm")
    second = again["jobs"]["controller"]
    assert again["jobs"]["workers"] is None, "the workers are there, and wait"
    wait(lambda: completed(run) > before + 2, "trials of the second controller, not only adopted ones", run)
    before = completed(run)
    slurm.run("scancel", "--batch", "--signal=USR1", second)
    wait(lambda: "is requeued" in (run / "logs" / f"controller-{second}.log").read_text(), "the requeue", run)
    wait(lambda: len(in_jobs(run)) == 3, "the requeued controller", run)
    before = completed(run)
    wait(lambda: completed(run) > before + 2, "a trial of the requeued controller", run)
    assert in_jobs(run) == [(first, 0), (second, 0), (second, 1)]
    assert len(active(slurm, workers)) == 2, "the first workers served three controllers"

    slurm.run("scancel", active(slurm, workers)[0])  # a worker, in mid-attempt or nearly so
    wait(lambda: [job.role for job in record.read(run / "cluster")].count("workers") == 2, "another worker", run)
    before = completed(run)
    wait(lambda: completed(run) > before + 2, "trials after a worker was lost", run)

    cancelled = nas("cancel", run)["cancelled"]
    assert second in cancelled and other not in cancelled
    assert active(slurm) == [other]
    slurm.run("scancel", other)
    each_trial_once(run)


def test_jobs_that_a_better_partition_preempts_go_on(nas, slurm, tmp_path):
    """SIGTERM to all of them, SIGKILL soon after, and another beginning when there is room: search and workers meet."""
    run = tmp_path / "run"
    more = ["--partition", "low", "--set", "budget.trials=100000"]
    controller = nas("submit", "queued.yaml", "--to", "slurm", "--run", run, *more)["jobs"]["controller"]
    wait(lambda: completed(run) >= 1, "the first trial", run)
    whole = ["--nodes=3", "--exclusive", "--mem=10M", "--output=/dev/null", "--wrap=true"]
    slurm.run("sbatch", "--partition=high", *whole)
    wait(lambda: len(in_jobs(run)) == 2, "the controller's other beginning", run)
    before = completed(run)
    wait(lambda: completed(run) > before + 2, "new trials after the preemption, not only adopted ones", run)
    assert in_jobs(run) == [(controller, 0), (controller, 1)]
    ours = {job["job"].partition("_")[0] for job in nas("status", run)["jobs"]}
    assert len(ours) == 2, "SLURM has begun the workers again, and no others were submitted"
    nas("cancel", run)
    each_trial_once(run)


PROGRAM = """\
#!/bin/sh
exec >>"{folder}/seen-$SLURM_JOB_ID-${{SLURM_PROCID:-0}}"
printf '%s\\n' "$LOADED" "$WHO" "$CUDA_VISIBLE_DEVICES" "$*"
"""


def test_every_word_of_a_submission_reaches_slurm_and_its_jobs(nas, slurm, tmp_path, monkeypatch):
    """Flags as SLURM itself shows the job, and what a script does before its program, as that program finds it."""
    python, run = tmp_path / "my venv/bin/python", tmp_path / "run"
    python.parent.mkdir(parents=True)
    python.write_text(PROGRAM.format(folder=tmp_path))
    python.chmod(0o755)
    monkeypatch.setenv("BASH_FUNC_module%%", '() { export LOADED="$*"; }')  # as sites' profiles define it
    done = nas(
        "submit", "queued.yaml", "--to", "slurm", "--run", run, "--workers", 2, "--nodes", 1, "--cpus-per-worker", 2,
        "--gpus-per-worker", 1, "--memory", "1G", "--time", "00:10:00", "--partition", "low", "--account", "lab-1",
        "--option", "--nice=7", "--set", "cluster.modules=[cuda/12.4]",
        "--set", "cluster.environment={WHO: it's me}", "--set", f"cluster.virtual_environment={tmp_path}/my venv",
    )  # fmt: skip
    shown = slurm.run("scontrol", "show", "job", done["jobs"]["workers"])
    for words in ("ArrayTaskId=0 ", "NumTasks=2 CPUs/Task=2 ", "MinMemoryNode=2G ", "TimeLimit=00:10:00 ", " Nice=7 ",
                  " Account=lab-1 ", "Partition=low ", "gres:gpu:2\n"):  # fmt: skip
        assert words in shown
    wait(lambda: not active(slurm), "the end of the jobs", run)
    seen = [file.read_text().splitlines() for file in tmp_path.glob("seen-*")]
    assert {(loaded, who) for loaded, who, *_ in seen} == {("load cuda/12.4", "it's me")}
    assert sorted((gpus, words.split()[2]) for *_, gpus, words in seen) == [
        ("", "nas.submit.controller"), ("0", "nas.cluster.batch.worker"), ("1", "nas.cluster.batch.worker"),
    ]  # fmt: skip
    nas("cancel", run)


def test_a_walltime_shorter_than_the_search(nas, slurm, tmp_path):
    """The jobs have a minute, the search wants more: the controller has itself requeued, and nobody is cut off."""
    run = tmp_path / "run"
    more = ["--set", "budget.trials=100000", "--set", "budget.time=50s", "--set", "cluster.workers=1"]
    done = nas("submit", "queued.yaml", "--to", "slurm", "--run", run, "--time", "1", *more)
    controller = done["jobs"]["controller"]
    wait(lambda: finished(run), "the end of the search", run)
    wait(lambda: not active(slurm), "the end of the jobs", run)
    drivers = in_jobs(run)
    assert drivers == [(controller, restart) for restart in range(len(drivers))] and len(drivers) >= 2
    assert history(run).active_seconds() >= 50
    ours = {job.job for job in record.read(run / "cluster")}  # SLURM still tells of an earlier test's
    states = {state for job, state in slurm.states().items() if job.partition("_")[0] in ours}
    assert states <= {"COMPLETED", "CANCELLED"}, "one was cut off by its walltime"
    each_trial_once(run)


def test_jobs_that_can_never_start_are_told_with_slurms_own_reason(nas, slurm, tmp_path):
    run = tmp_path / "run"
    with pytest.raises(InputError, match=r"(?s)SLURM refuses the job.*invalid partition"):
        nas("submit", "queued.yaml", "--to", "slurm", "--run", run, "--partition", "nowhere")
    with pytest.raises(InputError, match=r"SLURM refuses the job.*node configuration is not available"):
        nas("submit", "queued.yaml", "--to", "slurm", "--run", run, "--memory", "90G")
    wait(lambda: not active(slurm), "the end of a controller without workers", seconds=60)
    nas("submit", "queued.yaml", "--to", "slurm", "--run", run, "--partition", "short", "--time", "10")
    wait(lambda: all(job["never"] for job in nas("status", run)["jobs"] if job["waits"]), "the reason", seconds=60)
    status = nas("status", run)
    assert status["state"] == "waiting"
    reasons = set(slurm.run("squeue", "-h", "-t", "PENDING", "-o", "%r").split())
    assert reasons & {"PartitionTimeLimit", "PartitionConfig"}, "which of the two SLURM says depends on the moment"
    for reason in reasons:
        assert any(f"can never start ({reason})" in line for line in status["queue"])
    other = nas(
        "submit", "queued.yaml", "--to", "slurm", "--run", tmp_path / "other", "--partition", "short", "--time", 10
    )
    cancelled = nas("cancel", run)["cancelled"]
    assert len(cancelled) == 3
    assert {job.partition("_")[0] for job in active(slurm)} == set(other["jobs"].values()), (
        "of the same name, and alive"
    )


def test_a_controller_on_a_failed_node_is_superseded_by_its_requeued_self(nas, slurm, tmp_path):
    """SLURM begins its job elsewhere, while the old process goes on: its place is taken, and nothing counts twice."""
    run = tmp_path / "run"
    done = nas("submit", "queued.yaml", "--to", "slurm", "--run", run, "--set", "budget.trials=100000")
    controller = done["jobs"]["controller"]
    wait(lambda: completed(run) >= 1, "the first trial", run)
    node = next(job["node"] for job in nas("status", run)["jobs"] if job["role"] == "controller")
    slurm.kill_node(node)
    drivers = lambda: [e.event for e in store.read(run / "journal") if isinstance(e.event, DriverTookOver)]  # noqa: E731
    wait(lambda: drivers()[-1].restart == 1, "the requeued controller", run)
    old = next(driver for driver in drivers() if driver.job == controller)
    before = completed(run)
    wait(lambda: completed(run) > before + 1, "a trial of the requeued controller", run)
    wait(lambda: not Path(f"/proc/{old.pid}").exists(), "the end of the one whose place was taken", run)
    nas("cancel", run)
    each_trial_once(run)
