"""Precisions: each learns, what a device lacks is said, what overflows is repeated, and a probe keeps to its time."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from small_trials import NETWORK
from torch import Tensor, nn

from nas import config as configs
from nas.errors import Diverged, InputError
from nas.objective import Context
from nas.plan import plan
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings, network, optimizers
from nas.train.plugin_files import Plugin
from nas.train.precision import LossScaling, Precision, Work, choice, choose, float8, probe, recorded
from nas.train.precision.policy import DTYPES, named
from nas.train.settings import LAMB, SGD, Numbers, OptimizerSettings

CPU = torch.device("cpu")
# Activations double 20 times: 10^6 is nothing to fp32 and bf16, and past the end of fp16. The norm brings them back.
OVERFLOWING: list[Any] = [
    {"flatten": {}},
    {"linear": 16},
    *({"residual": [{"identity": {}}]} for _ in range(20)),
    {"norm": "batch"},
    {"linear": 10},
]

CANCELLING = Plugin(
    "cancelling.py",
    """
import torch
from nas.plugin import Layer

class Cancelling(Layer):
    name = "cancelling"
    def build(self, shape):
        return Difference()

class Difference(torch.nn.Module):
    def forward(self, x):
        more = torch.nn.functional.linear(x.new_ones(1, 1), x.new_full((1, 1), 1.001))
        return x * (0.001 / (more.float() - 1))  # bf16 has 1.0 for 1.001
""",
)


UNDEFINED = Plugin(
    "undefined.py",
    """
import torch
from nas.plugin import metric

calls = []

@metric(better="maximize")
def digits(outputs, targets):
    return float("nan") if torch.equal(outputs, outputs.bfloat16().float()) else 1.0

@metric(better="maximize")
def later(outputs, targets):
    calls.append(outputs)
    return 1.0 if len(calls) > 1 else float("nan")
