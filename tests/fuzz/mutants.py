"""Wrong files by the thousand: the shipped spaces and configs, each spoilt in one way or a few.

    mutant(number) -> Mutant      the same for ever, as long as the shipped files are

Seven of ten are spoilt in *meaning*: the tree is changed and written out again, so that the file mostly is YAML still,
and what is wrong is a key, a type, a range, a reference. The others are spoilt in *text*: lines cut and doubled,
brackets lost, bytes that are no UTF-8. Some mutants are still right, as a lucky slip of the pen may be.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from nas import documents, shipped

Kind = Literal["space", "config"]
MEANING = 0.7  # the share of mutants that are spoilt in meaning
CONFIGS = 0.3  # and of those that are configs


@dataclass(frozen=True)
class Mutant:
    number: int
    kind: Kind
    level: Literal["meaning", "text"]
    seed: Path  # the shipped file that it was
    by: str  # what was done to it
    raw: bytes


def mutant(number: int) -> Mutant:
    rng = random.Random(f"mutant {number}")
    kind: Kind = "config" if rng.random() < CONFIGS else "space"
    path = rng.choices(seeds(kind), [1 / path.stat().st_size for path in seeds(kind)])[0]  # small ones are read faster
    if rng.random() < MEANING:
        tree = documents.copied(_tree(path))
        if kind == "space" and rng.random() < 0.8:
            _thin_out(tree, rng)
        by = "+".join(_spoil(tree, kind, rng) for _ in range(rng.choice((1, 1, 1, 2, 3))))
        return Mutant(number, kind, "meaning", path, by, dump(tree, rng.choice((1, 2, 4, 99))).encode())
    raw, by = path.read_bytes(), []
    for _ in range(rng.choice((1, 1, 2))):
        spoil = rng.choice(TEXT)
        raw = spoil(raw, rng)
        by.append(spoil.__name__.strip("_"))
    return Mutant(number, kind, "text", path, "+".join(by), raw)


def seeds(kind: Kind) -> list[Path]:
    return list(shipped.names("search_spaces" if kind == "space" else "configs").values())


@cache
def _tree(path: Path) -> Any:
    return documents.read(path).data


# Writing trees -------------------------------------------------------------------------------------------------------


class Raw(str):
    """Text that is written as it stands: numbers of 5,000 digits, aliases, tags."""


def dump(value: Any, blocks: int) -> str:
    """A tree as YAML: the outer ``blocks`` levels in lines, what is further in within brackets."""
    return "\n".join(_block(value, 0, blocks)) + "\n"


def _block(value: Any, indent: int, blocks: int) -> Iterator[str]:
    if not blocks or not isinstance(value, dict | list) or not value:
        yield " " * indent + flow(value)
        return
    for start, held in ((f"{scalar(k)}:", v) for k, v in value.items()) if isinstance(value, dict) else (
        ("-", item) for item in value
    ):  # fmt: skip
        if blocks > 1 and isinstance(held, dict | list) and held:
            yield " " * indent + start
            yield from _block(held, indent + 2, blocks - 1)
        else:
            yield f"{' ' * indent}{start} {flow(held)}"


def flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{scalar(key)}: {flow(held)}" for key, held in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(flow, value)) + "]"
    return scalar(value)


_BARE = re.compile(r"=?[A-Za-z_][A-Za-z0-9_.]*( [-+*/<=>]+ [A-Za-z0-9_.]+)*")


def scalar(value: Any) -> str:
    if isinstance(value, Raw):
        return value
    if not isinstance(value, str):
        return json.dumps(value)
    return value if _BARE.fullmatch(value) and value not in ("null", "true", "false") else json.dumps(value)


# Places in trees -----------------------------------------------------------------------------------------------------


class Nowhere(Exception):
    """The tree has no place for this mutation."""


Place = tuple[Any, Any]  # what holds it, and its key there


def _places(tree: Any) -> Iterator[Place]:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


def _pick(tree: Any, rng: random.Random, wanted: Callable[[Any], bool] = lambda value: True) -> Place:
    found = [place for place in _places(tree) if wanted(place[0][place[1]])]
    if not found:
        raise Nowhere
    return rng.choice(found)


def _pick_mapping(tree: Any, rng: random.Random, *keys: str) -> dict[str, Any]:
    """A mapping, not empty, with one of these keys (any, where none is given)."""

    def wanted(value: Any) -> bool:
        return isinstance(value, dict) and bool(value) and (not keys or not value.keys().isdisjoint(keys))

    if not keys and rng.random() < 0.1:
        return tree  # type: ignore[no-any-return]
    holder, key = _pick(tree, rng, wanted)
    return holder[key]  # type: ignore[no-any-return]


def _renamed(mapping: dict[str, Any], old: str, new: str) -> None:
    items = list(mapping.items())
    mapping.clear()
    mapping.update((new if key == old else key, held) for key, held in items)


def _is_expression(value: Any) -> bool:
    return isinstance(value, str) and (value.startswith("=") or any(sign in value for sign in "<>"))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _thin_out(tree: Any, rng: random.Random) -> None:
    """A third of the architecture, and the defines that it mentions: most mutants are small, and still nearly right."""
    architecture, defines = tree.get("architecture"), tree.get("define", {})
    if isinstance(architecture, list):
        tree["architecture"] = [entry for entry in architecture if rng.random() < 0.35] or architecture[-1:]
    for name in list(defines)[::-1]:  # one may mention those before it
        if len(re.findall(rf"\b{name}\b", flow(tree))) < 2:
            del defines[name]


# Spoiling the meaning ------------------------------------------------------------------------------------------------

HUGE = (
    Raw("1e400"), Raw("-1e400"), Raw("9" * 5000), Raw("-" + "9" * 99), Raw(".inf"), Raw("-.inf"), Raw(".nan"),
    Raw("0x" + "f" * 90), Raw("1" + "_000" * 30), 2**63, -(2**63), 2**53, 10**15, 10**9, 1e308, -1e308, 5e-324, 1e15,
)  # fmt: skip
ODD = (
    None, True, False, 0, -1, 1, 2, 2.5, -0.0, 1e-9, 10**6, "", " ", "none", "=", "==", "= ", "=1", "=1/0", "=width",
    "={}", "word", "wörd", "a b", "a: b", "a\nb", "\t", "\0"[:0], "é" * 300, "x" * 5000, "no", "1e-3", "2020-01-01",
    Raw("0o17"), Raw("0x1F"), Raw('"\\0"'), Raw('"\\ud800"'), Raw("!!int 3"), Raw("!!python/name:os.system x"),
    Raw("!!binary aGk="), [], {}, [[]], [None], [{}], {"": 1}, {"a": 1}, {"a": {"b": [1]}}, [1, 2], [2, 1], ["a", "a"],
    {"choice": []}, {"choice": [1]}, {"choice": [None, None]}, {"choice": {"a": 1}}, {"choice": [{"choice": [1,
    2]}, 3]},
    {"int": [1, 2]}, {"int": [2, 1]}, {"int": [1.5, 2]}, {"int": 3}, {"float": [0, 1]}, {"float": [0, 0]},
    {"float": [0, 1], "log": True}, {"subset": [1, 2]}, {"subset": []}, {"new": "x"}, {"new": 3}, {"literal": None},
    {"literal": {"choice": 1}}, {"repeat": {"times": 2, "of": "identity"}}, {"sequence": {"of": None}},
    {"graph": {"nodes": 2, "op": "identity"}}, {"define": {}}, {"conv": None}, {"identity": {}},
)  # fmt: skip
FAR_KEYS = (
    "florp", "", " ", "é", "x" * 3000, "=width", "choice", "int", "float", "subset", "repeat", "sequence", "graph",
    "new", "literal", "define", "weights", "default", "ordered", "name", "log", "step", "size", "depth", "times", "of",
    "from", "op", "ops", "nodes", "skip", "merge", "output", "match", "stride", "inputs", "constraints",
    "start", "task",
    "path", "none", "null", "architecture", "conv", "residual", "plugins", "rl", "data", "latency_table", "__class__",
)  # fmt: skip
STRANGE_PATHS = (
    "", ".", "..", "/", "~", "~noone/x", "nothing.csv", "/dev/null", "/proc/self/mem", "/etc/shadow", "x" * 300,
    "x" * 5000, "a\0b", "a/b/c", "digits.yaml", "penguins.csv", "coriolanus.txt", "-", "é", "moe_mlp", "/proc/version",
    "http://127.0.0.1:9/x",
)  # fmt: skip
PIECES = (
    "(", ")", "()", "[", "]", "{", "}", ",", ".", "+", "-", "*", "**", "/", "//", "%", "=", "==", "<", "<=", ">", "!=",
    "&&", "|", "~", "@", "^", ":", ":=", ";", "#", "\\", "'", '"', "`", "$", "?", "0", "1", "9", "1e9", "1e999", "0x",
    "1_0", "1j", " ", "\n", "\t", "é", "x", "task", "task.", "task.classes", "min", "max(", "round(2.5, 99)", "none",
    "not ", " and ", " or ", " if ", " else 1", " in ", " is ", "lambda: 0", "await ", "yield", "path('a')", "value(",
    "active(width)", "width", "depth", "parameters", "memory", "__import__('os')", "f'{1}'", "b'1'", "...",
    "*a", "**{}",
    "9**9**9", "(-1)**0.5", "1/0", "0**-1", "1 % 0", "-" * 60, "(" * 60, "+1" * 200, "9" * 400,
)  # fmt: skip


def _spoil(tree: Any, kind: Kind, rng: random.Random) -> str:
    """One mutation, in place; which."""
    for _ in range(50):
        act = rng.choice(IN_SPACES if kind == "space" else IN_CONFIGS)
        try:
            act(tree, rng)
        except Nowhere:
            continue
        return act.__name__.strip("_")
    return "nothing"


def _near_key(tree: Any, rng: random.Random) -> None:
    mapping = _pick_mapping(tree, rng)
    key = rng.choice(list(mapping))
    at = rng.randrange(len(key) + 1)
    changed = rng.choice(
        (key[:at] + key[at + 1 :], key[:at] + rng.choice("aexs_ 1") + key[at:], key.upper(), key + "s")
    )
    _renamed(mapping, key, changed)


def _far_key(tree: Any, rng: random.Random) -> None:
    mapping = _pick_mapping(tree, rng)
    if rng.random() < 0.5:
        mapping[rng.choice(FAR_KEYS)] = documents.copied(rng.choice(ODD))
    else:
        _renamed(mapping, rng.choice(list(mapping)), rng.choice(FAR_KEYS))


def _without_key(tree: Any, rng: random.Random) -> None:
    mapping = _pick_mapping(tree, rng)
    del mapping[rng.choice(list(mapping))]


def _wrong_type(tree: Any, rng: random.Random) -> None:
    holder, key = _pick(tree, rng)
    holder[key] = documents.copied(rng.choice(ODD))


def _another_word(tree: Any, rng: random.Random) -> None:
    holder, key = _pick(tree, rng, lambda value: isinstance(value, str))
    other, at = _pick(_tree(rng.choice(seeds(rng.choice(("space", "config"))))), rng, lambda v: isinstance(v, str))
    holder[key] = other[at]


def _impossible_range(tree: Any, rng: random.Random) -> None:
    mapping = _pick_mapping(tree, rng, "int", "float")
    form = "int" if "int" in mapping else "float"
    low, high = mapping[form] if isinstance(mapping[form], list) and len(mapping[form]) == 2 else (1, 2)
    change = rng.randrange(4)
    if change == 0:
        mapping[form] = rng.choice(([high, low], [low, low], [low], [low, high, high], [low, None], [str(low), high]))
    elif change == 1:
        mapping[form] = rng.choice(([0, high], [-5, high], [low, rng.choice(HUGE)], [rng.choice(HUGE), high]))
        mapping["log"] = rng.choice((True, False, 1, "yes"))
    elif change == 2:
        mapping.pop("log", None)
        mapping["step"] = rng.choice((0, -1, 0.3, 1e-9, 10**9, 1, True, "1", None, *HUGE))
    else:
        mapping["default"] = rng.choice((-1, 10**9, "x", None, [1], *HUGE))


def _wrong_options(tree: Any, rng: random.Random) -> None:
    mapping = _pick_mapping(tree, rng, "choice", "subset")
    word = "choice" if "choice" in mapping else "subset"
    options = mapping[word]
    if not isinstance(options, list) or not options:
        raise Nowhere
    one = documents.copied(rng.choice(options))
    mapping[word] = rng.choice(
        ([*options, one], [one], [one] * 2, [], one, [options], options * 300, {str(i): v for i,
        v in enumerate(options)},
         [*options, {"choice": options}], [None, *options, None], [{word: options}])
    )  # fmt: skip


def _wrong_weights(tree: Any, rng: random.Random) -> None:
    mapping = _pick_mapping(tree, rng, "choice", "subset")
    options = mapping.get("choice", mapping.get("subset"))
    n = len(options) if isinstance(options, list) else 2
    key = rng.choice(("weights", "weights", "weights", "default", "ordered", "size", "name"))
    good = [1.0] * n
    mapping[key] = rng.choice(
        ([*good, 1], good[:-1], [0, *good[1:]], [-1, *good[1:]], ["1", *good[1:]], [rng.choice(HUGE), *good[1:]],
         [1e308] * n, [5e-324] * n, "even", {}, {"a": 1}, None, True, n, -1, [0, n], [n, 0], [n + 1, 9],
         "width", "task")
    )  # fmt: skip


def _clash(tree: Any, rng: random.Random) -> None:
    """Two things of one name, or a name that the language keeps for itself."""
    defines = tree.get("define")
    if rng.random() < 0.5 and isinstance(defines, dict) and defines:
        taken = ("task", "choice", "min", "none", "conv", "parameters", "value", "1a", "a-b", "", "é", "path", "define")
        _renamed(defines, rng.choice(list(defines)), rng.choice((*taken, *defines)))
        return
    name = rng.choice(("same", "width", "task", "depth", "a b", *(defines if isinstance(defines, dict) else ())))
    for _ in range(2):
        _pick_mapping(tree, rng, "choice", "int", "float", "subset")["name"] = name


def _reference_to_nothing(tree: Any, rng: random.Random) -> None:
    holder, key = _pick(tree, rng, lambda value: isinstance(value, str | int | list))
    holder[key] = rng.choice(
        ("=nothing", "=widht", "=task.nothing", "=task", "=task.kind", "=nothing * 2", "=min(nothing, 2)", "=a.b.c",
         {"new": "nothing"}, {"new": "=width"}, {"new": "width", "depth": 0}, {"new": "width", "depth": 10**9},
         "path('nothing') > 2", "nothing <= 3", "parameters <= 0", "flops > 1e400", "latency < 3", "1 < 2", "width"),
    )  # fmt: skip


def _circle(tree: Any, rng: random.Random) -> None:
    defines = tree.setdefault("define", {})
    if not isinstance(defines, dict):
        raise Nowhere
    names = [*defines, "a", "b"]
    first, second = rng.choice(names), rng.choice(names)
    depth = rng.choice((1, 2, 3, 7, 30, 100))
    body: Any = rng.choice(
        (f"={second}", [f"={second}"], {"new": second}, {"new": second, "depth": depth}, {"residual": [f"={second}"]},
         {"choice": ["identity", {"new": second, "depth": depth}]}, {"choice": ["identity", [{"new": second}] * 2]},
         {"choice": [None, {"residual": [{"new": second, "depth": depth}, {"new": first, "depth": depth}]}]},
         f"={second} + 1", {"repeat": {"times": 3, "of": {"new": second}}})
    )  # fmt: skip
    defines[first] = body
    if rng.random() < 0.5:
        defines[second] = {"choice": ["identity", {"new": first}]}
    if isinstance(tree.get("architecture"), list):
        tree["architecture"].insert(0, rng.choice((f"={first}", {"new": first}, {"new": first, "depth": depth})))


def _huge_number(tree: Any, rng: random.Random) -> None:
    holder, key = _pick(tree, rng, _is_number)
    holder[key] = rng.choice(HUGE)


def _other_number(tree: Any, rng: random.Random) -> None:
    """Negative, zero, half: sizes that no layer has."""
    holder, key = _pick(tree, rng, _is_number)
    given = holder[key]
    holder[key] = rng.choice(
        (-given, 0, given + 0.5, given * 1000, given * 10**6, -1, str(given), [given], bool(given))
    )


def _deep(tree: Any, rng: random.Random) -> None:
    holder, key = _pick(tree, rng)
    levels = rng.choice((2, 5, 20, 33, 50))
    if rng.random() < 0.1:
        opening, closing = rng.choice((("[", "]"), ("{a: ", "}"), ("{choice: [", "]}"), ("{residual: [", "]}")))
        holder[key] = Raw(opening * 10_000 + "1" + closing * 10_000)
        return
    around = rng.choice(("residual", "choice", "repeat", "sequence", "graph", "a", ""))
    for _ in range(levels):
        held = holder[key]
        match around:
            case "":
                holder[key] = [held]
            case "choice":
                holder[key] = {"choice": [held, "identity"]}
            case "repeat":
                holder[key] = {"repeat": {"times": 2, "of": held}}
            case "sequence":
                holder[key] = {"sequence": {"of": held}}
            case "graph":
                holder[key] = {"graph": {"nodes": 2, "op": held}}
            case _:
                holder[key] = {around: [held]}


def _alias(tree: Any, rng: random.Random) -> None:
    holder, key = _pick(tree, rng)
    other, at = _pick(tree, rng)
    change = rng.randrange(5)
    if change == 0:
        holder[key] = Raw("*nothing")
    elif change == 1:
        holder[key] = Raw(f"&a [1, {flow(holder[key])}, *a]")
    elif change == 2:
        wide = ", ".join(["*a0"] * 9)
        for level in range(1, 10):
            holder[key] = Raw(f"[&a0 [lol, lol], {', '.join(f'&a{i} [{wide}]' for i in range(1, level))}]")
            wide = ", ".join([f"*a{level}"] * 9)
    elif change == 3:
        rest = "".join(f", &b{i} {'[' * 20}*b{i - 1}{']' * 20}" for i in range(1, 60))
        holder[key] = Raw(f"[&b0 [1]{rest}]")
    else:
        other[at], holder[key] = Raw(f"&x {flow(other[at])}"), Raw("*x")


def _emptied(tree: Any, rng: random.Random) -> None:
    holder, key = _pick(tree, rng, lambda value: isinstance(value, dict | list) and bool(value))
    holder[key] = type(holder[key])() if rng.random() < 0.7 else None


def _list_for_scalar(tree: Any, rng: random.Random) -> None:
    holder, key = _pick(tree, rng, lambda value: not isinstance(value, dict | list))
    holder[key] = rng.choice(([holder[key]], [holder[key]] * 3, {"a": holder[key]}, {str(holder[key]): holder[key]}))


def _graft(tree: Any, rng: random.Random) -> None:
    """A part of another file, or of this one, in a strange place."""
    holder, key = _pick(tree, rng)
    other, at = _pick(rng.choice((tree, _tree(rng.choice(seeds(rng.choice(("space", "config"))))))), rng)
    holder[key] = documents.copied(other[at])


def _doubled_item(tree: Any, rng: random.Random) -> None:
    holder, key = _pick(tree, rng, lambda value: isinstance(value, list) and bool(value))
    items = holder[key]
    items.insert(rng.randrange(len(items) + 1), documents.copied(rng.choice(items)))
    if rng.random() < 0.2:
        rng.shuffle(items)


def _expression(tree: Any, rng: random.Random) -> None:
    if rng.random() < 0.3:
        constraint = rng.choice(
            ("parameters <= 500_000", "flops <= 50e6 and depth > 2", "memory < 1e9 or width > 3", "not width == 16",
             "active(x) and value(width, 2) < 3", "path('hyperparameters.batch_size') >= 32", "width in (1, 2)")
        )  # fmt: skip
        held = tree.setdefault("constraints", [])
        if not isinstance(held, list):
            raise Nowhere
        held.append(constraint)
    holder, key = _pick(tree, rng, _is_expression)
    text = holder[key]
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, end = sorted((rng.randrange(len(text) + 1), rng.randrange(len(text) + 1)))
        end = min(end, at + 3)
        text = rng.choice((text[:at] + text[end:], text[:at] + rng.choice(PIECES) + text[at:]))
    holder[key] = text if rng.random() < 0.8 else f"={text.removeprefix('=')}"


def _computed(tree: Any, rng: random.Random) -> None:
    """Arithmetic where a number stood."""
    holder, key = _pick(tree, rng, _is_number)
    terms = [rng.choice(PIECES) for _ in range(rng.choice((1, 2, 3)))]
    holder[key] = "=" + rng.choice(("", "2 * ", "width ", "task.classes")) + "".join(terms)


def _many(tree: Any, rng: random.Random) -> None:
    """A great many repetitions, nodes, options, entries."""
    holder, key = _pick(tree, rng)
    held, n = holder[key], rng.choice((3, 10, 30, 100, 300, 2000))
    holder[key] = rng.choice(
        ({"repeat": {"times": n, "of": held}}, {"repeat": {"times": {"int": [0, n]}, "of": held}},
         {"graph": {"nodes": n, "op": held, "from": rng.choice(("every", "previous", {"pick": 2}, {"pick": n}))}},
         {"graph": {"nodes": n, "op": held, "from": "previous", "skip": "subset"}}, [held] * min(n, 300),
         {"choice": list(range(n))}, {"subset": list(range(n))}, {"subset": list(range(n)), "size": n // 2},
         {"int": [1, n], "step": 1}, {"choice": [{"repeat": {"times": n, "of": held}}, None]})
    )  # fmt: skip


def _start(tree: Any, rng: random.Random) -> None:
    tree["start"] = rng.choice(
        ([{}], [{}, {}], [{"width": 16}], [{"nothing": 3}], [{"hyperparameters.batch_size": rng.choice(ODD)}],
         {}, [3], [None], "x", [{"define.width": rng.choice(ODD)}], [{"architecture.0.conv.kernel": 5}])
    )  # fmt: skip


def _task(tree: Any, rng: random.Random) -> None:
    path = rng.choice(STRANGE_PATHS)
    tree["task"] = rng.choice(
        ({"csv": path, "target": rng.choice(("body_mass_g", "species", "nothing", ""))}, {"npz": path}, {"text": path},
         {"images": path}, {"plugin": path}, {"dataset": path}, {"text": "coriolanus.txt", "length": rng.choice(HUGE)},
         {"text": "coriolanus.txt", "length": rng.choice((1, 2, 100_000, 10**7))},
         {"csv": "penguins.csv", "target": "species", "categorical": ["year", "nothing"]},
         {"csv": "penguins.csv", "target": "year", "ignore": rng.choice(("year", ["year"], ["island"] * 9, []))},
         {"csv": "penguins.csv", "target": "species", "kind": "regression"},
         {"csv": "coriolanus.txt", "target": "x"}, {"text": "penguins.csv", "length": 64},
         {"npz": "penguins.csv", "kind": "segmentation"}, {"dataset": "digits", "validation": rng.choice(HUGE)},
         {"dataset": "digits", "validation": rng.choice((0, 1, 0.999999, 1e-9, "0.1"))}, {"dataset": "digits",
         "csv": path})
    )  # fmt: skip


def _path(tree: Any, rng: random.Random) -> None:
    tree[rng.choice(("space", "space", "data", "latency_table", "name"))] = rng.choice(STRANGE_PATHS)


def _part(tree: Any, rng: random.Random) -> None:
    """A part of a config, with settings that do not belong together."""
    tree.update(
        rng.choice(
            ({"controller": {"optuna": {"sampler": rng.choice(("tpe", "grid", "nothing", "", 3, "qmc",
            "partial_fixed"))}}},
             {"controller": {"optuna": {"sampler": "tpe", rng.choice(("n_startup_trials", "seed", "gamma",
             "florp")): -1}}},
             {"controller": {"optuna": {"sampler": "tpe", "n_startup_trials": rng.choice(ODD)}}},
             {"controller": {"evolution": {"population": 5, "sample": 6}}}, {"controller": {"rl": {"hidden": 10**9}}},
             {"controller": {"rl": {}, "random": {}}}, {"controller": "rl:tpe"}, {"controller": "optuna:nothing"},
             {"reward": {"maximize": "loss"}}, {"reward": {"maximize": "accuracy", "minimize": "loss"}},
             {"reward": {"limits": {"flops": {"at_most": rng.choice(HUGE)}}}}, {"reward": {"maximize": "r2"}},
             {"train": {"optimizer": {"sgd": {}, "adamw": {}}}}, {"train": {"deadline": rng.choice(ODD)}},
             {"train": {"optimizer": {"sgd": {"nesterov": 1}}, "loss": "mine", "warmup_epochs": rng.choice(HUGE)}},
             {"cluster": {"gpus": rng.choice(ODD), "memory": rng.choice(("4X", "0", "1e9", -1, *HUGE))}},
             {"latency_table": {"conv": -1}}, {"latency_table": {}}, {"latency_table": {"conv": rng.choice(HUGE)}},
             {"plugins": [{"file": "x", "sha256": "y"}]}, {"budget": {"time": rng.choice((0, -1, "1y", "1h1", *HUGE))}},
             {"seed": rng.choice((-1, *HUGE))})
        )
    )  # fmt: skip


_EVERYWHERE = (
    _near_key, _far_key, _without_key, _wrong_type, _wrong_type, _another_word, _huge_number, _other_number, _deep,
    _alias, _emptied, _list_for_scalar, _graft, _doubled_item,
)  # fmt: skip
IN_SPACES = (
    *_EVERYWHERE, _impossible_range, _wrong_options, _wrong_weights, _clash, _reference_to_nothing, _circle,
    _expression,
    _expression, _computed, _many, _start,
)  # fmt: skip
IN_CONFIGS = (*_EVERYWHERE, _task, _path, _part, _part)

# Spoiling the text ---------------------------------------------------------------------------------------------------


def _lines(raw: bytes) -> list[bytes]:
    return raw.splitlines(keepends=True) or [b"\n"]


def _cut(raw: bytes, rng: random.Random) -> bytes:
    return raw[: rng.randrange(len(raw) + 1)]


def _cut_from_the_middle(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw) + 1)
    return raw[:at] + raw[at + rng.choice((1, 1, 2, 9, 99)) :]


def _moved_lines(raw: bytes, rng: random.Random) -> bytes:
    lines = _lines(raw)
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    change = rng.randrange(4)
    if change == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif change == 1:
        lines.insert(other, lines[one])
    elif change == 2:
        del lines[one]
    else:
        lines[one : one + 5] = sorted(lines[one : one + 5])
    return b"".join(lines)


def _indented(raw: bytes, rng: random.Random) -> bytes:
    lines = _lines(raw)
    for at in (rng.randrange(len(lines)) for _ in range(rng.choice((1, 1, 3)))):
        line = lines[at]
        lines[at] = rng.choice(
            (b" " + line, b"   " + line, b"\t" + line, line.lstrip(b" "), line.replace(b"  ", b"\t", 1))
        )
    return b"".join(lines)


def _stray(raw: bytes, rng: random.Random) -> bytes:
    at = rng.randrange(len(raw) + 1)
    pieces = (b"\t", b"\0", b"\x07", b"\x1b[31m", b"\xff", b"\xc3", b"\xe9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"{",
              b"}", b"[", b"]", b":", b": ", b"- ", b"#", b" #", b"'", b'"', b"&a ", b"*a ", b"!", b"!!str ",
              b"|", b">",
              b"%", b"@", b"`", b",", b"?", b"? ", b"<<: ", b"---\n", b"...\n", b"%YAML 1.1\n", b"\r", b"\r\n",
              "\u2028".encode(), "\x85".encode(), "\ufeff".encode(), "\U0001f600".encode(), "\ufffe".encode(),
              b"\\")  # fmt: skip
    return raw[:at] + rng.choice(pieces) * rng.choice((1, 1, 1, 2, 40)) + raw[at:]


def _flipped(raw: bytes, rng: random.Random) -> bytes:
    changed = bytearray(raw)
    for _ in range(rng.choice((1, 1, 3, 30)) if changed else 0):
        changed[rng.randrange(len(changed))] = rng.choice((rng.randrange(256), rng.randrange(32, 127)))
    return bytes(changed)


def _encoded(raw: bytes, rng: random.Random) -> bytes:
    text = raw.decode(errors="replace")
    at = rng.randrange(len(text) + 1)
    text = text[:at] + "é" + text[at:]
    encoding = rng.choice(("latin-1", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-8-sig", "utf-7", "cp037"))
    return text.encode(encoding, errors="replace")


def _other_newlines(raw: bytes, rng: random.Random) -> bytes:
    return raw.replace(b"\n", rng.choice((b"\r\n", b"\r", b"\n\n", "\u2028".encode(), "\x85".encode(), b"")))


def _two_files(raw: bytes, rng: random.Random) -> bytes:
    other = rng.choice(seeds(rng.choice(("space", "config")))).read_bytes()
    return raw + rng.choice((b"", b"---\n", b"...\n", b"- ", b"  ")) + other


def _repeated(raw: bytes, rng: random.Random) -> bytes:
    piece = rng.choice(
        (b"[", b"{a: ", b"- ", b"? ", b"a:\n ", b"'", b"!", b"&a ", b"*a ", b"  ", b"#", b"a: 1\n", b"{", b"(")
    )
    many = piece * rng.choice((100, 10_000))
    at = rng.choice((0, len(raw), rng.randrange(len(raw) + 1)))
    return raw[:at] + many + raw[at:]


def _bomb(raw: bytes, rng: random.Random) -> bytes:
    wide = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, rng.choice((3, 9, 40))))
    deep = "".join(f"b{i}: &b{i} {'[' * 20}*b{i - 1}{']' * 20}\n" for i in range(1, 200))
    merged = "".join(f"c{i}: &c{i}\n  <<: [*c{i - 1}, *c{i - 1}]\n" for i in range(1, 20))
    bomb = rng.choice((f"a0: &a0 [x, x]\n{wide}", f"b0: &b0 [1]\n{deep}", f"c0: &c0 {{a: 1}}\n{merged}"))
    return rng.choice((bomb.encode() + raw, raw + bomb.encode(), bomb.encode()))


def _no_text(raw: bytes, rng: random.Random) -> bytes:
    return rng.choice(
        (b"", b"\n", b"# nothing\n", b"~", b"---", b"--- ~\n...", b"\xef\xbb\xbf", b"1", b"[]", b"{}", b"- 1",
        b"a", b'""',
         rng.randbytes(3000), b"PK\x03\x04" + rng.randbytes(500), b"\x7fELF" + bytes(500),
         b"\x1f\x8b" + rng.randbytes(99),
         b"a" * (1 << 20), b"a" * ((1 << 20) + 1), b"a: " + b"9" * 100_000, b"a: '" + b"x" * 500_000, b"\0" * 3000,
         b"%PDF-1.7\n" + raw, b"%YAML 3.0\n---\n" + raw, b"%TAG ! tag:x,2000:\n---\n" + raw, b"<?xml version='1.0'?>\n")
    )  # fmt: skip


TEXT = (
    _cut, _cut_from_the_middle, _moved_lines, _moved_lines, _indented, _indented, _stray, _stray, _flipped, _encoded,
    _other_newlines, _two_files, _repeated, _bomb, _no_text,
)  # fmt: skip
