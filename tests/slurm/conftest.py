"""One SLURM for all tests of this folder; where none can be started they are skipped, with the reason.

In CI a skipped test of this folder fails, whatever it was skipped for; see required.py.
"""

import json
from collections.abc import Callable, Iterator
from importlib.util import find_spec

import pytest
from aftermath import traces  # noqa: F401 - a fixture
from required import pytest_make_collect_report, pytest_runtest_makereport  # noqa: F401 - hooks
from slurm_cluster import SlurmCluster, lacking
from submitted_runs import CONFIG

from nas import cli


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    why = lacking() or ("" if find_spec("cryptography") else "no TLS keys without the extra [tls]")
    if why:
        pytest.skip(f"no SLURM to test against: {why}")
    cluster = SlurmCluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def slurm(cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[SlurmCluster]:
    """The cluster, with this process able to speak to it, and no jobs of the test left behind."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    yield cluster
    cluster.forget_jobs()
    for node in cluster.nodes:  # a test may have killed one
        if node in cluster.down():
            cluster.start_node(node)
    cluster.end_strays()


@pytest.fixture(autouse=True)
def _leaves_nothing(request: pytest.FixtureRequest) -> None:
    """After every test no process, temporary file or listener of its is left; looked at before strays are ended."""
    for system in {"slurm", "sge"} & set(request.fixturenames):  # what it is made of itself is none of the test's
        request.getfixturevalue(system)
    request.getfixturevalue("traces")


@pytest.fixture
def nas_command(tmp_path, monkeypatch, capsys) -> Callable[..., dict]:
    """nas("status", run) -> what it prints with --json."""
    (tmp_path / "queued.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(*words: object) -> dict:
        capsys.readouterr()
        cli.app([*map(str, words), "--json"], standalone_mode=False)
        return json.loads(capsys.readouterr().out)

    return call


@pytest.fixture
def nas(slurm: SlurmCluster, nas_command: Callable[..., dict]) -> Callable[..., dict]:
    """``nas_command`` where there is a SLURM."""
    return nas_command
