"""What it takes to go on with a long run: from the journal on disk to the first proposal, after imports.

    python benchmarks/resume.py [--quick] [--sizes 1000,10000,100000] [--controllers random,evolution,rl]
                                [--peers tpe] [--repeats 5] [--replays 1] [--folder FOLDER]

A run of each size is made once: the real machine and the real journal, 100 answers a turn, and a synthetic objective on
the space of ask_tell.py (20 unordered choices of 5). A random controller proposes, and the one that is measured is told
of every trial, as on a replay: asking 100,000 times would take long. What is timed is in fresh processes: claiming the
run, taking in what it holds, and one ask; with its snapshot and without, when the journal is replayed. Proposals and
digests of both must equal the live search's. The last snapshot before a kill -9 is measured as well, with the trials
that it does not have. Beside it Optuna's JournalStorage on a JournalFileBackend that holds as
many trials of the same space: load_study and one ask, with all parameters suggested. Seconds of wall time, and of
processor time, as other work disturbs; the files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"  # before NumPy or torch is imported
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy  # noqa: E402, F401  (threads are set first; imports are not timed)

from benchmarks.ask_tell import CHOICES, OPTIONS, SPACE, processor, worth  # noqa: E402
from nas import reward, snapshots  # noqa: E402
from nas.controllers import Controller, make, parse  # noqa: E402
from nas.controllers.random import RandomController  # noqa: E402
from nas.instructions import Launch, Record  # noqa: E402
from nas.limits import Budget  # noqa: E402
from nas.machine import Search  # noqa: E402
from nas.originals import Originals  # noqa: E402
from nas.records import (  # noqa: E402
    Answered,
    CandidateFailure,
    DriverTookOver,
    Exhausted,
    Happening,
    Proposal,
    Reward,
    RunStarted,
    SlotsChanged,
    Succeeded,
)
from nas.reward import RewardSettings  # noqa: E402
from nas.space import Space  # noqa: E402
from nas.store import snapshot  # noqa: E402

SLOTS = 100


@dataclass
class Fed:
    """A controller that learns of proposals which another one made."""

    controller: Controller
    proposer: Controller

    def ask(self, number: int) -> Proposal | Exhausted:
        return self.proposer.ask(number)

    def began(self, proposal: Proposal) -> None:
        self.controller.began(proposal)

    def tell(self, proposal: Proposal, result: Reward | CandidateFailure) -> None:
        self.controller.tell(proposal, result)

    def save(self) -> bytes:
        return self.controller.save()

    def load(self, state: bytes) -> None:
        self.controller.load(state)


def search_of(name: str, *, fed: bool = False) -> Search:
    """A search that has not begun."""
    space = Space.read(SPACE)
    controller = make(parse(name), space, 1)
    return Search(
        Fed(controller, RandomController(space, 2)) if fed else controller,
        partial(reward.compute, RewardSettings(maximize="accuracy")),
        Budget(),
        Originals(space.count().exact),
    )


def write_run(folder: Path, name: str, trials: int) -> None:
    """Make the run, print what is to be known of it, and be killed.

    That is: seconds that each snapshot kept the driver (stalls), the live search's next proposal and digest, and the
    settled trials that the last snapshot does not have (behind).
    """
    quiet: Any = lambda line: None  # noqa: E731
    journal, search = snapshots.claim(folder, partial(search_of, name, fed=True), quiet, print, salvage=False)
    keeper = snapshots.Keeper(journal, search, print)
    started = RunStarted("id", "resume", {}, SPACE, {}, 1)
    journal.append([(started, time.time())])
    search.apply(started, time.time())
    happenings: list[Happening] = [SlotsChanged(SLOTS)]
    stalls = []
    while search.history.tally["completed"] < trials:
        instructions = [one for happening in happenings for one in search.handle(happening, time.time())]
        journal.append((one.event, one.time) for one in instructions if isinstance(one, Record))
        before, began = keeper.made, time.perf_counter()
        keeper.look()
        if keeper.made != before:
            stalls.append(time.perf_counter() - began)
        happenings = [answer(search, one) for one in instructions if isinstance(one, Launch)]
    keeper.wait()
    behind = search.history.tally.total() - keeper.settled
    assert isinstance(search.controller, Fed)
    proposal = search.controller.controller.ask(len(search.history.trials))
    assert isinstance(proposal, Proposal)
    made = {"stalls": stalls, "proposal": proposal.hash, "digest": closed(search), "behind": behind}
    print(json.dumps(made), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def end_run(folder: Path, name: str) -> None:
    """Go on with the run, and end at once as a driver does that was not killed."""
    journal, search = snapshots.claim(folder, partial(search_of, name), lambda history: None, print, salvage=False)
    snapshots.Keeper(journal, search, print).close()
    journal.close()


def closed(search: Search) -> str:
    """The digest of the state after the last driver left: attempts that ran are abandoned."""
    search.apply(DriverTookOver("benchmark", 0, 0.0, ""), 0.0)
    return search.digest()


def answer(search: Search, launch: Launch) -> Answered:
    """What the synthetic objective says of a trial."""
    value = worth(search.history.trials[launch.trial].proposal.decisions).value
    metrics = {"accuracy": value, "loss": 1.0 / (1.0 + value), "parameters": 36_000.0, "flops": 1e6}
    return Answered(launch.trial, launch.attempt, Succeeded(metrics, 60.0, {"dtype": "float32"}, place="host/1"))


def time_nas(folder: Path, name: str) -> Mapping[str, Any]:
    """In a fresh process: seconds, and the first proposal."""
    if name == "rl":
        import nas.controllers.rl  # noqa: F401  (with torch, whose import is not timed)
    said: list[str] = []
    began, worked = time.perf_counter(), time.process_time()
    journal, search = snapshots.claim(
        folder, partial(search_of, name), lambda history: None, said.append, salvage=False
    )
    opened = time.perf_counter()
    proposal = search.controller.ask(len(search.history.trials))
    asked, worked = time.perf_counter(), time.process_time() - worked
    assert isinstance(proposal, Proposal)
    journal.close()
    return {
        "seconds": asked - began,
        "worked": worked,
        "ask": asked - opened,
        "proposal": proposal.hash,
        "digest": search.digest(),
    }


def write_study(path: Path, trials: int) -> None:
    """An Optuna study of as many trials: Optuna writes the first, and its line is the form of the others.

    100,000 times ``add_trial`` would take a quarter of an hour.
    """
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage
    from optuna.trial import TrialState, create_trial

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path.unlink(missing_ok=True)
    storage = JournalStorage(JournalFileBackend(str(path)))
    study = optuna.create_study(storage=storage, study_name="resume", direction="maximize")
    names = [f"c{i}" for i in range(CHOICES)]
    kinds = {name: optuna.distributions.CategoricalDistribution(range(OPTIONS)) for name in names}
    params = dict.fromkeys(names, 0)
    study.add_trial(create_trial(state=TrialState.COMPLETE, value=1.0, params=params, distributions=kinds))
    form = json.loads(path.read_bytes().splitlines()[-1])
    recorded = RandomController(Space.read(SPACE), 2)
    with path.open("a") as file:
        for number in range(1, trials):
            proposal = recorded.ask(number)
            assert isinstance(proposal, Proposal)
            values = dict(zip(names, proposal.decisions.values(), strict=True))
            line = {**form, "params": values, "value": worth(proposal.decisions).value}
            file.write(json.dumps(line, separators=(",", ":")) + "\n")


def time_optuna(path: Path, sampler: str) -> Mapping[str, Any]:
    """In a fresh process: seconds."""
    import optuna
    from optuna.storages.journal import JournalFileBackend, JournalStorage

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = {
        "tpe": lambda: optuna.samplers.TPESampler(multivariate=True, group=True, constant_liar=True, seed=1),
        "tpe-independent": lambda: optuna.samplers.TPESampler(seed=1),
        "random": lambda: optuna.samplers.RandomSampler(seed=1),
    }[sampler]
    began, worked = time.perf_counter(), time.process_time()
    study = optuna.load_study(
        study_name="resume", storage=JournalStorage(JournalFileBackend(str(path))), sampler=made()
    )
    opened = time.perf_counter()
    trial = study.ask()
    for i in range(CHOICES):
        trial.suggest_categorical(f"c{i}", range(OPTIONS))
    asked, worked = time.perf_counter(), time.process_time() - worked
    return {"seconds": asked - began, "worked": worked, "ask": asked - opened}


def fresh(*words: str) -> Mapping[str, Any]:
    """What a process of this file prints as its last line."""
    done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True)
    if done.returncode not in (0, -signal.SIGKILL):
        raise SystemExit(done.returncode)
    found: Mapping[str, Any] = json.loads(done.stdout.splitlines()[-1]) if done.stdout else {}
    return found


def copied(run: Path, to: Path, *, kept: bool) -> Path:
    """The journal as it is on disk, with its snapshot or without."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(run, to)
    if not kept:
        (to / "journal" / snapshot.NAME).unlink()
    return to


