"""What a layer is: its settings, its module for an input shape, and its closed-form costs.

Adding one is one act: a class here or in a file beside, its name in ``layers.LAYERS``, its row in docs/spaces.md.

    class Linear(Layer):
        name, main = "linear", "units"          # `linear: 10` means `linear: {units: 10}`
        units: Positive
        def infer(self, before): return (self.units,)
        def build(self, shape): return nn.Linear(shape[0], self.units)
        def parameters(self, before, after): return (before[0] + 1) * self.units
        def flops(self, before, after): return 2 * before[0] * self.units

A shape is that of one sample: (channels, height, width) for a map, (features,) for a vector, (length, features) for a
sequence, (length,) for one of items (see ``Layer.items``). The shape after a layer, its parameters and its FLOPs are
formulas, because they are asked for by the thousand, and before torch could be imported (which takes 1.5 s): only
``build`` needs it. Tests hold them against the built modules and torch's own counters. FLOPs are those of the forward
pass of one sample, a multiply-add being 2, and count convolutions and matrix products alone, as torch's flop counter
does: what activations, norms and pools do is under a few percent. A plugin's layer need know none of it (plugins.py).
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, TypeVar

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo

from nas.documents import hint
from nas.errors import InvalidCandidate
from nas.train.settings import LARGEST_SIZE

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]
MOST_REMEMBERED = 1 << 14  # entries that were read, of each of MOST_TABLES tables
MOST_TABLES = 8
MOST_NUMBERS = 2**60  # in one tensor, or learned by one layer: torch's own limit is 2^63 bytes
_T = TypeVar("_T")


Rate = Annotated[float, Field(ge=0.0, lt=1.0)]  # a probability
PositiveReal = Annotated[float, Field(gt=0.0, le=LARGEST_SIZE, allow_inf_nan=False)]


class Layer(BaseModel):
    """One entry of an architecture, with its settings checked. Equal settings are equal and hash alike."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    name: ClassVar[str]
    main: ClassVar[str] = ""  # the setting that a bare value is for; none where it is empty
    keeps_shape: ClassVar[bool] = False  # what comes in goes out in the same shape
    items: ClassVar[bool] = False  # whether it reads whole numbers that name items, as embeddings do

    @classmethod
    def setting_names(cls) -> Collection[str]:
        """What an entry of this layer may say."""
        return cls.model_fields

    @classmethod
    def wrong_value(cls, setting: str, value: Any) -> str:
        """Why a setting can not have this value (plain JSON), whatever the others are; "" where it can."""
        return _wrong_value(cls, setting, json.dumps(value))

    def build(self, shape: Shape) -> nn.Module:
        """A module for inputs of (batch, *shape), a shape that ``infer`` has let pass."""
        raise NotImplementedError

    def inputs_from(self) -> tuple[int, ...] | None:
        """Which entries of its list it reads, -1 being the one before it; None: that one alone, as nearly all do.

        A layer that names them has a tuple of their shapes wherever others have one shape (``build``, ``parameters``,
        ``flops``), and its module takes as many tensors.
        """
        return None

    def infer(self, before: Shape) -> Shape:
        """The shape after. Raises InvalidCandidate where the layer can not follow an entry of the shape before."""
        if not self.keeps_shape:
            raise NotImplementedError
        return before

    def parameters(self, before: Shape, after: Shape) -> int:
        """How many numbers are learned, given the shapes before and after the layer."""
        return 0

    def flops(self, before: Shape, after: Shape) -> int:
        """Forward, one sample, a multiply-add being 2."""
        return 0

    def longest_way(self, before: Shape, after: Shape) -> int:
        """Convolutions and matrix products on the longest way through; norms, and what learns nothing, aside."""
        return int(self.flops(before, after) > 0)

    def chains(self, before: Shape) -> Sequence[Links]:
        """The chains of layers that it is made of; none for one that is made of torch's modules."""
        return ()


@lru_cache(maxsize=1 << 16)
def shape_after(layer: Layer, before: Shape) -> Shape:
    """The shape that ``layer`` makes of ``before``, remembered.

    Raises:
        InvalidCandidate: it can make none; or there would be more numbers than any machine holds.
    """
    try:
        after = layer.infer(before)
        numbers = max(prod(after), layer.parameters(before, after))
    except (RuntimeError, ValueError, OverflowError, MemoryError) as error:
        reason = str(error).partition("\n")[0]
        raise InvalidCandidate(f"an input of shape {before} is impossible here: {reason}") from error
    if numbers > MOST_NUMBERS:
        raise InvalidCandidate(f"an input of shape {before} is impossible here: it would take {numbers:.1e} numbers")
    return after


