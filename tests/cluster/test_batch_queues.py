"""What PBS and LSF say, as their manuals show it, read by what nas makes of it: neither can be had here.

Programs of their names stand in, which print what was recorded and keep what they were called with. Without these, the
answers of an OpenPBS or an LSF would be read for the first time by somebody whose search is at stake.
"""

import os
import shutil

import pytest

from nas.cluster.batch.lsf import Lsf
from nas.cluster.batch.pbs import Pbs
from nas.cluster.batch.run import Batch
from nas.cluster.batch.slurm import Slurm
from nas.cluster.batch.system import Queued
from nas.errors import InputError, SearchFailed
from nas.submit import command

TAGS = {"nas-0123456789ab-controller": "controller", "nas-0123456789ab-workers": "workers"}
PBS_USER = """
cluster:
                                                            Req'd  Req'd   Elap
Job ID          Username Queue    Jobname    SessID NDS TSK Memory Time  S Time
--------------- -------- -------- ---------- ------ --- --- ------ ----- - -----
1201.cluster    me       workq    nas-01234*  12345   1   1    4gb 04:00 R 00:10
1202[].cluster  me       workq    nas-01234*    --    1   2    8gb 04:00 B   --
1203.cluster    me       workq    other         --    1   2    8gb 04:00 Q   --
"""
PBS_FULL = """Job Id: 1201.cluster
    Job_Name = nas-0123456789ab-controller
    Job_Owner = me@login
    job_state = R
    exec_host = n17/0*2
    Variable_List = PBS_O_HOME=/home/me,PBS_O_PATH=/usr/bin:/bin,
\tPBS_O_SHELL=/bin/bash

Job Id: 1202[].cluster
    Job_Name = nas-0123456789ab-wor
\tkers
    job_state = B
    array = True
    array_state_count = Queued:2 Running:1 Exiting:0 Expired:1
    comment = Job Array Began at Sun Nov 29 at 12:00

Job Id: 1203.cluster
    Job_Name = other
    job_state = Q

Job Id: 1204.cluster
    Job_Name = nas-0123456789ab-workers
    job_state = Q
    comment = Can Never Run: Insufficient amount of resource: ngpus (R: 4 A: 2 T: 2)
"""
LSF = """1201|0|RUN|n17|nas-0123456789ab-controller|-
1202|1|RUN|2*n18|nas-0123456789ab-workers[1]|-
1202|2|PEND|-|nas-0123456789ab-workers[2]|Job slot limit reached;
1202|3|PSUSP|-|nas-0123456789ab-workers[3]|Job was suspended by the user;
1202|4|EXIT|n18|nas-0123456789ab-workers[4]|-
1300|0|PEND|-|other|New job is waiting for scheduling;
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """stand_in("bjobs", text): a program that prints it. Called as stand_in.calls says."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    def make(name: str, prints: str, code: int = 0, complains: str = "") -> None:
        (tmp_path / f"{name}.out").write_text(prints)
        (tmp_path / f"{name}.err").write_text(complains)
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\nhere="{tmp_path}"\necho "$@" >>"$here/{name}.calls"\ncat >>"$here/{name}.in"\n'
            f'case "$1" in -f) cat "$here/{name}.full" ;; *) cat "$here/{name}.out" ;; esac\n'
            f'cat "$here/{name}.err" >&2\nexit {code}\n'
        )
        program.chmod(0o755)

    make.calls = lambda name: (tmp_path / f"{name}.calls").read_text().splitlines()
    make.folder = tmp_path
    return make


def test_pbss_queue_has_an_arrays_jobs_by_their_states(stand_in):
    stand_in("qstat", PBS_USER)
    (stand_in.folder / "qstat.full").write_text(PBS_FULL)
    array, never = "1202[].cluster", "Can Never Run: Insufficient amount of resource: ngpus (R: 4 A: 2 T: 2)"
    began = "Job Array Began at Sun Nov 29 at 12:00"
    assert Pbs().queue(TAGS) == [
        Queued("1201.cluster", "controller", "running", "runs", "", "n17"),
        Queued(array, "workers", "queued", "waits", began),
        Queued(array, "workers", "queued", "waits", began),
        Queued(array, "workers", "running", "runs"),
        Queued("1204.cluster", "workers", "queued", "waits", never, never=True),
    ]
    assert stand_in.calls("qstat")[1] == "-f 1201 1202[] 1203"


def test_pbs_without_a_job_of_ours_is_asked_no_further(stand_in):
    stand_in("qstat", "")
    assert Pbs().queue(TAGS) == []
    assert len(stand_in.calls("qstat")) == 1


def test_a_pbs_that_does_not_answer_is_no_empty_queue(stand_in):
    stand_in("qstat", "", 255, "qstat: cannot connect to server cluster (errno=111)")
    with pytest.raises(SearchFailed, match="cannot connect to server"):
        Pbs().queue(TAGS)


def test_lsfs_queue(stand_in):
    stand_in("bjobs", LSF)
    assert Lsf().queue(TAGS) == [
        Queued("1201", "controller", "RUN", "runs", "", "n17"),
        Queued("1202[1]", "workers", "RUN", "runs", "", "n18"),
        Queued("1202[2]", "workers", "PEND", "waits", "Job slot limit reached;"),
        Queued("1202[3]", "workers", "PSUSP", "waits", "Job was suspended by the user;", never=True),
        Queued("1202[4]", "workers", "EXIT", "ended", "", "n18"),
    ]


def test_an_empty_queue_of_lsf_is_no_failure_and_no_answer_is_one(stand_in):
    stand_in("bjobs", "", 255, "No job found")
    assert Lsf().queue(TAGS) == []
    stand_in("bjobs", "", 255, "LSF is down. Please wait ...")
    with pytest.raises(SearchFailed, match="LSF is down"):
        Lsf().queue(TAGS)


