"""`nas submit` where there is no SLURM: what it shows, and what it refuses before anything is written."""

import dataclasses
import json
from pathlib import Path

import pytest

from nas import cli
from nas.errors import InputError
from nas.submit.command import Submitted

CONFIG = """
space: digits_cnn
task: {dataset: digits, validation: 0.2}
cluster: {kind: slurm, workers: 2, memory: 1G, time: 01:00:00, partition: slow, environment: {TOKEN: "a b"}}
"""


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))  # no sbatch here
    file = tmp_path / "mine.yaml"
    file.write_text(CONFIG)
    return file


def submit(*words: object) -> None:
    cli.app(["submit", *map(str, words)], standalone_mode=False)


def test_a_dry_run_shows_scripts_in_which_flags_win_and_writes_nothing(config, capsys):
    submit(config, "--workers", 6, "--nodes", 3, "--partition", "fast", "--option", "--qos=high", "--dry-run", "--json")
    scripts = json.loads(capsys.readouterr().out)
    assert list(scripts) == ["controller", "workers"]
    for line in (
        "--array=0-2",
        "--ntasks-per-node=2",
        "--mem=2048M",
        "--time=01:00:00",
        "--partition=fast",
        "--qos=high",
    ):
        assert f"#SBATCH {line}\n" in scripts["workers"]
    assert "export TOKEN='a b'\n" in scripts["workers"]
    assert list(config.parent.iterdir()) == [config]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workers", 5, "--nodes", 2], "5 workers cannot be spread evenly over 2 nodes"),
        (["--set", "cluster.kind=local"], "to which nothing is submitted; say --to slurm"),
        (["--partition", "a b"], r"--partition 'a b': .* no name of a partition"),
        (["--option", "--wrap=id"], "--option --wrap=id: .* said by nas itself"),
        (["--option", "--job-name=x"], "write name$"),
        (["--option", "--clusters=b"], "--clusters sends jobs to another cluster"),
        (
            ["--to", "moon"],
            r"^--to moon: nothing is submitted there .allowed: slurm, pbs, lsf, sge, script, kubernetes.$",
        ),
        (["--memory", 8], "^--memory 8: 8 bytes are too few: .* write 4G"),
        (
            ["--set", "cluster.hosts=h"],
            "mine.yaml:4:10: hosts is for kind ssh, and kind is slurm: say kind: ssh, or leave",
        ),
        (["--set", "cluster.threads=4"], "4 threads of a worker need as many cores, and cpus_per_worker is 1: raise"),
        (["--workers", 10**11], "--workers 100000000000: .* less than or equal to"),
        (["--time", ""], "--time '': "),
        (["--run", "mine.yaml/run"], "cannot be made: .*mine.yaml is no folder .* give another --run DIR"),
        (["--option", "mail-user=$(id)"], "no option of a scheduler"),
        (["--time", "soon"], "no walltime"),
        (["--run", "runs/my run"], "give another --run DIR"),
        ([], r"there is no SLURM on this host \(no sbatch\)"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(config, flags, message):
    with pytest.raises(InputError, match=message):
        submit(config, *flags)
    assert list(config.parent.iterdir()) == [config]


@pytest.mark.parametrize("where", ["slurm=x", "address", "address=", "scheduler-file", "moon"])
def test_a_cluster_that_is_none_is_refused(config, where):
    with pytest.raises(InputError, match="--cluster"):
        cli.app(["search", str(config), "--cluster", where], standalone_mode=False)


def test_a_flag_that_moves_a_run_puts_away_where_it_was(config, capsys):
    """Else a search that ran over ssh could not go on as jobs: hosts mean nothing there, and are refused."""
    config.write_text(CONFIG.partition("cluster:")[0] + "cluster: {kind: ssh, hosts: hosts.txt}\n")
    submit(config, "--to", "slurm", "--dry-run")
    assert "#SBATCH" in capsys.readouterr().out


PAGE = """\
controller  job 17
workers     job 18
logs        /home/me/runs/my digits/logs/controller-17.log, /home/me/runs/my digits/logs/workers-*.log
watch       nas status 'runs/my digits' --watch
cancel      nas cancel 'runs/my digits'
"""


def test_a_person_who_submits_reads_which_jobs_they_are_and_what_to_do_next():
    """And may copy the commands as they stand. On a resume the workers of before may be enough."""
    said = Submitted(Path("runs/my digits"), "17", "18", Path("/home/me/runs/my digits/logs"))
    assert said.page() == PAGE
    assert dataclasses.replace(said, workers=None).page() == PAGE.replace("job 18", "those that are in the queue")


def test_only_a_submitted_run_can_be_cancelled(tmp_path):
    with pytest.raises(InputError, match="never submitted"):
        cli.app(["cancel", str(tmp_path)], standalone_mode=False)
    with pytest.raises(InputError, match="no such folder"):
        cli.app(["cancel", str(tmp_path / "none")], standalone_mode=False)


def test_help_and_schema_name_every_kind(capsys):
    """A kind that neither says is one that nobody uses."""
    from nas.cluster.settings import SUBMITTED, ClusterSettings

    cli.app(["submit", "--help"], standalone_mode=False)
    shown = capsys.readouterr().out
    assert [kind for kind in SUBMITTED if kind not in shown] == []
    assert set(SUBMITTED) <= set(ClusterSettings.model_json_schema()["properties"]["kind"]["enum"])
