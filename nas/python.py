"""The Python door: ``nas.search(space, objective)`` with any callable as the objective, on the same machinery.

The objective travels to the workers by cloudpickle, in memory; lambdas and functions of a notebook will do. It is not
recorded, so only Python can go on with such a run: call ``nas.search`` again with ``run=`` its folder.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nas import documents, driver, provenance, shipped, store
from nas.cluster.connect import connect
from nas.config import CallableConfig, name_from
from nas.errors import InputError
from nas.history import History
from nas.leaderboard import Row, front, rows
from nas.objective import VALUE, Objective
from nas.plan import Plan, finished, fresh_folder, going_on
from nas.records import Failed
from nas.reward import RewardSettings
from nas.space import Candidate, Costs, Space
from nas.space.survey import require_some


@dataclass(frozen=True, repr=False)
class Run:
    """A search that has ended: its folder, why it ended, and its trials."""

    folder: Path
    reason: str  # budget, stopped, exhausted, diagnosis or interrupted
    message: str
    history: History
    reward: RewardSettings

    @property
    def leaderboard(self) -> list[Row]:
        """Every ended trial, the best first."""
        return rows(self.history, self.reward, self.folder.name)

    @property
    def front(self) -> list[Row]:
        """With several objectives the trials that none dominates, the one that adds most to them first."""
        return [row for row in self.leaderboard if row.front == 1]

    @property
    def hypervolume(self) -> float | None:
        """Of several objectives, beyond their reference or the worst of each; None with one, or before a success."""
        reached = front(self.leaderboard, self.reward)
        return reached.hypervolume if reached else None

    @property
    def best(self) -> Row | None:
        """The first of the leaderboard; None where no trial succeeded."""
        ranked = [row for row in self.leaderboard if row.rank is not None]
        return ranked[0] if ranked else None

    def __repr__(self) -> str:
        """Short, whatever the history holds: a notebook shows it."""
        best = self.best
        reached = (
            "none succeeded" if best is None else f"best reward {best.reward:.6g}" if best.reward is not None else ""
        )
        reached = reached or f"a front of {len(self.front)}"
        return f"<Run {str(self.folder)!r}: {self.reason}, {len(self.history.trials)} trials, {reached}>"


def search(
    space: Space | Mapping[str, Any] | str | Path,
    objective: Objective,
    *,
    trials: int | None = 100,
    time: float | str | None = None,
    device_seconds: float | str | None = None,
    epochs: int | None = None,
    stop: Mapping[str, Any] | None = None,
    replicate: int | Mapping[str, Any] = 0,
    controller: str | Mapping[str, Any] = "rl",
    scheduler: str | Mapping[str, Any] = "none",
    reward: Mapping[str, Any] | None = None,
    seed: int = 0,
    cluster: Mapping[str, Any] | None = None,
    deadline: float | None = None,
    costs: Callable[[Candidate], Mapping[str, float]] | None = None,
    run: str | Path | None = None,
    warm_start: str | Path | None = None,
    name: str | None = None,
    observe: driver.Observer | None = None,
) -> Run:
    """Search ``space`` for what ``objective(candidate, context)`` likes best.

    Args:
        space: a Space, a mapping in the language of search spaces, the name of a shipped one, or a path.
        objective: returns a number (higher is better, unless ``reward`` says otherwise) or a mapping of metrics.
        trials, time, device_seconds, epochs: the budget, whichever ends first; ``time`` in seconds, or as "10m";
            ``device_seconds`` that the workers were busy, summed; ``epochs``: the steps that all trials reported. At
            the last of these what runs is cut off, but for the one that reported it: it is told to stop, and counts.
        stop: rules to stop by before that: {"reward": 0.93}, {"patience": 50}, {"device_seconds": "2h"}.
        replicate: with how many other seeds the best trials are evaluated again when the search has ended; which ones:
            {"top": 5, "seeds": 3}. They are ranked by their means then.
        controller: as in a config: "rl", "evolution", "random", "optuna:tpe", {"rl": {...}}, ...
        scheduler: as in a config: "none", "median", {"asha": {"max_resource": 27}}, ... Trials are then trained for
            different lengths: the objective must report, and obey its reports (see objective.Context).
        reward: as in a config, e.g. {"minimize": "loss"} or {"objectives": {"loss": "minimize", "size": "minimize"}};
            the default maximizes the number returned.
        cluster: as in a config, e.g. {"workers": 4}, or {"kind": "inline"} for this process alone.
        deadline: seconds for one attempt.
        costs: what a candidate costs, where the space has constraints over ``parameters``, ``flops`` and the like; it
            is asked before anything is trained, and raises nas.InvalidCandidate of what can not be.
        run: the run's folder; one that is unfinished is gone on with. The default is a new folder runs/<name>.
        warm_start: an earlier run's folder, from which the controller learns before it begins.
        observe: called about twice a second with the search and the time.

    Raises:
        InputError: an argument is wrong, or ``run`` was made by another search.
        RunHeld, DiskFailed, Interrupted: see errors.
    """
    read = _read(space)
    if costs is not None:
        read = replace(read, costs=Costs(costs))
    require_some(read)
    if not callable(objective):
        kind = type(objective).__name__
        raise InputError(
            f"objective: {objective!r:.80}, a {kind}, cannot be called; give objective(candidate, context)"
        )
    named = getattr(objective, "__qualname__", repr(objective))
    config = _settings(
        {
            "name": name or name_from(read.name or "search"),
            "space": read.name or "a mapping",
            "objective": f"{getattr(objective, '__module__', '')}.{named}",
            "deadline": deadline,
            "seed": seed,
            "controller": controller,
            "scheduler": scheduler,
            "reward": reward or {"maximize": VALUE},
            "budget": {"trials": trials, "time": time, "device_seconds": device_seconds, "epochs": epochs},
            "stop": stop or {},
            "replicate": {"seeds": replicate} if isinstance(replicate, int) else replicate,
            "cluster": cluster or {},
            "warm_start": None if warm_start is None else str(warm_start),
        },
    )
    plan = Plan(
        config=config,
        space=read,
        objective=objective,
        connect=lambda where: connect(config.cluster, objective, folder=where, preload=_preload()),
        deadline=config.deadline,
    )
    folder = fresh_folder(Path("runs") / config.name) if run is None else Path(run)
    if store.exists(folder / "journal"):
        history = store.opening(folder, provenance.code())
        going_on(plan, history, folder)
        if history.ended and finished(history, config):  # nothing to do: a smaller budget is no change to record
            return Run(folder, history.ended.reason, history.ended.message, history, config.reward)
    ended = driver.run(plan, folder, observe or (lambda search, now: None), note=_warn)
    done = Run(folder, ended.reason, ended.message, ended.history, config.reward)
    if done.best is None:
        _warn_of_failures(ended.history)
    return done


def _warn(line: str) -> None:
    warnings.warn(line, RuntimeWarning, stacklevel=2)


def _warn_of_failures(history: History) -> None:
    """Nothing succeeded: without a word, that would show as a `best` of None, lines later."""
    failed = [(trial, trial.outcome) for trial in history.trials.values() if isinstance(trial.outcome, Failed)]
    if not failed:
        return
    trial, outcome = failed[0]
    words = f"no trial succeeded; trial {trial.number} failed first ({outcome.kind}): {outcome.message}"
    lines = outcome.traceback.strip().splitlines()
    if lines and lines[-1] not in outcome.message:
        words += f" [{lines[-1]}]"
    places = [line.strip() for line in lines if line.lstrip().startswith("File ")]
    warnings.warn(f"{words}{f' at {places[-1]}' if places else ''}", RuntimeWarning, stacklevel=3)


def _preload() -> list[str]:
    """Torch, where the caller has it: its objective then uses it, and each new child would import it for a second."""
    return ["torch"] if "torch" in sys.modules else []


def _read(space: Space | Mapping[str, Any] | str | Path) -> Space:
    match space:
        case Space():
            return space
        case str() | Path():
            return Space.read(documents.read(shipped.find("search_spaces", str(space))))
        case _:
            return Space.read(space)


def _settings(values: Mapping[str, Any]) -> CallableConfig:
    return documents.validate(CallableConfig, documents.plain(values, "nas.search"))
