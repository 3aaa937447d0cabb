"""Configs, search spaces and benchmarks, found by name or by path.

They lie beside the package in a checkout (and for an editable install), inside it in a wheel. A path is always taken
as one first, so a person's own file wins; `configs/digits.yaml` that is not there is the shipped one, so that what the
README says works from an installed wheel too.
"""

from __future__ import annotations

import os.path
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from nas.errors import InputError

Kind = Literal["configs", "configs/bench", "search_spaces"]

_PACKAGE = Path(__file__).parent
_WORD = {"configs": "config", "configs/bench": "benchmark", "search_spaces": "search space"}


def find(kind: Kind, name: str, beside: Path | None = None) -> Path:
    """The file that ``name`` means: a path (from ``beside``, a folder, or from here), or the name of a shipped file.

    Raises:
        InputError: there is none; the message lists what is shipped, and the nearest name.
    """
    wanted = _expanded(name)
    places = [folder / wanted for folder in (beside, Path()) if folder is not None]
    for path in places:
        if _is_there(path):
            return path
    shipped = names(kind)
    in_folder = wanted.parts[:-1] in ((), Path(kind).parts)  # a bare name, or configs/<name>.yaml
    stem = wanted.stem if wanted.suffix in (".yaml", ".yml") else wanted.name
    if in_folder and stem in shipped:
        return shipped[stem]
    exists = os.path.exists  # unlike Path's, it answers for impossible names too
    for path in filter(exists, places):
        what = "a folder" if path.is_dir() else "no ordinary file"
        raise InputError(f"{name}: is {what}; give a {_WORD[kind]} file, or one of the shipped: {', '.join(shipped)}")
    near = get_close_matches(stem, shipped, 1)
    raise InputError(
        f"{name!r} is no file here, and no {_WORD[kind]} of that name is shipped"
        f"{f' (nearest: {near[0]})' if near else ''}; shipped: {', '.join(shipped) or 'none'}"
    )


def data(name: str) -> Path | None:
    """A data file that is shipped for examples (its source is in SOURCE.md beside it), by its bare name."""
    path = _PACKAGE / "train" / "datasets" / name
    return path if Path(name).name == name and _is_there(path) else None


def _expanded(name: str) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # ~nobody, who has no home here
        return Path(name)


def _is_there(path: Path) -> bool:
    """Whether it is a file, or might be one that cannot be looked at: whoever reads it will say why not."""
    try:
        return path.is_file()
    except PermissionError:
        return True
    except OSError:  # a name too long
        return False


def names(kind: Kind) -> dict[str, Path]:
    """Shipped files by name, in alphabetical order."""
    return {path.stem: path for path in sorted(_folder(kind).glob("*.yaml"))}


def _folder(kind: Kind) -> Path:
    inside = _PACKAGE / kind
    return inside if inside.is_dir() else _PACKAGE.parent / kind
