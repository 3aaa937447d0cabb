"""Where a trial's time goes: the phases add up, go on where an earlier part ended, and cost the loop nothing."""

from __future__ import annotations

import time

import pytest
import torch

from nas.train.spent import PHASES, Spent, peak_flops

CPU = torch.device("cpu")
DEVICES = [CPU, *([torch.device("cuda")] if torch.cuda.is_available() else [])]


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_phases_add_up_to_the_time_between_beginning_and_end(device: torch.device) -> None:
    # Were something counted twice or nowhere, the share of the slowest part would be a guess.
    spent = Spent(device)
    work = torch.rand(256, 256, device=device)
    before = time.perf_counter()
    spent.begin("data")
    began = time.perf_counter()
    for phase in PHASES:
        spent.begin(phase)
        time.sleep(0.1 if phase == "optimizer" else 0.002)
        work = work @ work / 256
    ended = time.perf_counter()
    spent.end()
    total = sum(spent.seconds.values())
    slack = 0.0 if device == CPU else 5e-3  # a GPU's clock is another
    assert ended - began - slack <= total <= time.perf_counter() - before + slack
    assert spent.training == pytest.approx(total - spent.seconds["evaluation"])
    assert spent.seconds["optimizer"] >= 0.1 and min(spent.seconds.values()) >= 2e-3 - slack
    time.sleep(0.1)
    before = time.perf_counter()
    spent.begin("data")  # what lay between is no part of it
    spent.end()
    assert sum(spent.seconds.values()) - total <= time.perf_counter() - before + slack


def test_it_goes_on_where_an_earlier_part_ended() -> None:
    # A trial that was paused would else report the speed and time of its last part alone.
    spent = Spent(CPU, {"data": 1.0, "backward": 3.0, "evaluation": 9.0}, rows=600)
    assert (spent.training, spent.rows_per_second) == (4.0, 150.0)
    spent.begin("forward")
    spent.end()
    assert spent.seconds["forward"] > 0 and spent.seconds["evaluation"] == 9.0


def test_a_change_of_phase_takes_a_microsecond() -> None:
    # Five of them stand in every step, and the smallest steps take half a millisecond: 1 % of it they may cost.
    spent, count = Spent(CPU), 20_000
    fastest = float("inf")
    for _ in range(5):
        began = time.process_time()
        for _ in range(count):
            spent.begin("data")
        fastest = min(fastest, (time.process_time() - began) / count)
    assert fastest < 1e-6


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_the_peak_is_measured_once_and_disturbs_nothing(device: torch.device) -> None:
    # It stands in the first trial of each process: its random numbers must be those of the second's.
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(3)
        expected = torch.rand(3, device=device)
        torch.manual_seed(3)
        peak = peak_flops(device, "fp32")
        assert torch.equal(torch.rand(3, device=device), expected)
    assert peak > 1e8
    began = time.process_time()
    assert peak_flops(device, "fp32") == peak
    assert time.process_time() - began < 0.01
    began = time.process_time()
    assert peak_flops(device, "bf16") > 0
    assert time.process_time() - began < 1.0, "a type that is emulated takes no longer than others"
