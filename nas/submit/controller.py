"""The program of the controller job: ``python -m nas.submit.controller RUN [--walltime S --started T]``.

It goes on with the run until its budget is spent. Before its walltime, or warned by SIGUSR1, it begins nothing more,
leaves, and has its job requeued; where that is not done it submits another controller; where the batch system does not
answer, it asks again. SIGTERM is a person's or a preemption: it leaves at once, and the batch system knows whether
there is to be another.

Worker jobs stay over that, and find the next scheduler by its file; at the end of the search they are ended.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import sys
import time
from pathlib import Path

from nas import driver, plan, provenance, store
from nas.cluster.batch import walltime
from nas.cluster.batch.jobs import FINAL
from nas.cluster.batch.run import Batch
from nas.cluster.batch.systems import system
from nas.cluster.settings import BATCH
from nas.driver import Ended, Observer
from nas.errors import Interrupted, NasError, RunHeld
from nas.machine import Search
from nas.plan import Plan
from nas.report import status

STOP_SHARE, STOP_MOST = 0.2, 120.0  # of its walltime, and seconds, before which a controller begins nothing more
LEAVE_SHARE, LEAVE_MOST = 0.1, 60.0  # likewise, before which it leaves
RETRY = 2.0  # seconds between two times that it asks to be begun again, where nobody answers
TRIES = 600.0  # seconds for which it asks at most; its walltime may end it sooner
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
        until = (early[0], early[0] + driver.GRACE) if early else _until(arguments)
        code = _go_on(arguments.folder, until, walltime.end(arguments, share=0.0, most=0.0))
    except NasError as error:
        _say(str(error))
        code = error.exit_code
        if code in FINAL:
            _dismiss(arguments.folder)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # one that comes while Python ends would end it by the signal
    sys.exit(code)


def _dismiss(folder: Path) -> None:
    """Have no worker wait for a search that does not come; what fails here changes nothing about how it ended."""
    try:
        if batch := Batch.of(folder):
            batch.dismiss()
    except (NasError, OSError) as error:
        _say(f"the worker jobs may still be there: {error}")


def _until(arguments: argparse.Namespace) -> tuple[float, float]:
    """When to begin nothing more, and when to leave, in time.monotonic()."""
    stop = walltime.end(arguments, share=STOP_SHARE, most=STOP_MOST)
    return stop, walltime.end(arguments, share=LEAVE_SHARE, most=LEAVE_MOST)


def _go_on(folder: Path, until: tuple[float, float], end: float) -> int:
    """``end``: of the job, in time.monotonic()."""
    recorded = store.opening(folder, provenance.code())
    batch = Batch.prepare(folder)
    if plan.finished(recorded):
        _say(f"{folder} is finished; nothing is left to do")
        _dismiss(folder)
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
    if again and planned.config.cluster.kind in BATCH:
        return _have_it_begun_again(batch, planned, end)
    if code != Interrupted.exit_code:  # by which who started this process sees that it is to be started again
        _dismiss(folder)
    return code


def _have_it_begun_again(batch: Batch, planned: Plan, end: float) -> int:
    """The exit code that this asks for. A batch system that does not answer ends a job, and no run.

    Raises:
        RunHeld: the job has begun again already, and its id is another process's by now.
    """
    end, complaint = min(end, time.monotonic() + TRIES), ""
    while True:
        try:
            store.require_last(batch.folder / "journal")
            return _begin_again(batch, planned)
        except RunHeld:
            raise
        except (NasError, OSError) as error:
            if str(error) != complaint:
                complaint = str(error)
                _say(f"not begun again yet: {error}")
        if time.monotonic() + RETRY >= end:
            by = shlex.join(["nas", "resume", str(batch.folder), "--to", planned.config.cluster.kind])
            _say(f"nobody goes on; that does: {by}")
            return Interrupted.exit_code
        time.sleep(RETRY)


def _begin_again(batch: Batch, planned: Plan) -> int:
    """Have the job requeued, which ends this process; else submit another one."""
    cluster = planned.config.cluster
    mine = system(cluster.kind)
    own = mine.own_job()
    if own and (code := mine.begin_again(own)) is not None:
        _say(f"job {own} is requeued")
        return code
    job = batch.submit(batch.job("controller", planned.config.name, cluster))
    _say(f"this job cannot be requeued; job {job} goes on")
    return Interrupted.exit_code


def _how(ended: Ended) -> str:
    if ended.reason == "interrupted":
        why = "time is up for this job" if ended.again else "asked to end, by scancel or a preemption"
        return f"{why}: everything is recorded"
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
