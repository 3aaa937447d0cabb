"""kill -9 of somebody's Dask scheduler with attempts in flight: the search says so and can be gone on with.

A local run's scheduler is a part of its driver, and dies with it: test_kill.py has that.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import slow_search
from aftermath import settled, sound

from nas.records import Succeeded

WORKERS = 2


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Callable[[str], tuple[subprocess.Popen[bytes], Path]]]:
    """dask(name) -> a scheduler's process, and the file that says where it is; it has two workers."""
    with ExitStack() as stack:
        started: list[subprocess.Popen[bytes]] = []

        def begin(*words: str) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "dask", *words, "--no-dashboard"]
            environment = {**os.environ, "TMPDIR": str(tmp_path)}
            process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            started.append(stack.enter_context(process))
            return process

        def cluster(name: str) -> tuple[subprocess.Popen[bytes], Path]:
            file = tmp_path / f"{name}.json"
            where = ["--scheduler-file", str(file)]
            scheduler = begin("scheduler", "--host", "127.0.0.1", "--port", "0", *where)
            for _ in range(WORKERS):
                begin(
                    "worker",
                    "--host",
                    "127.0.0.1",
                    "--nthreads",
                    "1",
                    "--no-nanny",
                    "--local-directory",
                    str(tmp_path),
                    *where,
                )
            wait(file.exists, "the scheduler's file")
            return scheduler, file

        yield cluster
        for process in started:
            process.kill()


def wait(until: Callable[[], object], what: str, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < limit, f"{what} did not come"
        time.sleep(0.02)


def test_a_killed_scheduler_ends_the_search_and_what_its_workers_wrote_is_adopted(dask, tmp_path: Path) -> None:
    run, calls = tmp_path / "run", tmp_path / "calls"
    calls.mkdir()

    def search(**cluster: str) -> subprocess.Popen[str]:
        words = [sys.executable, slow_search.__file__, str(run), "6", "1.5", json.dumps(cluster)]
        variables = {**os.environ, "NAS_TEST_CALLS": str(calls)}
        return subprocess.Popen(words, env=variables, stderr=subprocess.PIPE, text=True)

    scheduler, file = dask("first")
    process = search(kind="address", address=json.loads(file.read_text())["address"])
    wait(lambda: len(list(calls.iterdir())) >= 2, "two attempts")
    scheduler.send_signal(signal.SIGSTOP)  # so that their answers do not arrive
    wait(lambda: len(list(run.glob("trials/*/0/result.json"))) >= 2, "two results")
    scheduler.kill()
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 75, said
    assert said.splitlines()[-1].startswith("the Dask scheduler is gone, with its workers; everything recorded is safe")
    sound(run)

    scheduler, file = dask("second")
    process = search(kind="scheduler_file", scheduler_file=str(file))
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 0, said
    history = settled(run, 6)
    for number in (0, 1):
        assert [type(one.outcome) for one in history.trials[number].attempts] == [Succeeded]
    assert len(list(calls.iterdir())) == 6, "nothing was trained twice"
