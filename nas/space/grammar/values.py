"""The forms whose parts are constants: ``int``, ``float``, and what ``choice`` and ``subset`` say beside their options.

Each function reads one mapping and answers with plain numbers, or complains to the reader and answers None.
"""

from __future__ import annotations

# `return reader.wrong(...)` ends a function with None, whatever it would have answered.
# mypy: disable-error-code="no-any-return"
import itertools
import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from nas.documents import nearest
from nas.space.decisions import Index, Integer, Real
from nas.space.grammar.settings import USUAL
from nas.space.grammar.spot import Position, Spot
from nas.space.tree import MOST_POSSIBLE, Node, Number, Stepped
from nas.space.words import RESERVED, forms_in, is_number

if TYPE_CHECKING:
    from nas.space.grammar.read import Reader

MOST_STEPS = 10_000
LARGEST_INTEGER = 2**53 - 1  # RFC 8785 has no larger ones
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def shown(value: Any) -> str:
    """A value as a message names it."""
    if isinstance(value, str):
        return f"'{value[:60]}'"
    text = json.dumps(value)
    if len(text) <= 60:
        return text
    if isinstance(value, dict | list):
        return f"a {'mapping' if isinstance(value, dict) else 'list'} of {len(value)}"
    return f"{text[:20]}... ({len(text)} digits)"


# Ranges --------------------------------------------------------------------------------------------------------------


def read_range(reader: Reader, raw: dict[str, Any], spot: Spot) -> Node | None:
    """``{int: [1, 4]}`` and ``{float: [0.1, 1.0], log: true}``, with ``step``, ``default`` and ``name``."""
    form = "int" if "int" in raw else "float"
    bounds = _bounds(reader, raw, spot, form)
    log = read_flag(reader, raw, spot, "log")
    step = constant(reader, raw["step"], spot.key("step"), form) if "step" in raw else None
    if bounds is None or log is None or ("step" in raw and step is None):
        return None
    low, high = bounds
    if log and "step" in raw:
        return reader.wrong(spot.key("step"), "a range has `log` or `step`, not both", key=True)
    if log and low <= 0:
        return reader.wrong(spot.key(form), f"a log range must begin above 0, not at {low}")
    spot = reader.naming(raw, spot)
    if step is not None:
        return _stepped(reader, raw, spot, (low, high, step))
    default = _number_default(reader, raw, spot, form, low, high)
    kind: Any = Integer if form == "int" else Real
    decision = kind(spot.path, low, high, log, default, str(raw.get("name", "")))
    reader.register(decision.path, spot)
    return Number(decision)


def _bounds(reader: Reader, raw: dict[str, Any], spot: Spot, form: str) -> tuple[Any, Any] | None:
    given = raw[form]
    if given == USUAL and form == "float":
        remedy = "write [low, high]; docs/spaces.md has the settings of optimizers that have one"
        return reader.wrong(spot.key(form), f"no usual range is known for this place: {remedy}")
    if not isinstance(given, list) or len(given) != 2:
        return reader.wrong(spot.key(form), f"`{form}` takes [low, high], not {shown(given)}")
    low, high = (constant(reader, bound, spot.key(form).key(i), form) for i, bound in enumerate(given))
    if low is None or high is None:
        return None
    if low > high:
        return reader.wrong(spot.key(form), f"the range is empty: {low} is above {high}; write [{high}, {low}]")
    if not math.isfinite(high - low):
        return reader.wrong(spot.key(form), f"the range from {low} to {high} is wider than the largest number")
    if form == "float" and low == high:
        return reader.wrong(spot.key(form), f"the range has one value; write {low} instead")
    return low, high


def constant(reader: Reader, raw: Any, spot: Spot, form: str) -> Any:
    """A number that is the same in every candidate: written out, or an expression of numbers and ``task.*``."""
    value = raw
    if isinstance(raw, str) and raw.startswith("="):
        value = reader.constant_expression(raw, spot)
        if value is None:
            return None
    if not is_number(value):
        return reader.wrong(spot, f"{shown(raw)} is no number")
    if form == "float":
        return float(value)
    if value != int(value):
        return reader.wrong(spot, f"{value} is no integer; use `float`, or a whole number")
    if abs(value) > LARGEST_INTEGER:
        return reader.wrong(spot, f"{value} is beyond 2^53 - 1")
    return int(value)


