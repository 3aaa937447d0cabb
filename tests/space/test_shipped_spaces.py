"""The spaces in search_spaces/: each parses, samples, and can be built by the trainer's layers."""

import random
from pathlib import Path

import pytest

from nas import documents
from nas.space import Space
from nas.train.hyperparameters import SECTION
from nas.train.layers import LAYERS

FOLDER = Path(__file__).parents[2] / "search_spaces"
TASK = {"classes": 10, "outputs": 10, "vocabulary": 64, "channels": 3, "height": 32, "width": 32, "length": 32}
SIZES = {  # of the architecture alone, as the papers count it
    "nasbench201": 5**6,
    "darts_cell": (180 * 7**8) ** 2,
    "nasnet_cell": ((2 * 3 * 4 * 5 * 6) ** 2 * 13**10 * 2**5) ** 2,
    "enas_macro": 6**12 * 2**66,
}


@pytest.mark.parametrize("file", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_shipped_space_parses_samples_and_counts(file: Path) -> None:
    space = Space.read(documents.read(file), TASK, layers=LAYERS, hyperparameters=SECTION)
    assert space.name == file.stem
    count = space.count()
    assert count.exact is None or count.exact > 10_000  # with an unstepped float there is no end of them
    draws = [space.sample(random.Random(seed)) for seed in range(50)]
    assert not any(draw.invalid for draw in draws)
    assert len({draw.candidate.hash for draw in draws}) > 45
    assert {path for draw in draws for path in draw.decisions} <= space.by_path.keys()


@pytest.mark.parametrize("name", SIZES)
def test_published_spaces_have_the_size_that_their_papers_say(name: str) -> None:
    assert Space.read(documents.read(FOLDER / f"{name}.yaml"), TASK).count().exact == SIZES[name]
