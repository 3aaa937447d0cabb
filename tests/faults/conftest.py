"""After every test of this folder: no process, no temporary file and no listener of its is left."""

import pytest
from aftermath import Traces, traces  # noqa: F401 - a fixture
from required import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 - hooks


@pytest.fixture(autouse=True)
def _leaves_nothing(traces: Traces) -> None:  # noqa: F811 - the fixture
    pass
