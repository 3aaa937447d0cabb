"""What a person may set of task and training. No torch here: configs are read by commands that never train."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_serializer,
    model_validator,
)

from nas.amounts import Seconds
from nas.documents import hint

LARGEST_SIZE = 2**31 - 1  # of anything that is counted: products of a few of them are still finite floats
REFERENCE_BATCH = 256  # the batch for which a learning rate is meant, where it is scaled (Goyal et al. 2017)


def _whole(value: Any) -> Any:
    """24.0 serves where an integer is needed, as in the space's expressions."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Positive = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=LARGEST_SIZE, strict=True)]
BatchSize = Positive | Literal["fit"]  # the largest that fits and still pays (fitting.py)
SMALLEST_FIT = 32  # where the search for it begins
LearningRate = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]
Momentum = Annotated[float, Field(ge=0.0, lt=1.0)]

DatasetName = Literal["digits", "fashion_mnist", "mnist", "cifar10", "shapes"]
Numbers = Literal["fp32", "tf32", "bf16", "fp16", "fp8", "fp64"]  # see precision/policy.py
PrecisionName = Literal["auto", Numbers]
ONLY_ON_GPUS = ("tf32", "fp8")
Scaling = Literal["none", "linear", "sqrt"]
CompileName = Literal["auto", "on", "off"]  # see compiling.py
ScoreName = Literal["synflow", "naswot", "grad_norm"]  # see scores/


class _Settings(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


# Tasks ---------------------------------------------------------------------------------------------------------------

Kind = Literal["classification", "regression", "segmentation", "language_model"]  # see problems.py
Share = Annotated[float, Field(gt=0.0, lt=1.0)]


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())  # workers, and a later resume, may stand elsewhere
    except RuntimeError as error:  # ~nobody
        raise ValueError(f"{path}: {error}") from error


Located = Annotated[str, Field(min_length=1), AfterValidator(_absolute)]


def _listed(given: Any) -> Any:
    return tuple(given) if isinstance(given, list) else given


def _some(given: Any) -> Any:
    """One that stands alone is a list of one."""
    return (given,) if isinstance(given, str) else _listed(given)


Words = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Pair = Annotated[tuple[Positive, Positive], BeforeValidator(_listed)]


class DatasetTask(_Settings):
    """A data set of the catalogue. ``validation``: the share of its training data that judges the candidates."""

    dataset: DatasetName
    validation: Share = 0.1

    @property
    def kind(self) -> Kind:
        return "segmentation" if self.dataset == "shapes" else "classification"


class ArraysTask(_Settings):
    """Images or tables in a NumPy archive, see sources/arrays.py for its keys and shapes."""

    npz: Located
    kind: Literal["classification", "regression", "segmentation"] = "classification"
    validation: Share = 0.1


class ImagesTask(_Settings):
    """A folder of images for each class, see sources/images.py. All are resized to ``size``: one side, or height and
    width; without it they must be of one size already.
    """

    images: Located
    size: Positive | Pair | None = None
    validation: Share = 0.1

    @property
    def kind(self) -> Kind:
        return "classification"


class CsvTask(_Settings):
    """A table whose column ``target`` is predicted by the others, see sources/tables.py. ``kind``: None: by its values.
    ``categorical``: columns of numbers that are names (codes, years). ``ignore``: columns to leave out.
    """

    csv: Located
    target: Annotated[str, Field(min_length=1)]
    kind: Literal["classification", "regression"] | None = None
    categorical: Words = ()
    ignore: Words = ()
    validation: Share = 0.1


class TextTask(_Settings):
    """A text whose characters are predicted from those before them, at most ``length``; see sources/texts.py."""

    text: Located
    length: Annotated[Positive, Field(ge=2)] = 64
    validation: Share = 0.1

    @property
    def kind(self) -> Kind:
        return "language_model"


class PluginTask(_Settings):
    """A data set that a plugin makes (nas/plugin.py), by its name. ``kind``: the plugin says it."""

    plugin: Annotated[str, Field(min_length=1)]
    kind: Literal["classification", "regression", "segmentation"] | None = None
    validation: Share = 0.1


# By the key that says where the data comes from. Each has ``kind`` and ``validation``, and a module in sources/.
_TASKS: dict[str, type[_Settings]] = {
    "dataset": DatasetTask,
    "npz": ArraysTask,
    "images": ImagesTask,
    "csv": CsvTask,
    "text": TextTask,
    "plugin": PluginTask,
}
FILES = tuple(key for key in _TASKS if key not in ("dataset", "plugin"))  # those that are paths


