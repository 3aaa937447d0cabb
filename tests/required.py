"""Where CI installs what tests of a folder need, none of them may be skipped: else all would pass with none run.

A folder's conftest.py imports both hooks. They are in force where NAS_SLURM_REQUIRED is set, as `.ci/run` does it.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return _failed_if_skipped((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """A whole module skips itself while it is collected."""
    return _failed_if_skipped((yield))


def _failed_if_skipped(report: Report) -> Report:
    if report.skipped and os.environ.get("NAS_SLURM_REQUIRED"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure where NAS_SLURM_REQUIRED is set: {report.longrepr}"
    return report