def measure(name: str, trials: int, repeats: int, replays: int, folder: Path) -> None:
    """Print a row for the snapshot, one for that of before a kill, and one for the replay."""
    run = folder / f"{name}-{trials}".replace(":", "-")
    killed = run.with_name(f"{run.name}-killed")
    for old in (run, killed):
        shutil.rmtree(old, ignore_errors=True)
    made = fresh("--make", name, "--folder", str(run), "--sizes", str(trials))
    shutil.copytree(run, killed)
    fresh("--end", name, "--folder", str(run))
    sizes = [
        sum(p.stat().st_size for p in (run / "journal").glob(pattern)) / 1e6 for pattern in ("*.jsonl", "snapshot")
    ]
    proposals = {(made["proposal"], made["digest"])}
    for how, source, kept, n in (
        (f"snapshot ({sizes[1]:.1f} MB)", run, True, repeats),
        (f"snapshot before a kill -9, and {made['behind']:,} trials", killed, True, repeats),
        (f"replay ({sizes[0]:.0f} MB of journal)", run, False, replays),
    ):
        done = []
        for _ in range(n):
            done.append(fresh("--time", name, "--folder", str(copied(source, folder / "copy", kept=kept))))
            proposals.add((done[-1]["proposal"], done[-1]["digest"]))
        if not done:
            continue
        print(row(f"nas {name}", trials, how, done), flush=True)
    assert len(proposals) == 1, "state or proposal differ, live, after the snapshot, or after a replay"
    stalls = made["stalls"]
    longest, median = 1e3 * max(stalls, default=0.0), 1e3 * statistics.median(stalls or [0.0])
    print(
        f"<!-- {name}, {trials:,}: {len(stalls)} snapshots while it ran kept the driver {longest:.0f} ms at most, "
        f"{median:.0f} in the median -->",
        flush=True,
    )
    shutil.rmtree(run)
    shutil.rmtree(killed)


