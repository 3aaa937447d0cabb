"""The words a person may write for a controller, and what a wrong one says."""

from __future__ import annotations

import subprocess
import sys

import pytest
from search_problems import EVERY_KIND, FLAT, read

from nas import documents
from nas.controllers import make, parse, remarks
from nas.controllers.settings import EvolutionSettings, OptunaSettings, RandomSettings, RLSettings
from nas.errors import InputError


def test_names_and_mappings_mean_settings() -> None:
    assert parse("rl") == RLSettings()
    assert parse("random") == RandomSettings()
    assert parse({"evolution": {"population": 30}}) == EvolutionSettings(population=30)
    assert parse("optuna:tpe") == OptunaSettings(sampler="tpe") == parse("optuna") == parse({"optuna": None})
    assert parse({"optuna": {"sampler": "tpe", "n_startup_trials": 3}}).options == {"n_startup_trials": 3}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("evoluton", "did you mean 'evolution'"),
        ("optuna:tpee", "did you mean 'tpe'"),
        ("rl:tpe", "no controller is named"),
        ({"evolution": {"populaton": 3}}, "did you mean 'population'"),
        ({"evolution": {"population": 2, "sample": 5}}, "at most population"),
        ({"optuna": {"sampler": "tpe", "n_startup": 3}}, "did you mean 'n_startup_trials'"),
        ({"optuna": {"sampler": "tpe", "gamma": 3}}, "takes objects"),
        ({"optuna": {"sampler": "tpe", "multivariate": 1}}, "bool | None"),
        ({"optuna": {"sampler": "tpe", "n_startup_trials": "3"}}, "'3' is not allowed"),
        ({"optuna": {"sampler": "tpe", "seed": 3}}, "the run's own `seed`"),
        ({"rl": {}, "random": {}}, "give one controller"),
        (3, "give one controller"),
    ],
)
def test_a_wrong_word_is_an_input_error_that_says_what_is_allowed(value: object, said: str) -> None:
    with pytest.raises(InputError) as caught:
        parse(value)
    assert said in str(caught.value)


def test_problems_stand_at_their_place_in_the_file() -> None:
    text = "controller:\n  optuna:\n    sampler: tpe\n    n_startup: 3\n    multivariate: 7\n"
    document = documents.parse(text, "run.yaml")
    with pytest.raises(InputError) as caught:
        parse(document.data["controller"], document, ("controller",))
    assert [str(problem)[:12] for problem in caught.value.problems] == ["run.yaml:4:1", "run.yaml:5:1"]


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.controllers.optuna.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs cmaes.*pip install 'nas-orchestrator\[baselines\]'"):
        parse("optuna:cmaes")


def test_a_sampler_that_can_not_search_the_space_says_so_before_the_run() -> None:
    with pytest.raises(InputError, match="bruteforce tries every candidate"):
        make(parse("optuna:bruteforce"), read(FLAT), 1)
    with pytest.raises(InputError, match="population_size"):
        make(parse({"optuna": {"sampler": "nsgaii", "population_size": 1}}), read(FLAT), 1)


def test_remarks_tell_what_a_sampler_does_not_model() -> None:
    conditional, flat = read(EVERY_KIND), read(FLAT)
    for sampler in ("gp", "nsgaii", "qmc", "cmaes"):
        assert any("conditional" in remark for remark in remarks(parse(f"optuna:{sampler}"), conditional)), sampler
        assert not any("conditional" in remark for remark in remarks(parse(f"optuna:{sampler}"), flat)), sampler
    assert any("conditional" in r for r in remarks(parse({"optuna": {"sampler": "tpe", "group": False}}), conditional))
    assert not any("conditional" in remark for remark in remarks(parse("optuna:tpe"), conditional))
    assert any("weights" in remark for remark in remarks(parse("optuna:tpe"), conditional))
    assert any("only numbers" in remark for remark in remarks(parse("optuna:cmaes"), flat))
    assert remarks(parse("optuna:tpe"), flat) == remarks(parse("rl"), conditional) == []


def test_reading_settings_imports_neither_torch_nor_optuna() -> None:
    """``nas --help`` and ``nas leaderboard`` read configs, and must answer at once."""
    code = "import sys; from nas.controllers import parse; parse('rl'); parse('evolution'); parse('random')"
    code += "; assert not {'torch', 'optuna'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True)
