"""Temporary folders: gone with their process where it can see to it, and with the next one where it was killed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nas.cluster.scratch import Scratch


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_what_a_killed_process_left_is_swept_and_nobody_elses(temporary):
    code = "from nas.cluster.scratch import Scratch; import sys; print(Scratch().folder, flush=True); sys.stdin.read()"
    processes = [subprocess.Popen([sys.executable, "-c", code], env={**os.environ, "TMPDIR": str(temporary)}, text=True,
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in "ab"]  # fmt: skip
    killed, living = (Path(process.stdout.readline().strip()) for process in processes)
    (temporary / "elsewhere").mkdir()
    (temporary / "nas-scratch-link").symlink_to(temporary / "elsewhere")
    processes[0].kill()
    processes[0].communicate()
    own = Scratch()
    assert not killed.exists()
    assert living.is_dir() and own.folder.is_dir() and (temporary / "elsewhere").is_dir()
    own.close()
    assert not own.folder.exists()
    processes[1].communicate()
