"""Where results go: files, links, fifos, devices, closed and full streams. Only plain files are replaced."""

import json
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from test_cli import nas, write_run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run(tmp_path):
    return write_run(tmp_path / "runs" / "digits", "digits", [0.5, 0.9, None])


def shell(line, cwd):
    """A line of bash in which `nas` is the command."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    whole = f'nas() {{ "{sys.executable}" -m nas "$@"; }}; {line}'
    return subprocess.run(["bash", "-c", whole], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60)


def test_a_fifo_is_written_into_and_stays_one(run, tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    read = []
    reader = threading.Thread(target=lambda: read.append(fifo.read_text()))
    reader.start()
    done = nas("leaderboard", run, "--format", "json", "-o", fifo, cwd=tmp_path)
    reader.join(10)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(read[0])) == 3
    assert stat.S_ISFIFO(fifo.stat().st_mode)


def test_dev_stdout_is_stdout_and_adds_to_what_it_goes_to(run, tmp_path):
    assert json.loads(nas("leaderboard", run, "--format", "json", "-o", "/dev/stdout", cwd=tmp_path).stdout)
    (tmp_path / "log").write_text("earlier\n")
    shell(f"nas leaderboard {run} --format csv -o /dev/stdout >> log", tmp_path)
    lines = (tmp_path / "log").read_text().splitlines()
    assert (lines[0], len(lines)) == ("earlier", 5)
    assert Path("/dev/null").is_char_device()
    assert nas("leaderboard", run, "-o", "/dev/null", cwd=tmp_path).returncode == 0
    assert Path("/dev/null").is_char_device()


def test_a_link_and_a_mode_survive(run, tmp_path):
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    real.chmod(0o666)
    link.symlink_to(real)
    assert nas("leaderboard", run, "--format", "csv", "-o", link, cwd=tmp_path).returncode == 0
    assert link.is_symlink()
    assert real.read_text().startswith("rank,")
    assert stat.S_IMODE(real.stat().st_mode) == 0o666


def test_a_folder_is_refused_before_anything_is_written(run, tmp_path):
    done = nas("leaderboard", run, "-o", tmp_path, cwd=tmp_path)
    assert done.returncode == 2
    assert "is a folder" in done.stderr


@pytest.mark.parametrize("stream", [">&-", "> /dev/full"])
@pytest.mark.parametrize("words", ["leaderboard runs/digits", "status runs/digits", "trial runs/digits 0"])
def test_a_stdout_that_takes_nothing_is_one_line_and_74(run, tmp_path, words, stream):
    done = shell(f"nas {words} {stream}", tmp_path)
    assert done.returncode == 74
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "could not be printed" in done.stderr


def test_help_into_a_full_disk_is_no_bug_of_ours(tmp_path):
    done = shell("nas --help > /dev/full", tmp_path)
    assert (done.returncode, len(done.stderr.splitlines())) == (74, 1), done.stderr


@pytest.mark.parametrize("stream", ["2>&-", "2> /dev/full"])
def test_a_stderr_that_takes_nothing_ends_nothing(run, tmp_path, stream):
    done = shell(f"nas leaderboard {run} -o best.txt {stream}", tmp_path)
    assert done.returncode == 0
    assert (tmp_path / "best.txt").read_text()


def test_a_closed_stdout_is_never_the_journals_descriptor(tmp_path):
    """Whatever a library prints to descriptor 1 would else be written into the first file that was opened."""
    (tmp_path / "s.yaml").write_text("name: s\nhyperparameters: {x: {float: [0, 1]}}\n")
    code = (
        "import sys; from nas import cli; cli.app = lambda: sys.stderr.write(str(open('s.yaml').fileno())); cli.main()"
    )
    done = shell(f'"{sys.executable}" -c "{code}" >&-', tmp_path)
    assert int(done.stderr) > 2
