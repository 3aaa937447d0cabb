"""JSON Schemas: an editor marks what is wrong where it is wrong, and nothing that nas would take."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from nas import documents, inspect, shipped
from nas.errors import InputError
from nas.schema import config_schema, space_schema
from nas.train.layers import LAYERS

ROOT = Path(__file__).parents[2]
WRONG = ROOT / "tests" / "space" / "wrong"
CONFIG, SPACE = Draft202012Validator(config_schema()), Draft202012Validator(space_schema())

CONFIGS = {
    "everything": """
        name: all
        space: digits_cnn
        task: {dataset: digits, validation: 0.2}
        data: ~/data
        seed: 3
        controller: {optuna: {sampler: tpe, multivariate: true}}
        reward: {minimize: loss, limits: {parameters: {at_most: 100_000, weight: 0.07, form: mnasnet_hard}}}
        budget: {trials: 1_000, time: 1h30m}
        train: {epochs: 6, precision: bf16, batch_size: 128, optimizer: {adamw: {learning_rate: 1e-3}}, deadline: 90}
        cluster: {kind: local, workers: 2, threads: 1, memory: 4.5GiB, gpus: auto}""",
    "slurm": """
        space: x
        task: {dataset: mnist}
        cluster: {kind: slurm, workers: 8, nodes: 2, cpus_per_worker: 4, gpus_per_worker: 1, memory: 8G, time: 04:00:00,
          partition: gpu, account: lab, options: [--qos=high], modules: [cuda/12.4], environment: {NAS_DATA: /data},
          virtual_environment: ~/venv, controller_time: 1-00:00:00, interface: ib0}""",
    "an option": "{space: x, task: {dataset: mnist}, cluster: {options: qos=high, time: 90}}",
    "short": "{space: x.yaml, task: {dataset: mnist}, controller: rl, train: {optimizer: lamb, deadline: 2 m}}",
    "words": "{space: x, task: {dataset: mnist}, controller: 'optuna:cmaes', cluster: {memory: 512M, gpus: [0, 1]}}",
    "settings": "{space: x, task: {dataset: mnist}, controller: {evolution: {population: 10}}}",
    "objectives": """
        {space: x, task: {dataset: mnist},
        reward: {objectives: {accuracy: maximize, flops: minimize}, reference: {accuracy: 0.1, flops: 1_000}}}""",
    "empty": "{space: x, task: {dataset: mnist}, controller: {rl: }}",
}
WRONG_CONFIGS = {  # and where each is marked
    "{task: {dataset: mnist}}": [],
    "{space: x, task: {dataset: mnist}, sead: 1}": [],
    "{space: x, task: {dataset: minst}}": ["task"],
    "{space: x, task: {dataset: mnist}, seed: -1}": ["seed"],
    "{space: x, task: {dataset: mnist}, controller: rll}": ["controller"],
    "{space: x, task: {dataset: mnist}, controller: {rl: {hiden: 3}}}": ["controller"],
    "{space: x, task: {dataset: mnist}, reward: {objectives: {accuracy: up, flops: minimize}}}": [
        "reward",
        "objectives",
        "accuracy",
    ],
    "{space: x, task: {dataset: mnist}, budget: {time: soon}}": ["budget", "time"],
    "{space: x, task: {dataset: mnist}, budget: {trials: many}}": ["budget", "trials"],
    "{space: x, task: {dataset: mnist}, train: {optimizer: adam}}": ["train", "optimizer"],
    "{space: x, task: {dataset: mnist}, train: {epochs: -1}}": ["train", "epochs"],
    "{space: x, task: {dataset: mnist}, cluster: {memory: lots}}": ["cluster", "memory"],
    "[space, x]": [],
}
SPACES = {
    "forms": """
        define:
          width: {choice: [16, 32], weights: [1, 2], default: 16, name: w}
          steps: {int: [8, 64], step: 8}
          block: [{conv: {filters: =width, kernel: {choice: [3, =task.k]}}}, relu: null]
        architecture: flatten""".replace(", relu: null", ", flatten"),
    "positions": """
        define: {cell: [{conv: 3}, {new: cell, depth: 2}], end: {choice: [[flatten, {new: cell}], null, =cell]}}
        architecture:
          - null
          - [flatten, [identity]]
          - conv: {choice: [3, {filters: 4, kernel: 5}, =task.f]}
          - conv: 1_000
          - conv: {filters: 8, kernel: {choice: [3, [1, 7], [{choice: [1, 3]}, =task.k], =task.k]}}
          - residual: {repeat: {times: {int: [0, 3]}, of: identity}}
          - residual: {choice: [[identity], [{conv: {int: [1, 4]}}]]}
          - residual: {layers: [identity]}
          - residual: =cell
          - activation: {literal: relu}
          - dropout: {rate: {float: [0.1, 0.5]}}
          - sequence: {define: {a: 3}, of: {linear: =a}}
          - graph: {nodes: 3, from: {pick: 2, distinct: false}, op: {choice: [none, identity]}, match: {project: 8}}
          - graph: {nodes: [{from: [0], ops: [[{identity: {}}]]}, {from: [], ops: []}], merge: concat}
          - linear: {units: =task.classes}""",
    "hyperparameters": """
        hyperparameters:
          batch_size: {choice: [64, 128]}
          optimizer: {choice: [sgd, {adamw: {learning_rate: {float: [1e-4, 0.1], log: true}}}]}
          learning_rate: =task.rate
          own: {anything: [1, {subset: [a, b], size: [1, 2]}, {literal: {choice: 3}}]}
        constraints: [batch_size <= 64, parameters < 1_000]
        start: [{}, {batch_size: 64}]""",
}


def marked(validator, text):
    """The places that an editor would mark, outermost first."""
    data = documents.parse(text, "text").data
    return sorted((list(error.absolute_path) for error in validator.iter_errors(data)), key=len)


@pytest.mark.parametrize("validator", [CONFIG, SPACE], ids=["config", "space"])
def test_the_schemas_are_schemas(validator):
    Draft202012Validator.check_schema(validator.schema)
    text = json.dumps(validator.schema)
    mentioned = {held.partition('"')[0] for held in text.split('"#/$defs/')[1:]}
    assert mentioned == set(validator.schema["$defs"]), "every definition is there, and is used"


@pytest.mark.parametrize("name", shipped.names("configs"))
def test_shipped_configs_are_accepted(name):
    assert not list(CONFIG.iter_errors(documents.read(shipped.names("configs")[name]).data))


@pytest.mark.parametrize("name", shipped.names("search_spaces"))
def test_shipped_spaces_and_their_samples_are_accepted(name):
    assert not list(SPACE.iter_errors(documents.read(shipped.names("search_spaces")[name]).data))
    for draw in inspect.candidates(inspect.open_space(name), 10, seed=3):
        assert not list(SPACE.iter_errors(draw.candidate.json()))


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_friendly_forms_of_a_config_are_accepted(text):
    assert marked(CONFIG, text) == []


@pytest.mark.parametrize(("text", "place"), WRONG_CONFIGS.items())
def test_wrong_configs_are_marked_at_their_place(text, place):
    assert marked(CONFIG, text) == [place]


@pytest.mark.parametrize("text", SPACES.values(), ids=SPACES)
def test_every_form_of_the_language_is_accepted(text):
    assert marked(SPACE, text) == []


# What a schema cannot see: names that are not defined, circles, what constraints come to, and text that is no YAML.
UNSEEN = {"circle", "endless", "mixed"}


@pytest.mark.parametrize("file", sorted(WRONG.glob("*.yaml")), ids=lambda path: path.stem)
def test_wrong_spaces_are_marked(file):
    """Lost without it: a schema that takes anything."""
    try:
        document = documents.read(file)
    except InputError:
        pytest.skip("not YAML as nas reads it; an editor says so without a schema")
    errors = list(SPACE.iter_errors(document.data))
    assert bool(errors) == (file.stem not in UNSEEN)


def test_an_editor_gets_layers_settings_and_their_defaults():
    """Lost without it: a layer that is added to the trainer, and that editors mark as unknown."""
    named = json.dumps(SPACE.schema["$defs"]["entry"])
    for layer in LAYERS:
        assert f'"{layer}"' in named
    assert SPACE.schema["$defs"]["layer.conv"]["else"] is not None
    assert marked(SPACE, "architecture: [{conv: {filters: 3, kernal: 3}}]") == [["architecture", 0, "conv"]]
    assert marked(SPACE, "architecture: [{conv: {filters: 3, kernel: [1, 0]}}]") == [
        ["architecture", 0, "conv", "kernel"]
    ]
    assert marked(SPACE, "architecture: [{conv: {filters: 3, kernel: [1]}}]") == [["architecture", 0, "conv", "kernel"]]
    assert marked(SPACE, "architecture: [{activation: rleu}]") == [["architecture", 0, "activation"]]
    assert marked(SPACE, "architecture: [{activation: {choice: [relu, rleu]}}]") == [
        ["architecture", 0, "activation", "choice", 1]
    ]


@pytest.mark.parametrize("kind", ["config", "space"])
def test_the_command_prints_them(kind, tmp_path):
    command, environment = [sys.executable, "-m", "nas", "schema"], os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, kind], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["$schema"].endswith("2020-12/schema")
    wrong = subprocess.run([*command, f"{kind}s"], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert wrong.returncode == 2
    assert f"did you mean '{kind}'" in wrong.stderr