# Lists of layers -----------------------------------------------------------------------------------------------------

Links = list[tuple[Layer, Any, Shape]]  # a layer, the shape before it (or shapes: Layer.inputs_from), and that after it


def chain(layers: Sequence[Layer], shape: Shape, place: str) -> Links:
    """Each layer with the shapes before and after it. Raises InvalidCandidate naming the entry that can not follow."""
    links: Links = []
    shapes = [shape]  # what goes into the list counts as the entry before its first, and as all those before that
    for index, layer in enumerate(layers):
        wanted = layer.inputs_from()
        before: Any = shapes[-1] if wanted is None else tuple(reached(shapes, entry) for entry in wanted)
        try:
            after = shape_after(layer, before)
        except InvalidCandidate as error:
            raise InvalidCandidate(f"{place}.{index}.{layer.name}: {error}") from error.__cause__
        links.append((layer, before, after))
        shapes.append(after)
    return links


def assemble(links: Links) -> nn.Sequential:
    """The modules of a chain, one after another, initialised from torch's global generator."""
    from torch import nn
    from torch.nn.modules.batchnorm import _BatchNorm

    from nas.train.modules.wired import Wired

    modules = [layer.build(before) for layer, before, _ in links]
    wanted = [layer.inputs_from() for layer, _, _ in links]
    if any(wanted):
        return Wired(modules, [entries or (-1,) for entries in wanted])
    for before, module in pairwise(modules):
        # In place where nobody else reads what comes: neither of these keeps its output for the backward pass, and both
        # make a tensor of their own, which what passes through may not (an identity, a dropout that drops nothing).
        if isinstance(module, nn.ReLU) and isinstance(before, nn.Conv2d | _BatchNorm):
            module.inplace = True
    return nn.Sequential(*modules)


def parameters_of(links: Links) -> int:
    """How many numbers a chain learns."""
    return sum(layer.parameters(before, after) for layer, before, after in links)


def flops_of(links: Links) -> int:
    """Forward, one sample, a multiply-add being 2."""
    return sum(layer.flops(before, after) for layer, before, after in links)


def depth_of(links: Links) -> int:
    """Of a chain: its longest way, where a layer reads further back than the entry before it."""
    if all(layer.inputs_from() is None for layer, _, _ in links):
        return sum(layer.longest_way(before, after) for layer, before, after in links)
    depths = [0]
    for layer, before, after in links:
        wanted = layer.inputs_from() or (-1,)
        depths.append(max(reached(depths, entry) for entry in wanted) + layer.longest_way(before, after))
    return depths[-1]


def reached(outputs: Sequence[_T], entry: int) -> _T:
    """The output that a layer names by how far back it is; the first one, where that is further than there are."""
    return outputs[max(entry, -len(outputs))]


# Reading -------------------------------------------------------------------------------------------------------------


