"""A person's own arrays and images, and the generated shapes: read as documented, or refused with what is wrong."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from nas import config, documents
from nas.errors import InputError
from nas.objective import Context
from nas.space import Candidate
from nas.train import DatasetTask, Trainer, TrainSettings, data, describe, prepare
from nas.train.settings import ArraysTask, ImagesTask, TaskSettings
from nas.train.sources import load

Arrays = dict[str, Any]


def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def write(folder: Path, **arrays: Any) -> str:
    np.savez(folder / "data.npz", **arrays)
    return str(folder / "data.npz")


# Arrays --------------------------------------------------------------------------------------------------------------


def labelled(count: int = 40) -> Arrays:
    return {"x": rng().integers(0, 256, (count, 3, 6, 5), np.uint8), "y": np.arange(count) % 4}


def test_images_are_described_split_and_normalised(tmp_path: Path) -> None:
    task = ArraysTask(npz=write(tmp_path, **labelled()))
    assert describe(task) == {
        "kind": "classification",
        "classes": 4,
        "outputs": 4,
        "channels": 3,
        "height": 6,
        "width": 5,
    }
    assert prepare(task) == str(tmp_path / "data.npz")
    train, test = load(task, "train"), load(task, "test")
    assert np.bincount(train.targets).tolist() == [8] * 4 and np.bincount(test.targets).tolist() == [2] * 4
    everything = np.concatenate([train.inputs, test.inputs])
    assert sorted(map(bytes, everything)) == sorted(map(bytes, labelled()["x"]))  # no sample lost, none in both
    resident = data.resident(task, "train", None, "cpu")
    inputs, _ = resident.batch(torch.arange(32))
    assert resident.inputs.dtype is torch.uint8 and inputs.is_contiguous(memory_format=torch.channels_last)
    assert inputs.mean((0, 2, 3)).abs().max() < 1e-5
    assert inputs.std((0, 2, 3), correction=0).numpy() == pytest.approx(1, abs=1e-4)


def test_the_held_out_part_is_the_same_for_ever(tmp_path: Path) -> None:
    # Numbers of two runs, or of two versions, would otherwise be of different tests; and the search would see them.
    task = ArraysTask(npz=write(tmp_path, x=np.arange(40)[:, None], y=np.arange(40) % 4))
    assert sorted(load(task, "test").inputs[:, 0]) == [0, 2, 17, 23, 29, 32, 34, 35]


def test_a_test_part_of_its_own_is_used(tmp_path: Path) -> None:
    given = {f"{key}_{part}": value for part in ("train", "test") for key, value in labelled(20).items()}
    task = ArraysTask(npz=write(tmp_path, **given))
    assert len(load(task, "train").targets) == len(load(task, "test").targets) == 20


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((40, 7), {"features": 7}),
        ((40, 6, 5), {"channels": 1, "height": 6, "width": 5}),
        ((40, 6, 5, 3), {"channels": 3, "height": 6, "width": 5}),
        ((40, 3, 5, 3), {"channels": 3, "height": 5, "width": 3}),
        ((40, 12, 6, 5), {"channels": 12, "height": 6, "width": 5}),
    ],
)
def test_layouts(tmp_path: Path, shape: tuple[int, ...], expected: dict[str, int]) -> None:
    # Channels taken for rows would train, only badly.
    x = rng().random(shape)
    task = ArraysTask(npz=write(tmp_path, x=x, y=np.arange(40) % 2))
    assert describe(task) == {"kind": "classification", "classes": 2, "outputs": 2, **expected}
    assert load(task, "train").inputs.dtype == np.float32
    if shape == (40, 6, 5, 3):
        assert np.isin(load(task, "test").inputs[0], x.transpose(0, 3, 1, 2).astype(np.float32)).all()


def test_float_batches_do_not_change_the_data(tmp_path: Path) -> None:
    # fp32 inputs are normalised in a copy: in place they would shrink from epoch to epoch.
    task = ArraysTask(npz=write(tmp_path, x=rng().random((40, 7), np.float32) + 5, y=np.arange(40) % 2))
    resident = data.resident(task, "train", None, "cpu")
    before = resident.inputs.clone()
    first, second = (resident.batch(torch.arange(8))[0] for _ in range(2))
    assert torch.equal(first, second) and torch.equal(resident.inputs, before)


def test_regression_targets_are_scaled_and_say_by_how_much(tmp_path: Path) -> None:
    # rmse is promised in the targets' own unit.
    y = 100 + 20 * rng().standard_normal((50, 2))
    task = ArraysTask(npz=write(tmp_path, x=rng().random((50, 3)), y=y), kind="regression")
    described = describe(task)
    assert described["targets"] == 2 and described["deviation"] == pytest.approx(20, rel=0.3)
    train = load(task, "train").targets
    assert train.dtype == np.float32 and abs(train.mean(0)).max() < 1e-5 and train.std(0).mean() == pytest.approx(1)


MASKS = {"x": np.zeros((9, 4, 4), np.uint8), "y": np.tile([0, 1, 2, 255], (9, 4, 1))}


def test_masks(tmp_path: Path) -> None:
    task = ArraysTask(npz=write(tmp_path, **MASKS), kind="segmentation")
    assert describe(task) == {
        "kind": "segmentation",
        "classes": 3,
        "outputs": 3,
        "channels": 1,
        "height": 4,
        "width": 4,
    }
    assert load(task, "train").targets.shape == (7, 4, 4)


def changed(key: str, value: Any) -> Arrays:
    return {**labelled(), key: value}


WRONG: list[tuple[Arrays, str, str]] = [
    ({"a": 1}, "classification", "needs the keys x_train and y_train, or x and y; it has a"),
    ({"x": np.zeros((4, 2))}, "classification", "has no key y; it has x"),
    (
        {"x_train": np.zeros((4, 2)), "y_train": [0, 1, 0, 1], "x_test": np.zeros((4, 2))},
        "classification",
        "no key y_test",
    ),
    (changed("y", np.arange(39) % 4), "classification", r"y: its shape is \(39,\), and that of x asks for \(40,\)"),
    (changed("y", np.zeros(40)), "classification", "only one class in y"),
    (changed("y", np.arange(40) % 4 - 1), "classification", "class numbers from 0 are needed"),
    (changed("y", np.arange(40) / 2), "classification", "class numbers from 0 are needed"),
    (changed("y", np.full(40, np.nan)), "classification", "class numbers from 0 are needed"),
    (changed("y", np.array(["cat", "dog"] * 20)), "classification", "class numbers from 0 are needed"),
    (changed("y", np.array([0, 5] * 20)), "classification", r"class 1 \(of 0 to 5\) has 0 samples, and 3 of each"),
    (changed("y", np.array([0, 10**9] * 20)), "classification", "its largest class number is 1000000000"),
    (changed("x", np.where(np.arange(40) == 7, np.nan, 1.0)[:, None]), "classification", "1 of its numbers are NaN"),
    (changed("x", np.array([{}] * 40)), "classification", "it holds objects, not numbers"),
    (changed("x", np.array([["a"]] * 40)), "classification", "numbers are needed, not <U1"),
    (changed("x", np.zeros(40)), "classification", r"x: its shape is \(40,\); a table"),
    (changed("x", np.zeros((40, 0))), "classification", r"x: its shape is \(40, 0\); a table"),
    (labelled(), "segmentation", r"y: its shape is \(40,\), and that of x asks for \(40, 6, 5\)"),
    ({**MASKS, "x": np.zeros((9, 4))}, "segmentation", "segmentation needs images, and x is a table of 4 features"),
    ({**MASKS, "y": np.zeros((9, 4, 4))}, "segmentation", "only one class in y"),
    (changed("y", np.ones(40)), "regression", "all targets in y are the same"),
    (changed("y", np.full(40, np.inf)), "regression", "numbers are needed, none NaN or infinite"),
]


@pytest.mark.parametrize(("arrays", "kind", "message"), WRONG, ids=[message[:40] for *_, message in WRONG])
def test_wrong_arrays_are_refused(tmp_path: Path, arrays: Arrays, kind: Any, message: str) -> None:
    task = ArraysTask(npz=write(tmp_path, **arrays), kind=kind)
    with pytest.raises(InputError, match=message) as error:
        describe(task)
    assert str(error.value).startswith(str(tmp_path / "data.npz"))


def damaged(folder: Path, damage: Callable[[bytes], bytes]) -> str:
    path = Path(write(folder, **labelled()))
    path.write_bytes(damage(path.read_bytes()))
    return str(path)


def test_wrong_files_are_refused(tmp_path: Path) -> None:
    def message(npz: str) -> str:
        with pytest.raises(InputError) as error:
            describe(ArraysTask(npz=npz))
        return str(error.value)

    assert message(str(tmp_path / "nothing.npz")).endswith("nothing.npz: can not be read: No such file or directory")
    assert "can not be read" in message("\0") and "can not be read" in message("n" * 5000)
    assert "is a folder" in message(str(tmp_path))
    assert "no sound NumPy archive" in message(damaged(tmp_path, lambda raw: raw[: len(raw) // 2]))
    flipped = damaged(tmp_path, lambda raw: raw[:500] + bytes(b ^ 255 for b in raw[500:600]) + raw[600:])
    assert "no sound NumPy archive" in message(flipped)
    assert "data.npz: is no NumPy archive" in message(damaged(tmp_path, lambda raw: b"x,y\n1,2\n"))
    np.save(tmp_path / "one.npy", np.zeros(3))
    assert "holds one array" in message(str(tmp_path / "one.npy"))


# Image folders -------------------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of five 6x4 images, all grey: dark cats and bright dogs."""
    for name, brightness in (("cat", 40), ("dog", 200)):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(5):
            suffix = "jpg" if number == 4 else "png"
            pixels = np.full((6, 4), brightness + number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / "pets" / name / f"{number}.{suffix}")
    return tmp_path / "pets"