def test_lsf_is_given_the_script_and_its_answer_is_read(stand_in, tmp_path):
    script = tmp_path / "workers.lsf"
    script.write_text("#!/bin/bash\n#BSUB -q gpu\n")
    stand_in("bsub", "Job <1202> is submitted to queue <gpu>.\n")
    assert Lsf().submit(script) == "1202"
    assert (tmp_path / "bsub.in").read_text() == script.read_text()
    stand_in("bsub", "", 255, "gpu: No such queue. Job not submitted.")
    with pytest.raises(InputError, match=r"LSF refuses the job .*No such queue"):
        Lsf().submit(script)


def test_jobs_that_are_gone_are_ended_without_complaint(stand_in):
    stand_in("bkill", "", 255, "Job <1202[1]>: Job has already finished")
    stand_in("qdel", "", 35, "qdel: Unknown Job Id 1202[].cluster")
    Lsf().cancel(["1202[1]"])
    Pbs().cancel(["1202[].cluster"])
    stand_in("bkill", "", 255, "User permission denied")
    stand_in("qdel", "", 159, "qdel: Unauthorized Request  1202[].cluster")
    for system in (Lsf(), Pbs()):
        with pytest.raises(SearchFailed, match=f"{system.name} does not end the jobs"):
            system.cancel(["1"])


def test_a_controllers_own_job_begins_again_by_lsfs_word(stand_in, monkeypatch):
    monkeypatch.setenv("LSB_JOBID", "1201")
    stand_in("brequeue", "Job <1201> is being requeued\n")
    assert Lsf().own_job() == "1201" and Lsf().begin_again("1201") == 75
    stand_in("qrerun", "", 159, "qrerun: Unauthorized Request 1201.cluster")
    assert Pbs().begin_again("1201.cluster") is None


@pytest.mark.parametrize(
    ("reasons", "never"),
    [
        ("Priority Resources BeginTime Dependency Licenses Reservation ReqNodeNotAvail JobArrayTaskLimit", False),
        ("PartitionDown PartitionInactive PartitionNodeLimit", False),  # also said while nodes are down
        ("AssocMaxJobsLimit AssocMaxSubmitJobLimit AssocGrpCpuLimit AssocGrpNodeLimit AssocGrpGRES", False),
        ("QOSMaxJobsPerUserLimit QOSMaxCpuPerUserLimit QOSMaxNodePerUserLimit QOSMaxSubmitJobPerUserLimit", False),
        ("QOSMaxGRESPerUser QOSMaxMemoryPerUser QOSGrpCpuLimit QOSGrpJobsLimit QOSJobLimit QOSUsageThreshold", False),
        ("MaxCpuPerAccount MaxJobsPerAccount", False),
        ("BadConstraints PartitionTimeLimit PartitionConfig MaxMemPerLimit ReservationDeleted", True),
        ("DependencyNeverSatisfied InvalidAccount InvalidQOS AccountNotAllowed QOSNotAllowed", True),
        ("AssocMaxWallDurationPerJobLimit AssocMaxCpuPerJobLimit AssocMaxGRESPerNode", True),
        ("QOSMaxWallDurationPerJobLimit QOSMaxNodePerJobLimit QOSMaxCpuPerNode QOSMaxGRESPerJob", True),
        ("QOSMinCpuNotSatisfied QOSMinGRES QOSMinMemory", True),
        ("JobHeldUser JobHeldAdmin JobHoldMaxRequeue launch_failed_requeued_held", True),
    ],
)  # fmt: skip
def test_slurms_reasons_that_time_mends_are_told_from_those_that_it_does_not(stand_in, reasons, never):
    """As SchedMD's page "Job Reason Codes" has them: a person cancels what can never start, and waits for the rest."""
    tag = "nas-0123456789ab-workers"
    stand_in("squeue", "".join(f"18_0|PENDING||{tag}|{reason}\n" for reason in reasons.split()))
    assert {job.reason: job.never for job in Slurm().queue(TAGS)} == dict.fromkeys(reasons.split(), never)


def test_a_job_of_slurms_that_waits_to_begin_again_already_is_not_put_beside_another(stand_in):
    """An answer that was lost on the way, or a node failure that SLURM saw first."""
    stand_in("scontrol", "", 1, "Job is pending execution for job 17")
    assert Slurm().begin_again("17") == 75
    stand_in("scontrol", "", 1, "Requested operation is presently disabled for job 17")
    assert Slurm().begin_again("17") is None


def test_a_run_that_moved_to_another_cluster_asks_only_what_is_there(stand_in, tmp_path, monkeypatch):
    """Else its search could neither top up its workers nor come to an end, and nobody would see the jobs it has now."""
    (tmp_path / "run").mkdir()
    batch = Batch.prepare(tmp_path / "run")
    for script in ("controller.slurm", "workers.slurm", "workers.lsf"):
        (tmp_path / "run" / "cluster" / script).touch()
    stand_in("bsub", "")
    stand_in("bjobs", f"1202|1|PEND|-|nas-{batch.id}-workers[1]|-\n")
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("sh", "cat"):
        (tools / tool).symlink_to(shutil.which(tool))
    monkeypatch.setenv("PATH", f"{tmp_path}:{tools}")  # no sbatch
    assert [job.job for job in batch.active("workers")] == ["1202[1]"]
    assert command.jobs_of(tmp_path / "run").lines() == [
        "workers: 1 waiting: 1202[1]",
        "the queue is not known: there is no SLURM on this host; submitted were none",
    ]
    stand_in("bkill", "")
    stand_in("bjobs", "")
    batch.dismiss()
    assert (tmp_path / "run" / "cluster" / "scheduler.json").read_bytes() == b'{"over":true}'
