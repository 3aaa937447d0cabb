"""`nas space`: what a person sees of a search space before a search."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from nas import documents, inspect, shipped
from nas.errors import InputError
from nas.report import drawing
from nas.report import space as report
from nas.space import Space

ROOT = Path(__file__).parents[2]
SPACES = sorted(shipped.names("search_spaces"))
TINY = """\
name: tiny
architecture:
  - conv: {filters: {choice: [2, 4, 8]}, kernel: {choice: [1, 3]}}
  - global_pool: average
  - linear: {units: =task.classes}
"""
IMAGES = ("--task", "classes=10", "channels=1", "height=8", "width=8")


def nas(*words, cwd):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    environment.pop("COLUMNS", None)
    command = [sys.executable, "-m", "nas", "space", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tiny.yaml").write_text(TINY)
    return tmp_path


# Every shipped space -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SPACES)
def test_a_shipped_space_is_found_with_its_task_checked_counted_and_drawn(name):
    """Lost without it: a shipped space whose config is not found, whose samples fail, or which the pictures forget."""
    opened = inspect.open_space(name, costs=True)
    assert opened.task_from or not opened.space.task
    found = inspect.check(opened, samples=50)
    assert found.works
    assert set(found.costs) >= {"parameters", "flops"}
    page = report.page(found.plain())
    assert page.startswith(f"{name}: ")
    assert report.tree(opened.space.source).startswith(f"{name}\n")
    assert len(report.decision_list(opened.space.decisions).splitlines()) == found.decisions
    ElementTree.fromstring(inspect.picture(name, None, (), seed=1))


@pytest.mark.parametrize("name", SPACES)
def test_a_sample_is_a_space_without_choices_and_with_the_same_hash(name):
    from nas.report import yaml

    opened = inspect.open_space(name)
    for draw in inspect.candidates(opened, 5, seed=1):
        read = Space.read(documents.parse(yaml.dump({"name": "one", **draw.candidate.json()}), "sample.yaml"))
        assert read.decisions == ()
        assert read.walk(lambda decision: 0).candidate.hash == draw.candidate.hash


@pytest.mark.parametrize("name", SPACES)
def test_formulas_are_what_torch_counts(name):
    opened = inspect.open_space(name, costs=True)
    exact, closed = (inspect.check(opened, samples=5, exact=exact).costs for exact in (True, False))
    assert exact == closed


# The task ------------------------------------------------------------------------------------------------------------


def test_the_task_is_found_given_or_asked_for(folder):
    alone = nas("check", "tiny.yaml", cwd=folder)
    assert alone.returncode == 2
    assert "tiny.yaml:5:21: the task has no 'classes'" in alone.stderr
    assert "give --config CONFIG, or its values: --task classes=10" in alone.stderr

    given = nas("check", "tiny.yaml", *IMAGES, "--json", cwd=folder)
    assert given.returncode == 0, given.stderr
    told = json.loads(given.stdout)
    assert told["task"] == {"classes": 10, "channels": 1, "height": 8, "width": 8}
    assert told["count"] == {"assignments": 6, "by_free_floats": [6], "text": "6"}
    assert list(told["costs"]["parameters"]) == ["5%", "50%", "95%"]

    (folder / "own.yaml").write_text("hyperparameters: {steps: {int: [1, =task.most_steps]}}")
    assert nas("count", "own.yaml", "--task", "most_steps=5", cwd=folder).stdout.startswith("5")

    (folder / "configs").mkdir()
    (folder / "configs" / "run.yaml").write_text("space: ../tiny.yaml\ntask: {dataset: digits}\n")
    (folder / "spaces").mkdir()
    assert "run.yaml" in nas("check", "tiny.yaml", "--config", "configs/run.yaml", cwd=folder).stdout

    (folder / "mine.yaml").write_text("space: tiny.yaml\ntask: {dataset: digits}\n")
    found = nas("check", "tiny.yaml", cwd=folder)
    assert "task of mine.yaml: " in found.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["count", "tiny.yaml", "--task", "classes"], "--task classes: write --task name=value"),
        (["count", "tiny.yaml", "--task", "classes=[1]"], "a number or a word"),
        (["check", "tiny.yaml", *IMAGES, "height=-8"], "--task height=-8: height is a whole number from 1"),
        (["check", "tiny.yaml", *IMAGES, "classes=ten"], "--task classes=ten: classes is a whole number from 1"),
        (["check", "tiny.yaml", *IMAGES, "kind=regresion"], "no such kind of task; did you mean 'regression'?"),
        (["check", "tiny.yaml", *IMAGES, "heigth=8"], "--task heigth: a task has no 'heigth'; did you mean 'height'?"),
        (["count", "tiny.yaml", "classes=10"], "follow --task"),
        (["count", "tiny.yaml", "--config", "digits", "--task", "classes=2"], "not both"),
        (["check", "tiny.yaml", "--task", "classes=10"], "--task must say it"),
        (["check", "none.yaml"], "none.yaml"),
        (["show", "tiny.yaml", *IMAGES, "--svg", "no/such.svg"], "--svg no/such.svg"),
    ],
)
def test_what_is_wrong_is_one_message_and_exit_code_2(words, said, folder):
    done = nas(*words, cwd=folder)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


# Check ---------------------------------------------------------------------------------------------------------------


def test_a_space_of_which_nothing_can_be_trained_is_exit_code_2(folder):
    (folder / "bad.yaml").write_text(TINY.replace("- global_pool: average", "- max_pool: {kernel: -1}"))
    done = nas("check", "bad.yaml", *IMAGES, cwd=folder)
    assert done.returncode == 2
    assert "bad.yaml" in done.stderr
    assert "max_pool" in done.stderr


def test_a_space_whose_constraints_leave_nothing_is_blamed_as_a_search_blames_it(folder):
    """Lost without it: the check says no, and not why; or charges the constraint that stands first."""
    (folder / "none.yaml").write_text(TINY + "constraints:\n  - parameters <= 60\n  - flops >= 1e9\n")
    done = nas("check", "none.yaml", *IMAGES, cwd=folder)
    assert done.returncode == 2
    blamed = "none.yaml:8:5: none of 2,000 draws satisfies the constraints; all violate: flops >= 1e9 (flops:"
    assert blamed in done.stderr
    assert re.search(
        r"^  100%: flops >= 1e9 \(\d\d\.\d% by it alone\)\n  \d\d\.\d%: parameters <= 60 \(0% by", done.stdout, re.M
    )
    told = json.loads(nas("check", "none.yaml", *IMAGES, "--json", cwd=folder).stdout)
    assert (told["works"], told["rejected"], told["violated"]["flops >= 1e9"]) == (False, 200, 200)
    assert blamed in told["nothing"]
    (folder / "run.yaml").write_text("space: none.yaml\ntask: {dataset: digits}\n")
    sampled = nas("sample", "none.yaml", "--config", "run.yaml", cwd=folder)
    assert "none.yaml:8:5: 1,001 draws in a row" in sampled.stderr


def test_a_space_of_which_only_masks_find_something_works(folder):
    """Lost without it: the check refuses what a search would train."""
    names = [f"k{i}" for i in range(12)]
    convs = "".join(f"  - conv: {{filters: 1, kernel: {{choice: [1, 3, 5], name: {name}}}}}\n" for name in names)
    constraints = "".join(f"  - {name} == 3\n" for name in names)
    (folder / "rare.yaml").write_text(
        f"architecture:\n{convs}  - global_pool\n  - linear: 10\nconstraints:\n{constraints}"
    )
    found = inspect.check(inspect.open_space(str(folder / "rare.yaml"), task=IMAGES[1:], costs=True))
    assert (found.rejected, found.works, len(found.violated)) == (200, True, 12)


def test_what_constraints_reject_and_what_cannot_be_built_is_told_with_its_reason(folder):
    (folder / "half.yaml").write_text(
        "name: half\ndefine: {width: {choice: [2, 4]}, groups: {choice: [1, 3]}}\narchitecture:\n"
        "  - conv: {filters: =width, kernel: 1}\n  - conv: {filters: 6, kernel: 1, groups: =groups}\n"
        "  - global_pool\n  - linear: 10\nconstraints: [width > 2]\n"
    )
    opened = inspect.open_space(str(folder / "half.yaml"), task=IMAGES[1:], costs=True)
    found = inspect.check(opened, samples=400)
    assert found.violated == found.violated_alone == {"width > 2": found.rejected}
    assert 150 < found.rejected < 250
    ((reason, times),) = found.invalid.items()
    assert "3 groups" in reason
    assert 60 < times < 140
    page = report.page(found.plain())
    assert re.search(r"^\d\d\.\d% of 400 samples are rejected by constraints\n  \d\d\.\d%: width > 2$", page, re.M)
    assert re.search(r"^\d\d\.\d% of 400 samples cannot be built\n  \d\d\.\d%: architecture\.1\.conv", page, re.M)


def test_all_problems_of_a_space_are_told_in_one_go(folder):
    (folder / "bad.yaml").write_text("architecture:\n  - con: 3\n  - conv: {filters: {int: [3]}}\n  - linear: =x\n")
    done = nas("check", "bad.yaml", *IMAGES, cwd=folder)
    assert [line.split(": ")[1] for line in done.stderr.splitlines()] == [
        "bad.yaml:2:5",
        "bad.yaml:3:27",
        "bad.yaml:4:13",
    ]


# Show ----------------------------------------------------------------------------------------------------------------


def test_the_tree_says_what_is_drawn_and_what_is_not(folder):
    (folder / "tree.yaml").write_text((Path(__file__).parent / "tree.yaml").read_text())
    shown = nas("show", "tree.yaml", "--task", "classes=10", cwd=folder)
    assert shown.returncode == 0, shown.stderr
    golden = Path(__file__).parent / "tree.txt"
    if os.environ.get("NAS_WRITE_GOLDEN"):
        golden.write_text(shown.stdout)
    assert shown.stdout == golden.read_text()


def test_on_a_terminal_the_tree_has_lines_and_colours():
    text = report.tree({"name": "x", "hyperparameters": {"a": {"choice": [1, 2]}, "b": 3}}, terminal=True)
    assert re.sub(r"\x1b\[[0-9;]*m", "", text) == "x\n└─ hyperparameters\n   ├─ a: 1 | 2\n   └─ b: 3\n"
    assert "\x1b[1;36m1 | 2\x1b[0m" in text


def test_decisions_are_listed_with_their_paths(folder):
    listed = nas("show", "tiny.yaml", *IMAGES, "--decisions", cwd=folder).stdout
    assert listed == "architecture.0.conv.filters  2 | 4 | 8\narchitecture.0.conv.kernel   1 | 3\n"
    told = json.loads(nas("show", "tiny.yaml", *IMAGES, "--json", cwd=folder).stdout)
    assert [decision["path"] for decision in told] == ["architecture.0.conv.filters", "architecture.0.conv.kernel"]


def test_a_picture_holds_every_layer_inside_its_canvas(folder):
    """Lost without it: a frame, a graph or a nested list whose layers the picture drops, or draws beside the paper."""
    conv = {"conv": {"filters": 8, "kernel": 3}}
    cell = {"nodes": [{"from": [0], "ops": [[conv]]}, {"from": [0, 1], "ops": [[{"identity": {}}], []]}]}
    pick = {"inputs": [-2, -1], "nodes": [{"from": [0, 1], "op": [conv], "merge": "concat"}, {"from": [], "ops": []}]}
    architecture = [
        {"flatten": {}},
        {"residual": [conv, {"norm": "batch"}, {"residual": [{"activation": "<&>"}]}]},
        *[conv, {"max_pool": 2}] * 3,
        {"graph": cell},
        {"graph": pick | {"output": "loose"}},
        {"mixture_of_experts": {"experts": 4, "expert": [{"linear": 3}], "scales": [1, 2.5]}},
        {"residual": []},
        {"skip": [{"max_pool": 2}, {"attention": {"window": None}}]},
        *[{"linear": {"units": n}} for n in range(60)],
    ]
    text = drawing.svg(
        "title", architecture, notes=["a note"], shapes=[f"{i} × 2" for i in range(len(architecture) + 1)]
    )
    root = ElementTree.fromstring(text)
    drawn = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    assert drawn.count("concat") == 3, "of the second graph's node and output, and of the skip"
    for word in ("flatten", "residual", "norm  batch", "activation  <&>", "3×", "zeros", "linear  3", "linear  59"):
        assert word in drawn, word
    assert "mixture_of_experts, experts 4, scales [1, 2.5]" in drawn
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    for node in root.iter("{http://www.w3.org/2000/svg}rect"):
        x, y, w, h = (float(node.attrib.get(key, 0)) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= x + w <= width
        assert 0 <= y <= y + h <= height


def test_svg_is_written_to_a_file(folder):
    done = nas("show", "tiny.yaml", *IMAGES, "--svg", "tiny.svg", cwd=folder)
    assert (done.returncode, done.stdout) == (0, "")
    assert (folder / "tiny.svg").read_text().startswith("<svg")


# Sample and count ----------------------------------------------------------------------------------------------------


def test_samples_are_yaml_documents_and_the_first_of_many_is_the_one_alone(folder):
    five = nas("sample", "tiny.yaml", "-n", "5", "--seed", "1", *IMAGES, cwd=folder).stdout
    one = nas("sample", "tiny.yaml", "--seed", "1", *IMAGES, cwd=folder).stdout
    documents_ = five.split("---\n")
    assert len(documents_) == 5
    assert documents_[0] == one
    (folder / "one.yaml").write_text(documents_[3])
    again = nas("sample", "one.yaml", cwd=folder).stdout
    assert again.splitlines()[0] == documents_[3].splitlines()[0], "the hash in the comment"
    told = [
        json.loads(line)
        for line in nas("sample", "tiny.yaml", "-n", 2, *IMAGES, "--json", cwd=folder).stdout.splitlines()
    ]
    assert [sample["name"] for sample in told] == ["tiny-0-0", "tiny-0-1"]


def test_samples_are_written_into_files_that_are_spaces(folder):
    """Lost without it: five candidates in one file, which nothing can read back."""
    words = ("sample", "tiny.yaml", *IMAGES, "-n", "3", "--seed", "1", "--output", "three")
    done = nas(*words, cwd=folder)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    files = sorted((folder / "three").iterdir())
    assert [file.name for file in files] == ["tiny-1-0.yaml", "tiny-1-1.yaml", "tiny-1-2.yaml"]
    assert "tiny-1-0.yaml to tiny-1-2.yaml written" in done.stderr
    printed = nas(*words[:-2], cwd=folder).stdout
    assert "---\n".join(file.read_text() for file in files) == printed
    checked = nas("check", "three/tiny-1-2.yaml", *IMAGES, cwd=folder)
    assert (checked.returncode, "1 candidate\n" in checked.stdout) == (0, True), checked.stderr

    again = nas(*words, cwd=folder)
    assert again.returncode == 2
    assert "--output three: three/tiny-1-0.yaml is there already, and 2 others; name another place" in again.stderr
    alone = ("sample", "tiny.yaml", *IMAGES, "--output", "one.yaml")
    assert nas(*alone, cwd=folder).returncode == 0
    assert nas("count", "one.yaml", cwd=folder).stdout == "1 candidate\n"
    assert "one.yaml is there already; name another place" in nas(*alone, cwd=folder).stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-n", "2", "--output", "two.yaml"], "--output two.yaml: 2 samples are 2 files; name a folder for them"),
        (["--output", "taken"], "--output taken: it is no folder; name one, or a file that ends in .yaml"),
        (["--output", "no/such"], "--output no/such: the folder cannot be made: No such file or directory"),
        (["--output", "no/such/one.yaml"], "--output no/such: the folder cannot be made: No such file or directory"),
        (["--output", "out", "--json"], "--output writes YAML; leave out --json"),
    ],
)
def test_where_samples_cannot_be_written_is_told_before_anything_is(words, said, folder):
    (folder / "taken").write_text("")
    before = sorted(folder.rglob("*"))
    done = nas("sample", "tiny.yaml", *IMAGES, *words, cwd=folder)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert sorted(folder.rglob("*")) == before


def test_samples_satisfy_constraints_over_costs(folder):
    (folder / "small.yaml").write_text(TINY + "constraints: [parameters <= 60]\n")
    told = nas("sample", "small.yaml", "-n", "20", *IMAGES, "--json", cwd=folder)
    assert told.returncode == 0, told.stderr
    samples = [json.loads(line)["architecture"][0]["conv"]["filters"] for line in told.stdout.splitlines()]
    assert len(samples) == 20
    assert 8 not in samples


def test_count_is_exact_however_large(folder):
    (folder / "large.yaml").write_text(
        "name: large\nhyperparameters:\n" + "".join(f"  a{i}: {{choice: [1, 2, 3]}}\n" for i in range(60))
    )
    assert nas("count", "large.yaml", cwd=folder).stdout == f"4.24e28 candidates\n{3**60:,}\n"
    assert json.loads(nas("count", "large.yaml", "--json", cwd=folder).stdout)["assignments"] == 3**60
    assert nas("count", "tiny.yaml", *IMAGES, cwd=folder).stdout == "6 candidates\n"
    (folder / "small.yaml").write_text(TINY + "constraints: [parameters <= 60]\n")
    for command in ("count", "check"):
        assert "6 candidates before constraints\n" in nas(command, "small.yaml", *IMAGES, cwd=folder).stdout


@pytest.mark.parametrize("value", [0, 1, 15_625, 10**15 - 1, 10**15, 999_999 * 10**30, 6**12 * 2**66])
def test_large_numbers_are_rounded_not_cut(value):
    text = report.large(value)
    assert float(text.replace(",", "")) == pytest.approx(value, rel=5e-3)


@pytest.mark.parametrize("name", SPACES)
def test_a_space_is_checked_counted_and_sampled_without_torch(name):
    """Lost without it: `nas space check` that answers after four seconds; torch alone takes one and a half."""
    code = (
        f"import sys; from nas import inspect; o = inspect.open_space({name!r}, costs=True);"
        "inspect.check(o, samples=3); o.space.count(); list(inspect.candidates(o, 3, 1));"
        "print([m for m in ('torch', 'optuna', 'distributed') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_a_task_is_not_taken_from_a_config_of_another_space(folder):
    (folder / "other.yaml").write_text("space: digits_cnn\ntask: {dataset: digits}\n")
    with pytest.raises(InputError, match="needs a task"):
        inspect.open_space(str(folder / "tiny.yaml"))
