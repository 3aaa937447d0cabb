"""What a config says under ``cluster:``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from nas.amounts import Bytes, parse_seconds
from nas.cluster import options
from nas.documents import RECORDED

Kind = Literal[
    "local", "inline", "address", "scheduler_file", "jobqueue", "ssh",
    "slurm", "pbs", "lsf", "sge", "script", "kubernetes",
]  # fmt: skip
MANY = 10_000  # more is a slip of the hand; what a host or a job is asked for stays a number that can be written out
LEAST_MEMORY = 16 << 20  # bytes; with so many an attempt that does nothing at all is out of memory (docs/log.md)
BATCH: tuple[Kind, ...] = ("slurm", "pbs", "lsf", "sge")  # whose workers are jobs
SUBMITTED: tuple[Kind, ...] = (*BATCH, "script", "kubernetes")  # whose search may be elsewhere
DEPLOYED: tuple[Kind, ...] = ("jobqueue", "ssh")  # whose workers Dask itself starts
_JOBS = ("nodes", "time", "controller_time", "partition", "account", "options", "modules", "virtual_environment",
         "container")  # fmt: skip
LACKS: Mapping[Kind, Sequence[str]] = {  # words that mean nothing there
    "jobqueue": _JOBS,
    "ssh": _JOBS,
    "pbs": ("nodes",),
    "lsf": ("nodes",),
    "sge": ("nodes",),
    "script": ("nodes", "partition", "account", "options", "time", "controller_time"),
    "kubernetes": ("nodes", "time", "controller_time", "partition", "account", "options", "modules",
                   "virtual_environment", "interface"),
}  # fmt: skip
WHERE: Mapping[str, Kind] = {  # words that say where a cluster of one kind is, and nothing of any other
    "address": "address",
    "scheduler_file": "scheduler_file",
    "jobqueue": "jobqueue",
    "hosts": "ssh",
}
NEEDS: Mapping[Kind, Sequence[str]] = {
    "address": ("address",),
    "scheduler_file": ("scheduler_file",),
    "ssh": ("hosts",),
    "kubernetes": ("container", "claim"),
}


def _matching(pattern: str, what: str) -> AfterValidator:
    """Values that may stand in a script without quotes, and mean the same to every shell and scheduler."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"{value[:80]!r} is no {what}")
        return value

    return AfterValidator(check)


def parse_walltime(value: object) -> float:
    """Seconds, of ``04:00:00``, ``1-12:00:00``, ``90`` (minutes, as schedulers have it), ``4h``; or ValueError."""
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if re.fullmatch(r"[0-9]+", text):
        seconds = float(text) * 60
    elif found := re.fullmatch(r"(?:([0-9]+)-)?([0-9]{1,3}):([0-9]{2})(?::([0-9]{2}))?", text):
        days, first, second, third = (int(group or 0) for group in found.groups())
        if found[4] is None and found[1] is None:  # minutes:seconds, as SLURM reads it
            seconds = first * 60.0 + second
        else:
            seconds = days * 86400.0 + first * 3600 + second * 60 + third
    else:
        try:
            seconds = parse_seconds(value) if isinstance(value, str) else -1
        except ValueError:
            seconds = -1
        if seconds < 0:
            raise ValueError(f"{value!r} is no walltime; write 04:00:00, 1-12:00:00, 4h, or minutes")
    if not 60 <= seconds <= 366 * 86400:
        raise ValueError(f"{value!r}: a walltime is from a minute to a year")
    return seconds


