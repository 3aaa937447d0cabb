"""Layers on sequences and tokens: what they compute, held against torch's own or a closed form; shapes; costs."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.errors import InvalidCandidate
from nas.train.layers import LAYERS, read
from nas.train.layers.layer import Layer, Shape, shape_after
from nas.train.modules.attention import Rotary
from nas.train.precision import choose
from nas.train.settings import PrecisionName

MAP, SEQUENCE, VECTOR, ITEMS = (12, 7, 5), (10, 12), (12,), (7,)

# Each with a shape that it takes, and settings in which no two numbers of its formulas agree.
SEQUENCE_LAYERS: dict[str, list[tuple[Shape, dict[str, Any]]]] = {
    "attention": [
        *((shape, {"heads": 3, "window": window}) for shape in (MAP, SEQUENCE) for window in (None, 1, 4, 5, 20)),
        *((SEQUENCE, {"heads": 2, "window": window, "causal": True}) for window in (None, 1, 4, 20)),
        (SEQUENCE, {"heads": 3, "positions": "rotary"}),
    ],
    "embedding": [(ITEMS, {"units": 5, "vocabulary": 4})],
    "gru": [(SEQUENCE, {"units": 5}), (SEQUENCE, {"units": 5, "bidirectional": True, "output": "last"})],
    "hashed_embedding": [(ITEMS, {"units": 5, "shared": 4, "own": 2})],
    "lstm": [(SEQUENCE, {"units": 5}), (SEQUENCE, {"units": 5, "bidirectional": True})],
    "mixture_of_experts": [
        (MAP, {"experts": 5, "top_k": 2}),
        (SEQUENCE, {"experts": 5, "top_k": 2, "hidden": 7}),
        (VECTOR, {"experts": 3}),
    ],
    "mlp_block": [(MAP, {"ratio": 1.5}), (SEQUENCE, {"ratio": 0.3}), (VECTOR, {})],
    "transformer_block": [
        (MAP, {"heads": 3, "mlp_ratio": 1.5, "positions": "learned", "window": 3}),
        (SEQUENCE, {"heads": 3, "norm": "post", "positions": "rotary", "causal": True}),
        (SEQUENCE, {"heads": 2, "positions": "learned"}),
    ],
}  # fmt: skip

OF_OTHERS = [
    ("linear", SEQUENCE, {"units": 3}),
    ("norm", SEQUENCE, {"kind": "batch"}),
    ("norm", SEQUENCE, {"kind": "group"}),
    ("global_pool", SEQUENCE, {"kind": "max"}),
    ("residual", SEQUENCE, {"layers": [{"linear": 5}, "activation"]}),
    ("flatten", SEQUENCE, {}),
]
ALL = [(name, *case) for name, cases in SEQUENCE_LAYERS.items() for case in cases] + OF_OTHERS


def layer(name: str, settings: dict[str, Any]) -> Layer:
    return read([{name: settings}])[0]


def inputs(one: Layer, shape: Shape, count: int = 2) -> Tensor:
    return torch.randint(0, 4, (count, *shape)) if one.items else torch.randn(count, *shape)


@pytest.mark.parametrize(("name", "shape", "settings"), ALL, ids=[f"{n}-{s}-{k}" for n, s, k in ALL])
def test_closed_forms_equal_torchs_count(name: str, shape: Shape, settings: dict[str, Any]) -> None:
    # Limits on parameters and FLOPs are decided by the formulas. On the meta device torch counts attention too.
    one = layer(name, settings)
    after = shape_after(one, shape)
    with torch.device("meta"):
        module = one.build(shape)
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module.eval()(torch.zeros(1, *shape))
    assert one.parameters(shape, after) == sum(p.numel() for p in module.parameters())
    if name != "lstm":  # of which torch counts nothing; see the formula's own test
        assert one.flops(shape, after) == counter.get_total_flops()


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16", "fp64"])
@pytest.mark.parametrize(("name", "shape", "settings"), ALL, ids=[f"{n}-{s}-{k}" for n, s, k in ALL])
def test_every_layer_trains(name: str, shape: Shape, settings: dict[str, Any], precision: PrecisionName) -> None:
    # A shape inferred on the meta device says nothing about kernels that are missing for real numbers.
    one, cpu = layer(name, settings), torch.device("cpu")
    module = one.build(shape)
    policy = choose(cpu, precision)
    policy.adapt(module, cpu)
    with policy.autocast(cpu):
        output = module(inputs(one, shape))
    assert output.shape[1:] == shape_after(one, shape)
    if any(p.requires_grad for p in module.parameters()):
        output.float().square().sum().backward()
        assert all(torch.isfinite(p.grad).all() for p in module.parameters() if p.grad is not None)
        assert any((p.grad != 0).any() for p in module.parameters() if p.grad is not None)


# Attention -----------------------------------------------------------------------------------------------------------


def attention(shape: Shape, **settings: Any) -> Any:
    return layer("attention", settings).build(shape)


def mine_as_torchs(module: Any, reference: nn.MultiheadAttention) -> None:
    """Copy the weights of our attention into torch's."""
    reference.in_proj_weight.data = module.qkv.weight.data
    reference.in_proj_bias.data = module.qkv.bias.data  # type: ignore[union-attr]
    reference.out_proj.load_state_dict(module.out.state_dict())


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_torchs(causal: bool) -> None:
    # Heads that are cut wrongly, or a scale that is missing, still train; they only train worse.
    x = torch.randn(2, *SEQUENCE)
    module = attention(SEQUENCE, heads=3, causal=causal)
    reference = nn.MultiheadAttention(12, 3, batch_first=True)
    mine_as_torchs(module.body, reference)
    mask = torch.ones(10, 10).triu(1).bool() if causal else None
    expected, _ = reference(x, x, x, attn_mask=mask)
    assert torch.allclose(module(x), expected, atol=1e-6)


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 9, 10, 11])
def test_a_window_sees_those_fewer_than_its_length_away(window: int, causal: bool) -> None:
    # Blocks, padding and masks are easily one off; the definition is one line.
    x = torch.randn(2, *SEQUENCE)
    module = attention(SEQUENCE, heads=3, window=window, causal=causal)
    reference = nn.MultiheadAttention(12, 3, batch_first=True)
    mine_as_torchs(module.body, reference)
    behind = torch.arange(10)[:, None] - torch.arange(10)
    seen = (behind >= 0) & (behind < window) if causal else behind.abs() < window
    expected, _ = reference(x, x, x, attn_mask=~seen)
    assert torch.allclose(module(x), expected, atol=1e-6)