def _stepped(reader: Reader, raw: dict[str, Any], spot: Spot, range_: tuple[Any, Any, Any]) -> Node | None:
    # In decimals, so that 0.1 + 2 * 0.1 is 0.3, and so that "reaches the upper bound" means what was written.
    low, high, step = (Decimal(repr(number)) for number in range_)
    if step <= 0:
        return reader.wrong(spot.key("step"), f"a step must be above 0, not {step}")
    if (high - low) / step > 10**15:
        return reader.wrong(spot.key("step"), f"steps of {step} from {low} to {high} are too many to be counted")
    steps, rest = divmod(high - low, step)
    if rest:
        below, above = low + steps * step, low + (steps + 1) * step
        message = f"steps of {step} from {low} do not reach {high}; end the range at {below} or {above}"
        return reader.wrong(spot.key("step"), message)
    if steps >= MOST_STEPS:
        remedy = "leave `step` away" if "int" in raw and step == 1 else "take a larger step"
        return reader.wrong(spot.key("step"), f"{int(steps) + 1:,} values are more than {MOST_STEPS:,}; {remedy}")
    kind: Any = int if "int" in raw else float
    values: tuple[int | float, ...] = tuple(kind(low + k * step) for k in range(int(steps) + 1))
    labels = tuple(json.dumps(value) for value in values)
    default = read_default(reader, raw, spot, values, labels)
    name = str(raw.get("name", ""))
    decision = Index(spot.path, len(values), labels, None, True, values, default, name)
    reader.register(spot.path, spot)
    return Stepped(decision, values)


def _number_default(reader: Reader, raw: dict[str, Any], spot: Spot, form: str, low: Any, high: Any) -> Any:
    if "default" not in raw:
        return None
    value = constant(reader, raw["default"], spot.key("default"), form)
    if value is not None and not low <= value <= high:
        return reader.wrong(spot.key("default"), f"the default {value} is not within {low}..{high}")
    return value


# What stands beside options ------------------------------------------------------------------------------------------


def read_flag(reader: Reader, raw: dict[str, Any], spot: Spot, key: str, default: bool = False) -> bool | None:
    """``log: true`` and the like."""
    value = raw.get(key, default)
    if isinstance(value, bool):
        return value
    return reader.wrong(spot.key(key), f"`{key}` is true or false, not {shown(value)}")


def read_weights(reader: Reader, raw: dict[str, Any], spot: Spot, size: int) -> tuple[float, ...] | None:
    """Normalised, or None where there are none."""
    given = raw.get("weights")
    if "weights" not in raw:
        return None
    if not isinstance(given, list) or len(given) != size:
        count = f" of {len(given)}" if isinstance(given, list) else ""
        kind = "a list" + count if isinstance(given, list) else shown(given)
        return reader.wrong(spot.key("weights"), f"`weights` is a list of {size} numbers, one per option, not {kind}")
    for index, weight in enumerate(given):
        if not is_number(weight) or weight <= 0:
            remedy = "; to rule an option out, remove it" if weight == 0 else ""
            return reader.wrong(
                spot.key("weights").key(index), f"a weight is a number above 0, not {shown(weight)}{remedy}"
            )
    try:
        shares = normalised(given)
    except OverflowError:  # their sum
        shares = (0.0,)
    if 0.0 in shares:
        return reader.wrong(spot.key("weights"), "the weights are too far apart, or too large, to be compared")
    return shares


def normalised(weights: Sequence[float]) -> tuple[float, ...]:
    """Weights that sum to 1."""
    total = math.fsum(weights)
    return tuple(weight / total for weight in weights)


