"""What nas asks of a batch system; each has a module, and nothing else speaks to one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from nas.cluster.batch.jobs import Job

Phase = Literal["waits", "runs", "ended"]


@dataclass(frozen=True, slots=True)
class Queued:
    """One job, or one element of an array, as the queue has it."""

    job: str  # 17, or 18_3
    role: str
    state: str  # the system's own word
    phase: Phase
    reason: str = ""  # why it waits, or how it ended
    node: str = ""
    never: bool = False  # whether it waits for what will not come

    @property
    def waits(self) -> bool:
        return self.phase == "waits"

    @property
    def active(self) -> bool:
        """Whether it is yet to run, or runs."""
        return self.phase != "ended"


class System(Protocol):
    @property
    def name(self) -> str: ...  # as people call it

    @property
    def program(self) -> str: ...  # that submits

    def render(self, job: Job) -> str: ...  # the whole script

    def submit(self, file: Path) -> str:
        """The id of the job that the script became.

        Raises:
            InputError: the system refused it; in its own words.
            SearchFailed: it does not answer.
        """

    def queue(self, tags: Mapping[str, str]) -> list[Queued]:
        """The jobs with one of these tags (tag -> role); what has ended too, where the system remembers it.

        Raises:
            SearchFailed: the system does not answer.
        """

    def cancel(self, jobs: Sequence[str]) -> None:
        """End them. Those that are gone already are no error. Raises SearchFailed where the system does not answer."""

    def own_job(self) -> str | None: ...  # the id of the job that this process is in

    def begin_again(self, job: str) -> int | None:
        """Have the caller's own job begin again: the exit code to end with now, or None where the system will not."""
