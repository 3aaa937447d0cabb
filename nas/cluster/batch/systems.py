"""The batch systems that nas knows, by their kind of cluster."""

from __future__ import annotations

from nas.cluster.batch.lsf import Lsf
from nas.cluster.batch.pbs import Pbs
from nas.cluster.batch.sge import Sge
from nas.cluster.batch.slurm import Slurm
from nas.cluster.batch.system import System
from nas.cluster.settings import Kind
from nas.errors import InputError


def system(kind: Kind) -> System:
    """Raises InputError for a kind of cluster that has no jobs."""
    match kind:
        case "slurm":
            return Slurm()
        case "pbs":
            return Pbs()
        case "lsf":
            return Lsf()
        case "sge":
            return Sge()
        case _:
            raise InputError(f"cluster.kind is {kind}, which has no jobs")