def _one_source(given: Any) -> Any:
    if isinstance(given, Mapping):
        named = [key for key in _TASKS if key in given]
        if not named:
            near = next((hint(key, _TASKS) for key in given if key != "validation"), f" (allowed: {', '.join(_TASKS)})")
            raise ValueError(f"a task says where its data comes from{near}")
        if len(named) > 1:
            raise ValueError(f"a task has one source of data, not {' and '.join(named)}")
    return given


def _tag(given: Any) -> str:
    """The class by the source's key. Its name, as branches of unions are named in pydantic's locations."""
    if isinstance(given, BaseModel):
        return type(given).__name__
    return next((_TASKS[key].__name__ for key in _TASKS if isinstance(given, Mapping) and key in given), "DatasetTask")


TaskSettings = Annotated[
    Annotated[DatasetTask, Tag("DatasetTask")]
    | Annotated[ArraysTask, Tag("ArraysTask")]
    | Annotated[ImagesTask, Tag("ImagesTask")]
    | Annotated[CsvTask, Tag("CsvTask")]
    | Annotated[TextTask, Tag("TextTask")]
    | Annotated[PluginTask, Tag("PluginTask")],
    Discriminator(_tag),
    BeforeValidator(_one_source),
]

# Optimizers ----------------------------------------------------------------------------------------------------------
# Weight decay spares norms and biases in all of them (optimizers.parameter_groups). The ranges of rates are where small
# networks were best (docs/log.md, 2026-11-29), and below: long trainings of large ones are said to want less.


@dataclass(frozen=True, slots=True)
class Usual:
    """The range that a setting is searched over where a space says ``{float: usual}``."""

    low: float
    high: float
    log: bool = True


class SGD(_Settings):
    """Stochastic gradient descent, with Nesterov's momentum unless told otherwise."""

    learning_rate: Annotated[LearningRate, Usual(0.01, 0.5)] = 0.1
    momentum: Annotated[Momentum, Usual(0.8, 0.98, log=False)] = 0.9
    nesterov: bool = True
    weight_decay: Annotated[Decay, Usual(1e-5, 1e-3)] = 5e-4


