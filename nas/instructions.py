"""What the search machine answers, as values: what is to be recorded, and what the driver is to do, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nas.records import Event

EndReason = Literal["budget", "stopped", "exhausted", "diagnosis", "interrupted"]


@dataclass(frozen=True, slots=True)
class Record:
    event: Event
    time: float  # seconds since the Unix epoch


@dataclass(frozen=True, slots=True)
class Launch:
    trial: int
    attempt: int
    fresh: bool


@dataclass(frozen=True, slots=True)
class AskToStop:
    """Its next report says so; it answers with what it has reached."""

    trial: int
    attempt: int
    leave: bool = False  # its state, where it can, and answer that it was preempted


@dataclass(frozen=True, slots=True)
class Cancel:
    trial: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Forget:
    """Nothing will go on any more from the state that this attempt left."""

    trial: int
    attempt: int


@dataclass(frozen=True, slots=True)
class End:
    reason: EndReason
    message: str = ""
    look_at: int | None = None  # of a diagnosis: one of the trials that failed alike


Instruction = Record | Launch | AskToStop | Cancel | Forget | End
