"""The audit of a run: does training in full order candidates as the search's short training did?

    RUN/audit/<epochs>/     a run of its own, journal and all, whose controller proposes trials of RUN once more

A sample of the run's trials, one from each of as many strata of the ranking, is trained for so many epochs by the same
driver and cluster as any trial: it survives kills, machines' failures are retried, and nothing is trained twice.
The run's own journal is only read. A later audit of the same length trains what it lacks, and reports all there is.

A trial is trained with its own seed, on its own split: what differs is the length, and a low correlation is its doing.
What another seed alone would change is what replication measures. One that fails in full training is the worst there;
one that machines took for good says nothing. Where the search went by a zero-cost score, which no training changes, it
is compared with what the kind of task is usually judged by. Of two trials of which a scheduler let one train longer,
the search prefers that one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import pairwise
from math import ceil, inf
from pathlib import Path
from typing import Any

from nas import driver, leaderboard, seeds, store
from nas.config import BudgetSettings, Config, ReplicateSettings, StopSettings, from_plain
from nas.controllers.repeats import RepeatsController
from nas.controllers.settings import AuditSettings
from nas.correlation import FEWEST, Correlation, kendall, spearman
from nas.durable import within
from nas.errors import InputError, RunHeld
from nas.history import History
from nas.leaderboard import Row
from nas.plan import Plan, recorded_plan
from nas.records import MACHINE_FAILURES, Failed, Outcome, Succeeded
from nas.reward import RewardSettings, compute
from nas.schedulers.settings import NoneSettings
from nas.train import metrics
from nas.train.plugin_files import Plugin
from nas.train.settings import LARGEST_SIZE

FOLDER = "audit"
LOW = 0.5  # of Kendall's tau-b: three pairs in four ordered alike. Below it, ranks are not to be relied on
LONGER = 4  # times what the search trained, is a full training of which nothing else is known
UNTRAINED = 12  # epochs of one, where the search trained for none


@dataclass(frozen=True, slots=True)
class Audited:
    """One trial of the sample: by objective what the search saw, and what full training brought; higher is better."""

    trial: int
    rank: int  # in the search
    epochs: int  # that the search trained it
    signal: Mapping[str, float]
    full: Mapping[str, float] | None  # None: it failed
    failure: str | None = None
    dtype: str | None = None  # in the search, as its training noted it
    full_dtype: str | None = None  # likewise in full


@dataclass(frozen=True, slots=True)
class Agreement:
    """Of the two orders, by one objective."""

    kendall: Correlation
    spearman: Correlation


@dataclass(frozen=True, slots=True)
class Audit:
    epochs: int  # of the full training
    of: int  # ranked trials that there are
    trials: Sequence[Audited]  # by rank
    agreement: Mapping[str, Agreement]  # by objective; of one objective: reward

    @property
    def low(self) -> bool:
        """Whether the ranks of the search are not to be relied on: by one objective, or because nothing is known."""
        found = [one.kendall.estimate for one in self.agreement.values()]
        known = [tau for tau in found if tau is not None]
        return not known or min(known) < LOW

    def plain(self) -> dict[str, Any]:
        return {**asdict(self), "threshold": LOW, "low": self.low}

    def brief(self) -> dict[str, Any]:
        """For the rows of a leaderboard: how far its ranks can be relied on."""
        found = {name: one.kendall.estimate for name, one in self.agreement.items()}
        (kendall, *several) = found.values()
        return {
            "epochs": self.epochs,
            "trials": len(self.trials),
            "kendall": found if several else kendall,
            "low": self.low,
        }


def run(
    folder: Path,
    sample: int,
    epochs: int | None = None,
    *,
    data: str | None = None,
    plugins: Sequence[Plugin] = (),
    drive: Callable[[Plan, Path], driver.Ended] = driver.run,
    note: Callable[[str], None] = lambda words: None,
) -> tuple[Audit | None, driver.Ended | None]:
    """Audit the run in ``folder``: train what is lacking of the sample, and compare. ``epochs``: of a full training;
    None: what suits the run, which ``note`` is told before anything is trained.

    Returns the audit, None where its training was interrupted or stopped; and how that ended, None where nothing was
    left to train.

    Raises:
        InputError: there is no such run, it is none of the shipped trainer, it has not got so many ranked trials, or
            full training is what its search did.
        RunHeld: a driver is at work on it, whose cores and memory an audit would take; or another audit is.
    """
    history = store.history(folder)
    if history.started is None:
        raise InputError(f"{folder}: killed before the run began; there is nothing to audit")
    if store.alive(folder / "journal"):
        raise RunHeld(f"{folder}: a driver is at work on this run; audit it when that has ended")
    config = from_plain(history.config)
    if not isinstance(config, Config):
        raise InputError(f"{folder} was started from Python: how long its objective trains is not ours to say")
    if not config.train.epochs and config.reward.objectives:
        raise InputError(
            f"{folder}: its objectives ({', '.join(config.reward.objectives)}) are not changed by training"
        )
    if isinstance(config.controller, AuditSettings):
        raise InputError(f"{folder} is itself an audit; name the run that it is of: {folder.parent.parent}")
    ranked = _ranked(history, config.reward, folder)
    if sample > len(ranked):
        raise InputError(f"--sample {sample}: {folder} has {len(ranked)} ranked trials, and no more to choose from")
    length, why = _length(config, ranked, epochs)
    if epochs is None:
        note(f"a full training is taken to be {length} epochs, {why}; --epochs N says otherwise")
    place = within(folder, FOLDER, str(length))
    trained = _trained(place, history)
    lacking = [row.trial for row in choose(ranked, sample, config.seed, known=trained) if row.trial not in trained]
    ended = None
    if lacking:
        again = [*_proposed(place), *lacking]
        wanted = [history.trials[number].proposal for number in dict.fromkeys(again)]
        plan = recorded_plan(
            folder, data, plugins, history=history, changed=partial(_audited, history.started.run, length, len(wanted))
        )
        ended = drive(replace(plan, controller=lambda: RepeatsController(wanted)), place)
        if ended.reason not in ("budget", "exhausted"):
            return None, ended
    return _compared(ranked, _trained(place, history), config, length), ended


def found(folder: Path, history: History) -> Audit | None:
    """The longest audit of the run in ``folder`` that has ended; None where there is none. Raises InputError."""
    if history.started is None or not isinstance(config := from_plain(history.config), Config):
        return None
    lengths = [int(place.name) for place in (folder / FOLDER).glob("*") if place.name.isdecimal()]
    for length in sorted(lengths, reverse=True):
        if trained := _trained(folder / FOLDER / str(length), history):
            audit = _compared(_ranked(history, config.reward, folder), trained, config, length)
            if len(audit.trials) >= FEWEST:
                return audit
    return None


def choose(ranked: Sequence[Row], sample: int, seed: int, known: Mapping[int, Any] = {}) -> list[Row]:
    """One of each of ``sample`` strata of the ranking, equal in size but for one: what is known already, else by lot.

    >>> [row.rank for row in choose(ranked, 4, seed=0)]        # of 20
    [2, 9, 14, 17]
    """
    bounds = [at * len(ranked) // sample for at in range(sample + 1)]
    chosen = []
    for number, (low, high) in enumerate(pairwise(bounds)):
        stratum = ranked[low:high]
        lot = random.Random(seeds.derive(seed, "audit", sample, number))
        chosen.append(next((row for row in stratum if row.trial in known), lot.choice(stratum)))
    return chosen


def _ranked(history: History, settings: RewardSettings, folder: Path) -> list[Row]:
    """By the search's own trainings: what replicates brought is no signal that it had."""
    rows = [replace(row, replicates={}) for row in leaderboard.rows(history, settings, folder.name)]
    return [row for row in leaderboard.rank(rows, settings) if row.rank is not None]


