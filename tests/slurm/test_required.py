"""Where CI asks for SLURM, a test of this folder that is skipped has failed: else it would pass with none run."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPED = """
import pytest

@pytest.fixture
def cluster():
    pytest.skip("none here")

def test_with_a_cluster(cluster):
    pass

@pytest.mark.skip(reason="not today")
def test_marked():
    pass

def test_by_itself():
    pytest.importorskip("no_such_module")
"""


@pytest.mark.parametrize("required", ["1", ""])
def test_a_skipped_test_fails_where_slurm_is_required(tmp_path, required):
    for file in Path(__file__).parent.glob("[!t]*.py"):
        shutil.copy(file, tmp_path)
    (tmp_path / "test_skipped.py").write_text(SKIPPED)
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    paths = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "NAS_SLURM_REQUIRED": required, "PYTHONPATH": paths}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == (1 if required else 0), done.stdout
    assert ("1 failed, 2 errors" if required else "3 skipped") in done.stdout
