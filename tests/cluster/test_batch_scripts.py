"""What is rendered for a batch system says exactly what was meant, whatever the values hold.

Without this a run's folder, a module or an environment value could become a command in somebody's job.
"""

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from nas.cluster.batch import jobs, shell
from nas.cluster.batch.jobs import Job
from nas.cluster.batch.script import hours
from nas.cluster.batch.slurm import walltime
from nas.cluster.batch.systems import system
from nas.cluster.environment import settings as pools
from nas.cluster.settings import BATCH, ClusterSettings, parse_walltime
from nas.errors import InputError

BASH = shutil.which("bash") or ""
GOLDEN = Path(__file__).parent / "golden"
NASTY = [
    "$(touch pwned)", "`id`", "a b", "'", '"', "\\", "; rm -rf x", "&& x", "#", "\n", "\nx", "$HOME", "*", "~", "-x",
    "\n#$ -q x", "\n#BSUB -q x", "--", "%j", "!", "{a,b}", "<x", ">x", "|", "é", "\u2028", "\x85",
    "\udcff", "=", "'\"'", "\r", "\t", "a\\", "$'\\n'",
]  # fmt: skip
PLAIN = ["a", "gpu", "/", ".", "-", "x=y"]
hostile = st.one_of(
    st.lists(st.sampled_from(NASTY + PLAIN), min_size=1, max_size=4).map("".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12),
)


MARK = {"slurm": "#SBATCH", "pbs": "#PBS", "lsf": "#BSUB", "sge": "#$"}
JOB = {  # in the name of the log that a script opens
    ("pbs", "workers"): "${PBS_JOBID:-$$}", ("pbs", "controller"): "${PBS_JOBID:-$$}",
    ("lsf", "workers"): "${LSB_JOBID}_$LSB_JOBINDEX", ("lsf", "controller"): "$LSB_JOBID",
    ("sge", "workers"): "$JOB_ID.$SGE_TASK_ID", ("sge", "controller"): "$JOB_ID",
    ("script", "workers"): "$HOSTNAME-$BASHPID",
}  # fmt: skip


def workers(folder: Path = Path("/runs/fashion"), *, cwd: str = "/home/me", kind: str = "slurm", **said: object) -> Job:
    job = jobs.workers("fashion", "0123456789ab", folder, ClusterSettings(kind=kind, **said))
    return dataclasses.replace(job, folder=Path(cwd))


def controller_of(job: Job) -> Job:
    """The controller that such workers go with."""
    made = jobs.controller("fashion", "0123456789ab", job.logs.parent, job.settings)
    return dataclasses.replace(made, folder=job.folder)


def render(job: Job) -> str:
    if job.settings.kind == "script":
        return shell.render(controller_of(job), job)
    return system(job.settings.kind).render(job)


def commands(script: str, tmp_path: Path, *arguments: str, shown: Sequence[str]) -> list[list[str]]:
    """What bash itself makes of the script: words of every command but export, which it runs.

    After those of exec come the values, then, of the variables ``shown``.
    """
    say = "printf '%s\\0' {} \"$@\"; printf '\\n\\0'; "
    values = "".join(f"printf '%s\\0' \"${{{name}}}\"; printf '\\n\\0'; " for name in shown)
    stubs = "".join(f"{name}() {{ {say.format(name)}}}\n" for name in ("module", "cd", "trap", "date"))
    stubs += f"exec() {{ {say.format('exec')}{values}}}\n"
    file = tmp_path / "script.sh"
    file.write_bytes(f"{stubs}{script}".encode(errors="surrogateescape"))
    assert subprocess.run([BASH, "-n", file], capture_output=True).stderr == b""
    ran = subprocess.run([BASH, file, *arguments], capture_output=True, check=True, cwd=tmp_path, env={"PATH": ""})
    found: list[list[str]] = [[]]
    for word in os.fsdecode(ran.stdout).split("\0")[:-1]:
        found.append([]) if word == "\n" else found[-1].append(word)
    return found[:-1]