@pytest.mark.parametrize("window", [1, 2, 3, 5, 6])
def test_a_windowed_map_attends_within_squares(window: int) -> None:
    # Each square by itself, cut out by hand, must give what the whole gives there: nothing leaks, padding included.
    x = torch.randn(2, *MAP)
    module = attention(MAP, heads=3, window=window)
    reference = nn.MultiheadAttention(12, 3, batch_first=True)
    mine_as_torchs(module.body, reference)
    found = module(x)
    for row in range(0, 7, window):
        for column in range(0, 5, window):
            square = x[:, :, row : row + window, column : column + window]
            tokens = square.flatten(2).transpose(1, 2)
            expected = reference(tokens, tokens, tokens)[0].transpose(1, 2).reshape(square.shape)
            assert torch.allclose(found[:, :, row : row + window, column : column + window], expected, atol=1e-6)


def test_rotary_positions_turn_by_angle() -> None:
    # Eq. 34 in complex numbers; and what it is for: scores depend on the distance of two positions alone.
    x = torch.randn(1, 1, 10, 8)
    turned = Rotary(10, 8)(x)
    pairs = torch.complex(x[..., :4], x[..., 4:])
    angles = torch.outer(torch.arange(10.0), 10_000.0 ** (-torch.arange(4.0) / 4))
    expected = pairs * torch.polar(torch.ones_like(angles), angles)
    assert torch.allclose(turned, torch.cat([expected.real, expected.imag], -1), atol=1e-5)
    q, k = torch.randn(2, 8)
    rows = [Rotary(10, 8)(v.expand(1, 1, 10, 8))[0, 0] for v in (q, k)]
    scores = rows[0] @ rows[1].T
    assert torch.allclose(scores[2:, 2:], scores[:-2, :-2], atol=1e-4)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_a_transformer_block_is_torchs(norm: str) -> None:
    # Where the norms stand decides whether deep networks train at all (Xiong et al. 2020).
    block: Any = layer("transformer_block", {"heads": 3, "mlp_ratio": 2, "norm": norm}).build(SEQUENCE)
    reference = nn.TransformerEncoderLayer(12, 3, 24, 0.0, "gelu", batch_first=True, norm_first=norm == "pre")
    first, second = block
    mine_as_torchs(first.body.body, reference.self_attn)
    mlp = second.body.body
    reference.linear1.load_state_dict(mlp[0].state_dict())
    reference.linear2.load_state_dict(mlp[2].state_dict())
    for mine, theirs in ((first.norm.body, reference.norm1), (second.norm.body, reference.norm2)):
        nn.init.normal_(mine.weight)
        theirs.load_state_dict(mine.state_dict())
    x = torch.randn(2, *SEQUENCE)
    assert torch.allclose(block(x), reference(x), atol=1e-5)


