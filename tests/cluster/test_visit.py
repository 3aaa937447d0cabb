"""`nas search --cluster address=...` and `scheduler-file=...`: a Dask cluster that is somebody else's."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from aftermath import settled
from distributed import Client

from nas import cli

CONFIG = """
space: digits_cnn
task: {dataset: digits, validation: 0.2}
controller: random
budget: {trials: 1}
train: {epochs: 1, precision: fp32}
"""


@pytest.fixture(scope="module")
def scheduler_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Of a scheduler with one worker, begun by Dask's own commands."""
    folder = tmp_path_factory.mktemp("cluster")
    file, own = folder / "scheduler.json", ["--host", "127.0.0.1", "--scheduler-file", str(folder / "scheduler.json")]
    config = {"DASK_DISTRIBUTED__WORKER__DAEMON": "False"}

    def dask(*words: str) -> subprocess.Popen[bytes]:
        with (folder / "log").open("ab") as log:
            command = [sys.executable, "-m", "dask", *words, "--no-dashboard", *own]
            return subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, env=os.environ | config)

    with dask("scheduler", "--port", "0") as scheduler:
        until = time.monotonic() + 60
        while not file.exists():
            assert time.monotonic() < until, (folder / "log").read_text()
            time.sleep(0.1)
        with dask("worker", "--nthreads", "1", "--no-nanny") as worker:
            yield file
            worker.terminate()
        scheduler.terminate()


@pytest.mark.parametrize("how", ["address", "scheduler-file"])
def test_the_command_uses_a_cluster_that_is_there_and_leaves_it_there(scheduler_file, tmp_path, monkeypatch, how):
    """Its worker serves one search after another: nothing of the first one may be left in it."""
    (tmp_path / "mine.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    address = json.loads(scheduler_file.read_text())["address"]
    where = address if how == "address" else scheduler_file
    cli.app(["search", "mine.yaml", "--cluster", f"{how}={where}", "--run", "run"], standalone_mode=False)
    settled(tmp_path / "run", 1)
    with Client(address, set_as_default=False) as client:
        found = client.run(lambda dask_worker: list(dask_worker.plugins))
    (plugins,) = found.values()
    assert not [one for one in plugins if one.startswith("nas-")]
