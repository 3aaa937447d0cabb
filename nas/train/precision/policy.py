"""What a precision does: to a network once, to each pass through it, and to the device's kernels meanwhile.

    fp32    everything in fp32
    tf32    the same, with NVIDIA's matrix units rounding what they multiply to 10 bits
    bf16    autocast: weights, optimizer and loss stay fp32, convolutions and matrix products run in bfloat16, whose
            range is that of fp32, so that no loss scaling is needed
    fp16    autocast likewise, in IEEE's half precision: it ends at 65,504, so gradients are scaled (scaling.py)
    fp8     bf16, and large linear layers in 8 bits (float8.py)
    fp64    weights, maps and loss in double precision; judged in fp32

Maps are kept in channels_last order in every precision: it is not slower. What a CPU takes longer for in 16 bits than
in 32, or has no kernel for, stays in fp32 there, which a trial's record says.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from nas.train.modules.attention import Everything
from nas.train.modules.recurrent import RecurrentModule
from nas.train.precision import float8
from nas.train.precision.devices import unit
from nas.train.settings import Numbers

DTYPES: dict[Numbers, str] = {  # as torch writes them, where it has a type of that name; so they stand in records
    "fp32": "float32",
    "tf32": "tfloat32",
    "bf16": "bfloat16",
    "fp16": "float16",
    "fp8": "float8",
    "fp64": "float64",
}
_AUTOCAST: dict[Numbers, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp8": torch.bfloat16}
MAY_OVERFLOW = tuple(_AUTOCAST)  # where fp32 would perhaps not have diverged


@dataclass(frozen=True, slots=True)
class Precision:
    """What a network is trained in, and why. ``fallbacks``: what was wanted and is not used, each with its reason."""

    name: Numbers
    reason: str
    fallbacks: tuple[str, ...] = ()

    @property
    def dtype(self) -> str:
        return DTYPES[self.name]

    @property
    def scaled(self) -> bool:
        """Whether gradients need the loss scaled."""
        return self.name == "fp16"

    def instead(self, name: Numbers, why: str) -> Precision:
        """Another precision, where this one did not do. ``why`` is its reason, and is remembered as a fallback."""
        return replace(self, name=name, reason=why, fallbacks=(*self.fallbacks, f"{self.name} -> {name}: {why}"))

    def notes(self) -> dict[str, Any]:
        """What a trial's record says of it."""
        return {"dtype": self.dtype, "dtype_reason": self.reason} | (
            {"fallbacks": list(self.fallbacks)} if self.fallbacks else {}
        )

    def adapt(self, network: nn.Module, device: torch.device) -> None:
        """Make the network ready, once: double weights, linear layers in fp8, and what stays in fp32 on this device."""
        if self.name == "fp64":
            network.double()
            network.register_forward_pre_hook(_in_double)
        if self.name == "fp8":
            for layer in float8.eligible(network):
                layer.forward = float8.in_float8(layer)  # type: ignore[assignment, method-assign]
        for module, _ in self._kept_in_fp32(network, device):
            module.forward = _in_fp32(module.forward)

    def fp32_layers(self, network: nn.Module, device: torch.device) -> dict[str, int]:
        """How many layers of each kind stay in fp32 on this device, by their words in a space."""
        return dict(Counter(word for _, word in self._kept_in_fp32(network, device)))

    def _kept_in_fp32(self, network: nn.Module, device: torch.device) -> list[tuple[nn.Module, str]]:
        if device.type != "cpu" or self.name not in _AUTOCAST:
            return []
        return [(module, word) for module in network.modules() if (word := _better_in_fp32(module, self.name))]

    def outputs(self, network: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
        """A pass through the adapted network, or what it was compiled to: outputs in fp32, or fp64, so that a loss of
        them is exact enough.
        """
        with self.autocast(inputs.device):
            outputs = network(inputs)
        return outputs if self.name == "fp64" else outputs.float()

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        dtype = _AUTOCAST.get(self.name)
        return torch.autocast(device.type, dtype or torch.bfloat16, enabled=dtype is not None)

    @contextmanager
    def kernels(self) -> Iterator[None]:
        """Whether NVIDIA's kernels may round fp32 to tf32; what the process had is put back."""
        allowed = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = self.name == "tf32"
        try:
            yield
        finally:
            torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


def named(dtype: object) -> Numbers | None:
    """The precision with this dtype in its record; None where it is none of ours."""
    return next((name for name, recorded in DTYPES.items() if recorded == dtype), None)


def _in_double(network: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(x.double() if x.is_floating_point() else x for x in inputs)


def _better_in_fp32(module: nn.Module, name: Numbers) -> str:
    """What a space calls the layer, if a CPU takes 2 to 4 times as long for it in bf16 as in fp32, forward and backward
    together (torch 2.13, AMX); else "". Group norm in channels_last order, depthwise convolutions but for those of 3x3,
    torch's attention without a mask (between its linear layers), and GRUs that are not wide (whose steps are computed
    one by one; an LSTM's are fused). And LSTMs where torch has no such kernel and raises: in fp16, and on CPUs without
    native bf16.
    """
    match module:
        case RecurrentModule(cell=nn.LSTM()):
            return "lstm" if name == "fp16" or not unit(torch.device("cpu"), "bf16") else ""
        case RecurrentModule(cell=cell):
            return "gru" if cell.hidden_size <= 128 else ""
        case nn.Conv2d():
            slow = module.groups == module.in_channels > 1 and module.kernel_size != (3, 3)
            return "depthwise_conv" if slow else ""
        case nn.GroupNorm():
            return "group_norm"
        case Everything():
            return "attention"
    return ""


def _in_fp32(forward: Callable[..., Tensor]) -> Callable[..., Tensor]:
    def in_fp32(*inputs: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return forward(*(x.float() for x in inputs)).to(inputs[0].dtype)

    return in_fp32