def test_a_folder_for_each_class(folder: Path) -> None:
    (folder / "cat" / "notes.txt").write_text("passed over")
    (folder / "cat" / ".hidden.png").write_text("passed over")
    task = ImagesTask(images=str(folder))
    assert describe(task) == {
        "kind": "classification",
        "classes": 2,
        "outputs": 2,
        "channels": 1,
        "height": 6,
        "width": 4,
    }
    train, test = load(task, "train"), load(task, "test")
    assert np.bincount(train.targets).tolist() == [4, 4] and np.bincount(test.targets).tolist() == [1, 1]
    assert ((train.inputs.mean((1, 2, 3)) > 120) == train.targets).all()
    assert prepare(task) == str(folder)


def test_folders_of_the_two_parts(folder: Path) -> None:
    (folder.parent / "both").mkdir()
    for part in ("train", "test"):
        (folder.parent / "both" / part).symlink_to(folder)
    task = ImagesTask(images=str(folder.parent / "both"))
    assert len(load(task, "train").targets) == len(load(task, "test").targets) == 10


def test_sizes_colours_and_rotations(folder: Path) -> None:
    # One image of another kind decides for all, whatever order the disk lists them in.
    wide = Image.fromarray(np.full((5, 10, 3), (250, 10, 10), np.uint8))
    wide.save(folder / "dog" / "wide.jpg")
    with pytest.raises(
        InputError, match=r"differ in size \(.*\.(png|jpg) 6x4 and wide.jpg 5x10\); resize all: `size: 32`"
    ):
        describe(ImagesTask(images=str(folder)))
    task = ImagesTask(images=str(folder), size=(8, 12))
    assert describe(task) == {
        "kind": "classification",
        "classes": 2,
        "outputs": 2,
        "channels": 3,
        "height": 8,
        "width": 12,
    }
    assert load(task, "train").inputs.shape[1:] == (3, 8, 12)
    sixteen = Image.fromarray(np.full((4, 6), 200 << 8, np.uint16))
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    (folder / "dog" / "wide.jpg").unlink()
    sixteen.save(folder / "dog" / "side.png", exif=exif)
    task = ImagesTask(images=str(folder), validation=0.2)  # another task than that which is remembered
    assert describe(task)["channels"] == 1 and describe(task)["height"] == 6
    pixels = np.concatenate([load(task, part).inputs for part in ("train", "test")])
    assert ((pixels == 200).all((1, 2, 3))).sum() == 2  # the one of 16 bits, and dog 0


