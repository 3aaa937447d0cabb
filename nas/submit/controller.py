"""The program of the controller job: ``python -m nas.submit.controller RUN [--walltime S --started T]``.

It goes on with the run until its budget is spent. Before its walltime, or warned by SIGUSR1, it begins nothing more,
leaves, and has its job requeued; where that is not done it submits another controller. SIGTERM is a person's or a
preemption: it leaves at once, and the batch system knows whether there is to be another.

Worker jobs stay over that, and find the next scheduler by its file; at the end of the search they are ended.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

from nas import driver, plan, provenance, store
from nas.cluster.batch import walltime
from nas.cluster.batch.jobs import FINAL
from nas.cluster.batch.run import Batch
from nas.cluster.batch.systems import system
from nas.cluster.settings import BATCH
from nas.driver import Ended, Observer
from nas.errors import Interrupted, NasError
from nas.machine import Search
from nas.plan import Plan
from nas.report import status

STOP_SHARE, STOP_MOST = 0.2, 120.0  # of its walltime, and seconds, before which a controller begins nothing more
LEAVE_SHARE, LEAVE_MOST = 0.1, 60.0  # likewise, before which it leaves
SAY = 30.0  # seconds between two lines of progress


def main() -> None:
    """Exit code as of `nas search`; 75 where the job was requeued, or asked to end."""
    parser = argparse.ArgumentParser(prog="python -m nas.submit.controller")
    parser.add_argument("folder", type=Path)
    walltime.add_options(parser)
    arguments = parser.parse_args()
    early: list[float] = []  # a warning may come before there is a search to be told of it
    signal.signal(signal.SIGUSR1, lambda *_: early.append(time.monotonic()))
    try:
        code = _go_on(arguments.folder, (early[0], early[0] + driver.GRACE) if early else _until(arguments))
    except NasError as error:
        _say(str(error))
        code = error.exit_code
        if code in FINAL:
            _dismiss(arguments.folder)
    sys.exit(code)


def _dismiss(folder: Path) -> None:
    """Have no worker wait for a search that does not come; what failed may fail here, too."""
    with suppress(NasError, OSError):
        if batch := Batch.of(folder):
            batch.dismiss()


def _until(arguments: argparse.Namespace) -> tuple[float, float]:
    """When to begin nothing more, and when to leave, in time.monotonic()."""
    stop = walltime.end(arguments, share=STOP_SHARE, most=STOP_MOST)
    return stop, walltime.end(arguments, share=LEAVE_SHARE, most=LEAVE_MOST)


def _go_on(folder: Path, until: tuple[float, float]) -> int:
    recorded = store.opening(folder, provenance.code())
    batch = Batch.prepare(folder)
    if plan.finished(recorded):
        _say(f"{folder} is finished; nothing is left to do")
        batch.dismiss()
        return 0
    planned = plan.recorded_plan(folder, history=recorded, keep_jobs=True)
    try:
        ended = driver.run(
            planned, folder, _observer(planned), opened=lambda _: _say("the run is ours"), note=_say, until=until
        )
        again, code = ended.again, ended.exit_code
        _say(_how(ended))
    except Interrupted as error:
        again, code = error.again, error.exit_code
        _say(str(error))
    if again:
        return _begin_again(batch, planned) or code
    if code != Interrupted.exit_code:
        batch.dismiss()
    return code


def _begin_again(batch: Batch, planned: Plan) -> int | None:
    """Have the job requeued, which ends this process; else submit another one. The exit code that this asks for."""
    store.require_last(batch.folder / "journal")  # else the job of this id is another process by now
    cluster = planned.config.cluster
    if cluster.kind not in BATCH:
        return None  # who started this process sees by its exit code that it is to be started again
    mine = system(cluster.kind)
    own = mine.own_job()
    if own and (code := mine.begin_again(own)) is not None:
        _say(f"job {own} is requeued")
        return code
    job = batch.submit(batch.job("controller", planned.config.name, cluster))
    _say(f"this job cannot be requeued; job {job} goes on")
    return None


def _how(ended: Ended) -> str:
    if ended.reason == "interrupted":
        return "time is up for this job: everything is recorded"
    if ended.reason == "diagnosis" and ended.history.ended:
        return status.diagnosis(ended.history.ended, ended.folder)
    return f"the search ended: {ended.message}"


def _observer(planned: Plan) -> Observer:
    """A line in the log when trials have ended, now and then."""
    said = [0.0, 0.0]  # when, and how many trials had ended then

    def observe(search: Search, now: float) -> None:
        history, known = search.history, search.incumbents
        counted = history.tally["completed"] + history.tally["failed"]
        if counted != said[1] and time.monotonic() - said[0] >= SAY:
            said[:] = [time.monotonic(), counted]
            found = status.of(history, planned.config.reward, now=now, alive=True, best=known.best, worst=known.worst)
            _say(status.line(found))

    return observe


def _say(text: str) -> None:
    print(time.strftime("%Y-%m-%d %H:%M:%S"), "nas:", text, flush=True)


if __name__ == "__main__":
    main()