def _length(config: Config, ranked: Sequence[Row], wanted: int | None) -> tuple[int, str]:
    """Epochs of a full training, and why so many. Raises InputError where the search trained no less."""
    usual = config.train.epochs
    if wanted is not None and wanted > LARGEST_SIZE:
        raise InputError(f"--epochs {wanted}: no training is longer than {LARGEST_SIZE:,} epochs")
    cut_short = any(_epochs(row, config) < usual for row in ranked)
    if wanted is None:
        if cut_short:
            return usual, "train.epochs, which the scheduler cut short"
        return (LONGER * usual, f"{LONGER} times the search's {usual}") if usual else (UNTRAINED, "as it trained none")
    if wanted < usual:
        raise InputError(f"--epochs {wanted}: the search trained for {usual} (train.epochs); full is longer than that")
    if wanted == usual and not cut_short:
        raise InputError(f"--epochs {wanted}: every trial was trained for as many; full is longer than that")
    return wanted, ""


def _epochs(row: Row, config: Config) -> int:
    return int(row.metrics.get("epochs", config.train.epochs))


def _audited(run: str, epochs: int, trials: int, config: Config) -> Config:
    """The config of the audit of a run: longer, deadline and all, and without what concerns searching."""
    train, longer = config.train, epochs / max(1, config.train.epochs)
    deadline = None if train.deadline is None else ceil(train.deadline * longer)
    return config.model_copy(
        update={
            "train": train.model_copy(update={"epochs": epochs, "deadline": deadline}),
            "reward": _judged(config),
            "controller": AuditSettings(run=run),
            "budget": BudgetSettings(trials=trials),
            "stop": StopSettings(),
            "replicate": ReplicateSettings(),
            "scheduler": NoneSettings(),
            "warm_start": None,
        }
    )


