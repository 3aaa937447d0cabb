"""What nas asks of a batch system; each has a module, and nothing else speaks to one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
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


def in_words(queue: Iterable[Queued]) -> list[str]:
    """Alike jobs together: ``workers: 3 waiting (Resources): 18_1 18_2 18_3``."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in queue:
        groups.setdefault((one.role, _words(one)), []).append(one.job)
    return [f"{role}: {len(ids)} {words}: {_few(ids)}" for (role, words), ids in groups.items()]


def _words(job: Queued) -> str:
    if job.never:
        return f"can never start ({job.reason})"
    if job.waits:
        return f"waiting ({job.reason})" if job.reason else "waiting"
    ended = "" if job.active or not job.reason else f" ({job.reason})"
    return f"{job.state.lower().replace('_', ' ')}{ended}" + (f" on {job.node}" if job.active and job.node else "")


def _few(ids: Sequence[str], most: int = 8) -> str:
    return " ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")


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