def test_learned_positions_are_added_to_what_comes_in() -> None:
    # Without them an unmasked block can not tell the order of its input: a permutation would only be permuted.
    given = {"heads": 3, "positions": "learned"}
    block: Any = layer("transformer_block", given).build(SEQUENCE)
    x = torch.randn(2, *SEQUENCE)
    assert torch.allclose(block(x), block[1:](x + block[0].table))
    order = torch.randperm(10)
    without = block[1:]
    assert torch.allclose(without(x[:, order]), without(x)[:, order], atol=1e-5)


@pytest.mark.parametrize("shape", [MAP, SEQUENCE])
def test_maps_and_sequences_are_the_same_tokens(shape: Shape) -> None:
    # A map's pixels in raster order are a sequence; a transposition in between would mix channels with positions.
    settings = {"heads": 3, "positions": "rotary"}
    one = layer("transformer_block", settings)
    torch.manual_seed(0)
    on_map = one.build(MAP)
    torch.manual_seed(0)
    on_sequence = one.build((35, 12))
    x = torch.randn(2, *MAP)
    tokens = x.flatten(2).transpose(1, 2)
    assert torch.allclose(on_map(x).flatten(2).transpose(1, 2), on_sequence(tokens), atol=1e-5)


CAUSAL = [
    ("attention", {"heads": 3, "causal": True}),
    ("attention", {"heads": 3, "causal": True, "window": 3}),
    ("transformer_block", {"heads": 3, "causal": True, "positions": "learned"}),
    ("gru", {"units": 3}),
    ("lstm", {"units": 3}),
    ("mlp_block", {}),
    ("mixture_of_experts", {"experts": 3, "top_k": 2, "capacity": 0.5}),
    ("linear", {"units": 3}),
]


@pytest.mark.parametrize(("name", "settings"), CAUSAL, ids=[f"{n}-{s}" for n, s in CAUSAL])
@pytest.mark.parametrize("training", [False, True])
def test_causal_layers_do_not_look_ahead(name: str, settings: dict[str, Any], training: bool) -> None:
    # A language model that sees the next character has a perfect loss and has learned nothing.
    module = layer(name, settings).build(SEQUENCE).train(training)
    x = torch.randn(2, *SEQUENCE)
    other = x.clone()
    other[:, 6:] = torch.randn(2, 4, 12)
    assert torch.allclose(module(x)[:, :6], module(other)[:, :6], atol=1e-6)
    assert not torch.allclose(module(x)[:, 6:], module(other)[:, 6:])


# Recurrence ----------------------------------------------------------------------------------------------------------