def _judged(config: Config) -> RewardSettings:
    """What full training is judged by: as the search was, unless that was a score of the untrained network."""
    reward, kind = config.reward, config.task.kind
    if reward.objectives or reward.metric not in config.train.scores or kind is None:
        return reward
    usual = metrics.default_reward(kind, config.train.model_copy(update={"epochs": 1}))
    return reward.model_copy(update={"maximize": None, "minimize": None, **usual})


def _journal(place: Path) -> History | None:
    return store.history(place) if store.exists(place / "journal") else None


def _proposed(place: Path) -> Iterator[int]:
    """What an audit has begun to train, in its order."""
    for trial in audit.trials.values() if (audit := _journal(place)) else ():
        if trial.proposal.repeats is not None:
            yield trial.proposal.repeats


def _trained(place: Path, history: History) -> dict[int, Outcome]:
    """What full training brought, by trial of the audited run; an audit of another run is as if absent."""
    audit = _journal(place)
    if audit is None or audit.started is None or history.started is None:
        return {}
    if audit.started.config.get("controller") != {AuditSettings.kind: {"run": history.started.run}}:
        return {}
    found: dict[int, Outcome] = {}
    for trial in audit.trials.values():
        repeated, outcome = history.trials.get(trial.proposal.repeats or 0), trial.outcome
        if repeated is None or repeated.proposal.hash != trial.proposal.hash or outcome is None:
            continue
        if not (isinstance(outcome, Failed) and outcome.kind in MACHINE_FAILURES):
            found[repeated.number] = outcome
    return found


def _compared(ranked: Sequence[Row], trained: Mapping[int, Outcome], config: Config, length: int) -> Audit:
    names = list(config.reward.objectives) or ["reward"]

    def worth(reward: RewardSettings, metrics: Mapping[str, float], seconds: float | None) -> dict[str, float]:
        return dict(zip(names, compute(reward, metrics, seconds).vector, strict=True))

    judged = _judged(config)
    trials = []
    for row in ranked:
        match outcome := trained.get(row.trial):
            case Succeeded(measured, seconds):
                told: dict[str, Any] = {"full": worth(judged, measured, seconds)}
            case Failed(kind):
                told = {"full": None, "failure": kind}
            case None:
                continue
        signal = worth(config.reward, row.metrics, row.seconds)
        told |= {"dtype": row.dtype, "full_dtype": leaderboard.dtype_of(outcome)}
        trials.append(Audited(row.trial, row.rank or 0, _epochs(row, config), signal, **told))

    def agreement(name: str) -> Agreement:
        signals = [(one.epochs, one.signal[name]) for one in trials]
        full = [one.full[name] if one.full else -inf for one in trials]
        return Agreement(kendall(signals, full), spearman(signals, full))

    return Audit(length, len(ranked), trials, {name: agreement(name) for name in names})
