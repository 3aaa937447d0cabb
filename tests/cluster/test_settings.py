"""What settings leave open, this host decides."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from nas.cluster.connect import connect, divide, visible_gpus
from nas.cluster.settings import ClusterSettings
from nas.errors import InputError

HOST = {"cores": 16, "memory": 100 << 30}


@pytest.mark.parametrize(
    ("settings", "gpus", "slots", "threads"),
    [
        ({}, [], [""] * 16, 1),
        ({"threads": 4}, [], [""] * 4, 4),
        ({"threads": 32}, [], [""], 32),
        ({"workers": 2}, [], ["", ""], 1),
        ({}, ["0", "1"], ["0", "1"], 8),
        ({"gpus": 1}, ["0", "1"], ["0"], 16),
        ({"gpus": 0, "workers": 3}, ["0", "1"], ["", "", ""], 1),
        ({"gpus": [1, "MIG-x"]}, [], ["1", "MIG-x"], 8),
        ({"workers": 3, "threads": 2}, ["0", "1"], ["0", "1", "0"], 2),
        ({"workers": 1}, ["0", "1"], ["0"], 16),
        ({"slots_per_gpu": 3}, ["0", "1"], ["0", "1", "0", "1", "0", "1"], 2),
        ({"slots_per_gpu": 3, "workers": 4}, ["0", "1"], ["0", "1", "0", "1"], 4),
        ({"slots_per_gpu": "auto"}, ["0", "1"], ["0", "1"] * 8, 1),
        ({"slots_per_gpu": "auto", "threads": 4}, ["0", "1"], ["0", "1"] * 2, 4),
        ({"slots_per_gpu": "auto", "workers": 2}, [], ["", ""], 1),
    ],
)
def test_a_host_is_divided_into_slots(settings, gpus, slots, threads):
    divided = divide(ClusterSettings(**settings), gpus=gpus, **HOST)
    assert list(divided.gpus) == slots
    assert divided.threads == threads


def test_memory_is_what_is_said_else_a_share_that_leaves_the_host_some():
    assert divide(ClusterSettings(workers=2), gpus=[], **HOST).memory == 45 << 30
    assert divide(ClusterSettings(workers=2, memory="4G"), gpus=[], **HOST).memory == 4 << 30


def test_more_gpus_than_there_are_is_an_error_that_says_how_many():
    with pytest.raises(InputError, match="asks for 3; this host shows 1"):
        divide(ClusterSettings(gpus=3), gpus=["0"], **HOST)


@pytest.mark.parametrize(
    ("value", "gpus"), [("", []), ("-1", []), ("2", ["2"]), ("0,GPU-5c1a", ["0", "GPU-5c1a"]), ("NoDevFiles", [])]
)
def test_the_variable_says_which_gpus_are_ours(value, gpus):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": value}) == gpus


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "slurm2"},
        {"workers": 0},
        {"threads": -1},
        {"memory": "lots"},
        {"gpu": 1},
        {"slots_per_gpu": 0},
        {"slots_per_gpu": 2, "kind": "slurm"},
        {"workers": 99_999_999_999},
        {"kind": "slurm", "options": ["--comm=x"]},  # sbatch reads it as --comment
        {"memory": 8},
        {"controller_memory": "1K"},
        {"kind": "slurm", "hosts": "hosts.txt"},
        {"address": "tcp://127.0.0.1:8786"},
        {"container": "nas.sif", "virtual_environment": "/venv"},
        {"kind": "pbs", "threads": 4, "cpus_per_worker": 2},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(ValidationError):
        ClusterSettings(**wrong)


def test_an_objective_that_cannot_be_sent_is_refused_before_a_process_starts():
    import threading

    lock = threading.Lock()
    with pytest.raises(InputError, match="cannot be sent"):
        connect(ClusterSettings(workers=1), lambda candidate, context: float(lock.locked()))


@pytest.mark.parametrize("address", ["foo", "bogus://127.0.0.1:1"])
def test_a_process_that_was_given_a_wrong_address_ends(address):
    """Else a search that was refused hangs until somebody kills it: Dask closes its client as Python ends."""
    code = f"import nas.cluster.visit; nas.cluster.visit.Visit(None, address={address!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert f"InputError: no Dask scheduler answers at {address}" in done.stderr


def test_an_option_whose_name_only_begins_like_one_of_ours_is_allowed():
    """``--export`` is a name of its own, and ``--mem-bind`` no beginning of ``--mem``."""
    given = ClusterSettings(kind="slurm", options=["--export=NONE", "--mem-bind=local", "-C=a100"])
    assert given.options == ("export=NONE", "mem-bind=local", "C=a100")
