"""Commands of a batch system: run with patience, and what they say made one line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from nas.errors import InputError, SearchFailed

PATIENCE = 60.0  # seconds for one command: a busy controller of a large site takes its time


def command(
    words: Sequence[str], *, folder: Path | None = None, stdin: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to its end, in ``folder``. Raises InputError where the program is not here, SearchFailed if it hangs."""
    with (stdin or Path(os.devnull)).open("rb") as given:
        try:
            return subprocess.run(
                words, capture_output=True, text=True, errors="replace", timeout=PATIENCE, stdin=given, cwd=folder
            )
        except FileNotFoundError:
            raise InputError(f"{words[0]} is not here: is this a host from which jobs can be submitted?") from None
        except subprocess.TimeoutExpired:
            raise SearchFailed(f"{words[0]} did not answer within {PATIENCE:g} s") from None


def end(program: str, jobs: Sequence[str], gone: str, system: str) -> None:
    """Have ``program`` end the jobs; what says ``gone``, a pattern, of them is no failure. Raises SearchFailed."""
    if not jobs:
        return
    done = command([program, *jobs])
    if done.returncode and not re.search(gone, done.stdout + done.stderr, re.IGNORECASE):
        raise SearchFailed(f"{system} does not end the jobs: {said(done)}")


def refused(system: str, file: Path, done: subprocess.CompletedProcess[str]) -> InputError:
    """What to raise where a job is not taken."""
    return InputError(
        f"{system} refuses the job ({file}): {said(done)}; ask for what it has: time, partition, account, memory, "
        "controller_memory and the like in cluster:"
    )


def said(done: subprocess.CompletedProcess[str]) -> str:
    """What it complained of, without its own name before each line."""
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    words = [re.sub(r"^[a-z]+: (error: )?", "", line) for line in lines]
    return "; ".join(words) or f"exit code {done.returncode}"


def here(program: str) -> bool:
    """Whether it is on the PATH."""
    return shutil.which(program) is not None
