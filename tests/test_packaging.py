"""The wheel: what a person without a checkout gets. Built for real, installed for real, asked for real.

And the texts that promise something: every command of the README is one that exists, every YAML there reads.
"""

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

from nas import config, documents, shipped
from nas.errors import InputError
from nas.records import FAILURE_KINDS, MACHINE_FAILURES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def fenced(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


# From a checkout -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["configs", "search_spaces"])
def test_shipped_files_are_found_by_name_by_path_and_from_any_folder(kind, tmp_path, monkeypatch):
    assert shipped.names(kind), f"nothing lies in {kind}"
    monkeypatch.chdir(tmp_path)
    for name, path in shipped.names(kind).items():
        assert shipped.find(kind, name) == path
        assert shipped.find(kind, f"{kind}/{name}.yaml") == path
        assert shipped.find(kind, str(path)) == path


def test_a_persons_own_file_wins_over_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").mkdir()
    own = tmp_path / "configs" / "digits.yaml"
    own.write_text("x: 1\n")
    assert shipped.find("configs", "configs/digits.yaml").resolve() == own


def test_an_unknown_name_lists_what_is_shipped_and_the_nearest():
    with pytest.raises(InputError, match=r"nearest: digits.*shipped: .*digits, .*fashion_mnist"):
        shipped.find("configs", "digit")


@pytest.mark.parametrize("name", sorted(shipped.names("configs")))
def test_every_shipped_config_reads_with_its_space(name):
    read = config.load(name)
    assert read.name == name
    assert read.space_document().data["name"]


def test_the_readmes_yaml_reads(tmp_path):
    whole, objectives, space = fenced("yaml")
    path = tmp_path / "config.yaml"
    path.write_text(whole)
    assert config.load(path).name == "fashion"
    kept = "".join(line for line in whole.splitlines(True) if not line.startswith("reward:"))
    path.write_text(kept.replace("stop: {reward: 0.93,", "stop: {reward: {accuracy: 0.93},") + objectives)
    assert config.load(path).reward.objectives == {"accuracy": "maximize", "flops": "minimize"}
    assert documents.parse(space, "README.md").data["name"] == "small-cnn"


def test_the_readme_says_which_failures_teach_a_controller():
    """Lost without it: a person takes a preempted trial for a bad one, or the other way round."""
    charged, machines = re.search(
        r"What a candidate did teaches(.*?)What the\nmachines did(.*?):", README, re.DOTALL
    ).groups()
    assert set(re.findall(r"`(\w+)`", charged)) == set(FAILURE_KINDS) - MACHINE_FAILURES
    assert set(re.findall(r"`(\w+)`", machines)) == MACHINE_FAILURES


def test_every_command_of_the_readme_exists():
    out = subprocess.run([sys.executable, "cli.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True)
    commands = set(re.findall(r"^  (\w+)  ", out.stdout, re.MULTILINE))
    mentioned = set(re.findall(r"\bnas (\w+) [\w/.]+", "\n".join(fenced(""))))
    assert mentioned >= {"search", "leaderboard", "resume", "status", "trial"}
    assert mentioned <= commands


def test_every_requirement_is_pinned_and_torchvision_never_enters():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    names = {re.split(r"[\[<>=~! ]", requirement)[0].lower() for requirement in wanted} - {"nas-orchestrator"}
    pinned = set(re.findall(r"^([a-z0-9-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    assert names <= pinned
    assert not pinned & {"torchvision", "timm", "torchmetrics"}


def test_pages_install_from_the_checkout():
    """No index has the distribution: a page that names it fails a person with its first command."""
    pages = [ROOT / "README.md", *(page for page in (ROOT / "docs").glob("*.md") if page.name != "log.md")]
    said = [line for page in pages for line in page.read_text().splitlines() if re.search(r"pip install ", line)]
    assert said and all("-c constraints.txt" in line and "nas-orchestrator" not in line for line in said)


def test_only_the_ci_gate_knows_what_lies_beside_the_checkout():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    beside = "../" + "shared"
    naming = [name for name in tracked if (ROOT / name).is_file() and beside.encode() in (ROOT / name).read_bytes()]
    assert naming == [".ci/run"]


# From a wheel --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(build, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A virtual environment that holds the wheel, and sees this one's packages but no editable install of ours."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "--quiet", "--no-deps"]
    done = subprocess.run([*pip, "--no-index", str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    (own,) = folder.glob("lib/python3*/site-packages")
    ours = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    (own / "the_requirements.pth").write_text("".join(f"{path}\n" for path in ours))
    return folder


def nas(installed, *words, cwd):
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    command = [str(installed / "bin/nas"), *words]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, timeout=170)


def test_the_wheel_holds_code_configs_spaces_data_and_licence(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    for name in ("configs/digits.yaml", "configs/bench/nasbench201.yaml", "search_spaces", "cli/", "train/"):
        assert any(entry.startswith(f"nas/{name}") for entry in names), name
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not [name for name in names if "test" in name.lower() or name.endswith(".pyc") or name.startswith("runs")]
    tracked = subprocess.run(["git", "ls-files", "nas"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert set(tracked.stdout.split()) <= set(names), "a file of the package is missing (data sets, for one)"


@pytest.mark.slow
def test_an_installed_wheel_finds_what_it_ships_from_anywhere(installed, tmp_path):
    code = (
        "import nas, sys; from nas import config, shipped; print(nas.__file__);"
        "print(*(config.load(n).space_document().file for n in shipped.names('configs')))"
    )
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    python = str(installed / "bin/python")
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert all(str(installed) in path for path in done.stdout.split())


@pytest.mark.slow
def test_an_installed_wheel_searches_by_the_path_that_the_readme_names(installed, tmp_path):
    few = ["--trials", "1", "--workers", "1", "--set", "train.epochs=1", "--controller", "random"]
    done = nas(installed, "search", "configs/digits.yaml", *few, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "accuracy" in done.stdout
    assert (tmp_path / "runs" / "digits" / "journal").is_dir()
