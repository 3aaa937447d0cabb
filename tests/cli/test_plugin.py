"""--plugin, from the command line to a worker process and back: a real search, gone on with, and refused."""

import os
import subprocess
import sys
from pathlib import Path

from nas import store

ROOT = Path(__file__).parents[2]
PLUGIN = """\
import torch
from torch import nn
from nas.plugin import Layer, dataset, loss, metric

class Doubled(Layer):
    name = "doubled"
    def build(self, shape):
        return nn.Linear(shape[0], 2 * shape[0])

@loss
def hinge(outputs, targets):
    return nn.functional.multi_margin_loss(outputs, targets)

@metric(better="minimize")
def wrong(outputs, targets):
    return float((outputs.argmax(1) != targets).sum())

@dataset(kind="classification")
def halves(folder):
    x = torch.randn(200, 3, generator=torch.Generator().manual_seed(0))
    return {"x": x, "y": (x[:, 0] > 0).long()}
"""
CONFIG = """\
space: space.yaml
task: {plugin: halves}
controller: random
reward: {minimize: wrong}
budget: {trials: 2}
train: {epochs: 1, loss: hinge}
cluster: {workers: 1}
"""
SPACE = """\
name: own
architecture: [doubled, {activation: {choice: [relu, gelu, silu, tanh]}}, {linear: =task.classes}]
"""


def nas(*words, cwd):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "nas", *map(str, words)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_a_search_with_own_parts_is_recorded_gone_on_with_and_refused_when_they_change(tmp_path):
    """Lost without it: the file's way to the workers, its hash in the journal, and a run of two different codes."""
    for name, text in (("my_parts.py", PLUGIN), ("config.yaml", CONFIG), ("space.yaml", SPACE)):
        (tmp_path / name).write_text(text)
    done = nas("search", "config.yaml", "--plugin", "my_parts.py", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (recorded,) = store.history(tmp_path / "runs/config").config["plugins"]
    assert recorded["file"] == str(tmp_path / "my_parts.py") and len(recorded["sha256"]) == 64

    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "my_parts.py").rename(tmp_path / "elsewhere" / "my_parts.py")
    again = ("search", "config.yaml", "--plugin", moved, "--set", "cluster.kind=inline", "--trials")
    assert nas(*again, 3, cwd=tmp_path).returncode == 0

    moved.write_text(PLUGIN + "# changed\n")
    refused = nas(*again, 4, cwd=tmp_path)
    assert refused.returncode == 2 and "plugins.my_parts.py: the run was started with 'SHA-256" in refused.stderr
    assert nas("search", "config.yaml", "--trials", 4, cwd=tmp_path).returncode == 2


def test_wrong_plugins_are_refused_before_a_folder_is_made(tmp_path):
    """Lost without it: a person's typo as our traceback, and a folder to clean up."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "broken.py").write_text("import torch\ndef f(:\n")
    cases = {
        "broken.py:2:7: invalid syntax": ("search", "config.yaml", "--plugin", "broken.py"),
        "absent.py: can not be read": ("search", "config.yaml", "--plugin", "absent.py"),
        "no plugin has a data set 'halves'; none is given": ("search", "config.yaml"),
        "named.yaml:8:1: plugins are code, named on the command line alone": ("search", "named.yaml"),
        "unknown layer 'doubled'": ("space", "check", "space.yaml", "--task", "classes=2", "features=3"),
    }
    (tmp_path / "named.yaml").write_text(CONFIG + "plugins: [broken.py]\n")
    for message, words in cases.items():
        refused = nas(*words, cwd=tmp_path)
        assert refused.returncode == 2 and message in refused.stderr, refused.stderr
        assert "Traceback" not in refused.stderr
    assert not (tmp_path / "runs").exists()
