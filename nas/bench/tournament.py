"""All seeds of all contenders on all chosen benchmarks, on several processes of one thread each.

Processes are forked, so that tables and libraries are read once; each has one thread. A run of a seed depends on
nothing but what its key says, so neither the processes' number nor their order matters.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass

from nas.bench import ledger
from nas.bench.contenders import Contender
from nas.bench.ledger import Ledger
from nas.bench.recorded import Recorded
from nas.bench.trace import Trace, play
from nas.controllers import Controller
from nas.errors import InputError, Interrupted

Results = Mapping[str, Mapping[int, Trace]]  # contender -> seed -> its run
Progress = Callable[[int, int], None]  # runs done, of how many


@dataclass(frozen=True, slots=True)
class Match:
    """One run of a seed: which benchmark and contender of the tournament's."""

    benchmark: int
    contender: int
    seed: int


@dataclass(frozen=True, slots=True)
class Tournament:
    benchmarks: Sequence[Recorded]
    contenders: Sequence[Contender]
    seeds: range
    processes: int = 1
    leave_out: Callable[[str], None] | None = None  # is told who can not search a space; None: that is an error

    def matches(self) -> Iterator[Match]:
        """Seed by seed, so that what is there when somebody stops it can be compared."""
        for place, seed in enumerate(self.seeds):
            for benchmark, recorded in enumerate(self.benchmarks):
                for number, contender in enumerate(self.contenders):
                    if not contender.takes(len(recorded.wish.wishes)):
                        continue
                    if contender.most_seeds is None or place < contender.most_seeds:
                        yield Match(benchmark, number, seed)

    def play(self, book: Ledger, progress: Progress) -> list[Results]:
        """Play what the ledger has not, and return the results by benchmark.

        Raises:
            InputError: a contender can not search a space, and is not to be left out.
            DiskFailed: a result could not be written.
            Interrupted: by Ctrl-C, or because a process was killed.
        """
        keys = {match: self._key(match) for match in self.matches()}
        known = book.read(keys.values())
        refused = self._refused([match for match in keys if keys[match] not in known])
        keys = {match: key for match, key in keys.items() if (match.benchmark, match.contender) not in refused}
        open_ = [match for match in keys if keys[match] not in known]
        progress(len(keys) - len(open_), len(keys))
        for done, (match, trace) in enumerate(self._played(open_), start=len(keys) - len(open_) + 1):
            known[keys[match]] = trace
            book.add(keys[match], trace, self._named(match))
            progress(done, len(keys))
        results: list[dict[str, dict[int, Trace]]] = [
            {contender.name: {} for contender in self.contenders} for _ in self.benchmarks
        ]
        for match, key in keys.items():
            results[match.benchmark][self.contenders[match.contender].name][match.seed] = known[key]
        return list(results)

    def _refused(self, matches: Sequence[Match]) -> set[tuple[int, int]]:
        """Benchmarks and contenders that can not search them. Raises InputError where nobody is to be left out."""
        found = set()
        for pair, match in {(m.benchmark, m.contender): m for m in reversed(matches)}.items():
            try:
                self._make(match)
            except InputError as error:
                if self.leave_out is None:
                    raise
                recorded = self.benchmarks[match.benchmark]
                self.leave_out(f"left out of {recorded.dataset}, {recorded.protocol_name}: {error}")
                found.add(pair)
        return found

    def _played(self, matches: Sequence[Match]) -> Iterator[tuple[Match, Trace]]:
        if self.processes == 1 or len(matches) <= 1:
            for match in matches:
                yield match, self._one(match)
            return
        with _pool(self, min(self.processes, len(matches))) as pool:
            futures = {pool.submit(_in_child, match): match for match in matches}
            try:
                for future in as_completed(futures):
                    yield futures[future], future.result()
            except BrokenProcessPool:  # the kernel, for want of memory, as a rule
                raise Interrupted(
                    "a process that played was killed; where memory is short, fewer --processes"
                ) from None

    def _one(self, match: Match) -> Trace:
        return play(self.benchmarks[match.benchmark], self._make(match), match.seed)

    def _make(self, match: Match) -> Controller:
        recorded = self.benchmarks[match.benchmark]
        return self.contenders[match.contender].make(recorded.space, match.seed, len(recorded.wish.wishes))

    def _key(self, match: Match) -> str:
        recorded, contender = self.benchmarks[match.benchmark], self.contenders[match.contender]
        return ledger.key(recorded.identity, contender.identity(), match.seed)

    def _named(self, match: Match) -> dict[str, str | int]:
        recorded = self.benchmarks[match.benchmark]
        return {
            "benchmark": recorded.name,
            "dataset": recorded.dataset,
            "protocol": recorded.protocol_name,
            "controller": self.contenders[match.contender].name,
            "seed": match.seed,
        }


_tournament: Tournament | None = None  # in a forked process: what it is to play


@contextmanager
def _pool(tournament: Tournament, processes: int) -> Iterator[ProcessPoolExecutor]:
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(processes, context, _begin, (tournament, os.getpid()))
    try:
        yield pool
    except BaseException:
        children = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for child in children:  # an interrupted person does not wait for a run of minutes
            child.kill()
        raise
    pool.shutdown()


def _begin(tournament: Tournament, parent: int) -> None:
    """In a child: it dies with its parent, which alone hears Ctrl-C."""
    global _tournament
    from nas.cluster.signals import die_with_parent

    _tournament = tournament
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(parent)


def _in_child(match: Match) -> Trace:
    assert _tournament is not None
    return _tournament._one(match)