def without_log(script: str) -> tuple[str, list[str]]:
    """The line that opens the log apart, as words."""
    lines = script.split("\n")
    opens = [line for line in lines if line.startswith("exec >>")]
    return "\n".join(line for line in lines if line not in opens), shlex.split(" ".join(opens))[1:]


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from([*BATCH, "script"]), role=st.sampled_from(["workers", "controller"]), nodes=st.booleans(),
    values=st.lists(hostile, max_size=3), modules=st.lists(hostile, max_size=2), option=st.none() | hostile,
    word=st.none() | hostile, python=st.none() | hostile, image=st.none() | hostile, cwd=hostile, folder=hostile,
    path=hostile,
)  # fmt: skip
def test_a_script_is_parsed_back_into_what_was_meant(
    tmp_path_factory, kind, role, nodes, values, modules, option, word, python, image, cwd, folder, path
):
    """By bash itself. A value that is refused instead is fine; one that means something else is not."""
    said = {
        "environment": {f"V{number}": value for number, value in enumerate(values)}, "modules": modules,
        "options": [] if option is None else [f"--{option}", f"constraint={option}"],
        "partition": word, "account": word, "nodes": 2 if nodes else None,
        "virtual_environment": python, "container": image,
    }  # fmt: skip
    accepted = {}
    for key, value in said.items():  # each on its own: one that is refused must not spare the others their test
        try:
            ClusterSettings(kind=kind, **{key: value})
            accepted[key] = value
        except ValidationError:
            pass
    if "container" in accepted:
        accepted.pop("virtual_environment", None)  # which is within it
    try:
        job = workers(Path("/runs") / folder, cwd=f"/home/{cwd}".replace("\0", ""), kind=kind, workers=4, **accepted)
    except (InputError, ValueError):
        job = workers(cwd=re.sub(r"[\0\n]", "", f"/home/{cwd}"), kind=kind, workers=4, **accepted)
    pair, job = job, controller_of(job) if role == "controller" else job
    place = tmp_path_factory.mktemp("script")
    environment = accepted.get("environment", {})
    path, whole = rendered(pair if kind == "script" else job, path)
    script, log = without_log(whole)
    part = ([role] if role == "controller" else ["worker", "3"]) if kind == "script" else []
    read = commands(script, place, *part, shown=["PATH", *environment])
    modules_read = [["module", "load", module] for module in accepted.get("modules", ())]
    (run,) = [words for words in read if words[0] == "exec"]
    launcher = ["srun", "--kill-on-bad-exit=0", "--label"] if job.tasks > 1 else []
    assert run[1:-1] == [*launcher, *job.command, "--started"]  # and then what `date` printed
    before = [["trap", "", "USR1"], *modules_read, ["cd", "--", str(job.folder)]]
    inherits = role == "controller" and kind in ("pbs", "sge")
    assert read == [*before, run, [path if inherits else ""], *([value] for value in environment.values())]
    assert sorted(path.name for path in place.iterdir()) == ["script.sh"], "a value was run"
    last = "workers" if kind == "script" else role
    assert log[-2:] == ([] if kind == "slurm" else [f">>{job.logs}/{last}-{JOB[kind, last]}.log", "2>&1"])
    if kind == "script":
        return
    directives = [line for line in script.split("\n") if line.startswith(f"{MARK[kind]} -")]
    value = r"""([^\s'"\\#;$`<>]+|"[A-Za-z0-9=\[\]-]+"|smp \d)"""  # in quotes, as LSF likes its own words
    assert all(re.fullmatch(rf"\S+ (--?[A-Za-z0-9_-]+([= ]{value})?)", line) for line in directives)
    head = ["#!/bin/bash", *directives]
    assert script.split("\n")[: len(head)] == head, "a directive stands where none is read, or a line is torn"


def rendered(job: Job, path: str) -> tuple[str, str]:
    """As of a host whose PATH is that, or what of it is not refused; and the script."""
    for one in (path, path.replace("\n", "")):
        with pytest.MonkeyPatch.context() as patch, suppress(InputError, ValueError):
            patch.setenv("PATH", one)
            return one, render(job)
    return "", render(job)


@pytest.mark.parametrize("bad", ["a b", "x;y", "$(x)", "a\nb", "", "é", "a#b", "a'b"])
def test_what_cannot_stand_in_a_directive_is_refused(bad):
    for key in ("partition", "account"):
        with pytest.raises(ValidationError, match="no name of a partition"):
            ClusterSettings(**{key: bad})
    with pytest.raises(ValidationError, match="no option of a scheduler"):
        ClusterSettings(options=[f"qos={bad}"])


@pytest.mark.parametrize(("kind", "option"), [
    *(("slurm", option) for option in (
        "--time=1:00", "-J x", "J=x", "output=/tmp/x", "--array=1-9", "wrap=id", "requeue", "--cluster=b",
        "M=b")),
    *(("pbs", option) for option in ("l=walltime=1:00", "l=place=excl,mem=1gb", "J=0-9", "o=/x", "N=x", "q=x", "V")),
    *(("lsf", option) for option in ("W=1:00", "J=x", "-o=/x", "gpu=num=2", "K")),
    *(("sge", option) for option in ("l=h_rt=1:0:0", "l=x=1,mem_free=1G", "t=1-9", "-pe=smp", "sync=y")),
])  # fmt: skip
def test_what_nas_says_itself_is_no_option(kind, option):
    with pytest.raises(ValidationError, match=r"nas itself|no option|another cluster"):
        ClusterSettings(kind=kind, options=[option])


