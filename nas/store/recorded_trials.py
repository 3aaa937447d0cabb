"""The trials of a run that goes on from a snapshot, which has none: each is folded from its own lines when needed."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping

from nas.history import History, Trial
from nas.records import Proposed
from nas.store.lines import Recall


class RecordedTrials(MutableMapping[int, Trial]):
    """By number. What was folded is kept, as is what comes after the snapshot."""

    def __init__(self, recall: Recall) -> None:
        self._recall, self._count = recall, recall.trials
        self._held: dict[int, Trial] = {}

    def __getitem__(self, number: int) -> Trial:
        held = self._held.get(number)
        if held is None:
            held = self._held[number] = self._folded(number)
        return held

    def _folded(self, number: int) -> Trial:
        if number not in self:
            raise KeyError(number)
        fold = History()
        for event, time in self._recall.events(number):
            if isinstance(event, Proposed) and event.duplicate_of is not None:
                fold.trials[event.duplicate_of] = self[event.duplicate_of]
            fold.apply(event, time)
        return fold.trials[number]

    def __setitem__(self, number: int, trial: Trial) -> None:
        self._held[number] = trial
        self._count = max(self._count, number + 1)

    def __delitem__(self, number: int) -> None:
        raise TypeError("a recorded trial is never taken back")

    def __contains__(self, number: object) -> bool:
        return isinstance(number, int) and 0 <= number < self._count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self._count))

    def __len__(self) -> int:
        return self._count