def read_layers(entries: Any, table: Mapping[str, type[Layer]], place: str) -> tuple[Layer, ...]:
    """The layers that an architecture's entries name, in order.

    Raises:
        InvalidCandidate: no list, an unknown layer or setting, a value not allowed; with the nearest valid word.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str):
        raise InvalidCandidate(f"{place}: a list of layers is needed, not {entries!r}")
    return tuple(read_layer(entry, table, f"{place}.{index}") for index, entry in enumerate(entries))


def read_layer(entry: Any, table: Mapping[str, type[Layer]], place: str) -> Layer:
    """One entry: ``{layer: {setting: value}}``, ``{layer: main value}`` or the bare name of a layer.

    Equal entries give one and the same layer, whose costs are then remembered: cells come again within a candidate and
    operations in all of them.
    """
    try:
        written = orjson.dumps(entry)  # tells 1, 1.0 and true apart, which Python's equality does not
    except TypeError:  # of ints beyond 64 bits, say, which are wrong anyhow, and said to be
        return _read_layer(entry, table, place)
    known = _known(table)
    layer = known.get(written)
    if layer is None:
        if len(known) >= MOST_REMEMBERED:
            known.clear()
        layer = known[written] = _read_layer(entry, table, place)
    return layer


_READ: list[tuple[Mapping[str, type[Layer]], dict[bytes, Layer]]] = []  # for each of the last tables: entry -> layer


def _known(table: Mapping[str, type[Layer]]) -> dict[bytes, Layer]:
    """What was read of a table already. Tables are compared by identity: those of two plugins may share names."""
    for other, known in _READ:
        if other is table:
            return known
    _READ[:] = [*_READ[-(MOST_TABLES - 1) :], (table, {})]
    return _READ[-1][1]


def _read_layer(entry: Any, table: Mapping[str, type[Layer]], place: str) -> Layer:
    if isinstance(entry, str):
        entry = {entry: {}}
    if not isinstance(entry, Mapping) or len(entry) != 1:
        raise InvalidCandidate(f"{place}: one layer is needed, such as {{conv: {{filters: 32}}}}, not {entry!r}")
    ((name, given),) = entry.items()
    kind = table.get(name)
    if kind is None:
        raise InvalidCandidate(f"{place}: no layer is called {name!r}{hint(name, table)}")
    place = f"{place}.{name}"
    if not isinstance(given, Mapping):
        if not kind.main:
            raise InvalidCandidate(f"{place}: takes no bare value ({given!r}); its settings: {_settings(kind)}")
        given = {kind.main: given}
    try:
        return kind.model_validate(dict(given), context={"table": table, "place": place})
    except ValidationError as error:
        raise InvalidCandidate("; ".join(_complaints(error, kind, place))) from None


def read_nested(entries: Any, info: ValidationInfo) -> Any:
    """Validator of a setting that holds layers (see blocks.Residual)."""
    context: Any = info.context  # what read_layer gave
    if context is None:
        return entries  # layers already: our own code made the block (composite.py)
    return read_layers(entries, context["table"], f"{context['place']}.{info.field_name}")


Layers = Annotated[tuple[Layer, ...], BeforeValidator(read_nested)]


@lru_cache(maxsize=MOST_REMEMBERED)  # repetitions ask for the same again; as text, which tells 1, 1.0 and true apart
def _wrong_value(kind: type[Layer], setting: str, written: str) -> str:
    field = kind.model_fields.get(setting)
    if field is None or field.annotation == Layers.__origin__:  # type: ignore[attr-defined]  # of Annotated[...]
        return ""
    try:
        kind.model_validate({setting: json.loads(written)})
    except ValidationError as error:
        problems = [problem for problem in error.errors(include_url=False) if problem["loc"][:1] == (setting,)]
        return "; ".join(_complaint(problem, kind, kind.name) for problem in problems)
    return ""


def _complaints(error: ValidationError, kind: type[Layer], place: str) -> list[str]:
    return [_complaint(problem, kind, place) for problem in error.errors(include_url=False)]


def _complaint(problem: Mapping[str, Any], kind: type[Layer], place: str) -> str:
    setting, value = str(problem["loc"][0]), problem["input"]
    match problem["type"]:
        case "extra_forbidden":
            settings = kind.model_fields
            return f"{place}: has no setting {setting!r}{hint(setting, settings)}"
        case "missing":
            return f"{place}: the setting {setting!r} is missing (its settings: {_settings(kind)})"
        case "literal_error":
            words = re.findall("'([^']*)'", problem["ctx"]["expected"])
            return f"{place}.{setting}: {value!r} is not allowed{hint(value, words)}"
    return f"{place}.{setting}: {value!r}: {problem['msg'][0].lower()}{problem['msg'][1:]}"


def _settings(kind: type[Layer]) -> str:
    return ", ".join(kind.model_fields) or "none"


# Windows -------------------------------------------------------------------------------------------------------------


def padding(kernel: int, dilation: int = 1) -> tuple[int, int]:
    """How far a window's input is padded (left = top, right = bottom).

    The rule for every convolution and pool: a map of n becomes ceil(n / stride), whatever the kernel; so stride 1 keeps
    the size ("same") and no map ever vanishes. The total is dilation * (kernel - 1), and an odd one out goes right.
    """
    total = dilation * (kernel - 1)
    return total // 2, total - total // 2


def sides(kernel: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a window: one number is both."""
    return (kernel, kernel) if isinstance(kernel, int) else kernel


def strided(before: Shape, channels: int, stride: int) -> Shape:
    """The map that a windowed layer makes by the rule above."""
    return channels, *(-(-n // stride) for n in before[1:])


def needs_map(shape: Shape) -> Shape:
    """The shape itself, where it is (channels, height, width). Raises InvalidCandidate otherwise."""
    if len(shape) != 3:
        raise InvalidCandidate(f"a map (channels, height, width) is needed, and what comes is {shape}")
    return shape
