"""Linear layers in 8 bits (Micikevicius et al. 2022): products of E4M3 forward, of E5M2 gradients with E4M3 backward.

Each tensor has one scale, its largest absolute value at the type's largest, found anew at each use. The gradient of the
weights is computed in bf16: it is what the optimizer sums up, and its inner dimension is the batch, which need not be
one of the multiples of 16 that the hardware wants. Weights and biases stay fp32.

Left out: convolutions and torch's own attention and recurrent kernels, for which torch has no product in fp8; delayed
scales, which save a pass over each tensor and need a state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST = 1024  # features in and out of a layer: below, scaling costs more than the product saves (to be measured anew)
MULTIPLE = 16  # of which the hardware wants both dimensions of a weight


def eligible(network: nn.Module) -> list[nn.Linear]:
    """The linear layers that are large enough, and of sizes that the hardware takes."""
    layers = [module for module in network.modules() if type(module) is nn.Linear]
    return [one for one in layers if all(n >= LEAST and n % MULTIPLE == 0 for n in one.weight.shape)]


def in_float8(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    """What the layer's ``forward`` is in fp8: (..., in) -> (..., out) in bf16."""

    def forward(inputs: Tensor) -> Tensor:
        rows = inputs.flatten(0, -2)
        outputs: Tensor = _Product.apply(rows, layer.weight)  # type: ignore[no-untyped-call]
        if layer.bias is not None:
            outputs = outputs + layer.bias.to(outputs.dtype)
        return outputs.view(*inputs.shape[:-1], -1)

    return forward


class _Product(torch.autograd.Function):
    """rows (m, in) times weight (out, in) transposed."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(rows.bfloat16(), weight)
        ctx.given = rows.dtype
        return _multiplied(*_scaled(rows, torch.float8_e4m3fn), *_scaled(weight, torch.float8_e4m3fn))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        (gradient,) = gradients
        rows, weight = ctx.saved_tensors
        by_input, scale = _scaled(weight.t(), torch.float8_e4m3fn)
        of_rows = _multiplied(*_scaled(gradient, torch.float8_e5m2), by_input, scale)
        of_weight = gradient.bfloat16().t() @ rows
        return of_rows.to(ctx.given), of_weight.to(weight.dtype)


def _scaled(x: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """(8-bit numbers, contiguous; what they are to be multiplied with)."""
    scale = (x.detach().abs().amax().float() / torch.finfo(dtype).max).clamp(min=1e-12)
    return (x / scale).to(dtype).contiguous(), scale


def _multiplied(a: Tensor, scale_a: Tensor, b: Tensor, scale_b: Tensor) -> Tensor:
    """a (m, k) times b (n, k) transposed, which is the order that the hardware wants; bf16 (m, n)."""
    one = F.ScalingType.TensorWise
    return F.scaled_mm(a, b.t(), scale_a, one, scale_b, one, output_dtype=torch.bfloat16)
