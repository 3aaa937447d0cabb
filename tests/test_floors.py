"""The house stands by its floors: imports go downward only, and what is heavy is imported where it is used.

Read from the sources with ast, so that an import inside a function counts too; and from a real interpreter for what
`import nas.cli` draws in.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nas"

FLOORS = {
    0: {
        "errors",
        "seeds",
        "records",
        "objective",
        "results",
        "history",
        "reward",
        "pareto",
        "intervals",
        "correlation",
        "durable",
        "documents",
        "amounts",
        "space",
    },
    1: {
        "controllers",
        "schedulers",
        "limits",
        "incumbents",
        "originals",
        "machine",
        "instructions",
        "verdict",
        "retries",
        "latecomers",
        "stragglers",
        "replication",
        "leaderboard",
    },
    2: {"train", "cluster", "store", "report"},
    3: {
        "__init__",
        "__main__",
        "config",
        "plan",
        "provenance",
        "snapshots",
        "shipped",
        "driver",
        "warm_start",
        "smoke",
        "audit",
        "inspect",
        "schema",
        "cli",
        "python",
        "plugin",
        "bench",
        "submit",
    },
}
FLOOR = {part: floor for floor, parts in FLOORS.items() for part in parts}

HEAVY = {"torch", "optuna", "distributed", "dask", "rich", "matplotlib", "typer", "numpy", "yaml", "scipy"}
# What floor 0, floor 1's and floor 2's doors, and the doors of floor 3 may import when they are themselves imported.
LIGHT_ENOUGH = {
    "nas/cli/__init__.py": {"typer"},
    "nas/space/batch.py": {"numpy"},  # no door: imported when draws are asked for by the thousand
}


def sources() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def part_of(path: Path) -> str:
    """The module or package directly below nas that a file belongs to."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(path: Path, *, module_level: bool) -> list[str]:
    """Dotted names that a file imports; ``module_level`` leaves out functions and ``if TYPE_CHECKING:``."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if module_level and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            return
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return  # types cost nothing at run time, and a type may stand for a value that is handed in
        if isinstance(node, ast.Import):
            found.extend(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            found.extend(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


def parts_imported(path: Path) -> set[str]:
    names = [name.split(".") for name in imports(path, module_level=False)]
    return {name[1] for name in names if name[0] == "nas" and len(name) > 1}


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_downward_only(path):
    here = part_of(path)
    assert here in FLOOR, f"{here} has no floor; give it one in FLOORS, and in ARCHITECTURE.md"
    for part in parts_imported(path) - {here}:
        if part not in FLOOR:
            assert FLOOR[here] == 3, f"{path} imports nas.{part}, which has no floor"
            continue
        assert FLOOR[part] <= FLOOR[here], f"floor {FLOOR[here]} ({here}) imports from floor {FLOOR[part]} ({part})"
        if FLOOR[here] == 2:
            assert FLOOR[part] == 0, f"{here} knows floor 0 only, not {part}"


def doors() -> list[Path]:
    """Files that are imported whenever anything is: floor 0, and the packages' and the house's own doors."""
    low = [path for path in sources() if FLOOR.get(part_of(path), 3) == 0]
    house = [PACKAGE / name for name in ("config.py", "shipped.py", "driver.py", "plan.py", "machine.py")]
    return sorted({*low, *PACKAGE.glob("*/__init__.py"), PACKAGE / "__init__.py", *house})


@pytest.mark.parametrize("path", doors(), ids=lambda path: str(path.relative_to(ROOT)))
def test_doors_import_nothing_heavy(path):
    name = str(path.relative_to(ROOT))
    drawn_in = {imported.split(".")[0] for imported in imports(path, module_level=True)}
    assert not drawn_in & (HEAVY - LIGHT_ENOUGH.get(name, set()))


def modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys\nprint(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_the_command_line_starts_without_torch_optuna_dask_rich_or_pydantic():
    # What makes `nas --help` take a tenth of a second instead of three.
    loaded = modules_after("import nas, nas.cli")
    assert not loaded & {"torch", "optuna", "distributed", "dask", "rich", "numpy", "yaml", "pydantic", "matplotlib"}


def test_a_leaderboard_is_read_without_torch_optuna_or_dask():
    loaded = modules_after("import nas.leaderboard, nas.report.tables, nas.report.status, nas.report.trial, nas.store")
    assert not loaded & {"torch", "optuna", "distributed", "dask", "rich", "numpy", "matplotlib"}


def test_a_queue_is_asked_without_torch_optuna_or_dask():
    # What lets `nas status` and `nas cancel` of a submitted run answer at once.
    loaded = modules_after("import nas.submit.command")
    assert not loaded & {"torch", "optuna", "distributed", "dask", "rich", "numpy", "matplotlib"}


def test_a_config_is_read_without_torch_optuna_or_dask():
    loaded = modules_after("import nas.config; nas.config.controllers.parse('rl')")
    assert not loaded & {"torch", "optuna", "distributed", "dask", "rich", "numpy", "matplotlib"}


def test_the_door_of_the_checkout_is_two_lines_on_the_package():
    body = [node for node in ast.parse((ROOT / "cli.py").read_text()).body if not isinstance(node, ast.Expr)]
    assert [type(node).__name__ for node in body] == ["ImportFrom", "If"]