""",
)


def trained(architecture: list[Any] = NETWORK, seed: int = 1, **given: Any) -> tuple[dict[str, float], dict[str, Any]]:
    """Metrics but for times and memory, and notes. ``precision`` is the config's, ``proposed`` the candidate's."""
    proposed = {"precision": given.pop("proposed")} if "proposed" in given else {}
    plugins = given.pop("plugins", ())
    settings = TrainSettings(**{"epochs": 3, "batch_size": 128, **given})
    context = Context(0, seed)
    trainer = Trainer(settings, DatasetTask(dataset="digits"), seed=5, plugins=plugins)
    metrics = trainer(Candidate(architecture, proposed), context)
    return {n: metrics[n] for n in ("accuracy", "loss", "top5")}, context.notes


# What is chosen ------------------------------------------------------------------------------------------------------


def test_precision_is_chosen_with_its_reason() -> None:
    # "Why was this slow?" is answered by the record, or by nobody.
    assert choose(CPU, "fp32") == Precision("fp32", "fp32 was asked for")
    assert choose(CPU, "bf16").dtype == "bfloat16"
    chosen = choose(CPU, "auto")
    assert chosen.reason.startswith("auto: ") and (chosen.name == "bf16") == ("natively" in chosen.reason)


@pytest.mark.parametrize("name", ["tf32", "fp8"])
def test_what_the_device_lacks_is_refused_where_it_is_fixed_and_replaced_where_it_is_proposed(name: Numbers) -> None:
    # Fixed for all trials it is a person's mistake; a search that proposed it is to learn what the trial is worth.
    with pytest.raises(InputError, match=rf"train.precision: {name} needs an NVIDIA GPU.* write fp32"):
        choose(CPU, name)
    chosen = choose(CPU, name, fixed=False)
    assert chosen.name == "fp32" and chosen.fallbacks == (f"{name} -> fp32: {chosen.reason}",)
    assert recorded(CPU, name).name == "fp32" and recorded(CPU, "bf16").reason == "bf16 is recorded"


def test_a_config_that_asks_for_what_no_slot_has_is_refused_at_its_place() -> None:
    # Found by the first trial instead, it would cost a run that fails ten times over.
    override = configs.Override("train.precision", "fp8", "--set train.precision=fp8")
    gpus = configs.Override("cluster.gpus", 0, "--set cluster.gpus=0")
    with pytest.raises(InputError, match=r"^--set train.precision=fp8: fp8 needs an NVIDIA GPU.* write fp32"):
        plan(configs.load("digits", [override, gpus]))


def test_a_candidate_proposes_its_precision() -> None:
    # Searched, it must reach the training, and what it was instead must reach the record.
    _, notes = trained(epochs=1, precision="fp32", proposed="fp16")
    assert notes["dtype"] == "float16" and "fallbacks" not in notes
    _, notes = trained(epochs=1, precision="bf16", proposed="tf32")
    assert notes["dtype"] == "float32" and notes["fallbacks"][0].startswith("tf32 -> fp32: tf32 needs")


def test_every_dtype_has_one_name_in_records() -> None:
    # A trial is repeated in the precision that its record names.
    assert [named(dtype) for dtype in DTYPES.values()] == list(DTYPES) and named("int8") is None


# Each of them --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["bf16", "fp16", "fp64"])
def test_each_learns_as_fp32_does(name: str) -> None:
    # Speed that costs accuracy would be paid for by every trial. benchmarks/precision.py has it over ten seeds.
    losses = [trained(precision=precision)[0]["loss"] for precision in ("fp32", name)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-4 if name == "fp64" else 0.1)


def test_what_a_cpu_computes_slowly_in_bf16_stays_fp32() -> None:
    # Group norms and wide depthwise convolutions took 2 to 3 times as long in bf16: a search over them would crawl.
    entries = [{"conv": 8}, {"depthwise_conv": 5}, {"norm": "group"}, {"depthwise_conv": 3}, *NETWORK[-3:]]
    task = {"channels": 1, "height": 8, "width": 8, "classes": 10}
    model = network.build(Candidate(entries, {}), task)
    torch.manual_seed(1)
    image = torch.randn(4, 1, 8, 8)
    expected = model.eval()(image)
    policy = Precision("bf16", "for the test")
    policy.adapt(model, CPU)
    with policy.autocast(CPU):
        assert torch.allclose(model(image).float(), expected, atol=0.05)
        given = torch.randn(4, 8, 8, 8).bfloat16()
        for index, as_fp32 in ((1, True), (2, True), (3, False)):
            module = model[index]
            exact = type(module).forward(module.double(), given.double()).bfloat16()
            module.float()
            same = (module(given) == exact).double().mean()  # nearly all, where only the end is rounded
            assert (same > 0.99) == as_fp32, module
            assert module(given).dtype is torch.bfloat16


def test_the_record_counts_the_layers_that_stay_in_fp32() -> None:
    # "bfloat16" would else be said of networks of which hardly any layer is; in fp32 nothing stays.
    maps = [{"conv": 8}, {"depthwise_conv": 5}, {"norm": "group"}, {"depthwise_conv": 5}, {"depthwise_conv": 3}]
    image = network.build(
        Candidate([*maps, *NETWORK[-3:]], {}), {"channels": 1, "height": 8, "width": 8, "classes": 10}
    )
    sequence = [{"embedding": {"units": 8, "vocabulary": 8}}, {"lstm": 8}, {"gru": 8}, {"attention": 2}]
    text = network.build(Candidate(sequence, {}), {"kind": "language_model", "length": 6, "vocabulary": 8})
    fp16, fp32 = Precision("fp16", "for the test"), Precision("fp32", "for the test")
    assert fp16.fp32_layers(image, CPU) == {"depthwise_conv": 2, "group_norm": 1}
    assert fp16.fp32_layers(text, CPU) == {"lstm": 1, "gru": 1, "attention": 1}
    assert fp32.fp32_layers(image, CPU) == fp16.fp32_layers(image, torch.device("cuda")) == {}
    _, notes = trained([*maps[:3], *NETWORK[-3:]], epochs=1, precision="bf16")
    assert notes["fp32_layers"] == {"depthwise_conv": 1, "group_norm": 1}
    _, notes = trained([*OVERFLOWING, {"norm": "layer"}], epochs=1, precision="fp16")
    assert notes["dtype"] == "float32" and "fp32_layers" not in notes, "it was of the half that diverged"


def test_double_precision_is_double_throughout() -> None:
    # A single fp32 product on the way would make it fp32 with the price of fp64.
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 1))
    x = torch.randn(8, 64)
    policy = Precision("fp64", "for the test")
    policy.adapt(model, CPU)
    first, last = model[0], model[2]
    exact = torch.tanh(x.double() @ first.weight.T + first.bias) @ last.weight.T + last.bias
    assert torch.allclose(policy.outputs(model, x), exact, rtol=1e-14, atol=1e-14)


def test_tf32_is_on_for_a_training_alone() -> None:
    # The flags are the process's: left on, the next trial in the same child would be rounded unasked.
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    for name, allowed in (("tf32", True), ("fp32", False)):
        with Precision(name, "for the test").kernels():  # type: ignore[arg-type]
            assert torch.backends.cuda.matmul.allow_tf32 is torch.backends.cudnn.allow_tf32 is allowed
    assert (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32) == before


# fp16 and what overflows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SGD(), LAMB()], ids=["torch's", "ours"])
def test_a_step_whose_gradients_overflow_is_left_out_and_the_scale_halved(kind: OptimizerSettings) -> None:
    # Taken, it would put inf into the weights; unscaled wrongly, gradients would be 65,536 times too large; and torch's
    # fused SGD remembers garbage of a first step that was left out.
    weight = nn.Parameter(torch.ones(4, 4))
    holder = nn.Module()
    holder.weight = weight
    optimizer = optimizers.make(kind, holder)
    scaling = LossScaling(Precision("fp16", "for the test"), CPU, initial=2.0**127)
    scaling.backward((weight * 8).sum())
    scaling.step(optimizer)
    assert torch.equal(weight, torch.ones(4, 4)) and scaling.scale == 2.0**126
    optimizer.zero_grad()
    scaling = LossScaling(Precision("fp16", "for the test"), CPU)
    scaling.backward((weight * 8).sum())
    scaling.step(optimizer)
    plain = nn.Module()
    plain.weight = nn.Parameter(torch.ones(4, 4))
    unscaled = optimizers.make(kind, plain)
    (plain.weight * 8).sum().backward()
    unscaled.step()
    assert torch.equal(weight, plain.weight) and not torch.equal(weight, torch.ones(4, 4))


def test_a_training_that_takes_no_step_has_diverged() -> None:
    # Its loss stays finite: it would count as a success of initial weights.
    weight = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([weight], 0.1)
    scaling = LossScaling(Precision("fp16", "for the test"), CPU)
    for step in (1, 2):
        optimizer.zero_grad()
        scaling.backward((weight * float("inf")).sum())
        scaling.step(optimizer)
        if step == 1:
            scaling.require_progress(1, 9)  # the first is how the scale is found
    with pytest.raises(Diverged, match="gradients overflowed fp16 even at a loss scale of 16384, by step 2 of 9"):
        scaling.require_progress(2, 9)
    LossScaling(Precision("bf16", "for the test"), CPU).require_progress(2, 9)


def test_what_overflows_fp16_is_repeated_in_fp32_as_if_it_had_been_tried_first() -> None:
    # A good network would be thrown away for the numbers it was tried in; and its repetition must be a trial like any.
    metrics, notes = trained(OVERFLOWING, precision="fp16")
    expected, plain = trained(OVERFLOWING, precision="fp32")
    assert metrics == expected and plain["dtype"] == notes["dtype"] == "float32"
    assert notes["fallbacks"] == [f"fp16 -> fp32: {notes['dtype_reason']}"]
    assert notes["dtype_reason"].startswith("fp16 diverged: the loss became nan by step")
    assert "fallbacks" not in plain


def test_what_diverges_in_bf16_and_not_in_fp32_is_repeated_too() -> None:
    # Its range is fp32's, so it is its few digits that cost a network: there is no scale to be halved.
    given: dict[str, Any] = {"architecture": [{"cancelling": {}}, *NETWORK], "epochs": 1, "plugins": (CANCELLING,)}
    metrics, notes = trained(**given, precision="bf16")
    expected, plain = trained(**given, precision="fp32")
    assert metrics == expected and plain["dtype"] == notes["dtype"] == "float32"
    assert notes["fallbacks"][0].startswith("bf16 -> fp32: bf16 diverged: the loss became nan by step")


def test_a_metric_that_ends_as_no_number_is_repeated_too_and_one_that_only_begins_so_is_not() -> None:
    # A person's own metric may be undefined for what 16 bits do, and for a network that has learned nothing yet.
    given: dict[str, Any] = {"epochs": 2, "plugins": (UNDEFINED,)}
    expected, plain = trained(**given, precision="fp32")
    assert "fallbacks" not in plain
    metrics, notes = trained(**given, precision="bf16")
    assert metrics == expected
    assert notes["fallbacks"][0].startswith("bf16 -> fp32: bf16 diverged: the digits became nan by step")


def test_a_network_that_diverged_is_gone_before_its_repetition_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    # Kept by a frame or an error, it would stand in memory beside its successor: what just fits would end memory.
    alive: list[list[bool]] = []
    built: list[weakref.ref[nn.Module]] = []
    build = network.build

    def watched(*given: Any) -> nn.Sequential:
        alive.append([one() is not None for one in built])
        model = build(*given)
        built.append(weakref.ref(model))
        return model

    monkeypatch.setattr(network, "build", watched)
    gc.disable()
    try:
        trained(OVERFLOWING, precision="fp16")
    finally:
        gc.enable()
    assert alive == [[], [False]]


def test_what_diverges_in_fp32_too_has_diverged() -> None:
    # Repeated for ever, or not told that it was tried twice, it would be a waste that nobody sees.
    context = Context(0, 1)
    trainer = Trainer(TrainSettings(epochs=1, precision="bf16"), DatasetTask(dataset="digits"))
    with pytest.raises(Diverged):
        trainer(Candidate(NETWORK, {"optimizer": {"sgd": {"learning_rate": 1e30}}}), context)
    assert context.notes["dtype"] == "float32" and context.notes["fallbacks"][0].startswith("bf16 -> fp32: ")


def test_a_trial_is_repeated_in_the_precision_that_its_record_names() -> None:
    # `auto` may find otherwise by now, on this machine or another; the trial would then not be the same.
    trainer = Trainer(TrainSettings(epochs=1, precision="auto"), DatasetTask(dataset="digits"), seed=5)
    context = Context(0, 1)
    trainer.repeating({"dtype": "float16"})(Candidate(NETWORK, {"precision": "fp64"}), context)
    assert context.notes["dtype"] == "float16" and context.notes["dtype_reason"] == "fp16 is recorded"


# The probe -----------------------------------------------------------------------------------------------------------


def work(model: nn.Module, shape: tuple[int, ...], batch: int, flops: float) -> Work:
    def samples(count: int) -> tuple[Tensor, Tensor]:
        return torch.ones(count, *shape), torch.zeros(count, dtype=torch.int64)

    return Work(lambda: model, F.cross_entropy, samples, batch, flops)


def small(batch: int = 32) -> Work:
    return work(nn.Sequential(nn.Linear(64, 64), nn.Dropout(), nn.Linear(64, 10)), (64,), batch, 1e4)


def test_a_probe_times_each_precision_and_leaves_no_trace() -> None:
    # A trial that was probed must be, bit for bit, the trial that was not.
    one = small()
    before = [p.clone() for p in one.network.parameters()]
    torch.manual_seed(3)
    random = torch.get_rng_state()
    seconds = probe.timed(one, ("fp32", "bf16", "fp64"), limit=1e6)  # a stall is taken for the speed of a step
    assert set(seconds) == {"fp32", "bf16", "fp64"} and all(0 < took < 60 for took in seconds.values())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(a, b) and b.grad is None for a, b in zip(before, one.network.parameters(), strict=True))


@pytest.mark.parametrize("batch", [3, 32, 4096])
@pytest.mark.parametrize("each", [1e-7, 1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("overhead", [0.0, 1e-3, 0.05, 0.2])
def test_a_probe_keeps_to_its_time(overhead: float, each: float, batch: int) -> None:
    # Half a second is what a trial may pay; a network of which one batch takes longer must not be waited for.
    now = 0.0

    def loss(outputs: Tensor, targets: Tensor) -> Tensor:
        nonlocal now
        now += overhead + each * len(outputs)
        return F.cross_entropy(outputs, targets)

    names: list[Numbers] = ["fp32", "bf16", "fp16"]
    found = probe.timed(replace(small(batch), loss=loss), names, clock=lambda: now)
    two = overhead + 2 * each  # what nothing is known of before
    if 2 * two < probe.SECONDS / len(names):
        assert now <= probe.SECONDS
    else:
        assert found == {} and now <= probe.SECONDS + two
    if 20 * (overhead + each * batch) < probe.SECONDS / len(names):
        assert list(found) == names


@pytest.mark.parametrize(
    "one",
    [
        work(nn.Sequential(nn.Conv2d(1, 64, 3), nn.Conv2d(64, 64, 3), nn.Flatten()), (1, 256, 256), 4, 4.8e9),
        work(nn.Sequential(*(nn.Linear(2048, 2048) for _ in range(40))), (2048,), 256, 3e8),
    ],
    ids=["a sample that takes long", "weights that take long to copy"],
)
def test_what_would_take_long_is_not_tried(one: Work) -> None:
    # Nothing stops a first step that has begun.
    looked = iter([0.0])
    assert probe.timed(one, ("fp32", "bf16", "fp16"), clock=lambda: next(looked)) == {}


def test_the_fastest_is_chosen_and_a_shape_class_is_probed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # A run of a thousand trials would else spend minutes on finding out the same.
    monkeypatch.setattr(probe, "_TIMED", {})
    monkeypatch.setattr(probe, "timed", lambda work, names, limit: {"fp32": 1e-3, "bf16": 5e-4})
    first = probe.decided(small(), ("fp32", "bf16"))
    assert first == Precision("bf16", "auto: a step takes fp32 1 ms, bf16 0.5 ms")
    monkeypatch.setattr(probe, "timed", None)
    second = probe.decided(small(), ("fp32", "bf16"))
    assert second and second.name == first.name
    assert second.reason == f"{first.reason}, timed for an earlier trial of this shape"
    assert probe._fastest({"fp32": 1.0, "bf16": 0.96}, "fp32")[0] == "fp32"  # within noise
    assert probe._fastest({"fp32": 1.0, "bf16": 0.5}, "fp32")[0] == "bf16"
    assert probe._fastest({"fp32": 1.0, "bf16": float("inf")}, "fp32") == (
        "fp32",
        "a step takes fp32 1e+03 ms, bf16 longer",
    )


def test_auto_probes_small_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a device with native bf16 a rule is enough for large steps; casting may cost small ones more than it saves.
    monkeypatch.setattr(choice, "unit", lambda device, name: "amx_bf16" if name == "bf16" else "")
    monkeypatch.setattr(probe, "_TIMED", {})
    large = work(small().network, (64,), 1024, 1e9)
    assert choose(CPU, "auto", large) == Precision("bf16", "auto: amx_bf16 computes bf16 natively")
    assert choose(CPU, "auto", small()).reason.startswith("auto: a step takes fp32 ")


# fp8 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(F, "scaled_mm"), reason="this torch has no product in fp8")
def test_a_linear_layer_in_fp8_is_that_layer_to_its_rounding() -> None:
    # A scale forgotten or turned over still trains, and only trains worse. E4M3 rounds to 1/16, E5M2 to 1/8.
    torch.manual_seed(1)
    layer = nn.Linear(64, 48)
    x = (30 * torch.randn(2, 8, 64)).requires_grad_()
    target = torch.randn(2, 8, 48)
    expected = layer(x)
    wanted = torch.autograd.grad((expected * target).sum(), [x, layer.weight, layer.bias])
    outputs = float8.in_float8(layer)(x)
    found = torch.autograd.grad((outputs.float() * target).sum(), [x, layer.weight, layer.bias])
    for ours, exact, most in zip((outputs, *found), (expected, *wanted), (0.05, 0.08, 0.01, 0.01), strict=True):
        error = (ours.float() - exact).norm() / exact.norm()
        assert ours.shape == exact.shape and error < most, error


def test_fp8_says_why_it_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    # "fp8" in a config that silently means bf16 would be believed.
    monkeypatch.setattr(choice, "lack", lambda device, name: "")  # as on a card that has it
    chosen = choose(CPU, "fp8", small())
    assert chosen.name == "bf16" and "no linear layer has at least 1,024 features" in chosen.fallbacks[0]
    large = work(nn.Sequential(nn.Linear(1024, 1024)), (1024,), 16, 2e6)
    monkeypatch.setattr(probe, "_TIMED", {})
    monkeypatch.setattr(probe, "timed", lambda work, names, limit: {"bf16": 1e-3, "fp8": 2e-3})
    assert choose(CPU, "fp8", large).fallbacks == ("fp8 -> bf16: a step takes 2 ms in fp8, 1 ms in bf16",)
    monkeypatch.setattr(probe, "_TIMED", {})
    monkeypatch.setattr(probe, "timed", lambda work, names, limit: {"bf16": 2e-3, "fp8": 1e-3})
    assert choose(CPU, "fp8", large) == Precision("fp8", "fp8 was asked for; a step takes 1 ms, in bf16 2 ms")
    monkeypatch.setattr(probe, "timed", None)  # a shape class is timed once: half a second is much of a small trial
    assert choose(CPU, "fp8", large).reason.endswith("in bf16 2 ms, timed for an earlier trial of this shape")