def test_a_gru_is_its_equations() -> None:
    # torch's variant has the reset gate behind the product; and `last` must be each direction's own end.
    module: Any = layer("gru", {"units": 5, "bidirectional": True, "output": "last"}).build(SEQUENCE)
    x = torch.randn(2, *SEQUENCE)

    def run(steps: Tensor, suffix: str) -> Tensor:
        weights = [getattr(module.cell, f"{name}_l0{suffix}") for name in ("weight_ih", "weight_hh")]
        biases = [getattr(module.cell, f"{name}_l0{suffix}") for name in ("bias_ih", "bias_hh")]
        h = torch.zeros(2, 5)
        for step in steps.transpose(0, 1):
            of_input = (step @ weights[0].T + biases[0]).chunk(3, 1)
            of_state = (h @ weights[1].T + biases[1]).chunk(3, 1)
            r, z = ((of_input[i] + of_state[i]).sigmoid() for i in (0, 1))
            h = (1 - z) * (of_input[2] + r * of_state[2]).tanh() + z * h
        return h

    expected = torch.cat([run(x, ""), run(x.flip(1), "_reverse")], 1)
    assert torch.allclose(module(x), expected, atol=1e-6)


@pytest.mark.parametrize("output", ["all", "last"])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_an_lstm_is_its_equations(bidirectional: bool, output: str) -> None:
    # Gates in another order still train; and a direction that is read from its wrong end has seen one step alone.
    given = {"units": 5, "bidirectional": bidirectional, "output": output}
    module: Any = layer("lstm", given).build(SEQUENCE)
    x = torch.randn(2, *SEQUENCE)

    def run(steps: Tensor, suffix: str) -> Tensor:
        of = {
            name: getattr(module.cell, f"{name}_l0{suffix}")
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        }
        h = c = torch.zeros(2, 5)
        outputs = []
        for step in steps.transpose(0, 1):
            gates = step @ of["weight_ih"].T + of["bias_ih"] + h @ of["weight_hh"].T + of["bias_hh"]
            i, f, g, o = gates.chunk(4, 1)
            c = f.sigmoid() * c + i.sigmoid() * g.tanh()
            h = o.sigmoid() * c.tanh()
            outputs.append(h)
        return torch.stack(outputs, 1)

    directions = [run(x, "")] + ([run(x.flip(1), "_reverse")] if bidirectional else [])
    if output == "last":
        expected = torch.cat([outputs[:, -1] for outputs in directions], -1)
    else:
        expected = torch.cat([directions[0], *(outputs.flip(1) for outputs in directions[1:])], -1)
    assert torch.allclose(module(x), expected, atol=1e-6)


def test_an_lstms_flops_are_those_of_its_products() -> None:
    # torch counts none of an LSTM; unrolled by hand it is two matrix products for each step and direction.
    one = layer("lstm", {"units": 5, "bidirectional": True})
    cell = nn.LSTMCell(12, 5)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        for _ in range(2 * 10):
            _ = torch.zeros(1, 12) @ cell.weight_ih.T
            _ = torch.zeros(1, 5) @ cell.weight_hh.T
    assert one.flops(SEQUENCE, (10, 10)) == counter.get_total_flops()


# The feed-forward half ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [MAP, SEQUENCE, VECTOR])
def test_an_mlp_block_is_its_equation(shape: Shape) -> None:
    # x + W2 f(W1 norm(x) + b1) + b2 for each token: a norm over another axis, or none, would still train.
    module: Any = layer("mlp_block", {"ratio": 1.5, "activation": "silu"}).build(shape)
    first, _, second = module.body.body
    norm = module.norm.body
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    x = torch.randn(2, *shape)
    tokens = x.flatten(2).transpose(1, 2) if shape == MAP else x
    centred = tokens - tokens.mean(-1, keepdim=True)
    normed = centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * norm.weight + norm.bias
    inside = normed @ first.weight.T + first.bias
    assert inside.shape[-1] == 18  # 1.5 times 12 features
    expected = tokens + inside * inside.sigmoid() @ second.weight.T + second.bias
    expected = expected.transpose(1, 2).reshape(x.shape) if shape == MAP else expected
    assert torch.allclose(module(x), expected, atol=1e-5)