def row(who: str, trials: int, how: str, done: list[Mapping[str, Any]]) -> str:
    """A row of the table."""
    seconds, worked, asks = ([one[key] for one in done] for key in ("seconds", "worked", "ask"))
    return (
        f"| {who} | {trials:,} | {how} | {statistics.median(seconds):.3f} | {max(seconds):.3f} "
        f"| {statistics.median(worked):.3f} | {statistics.median(asks):.4f} | {len(done)} |"
    )


def main() -> None:
    """Print the table as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="1,000 and 10,000 trials")
    parser.add_argument("--sizes", default="1000,10000,100000")
    parser.add_argument("--controllers", default="random,evolution,rl")
    parser.add_argument("--peers", default="tpe", help="samplers of Optuna: tpe, tpe-independent, random")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--replays", type=int, default=1, help="how often without the snapshot; rl takes minutes")
    parser.add_argument("--folder", type=Path, help="where runs are made; a temporary folder otherwise")
    for hidden in ("--time", "--make", "--end"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.make:
        write_run(options.folder, options.make, int(options.sizes))
    if options.end:
        end_run(options.folder, options.end)
        return
    if options.time:
        timed = time_optuna if options.time.startswith("peer:") else time_nas
        print(json.dumps(timed(options.folder, options.time.removeprefix("peer:"))))
        return
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "optuna", "numpy", "orjson"))
    print(f"{processor()}, {os.cpu_count()} cores, one thread used; Python {platform.python_version()}, {packages}\n")
    print("| who | trials | from | to the first proposal, s (median) | longest | processor s | of it the ask | n |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = options.folder or Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        for trials in [1_000, 10_000] if options.quick else map(int, options.sizes.split(",")):
            for controller in filter(None, options.controllers.split(",")):
                measure(controller, trials, options.repeats, options.replays, folder)
            peers = list(filter(None, options.peers.split(",")))
            study = folder / f"study-{trials}"
            if peers:
                write_study(study, trials)
            for peer in peers:
                done = [fresh("--time", f"peer:{peer}", "--folder", str(study)) for _ in range(min(3, options.repeats))]
                size = study.stat().st_size / 1e6
                print(row(f"optuna {peer}", trials, f"JournalFileBackend ({size:.0f} MB)", done), flush=True)


if __name__ == "__main__":
    main()
