"""`nas space ...` and `nas schema`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from nas.cli.options import (
    ConfigOption,
    JsonOption,
    MoreTask,
    PluginOption,
    SeedOption,
    SpaceArgument,
    TaskOption,
    read_plugins,
)
from nas.cli.output import (
    as_json,
    as_line,
    as_long_json,
    is_terminal,
    note,
    print_result,
    write_file,
)
from nas.errors import InputError

MOST = 1_000_000  # candidates of one command; more is a slip of the hand, and would fill the memory

app = typer.Typer(help="Check, show, sample and count search spaces.", rich_markup_mode=None, no_args_is_help=True)


@app.command("check")
def space_check(
    space: SpaceArgument,
    more: MoreTask = None,
    config: ConfigOption = None,
    task: TaskOption = None,
    plugin: PluginOption = None,
    samples: Annotated[
        int | None, typer.Option("--samples", min=1, max=MOST, metavar="N", help="How many candidates are sampled.")
    ] = None,
    seed: SeedOption = 0,
    exact: Annotated[
        bool, typer.Option("--exact", help="Count parameters and FLOPs in networks that are built, without memory.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Find every error of a space, and say what it holds.

    How many candidates it has, what they cost, and how many cannot be built.
    """
    from nas import inspect
    from nas.report import space as report

    opened = inspect.open_space(space, config, _task(task, more), read_plugins(plugin), costs=True)
    found = inspect.check(opened, samples=samples, seed=seed, exact=exact)
    print_result(as_long_json(found.plain()) if json else report.page(found.plain()))
    if found.nothing:
        raise InputError(found.nothing)


@app.command("show")
def space_show(
    space: SpaceArgument,
    more: MoreTask = None,
    config: ConfigOption = None,
    task: TaskOption = None,
    plugin: PluginOption = None,
    decisions: Annotated[
        bool, typer.Option("--decisions", help="List the decisions with their paths, as controllers see them.")
    ] = False,
    svg: Annotated[
        Path | None, typer.Option("--svg", metavar="FILE", help="Draw a candidate into FILE; --seed takes others.")
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Show a space: a tree, its decisions, or a picture.

    The decisions stand with their paths, as controllers see them; the picture is of one candidate.
    """
    from nas import inspect
    from nas.report import space as report

    if svg is not None:
        write_file(svg, inspect.picture(space, config, _task(task, more), read_plugins(plugin), seed=seed), "--svg")
        note(f"a candidate of {space} is drawn in {svg}")
        return
    opened = inspect.open_space(space, config, _task(task, more), read_plugins(plugin), costs=False)
    if json:
        print_result(as_json([report.decision_plain(decision) for decision in opened.space.decisions]))
    elif decisions:
        print_result(report.decision_list(opened.space.decisions))
    else:
        print_result(
            report.tree(opened.space.source, terminal=is_terminal(sys.stdout) and "NO_COLOR" not in os.environ)
        )


@app.command("sample")
def space_sample(
    space: SpaceArgument,
    more: MoreTask = None,
    number: Annotated[int, typer.Option("-n", min=1, max=MOST, metavar="N", help="How many candidates.")] = 1,
    config: ConfigOption = None,
    task: TaskOption = None,
    plugin: PluginOption = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="PATH", help="Write one file each: into a folder, or one into FILE.yaml."),
    ] = None,
    seed: SeedOption = 0,
    json: JsonOption = False,
) -> None:
    """Draw candidates, and print or write them.

    Each is a space of its own, with nothing left to choose: one YAML document. Several of them in one file cannot be
    read as a space; with --output each is a file that `nas space check` and `space:` of a config take.
    """
    from nas import inspect
    from nas.report import samples

    if output is not None and json:
        raise InputError("--output writes YAML; leave out --json")
    opened = inspect.open_space(space, config, _task(task, more), read_plugins(plugin))
    names = [f"{opened.space.name}-{seed}-{index}" for index in range(number)]
    draws = inspect.candidates(opened, number, seed)
    if output is not None:
        files = samples.files(output, names)
        samples.write(files, [samples.document(name, draw) for name, draw in zip(names, draws, strict=True)])
        note(f"{files[0]}" + (f" to {files[-1].name}" if number > 1 else "") + " written")
        return
    for index, (name, draw) in enumerate(zip(names, draws, strict=True)):
        if json:
            against = draw.invalid or None
            print_result(
                as_line({"name": name, **draw.candidate.json(), "hash": draw.candidate.hash, "invalid": against})
            )
        else:
            print_result(("---\n" if index else "") + samples.document(name, draw))


@app.command("count")
def space_count(
    space: SpaceArgument,
    more: MoreTask = None,
    config: ConfigOption = None,
    task: TaskOption = None,
    plugin: PluginOption = None,
    json: JsonOption = False,
) -> None:
    """Count the candidates of a space, constraints aside."""
    from nas import inspect
    from nas.report import space as report

    opened = inspect.open_space(space, config, _task(task, more), read_plugins(plugin), costs=False).space
    count = opened.count()
    if json:
        print_result(as_long_json(inspect.count_plain(count)))
    else:
        print_result(
            f"{report.count(count.coefficients, constrained=bool(opened.constraints))}\n{_formula(str(count))}"
        )


def schema(
    kind: Annotated[str, typer.Argument(metavar="config|space", help="Of which files.", show_default=False)],
) -> None:
    """Print the JSON Schema of configs or spaces, for editors.

    With it an editor completes words and marks what is wrong.
    """
    from nas.documents import hint

    if kind not in ("config", "space"):
        raise InputError(f"there is no schema of '{kind}'{hint(kind, ('config', 'space'))}")
    from nas import schema as schemas

    print_result(as_json(schemas.config_schema() if kind == "config" else schemas.space_schema()))


def _formula(text: str) -> str:
    """The count in full, where the line before it was rounded or says nothing of how real numbers come in."""
    if "R" not in text and len(text) < 20:
        return ""
    return f"{text}{', where R is as many values as a real number has' if 'R' in text else ''}\n"


def _task(task: list[str] | None, more: list[str] | None) -> list[str]:
    """`--task classes=10 height=28`: the shell hands over the rest as arguments."""
    if more and not task:
        raise InputError(f"what is {' '.join(more)} for? values of the task follow --task")
    return [*(task or ()), *(more or ())]