@pytest.mark.parametrize("folder", ["/runs/my run", "/runs/a'b", "/runs/%j", "/runs/a:b", "/runs/x\ny", "/runs/#1"])
def test_a_folder_that_no_directive_can_name_is_refused(folder):
    with pytest.raises(InputError, match="--run DIR"):
        workers(Path(folder))


@pytest.mark.parametrize("name", ["", "Fashion", "a b", "../x", "-x", "x" * 65, "a\n", "é"])
def test_no_other_names_become_jobs(name):
    with pytest.raises(InputError, match="no name for a job"):
        jobs.controller(name, "0123456789ab", Path("/runs/x"), ClusterSettings())


@pytest.mark.parametrize(("text", "seconds"), [("04:00:00", 14400), ("1-12:30:00", 131400), (90, 5400), ("90", 5400),
                                               ("4h", 14400), ("5:30", 330), ("90s", 90)])  # fmt: skip
def test_walltimes_are_read_as_schedulers_write_them(text, seconds):
    assert parse_walltime(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", 0, "10s", "-5", 1.5, True, "1:2:3:4", "500d"])
def test_other_walltimes_are_refused(text):
    with pytest.raises(ValueError, match="walltime"):
        parse_walltime(text)


@pytest.mark.parametrize("seconds", [60, 61, 3600, 86400, 90061])
def test_a_walltime_reads_back_as_at_least_what_was_meant(seconds):
    assert seconds <= parse_walltime(walltime(seconds)) < seconds + 60
    assert parse_walltime(hours(seconds)) == seconds


def test_settings_of_a_cluster_survive_the_journal():
    said = ClusterSettings(kind="slurm", time="04:00:00", options=["qos=high"], environment={"A": "b c"}, memory="8G")
    assert ClusterSettings.model_validate_json(said.model_dump_json()) == said


def test_workers_are_spread_over_nodes():
    script = render(workers(workers=8, nodes=2, cpus_per_worker=3, gpus_per_worker=1, memory="2G"))
    for line in ("--array=0-1", "--ntasks-per-node=4", "--cpus-per-task=3", "--gres=gpu:4", "--mem=8192M"):
        assert f"#SBATCH {line}\n" in script
    assert "\nexec srun --kill-on-bad-exit=0 --label --gpus-per-task=1 " in script
    with pytest.raises(InputError, match="multiple of 3"):
        workers(workers=8, nodes=3)


OPTIONS = {"slurm": ["--qos=high", "constraint=a100|h100"], "pbs": ["l=place=excl", "-W=group_list=lab"],
           "lsf": ["app=training", "R=select[model==h100]"], "sge": ["l=exclusive=true", "hold_jid=12"]}  # fmt: skip


@pytest.mark.parametrize("role", ["controller", "workers"])
@pytest.mark.parametrize("kind", BATCH)
def test_the_scripts_are_these(kind, role, monkeypatch):
    """What a person sees of --dry-run; to renew them, write what this test got."""
    monkeypatch.setenv("PATH", "/opt/batch/bin:/usr/bin")
    said = ClusterSettings(
        kind=kind, workers=4, cpus_per_worker=2, gpus_per_worker=1, memory="8G", time="04:00:00", partition="gpu",
        account="lab-1", options=OPTIONS[kind], modules=["cuda/12.4"],
        virtual_environment="/home/me/my venv", environment={"NAS_DATA": "/data/sets of mine", "WHO": "it's me"},
    )  # fmt: skip
    make = jobs.controller if role == "controller" else jobs.workers
    job = dataclasses.replace(make("fashion", "0123456789ab", Path("/runs/fashion"), said), folder=Path("/home/me"))
    golden = GOLDEN / f"{kind}_{role}.sh"
    assert render(job) == golden.read_text()


def test_the_shell_file_is_this(monkeypatch):
    said = ClusterSettings(
        kind="script", workers=2, gpus_per_worker=2, memory="8G", virtual_environment="/home/me/my venv"
    )
    job = dataclasses.replace(
        jobs.workers("fashion", "0123456789ab", Path("/runs/fashion"), said), folder=Path("/home/me")
    )
    assert render(job) == (GOLDEN / "run.sh").read_text()


def test_the_python_that_submits_runs_the_jobs_unless_another_is_named():
    assert workers().command[:4] == [sys.executable, "-P", "-m", "nas.cluster.batch.worker"]
    assert workers(container="/images/nas.sif").command[:5] == [
        "apptainer",
        "exec",
        "--bind",
        "/runs/fashion",
        "/images/nas.sif",
    ]
    assert pools(3)["OMP_NUM_THREADS"] == "3"
