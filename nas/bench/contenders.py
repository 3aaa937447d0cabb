"""Who plays: controllers by the words of ``--controllers``, and what their results depend on.

rl    evolution    optuna:tpe    rl(edits=0,floor=0.5)    local_search    reinforce    gp_ucb
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nas
from nas import controllers, documents
from nas.controllers import Controller
from nas.controllers.settings import Settings
from nas.errors import InputError
from nas.space import Space

BASELINES = ("local_search", "reinforce", "gp_ucb")  # nas.bench.baselines
FEW_SEEDS = {"optuna:gp": 50}  # a run of it takes minutes
DEFAULT = ("rl", "random", "evolution", "local_search", "reinforce", "gp_ucb", "optuna:tpe", "optuna:gp")

_WORD = re.compile(r"\s*([a-z_]+(?::[a-z_]+)?)\s*(?:\(([^()]*)\))?\s*")
_BETWEEN = re.compile(r",(?![^()]*\))")
_PACKAGES = ("numpy", "optuna", "scipy", "torch")


@dataclass(frozen=True, slots=True)
class Contender:
    name: str  # as it was given
    settings: Settings | str  # of a controller, or the name of a baseline

    @property
    def most_seeds(self) -> int | None:
        return FEW_SEEDS.get(self.name.partition("(")[0])

    def takes(self, objectives: int) -> bool:
        """Whether it plays for so many; a baseline knows one. What else refuses says so itself (see controllers)."""
        return objectives == 1 or not isinstance(self.settings, str)

    def make(self, space: Space, seed: int, objectives: int = 1) -> Controller:
        """Raises InputError where it can not search this space, or knows one objective only."""
        if not isinstance(self.settings, str):
            return controllers.make(self.settings, space, seed, objectives)
        assert self.takes(objectives)
        from nas.bench import baselines

        made: dict[str, Callable[[Space, int], Controller]] = {
            "local_search": baselines.LocalSearch,
            "reinforce": baselines.Reinforce,
            "gp_ucb": baselines.GPUCB,
        }
        return made[self.settings](space, seed)

    def identity(self) -> Mapping[str, Any]:
        """What decides how it plays: settings, code and packages."""
        settings = self.settings if isinstance(self.settings, str) else self.settings.model_dump()
        home = "bench.baselines" if isinstance(self.settings, str) else f"controllers.{self.settings.kind}"
        kind = self.settings if isinstance(self.settings, str) else self.settings.kind
        return {"controller": kind, "settings": settings, "code": code(home), "packages": _packages()}


def parse(words: str) -> list[Contender]:
    """The contenders of a flag's text. Raises InputError."""
    found: list[Contender] = []
    for word in _BETWEEN.split(words):
        one = _one(word)
        if one.name not in [other.name for other in found]:
            found.append(one)
    return found


def _one(word: str) -> Contender:
    match = _WORD.fullmatch(word)
    if not match:
        raise InputError(f"--controllers: {word!r} is no controller; write rl, optuna:tpe, or rl(edits=0,floor=0.5)")
    name, _, sampler = match[1].partition(":")
    said = [_setting(word, part) for part in match[2].split(",")] if match[2] else []
    given = dict(said)
    if len(given) < len(said):
        raise InputError(f"--controllers: {word.strip()!r} sets the same thing twice")
    if name in BASELINES:
        if sampler or given:
            raise InputError(f"--controllers: {name} has no settings")
        return Contender(name, name)
    if name not in controllers.NAMES:
        known = (*controllers.NAMES, *BASELINES)
        raise InputError(f"--controllers: there is no controller {name!r}{documents.hint(name, known)}")
    if sampler and "sampler" in given:
        raise InputError(f"--controllers: {word.strip()!r} names two samplers")
    body = {"sampler": sampler, **given} if sampler else given
    document = documents.plain({"controller": {name: body}}, f"--controllers {word.strip()}")
    return Contender(word.strip(), controllers.parse({name: body}, document, ("controller",)))


def _setting(word: str, part: str) -> tuple[str, Any]:
    key, equals, text = part.partition("=")
    if not (equals and text.strip()):
        raise InputError(f"--controllers: in {word!r} a setting is written key=value, not {part!r}")
    return key.strip(), documents.parse(text, f"--controllers {word}").data


@cache
def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


# What code decides ---------------------------------------------------------------------------------------------------

_APART = {"controllers", "controllers.settings", "documents", "errors", ""}  # doors, settings, and words of errors


@cache
def code(module: str) -> str:
    """A digest of a module of ours and of all that it imports of ours; comments and docstrings aside.

    ``nas.controllers`` knows every controller, and their settings stand together: following those would make each
    controller's results depend on all others.
    """
    digest = sha256()
    for name in sorted(_reachable(module) | _reachable("machine") | _reachable("bench.trace")):
        digest.update(name.encode() + b"\0" + _essence(name).encode() + b"\0")
    return digest.hexdigest()[:16]


@cache
def _reachable(module: str) -> frozenset[str]:
    found: set[str] = set()
    ahead = [module]
    while ahead:
        name = ahead.pop()
        if name in found or name in _APART or _file(name) is None:
            continue
        found.add(name)
        for node in ast.walk(_tree(name)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.partition(".")[0] == "nas":
                base = node.module.removeprefix("nas").removeprefix(".")
                ahead += [base, *(f"{base}.{alias.name}" if base else alias.name for alias in node.names)]
    return frozenset(found)


def _file(module: str) -> Path | None:
    path = Path(nas.__file__).parent.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


@cache
def _tree(module: str) -> ast.Module:
    """The module's syntax, without docstrings."""
    file = _file(module)
    assert file is not None
    tree = ast.parse(file.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node, False) is not None:
            del node.body[0]
    return tree


@cache
def _essence(module: str) -> str:
    return ast.dump(_tree(module))