class AdamW(_Settings):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019)."""

    learning_rate: Annotated[LearningRate, Usual(5e-4, 2e-2)] = 1e-3
    beta1: Annotated[Momentum, Usual(0.8, 0.95, log=False)] = 0.9
    beta2: Annotated[Momentum, Usual(0.95, 0.999, log=False)] = 0.999
    weight_decay: Annotated[Decay, Usual(1e-3, 0.1)] = 0.01


class LARS(_Settings):
    """Layer-wise rates for large batches (You, Gitman and Ginsburg 2017)."""

    learning_rate: Annotated[LearningRate, Usual(1.0, 20.0)] = 5.0
    momentum: Annotated[Momentum, Usual(0.8, 0.98, log=False)] = 0.9
    trust_coefficient: Annotated[LearningRate, Usual(5e-4, 2e-3)] = 1e-3
    weight_decay: Annotated[Decay, Usual(1e-5, 1e-3)] = 1e-4


class LAMB(_Settings):
    """Adam with layer-wise rates, for large batches (You et al. 2020)."""

    learning_rate: Annotated[LearningRate, Usual(3e-3, 0.1)] = 0.01
    beta1: Annotated[Momentum, Usual(0.8, 0.95, log=False)] = 0.9
    beta2: Annotated[Momentum, Usual(0.95, 0.999, log=False)] = 0.999
    weight_decay: Annotated[Decay, Usual(1e-3, 0.1)] = 0.01


class Muon(_Settings):
    """Orthogonalised momentum for matrices, AdamW for the rest (Jordan et al. 2024), at one rate (Liu et al. 2025)."""

    learning_rate: Annotated[LearningRate, Usual(2e-3, 5e-2)] = 0.02
    momentum: Annotated[Momentum, Usual(0.8, 0.98, log=False)] = 0.95
    beta1: Annotated[Momentum, Usual(0.8, 0.95, log=False)] = 0.9
    beta2: Annotated[Momentum, Usual(0.95, 0.999, log=False)] = 0.999
    weight_decay: Annotated[Decay, Usual(1e-3, 0.1)] = 0.01


class RMSprop(_Settings):
    """Gradients over the root of their mean square (Hinton 2012). The decay of weights is part of the gradient."""

    learning_rate: Annotated[LearningRate, Usual(5e-4, 2e-2)] = 3e-3
    smoothing: Annotated[Momentum, Usual(0.9, 0.99, log=False)] = 0.99
    momentum: Annotated[Momentum, Usual(0.0, 0.9, log=False)] = 0.0
    weight_decay: Annotated[Decay, Usual(1e-6, 1e-4)] = 1e-5


OptimizerSettings = SGD | AdamW | LARS | LAMB | Muon | RMSprop


class Optimizer(_Settings):
    """One optimizer by name: ``adamw`` or ``{adamw: {learning_rate: 1e-3}}``."""

    sgd: SGD | None = None
    adamw: AdamW | None = None
    lars: LARS | None = None
    lamb: LAMB | None = None
    muon: Muon | None = None
    rmsprop: RMSprop | None = None

    @model_validator(mode="before")
    @classmethod
    def _bare(cls, value: Any) -> Any:
        return {value: {}} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one(self) -> Self:
        if len(self._named()) != 1:
            raise ValueError(f"exactly one optimizer is needed (allowed: {', '.join(type(self).model_fields)})")
        return self

    @model_serializer
    def _dump(self) -> dict[str, dict[str, Any]]:
        return {name: settings.model_dump() for name, settings in self._named()}

    @property
    def name(self) -> str:
        return self._named()[0][0]

    @property
    def settings(self) -> OptimizerSettings:
        return self._named()[0][1]

    def _named(self) -> list[tuple[str, OptimizerSettings]]:
        return [(name, settings) for name, settings in self if settings is not None]


# Training ------------------------------------------------------------------------------------------------------------


class Regularisation(_Settings):
    """What keeps a network from learning its samples by heart; all off unless said. See augmentation.py, averaging.py.

    Of a candidate's hyperparameters and the config's ``train``, whichever says one; a candidate's wins.
    """

    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None  # Szegedy et al. 2016; classes only
    mixup: Annotated[float, Field(ge=0.0, le=100.0)] | None = None  # alpha of the Beta that a share is drawn from
    cutmix: Annotated[float, Field(ge=0.0, le=100.0)] | None = None  # likewise
    crop: Annotated[int, BeforeValidator(_whole), Field(ge=0, le=LARGEST_SIZE, strict=True)] | None = None  # padding
    flip: bool | None = None
    cutout: Annotated[int, BeforeValidator(_whole), Field(ge=0, le=LARGEST_SIZE, strict=True)] | None = None  # a side
    average: Annotated[float, Field(ge=0.0, lt=1.0)] | None = None  # decay of the weights' moving average

    @property
    def augments(self) -> bool:
        return bool(self.mixup or self.cutmix or self.crop or self.flip or self.cutout)

    def regularisation(self) -> dict[str, Any]:
        """What of it is said, 0 and false included: they turn off."""
        return {name: value for name in Regularisation.model_fields if (value := getattr(self, name)) is not None}


class TrainSettings(Regularisation):
    """How every candidate is trained. What a candidate's hyperparameters say as well, they win."""

    epochs: Annotated[int, BeforeValidator(_whole), Field(ge=0, le=LARGEST_SIZE, strict=True)] = 6  # 0: scores alone
    precision: PrecisionName = "auto"
    compile: CompileName = "auto"
    batch_size: BatchSize = 256
    micro_batch: Positive | None = None  # samples (two at least) that pass at once; the parts' gradients are summed
    noise_scale: bool = False  # whether to estimate which batch would still have helped (McCandlish et al. 2018)
    optimizer: Optimizer = Optimizer(sgd=SGD())
    scale_learning_rate: Scaling = "none"  # with batch / 256, or its square root
    warmup_epochs: Annotated[float, Field(ge=0.0)] = 1.0  # of linear rise, at most half of all; then a cosine to 0
    deadline: Annotated[Seconds, Field(gt=0)] | None = None  # for one attempt; the driver keeps it
    loss: str | None = None  # one that a plugin gives; None: the task's own
    scores: Annotated[tuple[ScoreName, ...], BeforeValidator(_some)] = ()  # zero-cost ones, recorded as metrics

    @model_validator(mode="after")
    def _something(self) -> Self:
        if len(set(self.scores)) < len(self.scores):
            raise ValueError(f"scores: {', '.join(self.scores)} names one of them twice")
        if not self.epochs and not self.scores:
            raise ValueError(
                "epochs: 0 trains nothing, so that candidates are judged by scores alone; say which, such as "
                "`scores: [naswot]`"
            )
        return self


class Hyperparameters(Regularisation):
    """What a candidate may say beside its architecture. ``learning_rate`` and ``weight_decay`` go to the optimizer."""

    batch_size: BatchSize | None = None
    precision: PrecisionName | None = None
    optimizer: Optimizer | None = None
    learning_rate: LearningRate | None = None
    weight_decay: Decay | None = None