def read_default(
    reader: Reader, raw: dict[str, Any], spot: Spot, options: Sequence[Any], labels: Sequence[str]
) -> int | None:
    """The index of the option that ``default`` names, by its value or, for what is no scalar, by its label."""
    if "default" not in raw:
        return None
    given = raw["default"]
    for index, option in enumerate(options):
        if canonical(option) == canonical(given):
            return index
    if isinstance(given, str) and given in labels:
        return labels.index(given)
    allowed = ", ".join(labels) if len(labels) <= 24 else f"{labels[0]}, {labels[1]}, ... {labels[-1]}"
    close = nearest(given, labels) if isinstance(given, str) else ""
    meant = f"; did you mean '{close}'?" if close else ""
    return reader.wrong(spot.key("default"), f"the default {shown(given)} is no option{meant} (options: {allowed})")


def canonical(value: Any, position: Position = "value") -> str:
    """Equal values have equal texts: 1 and 1.0, and in layer position ``flatten`` and ``{flatten: {}}``."""
    if position == "entry" and isinstance(value, str) and not value.startswith("="):
        value = {value: {}}

    def plain(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: plain(held) for key, held in part.items()}
        if isinstance(part, list):
            return [plain(held) for held in part]
        return int(part) if isinstance(part, float) and part.is_integer() else part

    return json.dumps(plain(value), sort_keys=True)


def labels_of(options: Sequence[Any]) -> tuple[str, ...]:
    """The scalar, reference or layer name of each option, else its index; where two are the same, their indices."""
    labels = [_label(option) or str(index) for index, option in enumerate(options)]
    times = Counter(labels)
    mended = [str(index) if times[label] > 1 else label for index, label in enumerate(labels)]
    return tuple(mended if len(set(mended)) == len(mended) else map(str, range(len(options))))


def _label(option: Any) -> str:
    if isinstance(option, dict):
        if "literal" in option:
            return "" if isinstance(option["literal"], dict | list) else _label(option["literal"])
        if isinstance(option.get("new"), str):
            return str(option["new"])
        return next(iter(option)) if is_single(option) else ""
    if isinstance(option, list):
        return ""
    return option.removeprefix("=").strip() if isinstance(option, str) else json.dumps(option)


def is_single(option: Any) -> bool:
    """Whether an option is ``{name: settings}``, whose name serves as label."""
    return isinstance(option, dict) and len(option) == 1 and not forms_in(option)


def combinations_of(reader: Reader, raw: dict[str, Any], spot: Spot, count: int) -> tuple[tuple[int, ...], ...] | None:
    """All combinations of the allowed sizes, smaller ones first, each in declared order."""
    given = raw["size"]
    sizes = given if isinstance(given, list) and len(given) == 2 else [given, given]
    numbers = [constant(reader, size, spot.key("size"), "int") for size in sizes]
    if None in numbers:
        return None
    low, high = numbers
    if not 0 <= low <= high <= count:
        message = f"`size` is a number or [low, high] within 0..{count}, the members, not {shown(given)}"
        return reader.wrong(spot.key("size"), message)
    total = sum(math.comb(count, size) for size in range(low, high + 1))
    if total > MOST_POSSIBLE:
        message = f"{total:,} combinations are more than {MOST_POSSIBLE:,}; leave `size` away, or take fewer members"
        return reader.wrong(spot.key("size"), message)
    return tuple(itertools.chain(*(itertools.combinations(range(count), size) for size in range(low, high + 1))))


def subset_default(
    reader: Reader, raw: dict[str, Any], spot: Spot, members: Sequence[Any], labels: Sequence[str]
) -> tuple[int, ...] | None:
    """The member indices that ``default`` lists, in declared order."""
    if "default" not in raw:
        return None
    given = raw["default"]
    if not isinstance(given, list):
        return reader.wrong(spot.key("default"), f"the default of a subset is a list of members, not {shown(given)}")
    found = {
        read_default(reader, {"default": item}, spot.moved(("default", i), spot.path), members, labels)
        for i, item in enumerate(given)
    }
    return None if None in found else tuple(sorted(index for index in found if index is not None))


def word_problem(word: Any, what: str) -> str:
    """What is wrong with a name, or ""."""
    if not isinstance(word, str) or not WORD.fullmatch(word):
        return f"{shown(word)} is no {what}; letters, digits and _ make one, beginning with a letter"
    return f"'{word}' is a word of the language and cannot be a {what}" if word in RESERVED else ""