def test_an_mlp_blocks_dropout_spares_what_comes_in() -> None:
    # Were it on the sum, a residual network would lose its input with every block.
    module: Any = layer("mlp_block", {"dropout": 0.5}).build(SEQUENCE)
    x = torch.randn(2, *SEQUENCE)
    without = module.eval()(x) - x
    added = module.train()(x) - x
    dropped = added.abs() < 1e-6
    assert dropped.any() and not dropped.all()
    assert torch.allclose(added[~dropped], 2 * without[~dropped], atol=1e-5)


# Embeddings ----------------------------------------------------------------------------------------------------------


def test_an_embedding_has_a_row_for_each_item() -> None:
    # Items arrive as int64 from a text, as fp32 where shapes are inferred; both name the same rows.
    module: Any = layer("embedding", {"units": 5, "vocabulary": 4}).build(ITEMS)
    items = torch.tensor([[0, 3, 1]])
    assert torch.equal(module(items), module.rows[items])
    assert torch.equal(module(items), module(items.float()))


def test_rare_items_share_rows_and_frequent_ones_do_not() -> None:
    # The point of hashing is a table that does not grow; were frequent items hashed as well, they would collide.
    module: Any = layer("hashed_embedding", {"units": 8, "shared": 16, "own": 10}).build(ITEMS)
    assert sum(p.numel() for p in module.parameters()) == 26 * 8
    items = torch.arange(10_000)
    row, sign = module.place(items)
    assert torch.equal(row[:10], items[:10]) and (sign[:10] == 1).all()
    assert row[10:].min() >= 10 and row.max() < 26
    counts = torch.bincount(row[10:], minlength=26)[10:]
    expected = len(items[10:]) / 16
    assert ((counts - expected).abs() < 5 * math.sqrt(expected)).all()  # as evenly as at random
    assert abs(float(sign[10:].float().mean())) < 5 / math.sqrt(len(items))
    assert torch.allclose(module(items), module.rows[row] * sign[:, None])


def test_hashes_are_the_same_everywhere() -> None:
    # A network trained in one process and loaded in another must find its rows again.
    module: Any = layer("hashed_embedding", {"units": 1, "shared": 1000}).build(ITEMS)
    row, sign = module.place(torch.tensor([0, 1, 2, 3, 70_000]))
    assert (row * sign).tolist() == [0, -747, 36, -66, 175]


# Wrong ---------------------------------------------------------------------------------------------------------------

WRONG: list[tuple[str, Shape, dict[str, Any], str]] = [
    ("attention", SEQUENCE, {"heads": 5}, "12 features do not divide into 5 heads"),
    ("attention", SEQUENCE, {"heads": 4, "positions": "rotary"}, "a head of 3 features has an odd one"),
    ("attention", VECTOR, {}, r"a sequence or a map is needed, and what comes is \(12,\)"),
    ("attention", MAP, {"heads": 3, "window": 2, "causal": True}, "a windowed map has no order"),
    ("gru", MAP, {"units": 3}, r"a sequence \(length, features\) is needed"),
    ("embedding", MAP, {"units": 3, "vocabulary": 3}, r"items \(length,\) are needed"),
    ("mixture_of_experts", VECTOR, {"experts": 2, "top_k": 3}, "top_k is 3, and there are 2 experts"),
    ("residual", SEQUENCE, {"layers": [{"gru": {"units": 3, "output": "last"}}]}, "no shortcut leads from"),
]


@pytest.mark.parametrize(("name", "shape", "settings", "message"), WRONG, ids=[f"{n}-{s}" for n, s, *_ in WRONG])
def test_impossible_shapes_are_named(name: str, shape: Shape, settings: dict[str, Any], message: str) -> None:
    # The message is all that a person sees of a trial that could not be built.
    with pytest.raises(InvalidCandidate, match=message):
        shape_after(layer(name, settings), shape)


def test_the_table_is_of_layers_that_exist() -> None:
    # A layer renamed without its test would go on untested.
    assert SEQUENCE_LAYERS.keys() <= LAYERS.keys()
