"""Temporary folders: gone with their process where it can see to it, and with the next one where it was killed."""

import errno
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


def test_where_the_file_system_has_no_locks_there_is_a_folder_all_the_same(temporary, monkeypatch):
    def refuse(descriptor, how):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    one, other = Scratch(), Scratch()
    assert one.folder.is_dir() and other.folder.is_dir()
    one.close()
    one.close()
    assert not one.folder.exists() and other.folder.is_dir()