Some = Annotated[int, Field(ge=1, le=MANY)]
Word = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9_.,@+-]{0,200}", "name of a partition or an account")]
Module = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9_.+/-]{0,200}", "name of a module")]
Text = Annotated[str, _matching(r"[^-\x00-\x1f\x7f][^\x00-\x1f\x7f]{0,4095}", "text of one line, or begins with -")]
Value = Annotated[str, _matching(r"[^\x00-\x1f\x7f]{0,4096}", "value of one line")]
Name = Annotated[str, _matching(r"[A-Za-z_][A-Za-z0-9_]{0,200}", "name of an environment variable")]
Claim = Annotated[str, _matching(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", "name of a volume claim")]
Folder = Annotated[str, _matching(r"/[A-Za-z0-9_./+@-]{0,1000}", "folder, from / on, of plain characters")]
Interface = Annotated[str, _matching(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", "network interface")]
Option = Annotated[str, AfterValidator(options.read)]
Walltime = Annotated[
    float,
    BeforeValidator(parse_walltime),
    PlainSerializer(lambda seconds: f"{seconds:.0f}s", when_used="json"),
    WithJsonSchema({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "string", "examples": ["04:00:00", "4h"]}]}),
]


def _options(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Options = Annotated[
    tuple[Option, ...],
    BeforeValidator(_options),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


def _livable(value: int, info: ValidationInfo) -> int:
    if value < LEAST_MEMORY and info.context != RECORDED:
        raise ValueError(
            f"{value} bytes are too few: a process that does nothing has more than {LEAST_MEMORY >> 20}M; "
            "a number alone is bytes: write 4G, say"
        )
    return value


Memory = Annotated[Bytes, AfterValidator(_livable)]


class ClusterSettings(BaseModel):
    """Where attempts run, and what each may use.

    >>> ClusterSettings(workers=2, memory="4G", gpus=[0, 1]).memory
    4294967296
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Kind = "local"  # inline: in this process, one attempt after another
    workers: Some | None = None  # slots; None: of each GPU one, else cores // threads; jobs: 1
    threads: Some | None = None  # of each slot; None: 1, beside a GPU its share of the cores
    memory: Memory | None = None  # that an attempt may have resident; None: its share of 90 % of the host's
    gpus: Literal["auto"] | Annotated[int, Field(ge=0)] | tuple[int | str, ...] = "auto"  # how many, or which
    slots_per_gpu: Literal["auto"] | Some | None = None  # see sharing.py; None: ``workers`` says

    # A Dask cluster that is there already.
    address: Text | None = None  # of its scheduler: tcp://host:8786
    scheduler_file: Text | None = None  # or the file that its scheduler wrote

    # One that Dask is to deploy.
    jobqueue: Literal["slurm", "pbs", "lsf", "sge", "oar", "htcondor"] | None = (
        None  # None: as Dask's configuration has
    )
    hosts: Text | None = None  # a file: hosts to reach by ssh, one a line

    # Workers as jobs of a batch system.
    nodes: Some | None = None  # over which the workers are spread; None: each a job of its own
    cpus_per_worker: Some = 1
    gpus_per_worker: Annotated[int, Field(ge=0, le=MANY)] = 0
    time: Walltime | None = None  # of each job; None: the partition's
    controller_time: Walltime | None = None  # of the job with the search; None: as ``time``
    controller_memory: Memory = 4 << 30
    partition: Word | None = None
    account: Word | None = None
    options: Options = ()  # other directives: --qos=high, as nas.cluster.options reads them
    parallel_environment: Word = "smp"  # what Grid Engine's site calls several cores of one host
    modules: tuple[Module, ...] = ()  # for `module load`
    virtual_environment: Text | None = None  # its folder; None: the Python that submits
    container: Text | None = None  # instead: an image for apptainer, or of the pods
    claim: Claim | None = None  # of the volume on which pods find the run
    mount: Folder | None = None  # where it is, here and in the pods; None: the folder that the run's is in
    environment: dict[Name, Value] = Field(default_factory=dict)
    interface: Interface | None = None  # of the network on which scheduler and workers meet, e.g. ib0

    @field_validator("options", mode="after")
    @classmethod
    def _not_ours(cls, value: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for option in value:
            options.check(info.data.get("kind", "local"), option)
        return value

    @model_validator(mode="after")
    def _says_where(self) -> ClusterSettings:
        if needed := [word for word in NEEDS.get(self.kind, ()) if getattr(self, word) is None]:
            raise ValueError(f"kind is {self.kind}: say {' and '.join(needed)}, too")
        if self.slots_per_gpu is not None and self.kind != "local":
            raise ValueError(f"slots_per_gpu divides the GPUs of this host (kind local), and not those of {self.kind}")
        if lacking := [word for word in LACKS.get(self.kind, ()) if getattr(self, word)]:
            raise ValueError(f"kind is {self.kind}, which knows no {', '.join(lacking)}: leave that out")
        return self

    @model_validator(mode="after")
    def _nothing_in_vain(self, info: ValidationInfo) -> ClusterSettings:
        """No word would be passed over in silence."""
        if info.context == RECORDED:
            return self
        for word, kind in WHERE.items():
            if getattr(self, word) is not None and self.kind != kind:
                raise ValueError(
                    f"{word} is for kind {kind}, and kind is {self.kind}: say kind: {kind}, or leave {word} out"
                )
        if self.container is not None and self.virtual_environment is not None:
            raise ValueError("a container has a Python of its own: leave out container or virtual_environment")
        if self.kind in SUBMITTED and self.threads is not None and self.threads > self.cpus_per_worker:
            raise ValueError(
                f"{self.threads} threads of a worker need as many cores, and cpus_per_worker is "
                f"{self.cpus_per_worker}: raise that, or leave threads out, which are then as many"
            )
        return self
