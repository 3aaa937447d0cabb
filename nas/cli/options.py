"""What several commands take: options and arguments, and what their words mean."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.errors import InputError

if TYPE_CHECKING:
    from nas.config import Config, Override
    from nas.history import History
    from nas.plan import Plan
    from nas.train.plugin_files import Plugin

RUNS = Path("runs")
ConfigArgument = Annotated[
    str, typer.Argument(metavar="CONFIG", help="A config file, or the name of a shipped one.", show_default=False)
]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Any config value, e.g. train.epochs=3; may be repeated."),
]
RunArgument = Annotated[
    Path, typer.Argument(metavar="RUN", help="The run's folder, e.g. runs/digits.", show_default=False)
]
DataOption = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR", help="Where data sets lie; else NAS_DATA, Debian's folder, a download."),
]
PluginOption = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE", help="A Python file of your own layers, ...; may be repeated."),
]
ReplicateOption = Annotated[
    int | None,
    typer.Option("--replicate", metavar="N", help="Train the 5 best again with N other seeds, and rank them by means."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
SpaceArgument = Annotated[
    str, typer.Argument(metavar="SPACE", help="A space's file, or the name of a shipped one.", show_default=False)
]
ConfigOption = Annotated[
    str | None, typer.Option("--config", metavar="CONFIG", help="The config whose task the space is for.")
]
TaskOption = Annotated[
    list[str] | None,
    typer.Option("--task", metavar="K=V...", help="What task.* is, e.g. classes=10 height=28; may be repeated."),
]
MoreTask = Annotated[list[str] | None, typer.Argument(hidden=True)]  # what follows the first K=V of --task
SeedOption = Annotated[int, typer.Option("--seed", metavar="N", help="Seed of what is sampled.")]


def override(key: str, value: Any, flag: str | None = None) -> Override:
    """What a flag sets in the config; ``flag`` where it is not named as the key's last word."""
    from nas.config import Override

    words = value if isinstance(value, list) else [str(value)]
    return Override(key, value, f"{flag or '--' + key.rpartition('.')[2].replace('_', '-')} {shlex.join(words)}")


def cluster_overrides(where: str | None) -> list[Override]:
    """What ``--cluster slurm`` or ``--cluster address=tcp://...`` means."""
    if where is None:
        return []
    from nas.cluster.settings import WHERE

    kind, equals, value = where.partition("=")
    kind = kind.replace("-", "_")
    flag = f"--cluster {where}"
    named = kind in WHERE.values()
    if (equals and not (named and value)) or (named and not equals and kind != "jobqueue"):
        raise InputError(
            f"{flag}: write local, slurm, pbs, lsf, sge, jobqueue, jobqueue=SYSTEM, ssh=FILE, address=tcp://HOST:PORT, "
            "or scheduler-file=PATH"
        )
    if kind in ("scheduler_file", "ssh"):
        value = str(Path(value).absolute())
    return _moved(kind, flag, value if equals else None)


def submitted_to(kind: str | None) -> list[Override]:
    """What ``--to slurm`` means."""
    if kind is None:
        return []
    from nas.cluster.settings import SUBMITTED
    from nas.documents import hint

    if kind not in SUBMITTED:
        raise InputError(f"--to {kind}: nothing is submitted there{hint(kind, SUBMITTED)}")
    return _moved(kind, f"--to {kind}")


def _moved(kind: str, flag: str, place: str | None = None) -> list[Override]:
    """Another kind of cluster: what says where one of the kind before is means nothing any more."""
    from nas.cluster.settings import WHERE
    from nas.config import Override

    left = {word: None for word, of in WHERE.items() if of != kind}
    come = {word: place for word, of in WHERE.items() if of == kind and place is not None}
    return [Override(f"cluster.{word}", value, flag) for word, value in {"kind": kind, **left, **come}.items()]


def loaded(
    config: str,
    flags: Mapping[str, Any],
    named: Mapping[str, str],
    more: Sequence[Override],
    set_: list[str] | None,
    plugins: Sequence[Plugin],
) -> Config:
    """The config, with what the command line says laid over it. Raises InputError.

    ``flags``: by key, None where one was not given; ``named``: those that are not named as the key's last word.
    """
    from nas import config as configs

    said = [override(key, value, named.get(key)) for key, value in flags.items() if value is not None]
    return configs.load(config, [*said, *more, *map(configs.parse_set, set_ or [])], plugins)


def planned(
    settings: Config, plugins: Sequence[Plugin], run: Path | None, fresh: bool
) -> tuple[Plan, Path, History | None]:
    """The plan, the run's folder, and what is recorded there. Raises InputError where that is another search."""
    from nas import plan as plans

    folder = run or RUNS / settings.name
    folder = plans.fresh_folder(folder) if fresh else folder
    recorded = recorded_in(folder)
    plan = plans.plan(settings, plugins)
    if recorded:
        plans.going_on(plan, recorded, folder)
    return plan, folder, recorded


def recorded_in(folder: Path) -> History | None:
    """What the folder's journal says; None where a new run can begin."""
    from nas import provenance, store

    if store.exists(folder / "journal"):
        history = store.opening(folder, provenance.code())
        return history if history.started else None
    if folder.exists() and (not folder.is_dir() or any(path.name != "journal" for path in folder.iterdir())):
        raise InputError(f"{folder} is there and is no run; give another --run DIR")
    there = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise InputError(f"{folder} cannot be made: {there} is no folder that you may write to; give another --run DIR")
    return None


def data_dir(folder: Path | None) -> str | None:
    """What ``--data`` means, wherever a worker stands."""
    return str(folder.absolute()) if folder else None


def read_plugins(files: list[Path] | None) -> list[Plugin]:
    """What ``--plugin`` names. Raises InputError."""
    from nas.train.plugin_files import read

    return [read(file) for file in files or ()]