def test_wrong_folders_are_refused(folder: Path) -> None:
    shares = iter((0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8))  # another task each time: what was read is remembered

    def message(images: Path | str) -> str:
        with pytest.raises(InputError) as error:
            prepare(ImagesTask(images=str(images), validation=next(shares)))
        return str(error.value)

    assert message(folder / "nothing").endswith("nothing: there is no such folder")
    assert message(folder / "cat" / "0.png").endswith("is no folder")
    assert "can not be read" in message("/" + "n" * 5000)
    assert "needs a folder of images for each of two classes" in message(folder / "cat")
    whole = (folder / "cat" / "0.png").read_bytes()
    (folder / "cat" / "0.png").write_bytes(whole[:45])
    assert "cat/0.png: is no sound PNG or JPEG image" in message(folder)
    (folder / "cat" / "0.png").write_bytes(b"GIF89a" + whole)
    assert "cat/0.png: is no sound PNG or JPEG image" in message(folder)
    (folder / "cat" / "0.png").unlink()
    (folder / "bird").mkdir()
    assert "bird: holds 0 images (png, jpg, jpeg), and 3 of each class are needed" in message(folder)


def test_without_pillow_the_remedy_is_named(folder: Path) -> None:
    # It is an extra: a bare ImportError would leave a person to guess which.
    code = f"""
import sys
sys.modules["PIL"] = None
from nas.errors import InputError
from nas.train.settings import ImagesTask
from nas.train import describe
try:
    describe(ImagesTask(images={str(folder)!r}))
except InputError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'nas-orchestrator[images]'" in done.stdout


# Shapes --------------------------------------------------------------------------------------------------------------


def test_the_shapes_are_the_same_everywhere() -> None:
    # "Generated" must mean a data set: another numpy or machine may not make another one.
    train, test = (load(DatasetTask(dataset="shapes"), part) for part in ("train", "test"))
    digest = hashlib.sha256(train.inputs.tobytes() + train.targets.tobytes()).hexdigest()
    assert digest == "ded6b54d08418f24fe6c20f4683bd0e86e31bdd5e6453ed8544b6980a437c62f"
    assert train.inputs.shape == (2000, 1, 32, 32) and test.targets.shape == (500, 32, 32)
    assert train.mean[0] == pytest.approx(train.inputs.mean(), abs=0.01)
    assert train.deviation[0] == pytest.approx(train.inputs.std(), abs=0.01)
    assert set(np.unique(test.targets)) == {0, 1, 2, 3}


def test_shapes_are_segmented() -> None:
    # The whole way of a segmentation: loss over pixels, mean IoU, a network that ends in maps.
    inside = [{"conv": 16}, {"norm": "batch"}, {"activation": "relu"}]
    deeper = {"skip": [{"max_pool": 2}, *inside, *inside, {"upsample": 2}]}
    candidate = Candidate([{"conv": 8}, {"norm": "batch"}, {"activation": "relu"}, deeper, {"conv": 4}], {})
    settings = TrainSettings(epochs=3, batch_size=64, optimizer={"adamw": {"learning_rate": 2e-2}})
    metrics = Trainer(settings, DatasetTask(dataset="shapes"))(candidate, Context(0, 1))
    assert metrics["accuracy"] > 0.83 and metrics["mean_iou"] > 0.27  # background alone: 0.81 and 0.20


# In a config ---------------------------------------------------------------------------------------------------------


def read(text: str) -> TaskSettings:
    class Holder(config.BaseModel):
        task: TaskSettings

    return documents.validate(Holder, documents.parse(f"task: {text}", "config.yaml")).task


def test_tasks_are_read_by_their_source() -> None:
    assert read("{dataset: shapes}").kind == "segmentation"
    assert read("{npz: /a/b.npz, kind: segmentation}") == ArraysTask(npz="/a/b.npz", kind="segmentation")
    assert read("{images: pets, size: [8, 9]}").size == (8, 9)
    assert read("{images: pets}").images == str(Path("pets").absolute())


WRONG_TASKS = [
    ("{datset: digits}", "a task says where its data comes from; did you mean 'dataset'?"),
    ("{validation: 0.2}", r"a task says where its data comes from \(allowed: dataset, npz"),
    ("{dataset: digits, npz: x}", "a task has one source of data, not dataset and npz"),
    ("{dataset: shape}", "1:17: 'shape' is not allowed; did you mean 'shapes'?"),
    ("{npz: x, knid: segmentation}", "1:16: unknown key 'knid'; did you mean 'kind'?"),
    ("{images: x, size: 0}", "1:25: 0 is wrong here"),
    ("{npz: ~no-such-user/x}", "1:13: ~no-such-user/x: Could not determine home directory"),
]


@pytest.mark.parametrize(("text", "message"), WRONG_TASKS)
def test_wrong_tasks_are_named_at_their_place(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read(text)


def test_a_path_is_taken_from_the_config_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A config and its data travel together; a worker, and a later resume, stand elsewhere.
    (tmp_path / "beside").mkdir()
    np.savez(tmp_path / "beside" / "data.npz", **labelled())
    (tmp_path / "beside" / "c.yaml").write_text("{space: digits_cnn, task: {npz: data.npz}}")
    monkeypatch.chdir(tmp_path)
    assert config.load(tmp_path / "beside" / "c.yaml").task.npz == str(tmp_path / "beside" / "data.npz")
    assert config.load("beside/c.yaml").task.npz == str(tmp_path / "beside" / "data.npz")
    (tmp_path / "beside" / "data.npz").rename(tmp_path / "data.npz")
    assert config.load("beside/c.yaml").task.npz == str(tmp_path / "data.npz")


def test_wishes_go_the_metrics_way(tmp_path: Path) -> None:
    # `maximize: loss` would search for the worst network, and look busy doing so.
    def load_config(reward: str, task: str = "{dataset: shapes}") -> config.Config:
        (tmp_path / "c.yaml").write_text(f"space: digits_cnn\ntask: {task}\n{reward}")
        return config.load(tmp_path / "c.yaml")

    assert load_config("").reward.maximize == "mean_iou"
    assert load_config("", "{dataset: digits}").reward.maximize == "accuracy"
    assert load_config("reward: {minimize: loss}").reward.metric == "loss"
    with pytest.raises(InputError, match=r"c.yaml:3:20: loss is better the lower it is; write `minimize: loss`"):
        load_config("reward: {maximize: loss}")
    with pytest.raises(InputError, match=r"c.yaml:3:20: top5 is no metric of segmentation .*mean_iou, accuracy, loss"):
        load_config("reward: {maximize: top5}")
    with pytest.raises(InputError, match=r"c.yaml:3:20: .*my_own"):
        load_config("reward: {maximize: my_own}")
