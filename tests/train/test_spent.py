"""Where a trial's time goes: the phases add up, go on where an earlier part ended, and cost the loop nothing."""

from __future__ import annotations

import resource
import time
from pathlib import Path

import pytest
import torch
from small_trials import NETWORK

from nas.objective import Context, evaluate
from nas.records import Succeeded
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings, spent
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


def test_a_training_is_not_lost_where_memory_is_too_short_to_measure_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    # The matrices come when all epochs are done; beside others on a card there may be no room for them.
    monkeypatch.setattr(spent, "_PEAKS", {})
    monkeypatch.setitem(spent.SIDE, "cpu", 16_384)  # 3 GB
    threads, before = torch.get_num_threads(), resource.getrlimit(resource.RLIMIT_AS)
    torch.set_num_threads(1)  # a new thread wants memory, too
    in_use = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (in_use + (128 << 20), before[1]))
    try:
        assert (peak_flops(CPU, "fp32") or 0.0) > 1e8, "smaller matrices have room"
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)
        torch.set_num_threads(threads)
    monkeypatch.setattr(spent, "_PEAKS", {})
    monkeypatch.setitem(spent.SIDE, "cpu", 1 << 24)  # beyond any address space
    monkeypatch.setattr(spent, "SMALLEST", 1 << 24)
    trainer = Trainer(TrainSettings(epochs=1, batch_size=256), DatasetTask(dataset="digits"))
    outcome = evaluate(trainer, Candidate(NETWORK, {}), Context(0, 1))
    assert isinstance(outcome, Succeeded) and outcome.notes["peak_flops"] is None
    assert "rows_per_second" in outcome.metrics and "share_of_peak" not in outcome.metrics
