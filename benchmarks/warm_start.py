"""Whether an earlier run on other data helps: evaluations to the best row, cold and taught.

    NAS_BENCH_DATA=FOLDER python benchmarks/warm_start.py [--controllers rl,evolution,optuna:tpe] [--seeds 20]

For each tuning seed a search of NAS-Bench-201 on CIFAR-10 (100 evaluations, whatever it finds) teaches one on
CIFAR-100, which goes on to the best row of that table or its equal. ``misled`` is taught the same trials with their
rewards' signs changed: an earlier run can not be worse.
"""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass, field, replace
from pathlib import Path

from nas.bench import contenders, spec, table
from nas.bench.measures import quantile, reached
from nas.bench.recorded import Recorded, join, read_space
from nas.bench.trace import play
from nas.controllers import Controller, Lessons, Teachable
from nas.records import CandidateFailure, Exhausted, Lesson, Proposal, Reward

EARLIER, BUDGET = 100, 300  # evaluations


@dataclass
class Heard:
    """A controller that keeps what it was told."""

    inner: Controller
    lessons: list[tuple[Lesson, Reward | CandidateFailure]] = field(default_factory=list)

    def ask(self, number: int) -> Proposal | Exhausted:
        return self.inner.ask(number)

    def began(self, proposal: Proposal) -> None:
        self.inner.began(proposal)

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        self.lessons.append((Lesson(proposal.number, proposal.decisions, proposal.hash), result))
        self.inner.tell(proposal, result)

    def save(self) -> bytes:
        return self.inner.save()

    def load(self, state: bytes) -> None:
        self.inner.load(state)


def benchmarks() -> tuple[Recorded, Recorded]:
    """The earlier search's, which has no goal to stop at, and the later one's."""
    said, document = spec.load("nasbench201")
    space = read_space(said, document)
    rows = table.read(Path(os.environ["NAS_BENCH_DATA"]) / said.table)
    protocol = said.protocols["query"]
    short, long = (protocol.model_copy(update={"evaluations": count}) for count in (EARLIER, BUDGET))
    earlier = join(said, document, space, rows, "cifar10", "query", short)
    return replace(earlier, goal=None), join(said, document, space, rows, "cifar100", "query", long)


def turned(lessons: Lessons) -> Lessons:
    """What was good is bad."""
    return [(lesson, Reward(-one.value) if isinstance(one, Reward) else one) for lesson, one in lessons]


def main() -> None:
    """Play, and print a line for each controller and way of beginning."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--controllers", default="rl,evolution,optuna:tpe")
    parser.add_argument("--seeds", type=int, default=20)
    given = parser.parse_args()
    earlier, later = benchmarks()
    for contender in contenders.parse(given.controllers):
        found: dict[str, list[float]] = {"cold": [], "taught": [], "misled": []}
        for seed in range(given.seeds):
            heard = Heard(contender.make(earlier.space, seed))
            play(earlier, heard, seed)
            given_lessons = {"cold": [], "taught": heard.lessons, "misled": turned(heard.lessons)}
            for how, lessons in given_lessons.items():
                controller = contender.make(later.space, seed)
                if lessons:
                    assert isinstance(controller, Teachable), f"{contender.name} can not be taught"
                    controller.teach(lessons)
                found[how].append(reached(later, play(later, controller, seed)))
        for how, values in found.items():
            middle, ninety = quantile(tuple(values), 0.5), quantile(tuple(values), 0.9)
            print(f"{contender.name:12} {how:7} n {len(values)}  median {middle:5.1f}  90th percentile {ninety:5.1f}")


if __name__ == "__main__":
    main()
