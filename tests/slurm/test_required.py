"""Where CI asks for SLURM, a test that is skipped here, in faults/ or in cluster/ has failed: else all would pass with
none run."""

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
SKIPPED_MODULE = """
import pytest

pytest.importorskip("no_such_module")

def test_that_nobody_sees():
    pass
"""


@pytest.mark.parametrize(
    ("text", "required", "code", "said"),
    [
        (SKIPPED, "1", 1, "1 failed, 2 errors"),
        (SKIPPED, "", 0, "3 skipped"),
        (SKIPPED_MODULE, "1", 2, "1 error"),
        (SKIPPED_MODULE, "", 5, "1 skipped"),  # 5: no test was run
    ],
    ids=["tests, in CI", "tests", "a module, in CI", "a module"],
)
def test_a_skipped_test_fails_where_slurm_is_required(tmp_path, text, required, code, said):
    for file in Path(__file__).parent.glob("[!t]*.py"):
        shutil.copy(file, tmp_path)
    (tmp_path / "test_skipped.py").write_text(text)
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", f"--basetemp={tmp_path / 'inner'}"]
    words += ["--rootdir", str(tmp_path), str(tmp_path)]
    paths = os.pathsep.join([*sys.path, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "NAS_SLURM_REQUIRED": required, "PYTHONPATH": paths}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=60)
    assert done.returncode == code, done.stdout
    assert said in done.stdout


@pytest.mark.parametrize("folder", ["slurm", "faults", "cluster"])
def test_the_folders_whose_tests_ci_can_run_all_of_have_the_hooks(folder):
    """CI is root, and installs what they need: a disk of one's own, a host name, certificates, schemas, an sshd."""
    conftest = (Path(__file__).parents[1] / folder / "conftest.py").read_text()
    assert "\nfrom required import pytest_make_collect_report, pytest_runtest_makereport " in conftest
