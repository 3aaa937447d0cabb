"""Candidates as YAML, each a space without choices: one document each, and into files one file each.

A space is one document, so several candidates in one file cannot be read back; `--output` keeps them apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from nas.errors import InputError
from nas.report import output, yaml
from nas.space import Draw

_SUFFIXES = (".yaml", ".yml")
_NOT_IN_A_FILE_NAME = re.compile(r"[^\w.-]+")


def document(name: str, draw: Draw) -> str:
    """One YAML document, with the hash and what is known against the candidate as comments."""
    remarks = [f"# sha256 {draw.candidate.hash}"]
    if draw.invalid:
        remarks.append(f"# cannot be trained: {draw.invalid}")
    return "\n".join(remarks) + "\n" + yaml.dump({"name": name, **draw.candidate.json()})


def files(place: Path, names: Sequence[str]) -> list[Path]:
    """The file of each sample: ``place`` itself where it ends in .yaml, else name.yaml in the folder ``place``.

    Raises:
        InputError: several samples for one file; a file is there already; ``place`` is no folder.
    """
    if place.suffix in _SUFFIXES and not place.is_dir():
        if len(names) > 1:
            raise InputError(f"--output {place}: {len(names)} samples are {len(names)} files; name a folder for them")
        chosen = [place]
    elif place.exists() and not place.is_dir():
        raise InputError(f"--output {place}: it is no folder; name one, or a file that ends in .yaml")
    else:
        chosen = [place / f"{_NOT_IN_A_FILE_NAME.sub('-', name)}.yaml" for name in names]
    taken = [str(file) for file in chosen if file.is_symlink() or file.exists()]
    if taken:
        others = f", and {len(taken) - 1} others" if len(taken) > 1 else ""
        raise InputError(f"--output {place}: {taken[0]} is there already{others}; name another place")
    return chosen


def write(chosen: Sequence[Path], documents: Sequence[str]) -> None:
    """Each document into its file; the folder is made, its parent is not.

    Raises:
        InputError: the folder cannot be made or written to.
        DiskFailed: the disk is full or failed.
    """
    folder = chosen[0].parent
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {folder}: the folder cannot be made: {error.strerror or error}") from None
    for file, text in zip(chosen, documents, strict=True):
        output.write(file, text, "--output")
