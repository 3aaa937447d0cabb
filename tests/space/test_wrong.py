"""What a person reads when a space is wrong. Each file in wrong/ has its messages beside it, as golden text.

After a change that is meant: NAS_WRITE_GOLDEN=1 pytest tests/space/test_wrong.py, then read the difference.
"""

import os
from pathlib import Path

import pytest

from nas import documents
from nas.errors import InputError
from nas.space import Space
from nas.train.hyperparameters import SECTION
from nas.train.layers import LAYERS

WRONG = Path(__file__).parent / "wrong"
KNOWN = {name: LAYERS[name] for name in ("conv", "linear", "norm", "activation", "flatten", "identity")}


@pytest.mark.parametrize("file", sorted(path.name for path in WRONG.glob("*.yaml")))
def test_messages_of_a_wrong_file_are_these(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost without it: line, column, remedy, and that all mistakes of a file are told at once."""
    monkeypatch.chdir(WRONG)
    trained = SECTION if file == "hyperparameters.yaml" else None  # elsewhere they are any words
    with pytest.raises(InputError) as raised:
        Space.read(documents.read(Path(file)), {"classes": 10}, layers=KNOWN, hyperparameters=trained)
    golden = (WRONG / file).with_suffix(".txt")
    if os.environ.get("NAS_WRITE_GOLDEN"):
        golden.write_text(f"{raised.value}\n")
    assert f"{raised.value}\n" == golden.read_text()


def test_without_a_file_a_message_names_the_path() -> None:
    with pytest.raises(InputError, match=r"^<python>: hyperparameters\.rate\.float: `float` takes \[low, high\]"):
        Space.read({"hyperparameters": {"rate": {"float": 3}}})


def test_one_mistake_in_a_repeated_body_is_told_once() -> None:
    body = {"repeat": {"times": 5, "of": {"conv": {"filters": "=nothing"}}}}
    with pytest.raises(InputError) as raised:
        Space.read({"architecture": [body, {"repeat": {"times": 3, "of": "flatten"}}]})
    assert len(raised.value.problems) == 1


def test_what_is_not_trained_by_us_may_have_any_hyperparameters() -> None:
    """Lost without it: a space for a callable of one's own, refused because it says `temperature`."""
    Space.read({"hyperparameters": {"temperature": -1, "batch_size": -3}}, hyperparameters=SECTION)
    Space.read({"architecture": ["flatten"], "hyperparameters": {"temperature": -1}})


def test_hyperparameters_that_the_trainer_takes_are_accepted() -> None:
    rate = {"float": [1e-3, 0.1], "log": True}
    optimizer = {"choice": ["adamw", {"sgd": {"learning_rate": "=rate", "momentum": 0}}, {"lamb": {}}]}
    given = {"batch_size": {"choice": [32, "=2 * 32"]}, "optimizer": optimizer, "weight_decay": None}
    space = {"define": {"rate": rate}, "architecture": ["flatten"], "hyperparameters": given}
    Space.read(space, layers=KNOWN, hyperparameters=SECTION)


ENAS = {"from": "previous", "skip": "subset"}


@pytest.mark.parametrize(
    "bomb",
    [
        {
            "define": {f"d{i}": [{"new": f"d{i + 1}"}] * 4 for i in range(12)} | {"d12": "flatten"},
            "architecture": "=d0",
        },
        {"define": {f"d{i}": f"=d{i + 1}" for i in range(3000)} | {"d3000": 1}, "hyperparameters": {"a": "=d0"}},
        {"architecture": [{"repeat": {"times": 900, "of": {"repeat": {"times": 900, "of": "flatten"}}}}]},
        {"hyperparameters": {"a": "=" + "(" * 450}},
        {"hyperparameters": {"a": "=" + "9**" * 40 + "9"}},
        {"hyperparameters": {"a": {"subset": list(range(64)), "size": 32}}},
        {"architecture": [{"graph": {"nodes": 100, "op": {"graph": {"nodes": 100, "op": {"choice": ["a", "b"]}}}}}]},
        {"architecture": [{"repeat": {"times": 900, "of": {"graph": {"nodes": 90, "op": "a", **ENAS}}}}]},
        {
            "define": {"a": {"choice": ["x", [{"new": "a"}, {"new": "a"}]]}},
            "architecture": [{"new": "a", "depth": 20}],
        },
    ],
    ids=["new", "ties", "repeat", "parentheses", "power", "combinations", "graphs", "skips", "recursion"],
)
def test_a_small_text_cannot_cost_much(bomb: dict) -> None:
    """Lost without it: a typo that hangs the command, or ends it in a RecursionError."""
    with pytest.raises(InputError):
        Space.read(bomb)
