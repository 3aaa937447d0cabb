"""What a config says under ``cluster:``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from nas.documents import Bytes


class ClusterSettings(BaseModel):
    """Where attempts run, and what each may use.

    >>> ClusterSettings(workers=2, memory="4G", gpus=[0, 1])
    ClusterSettings(kind='local', workers=2, threads=None, memory=4294967296, gpus=(0, 1))
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["local", "inline"] = "local"  # inline: in this process, one attempt after another
    workers: Annotated[int, Field(ge=1)] | None = None  # slots; None: one for each GPU, else cores // threads
    threads: Annotated[int, Field(ge=1)] | None = None  # of each slot; None: 1, beside a GPU its share of the cores
    memory: Bytes | None = None  # that an attempt may have resident; None: its share of 90 % of the host's
    gpus: Literal["auto"] | Annotated[int, Field(ge=0)] | tuple[int | str, ...] = "auto"  # how many, or which
