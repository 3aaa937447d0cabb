"""A search as a plain shell file: its controller and its workers on this host, or each where a person starts it.

bash RUN/cluster/run.sh                 all of it; ends with the search, and with Ctrl-C at once
bash RUN/cluster/run.sh controller      the search and Dask's scheduler alone
bash RUN/cluster/run.sh worker 3        worker 3 alone, on any host that sees the run's folder
"""

from __future__ import annotations

from nas.cluster.batch import script
from nas.cluster.batch.jobs import Job

FILE = "run.sh"  # in RUN/cluster
LOG = '"$HOSTNAME-$BASHPID"'


def render(controller: Job, workers: Job) -> str:
    """The whole file. Each part, in a shell of its own, becomes its program."""
    gpus = []
    if workers.gpus:
        first = f"$((NUMBER * {workers.gpus}))"
        last = f"$((NUMBER * {workers.gpus} + {workers.gpus - 1}))"
        gpus = [f"export CUDA_VISIBLE_DEVICES=$(seq -s, {first} {last})"]
    lines = [
        "#!/bin/bash",
        f"# {controller.name}: the search and {workers.count} workers; or one of them: controller | worker NUMBER",
        "controller() {", *script.body(controller, log=LOG), "}",
        "worker() {", "NUMBER=$1", *gpus, *script.body(workers, log=LOG), "}",
        'case "${1:-all}" in',
        "controller) controller ;;",
        'worker) worker "${2:-0}" ;;',
        "all)",
        "  trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT",
        "  trap 'exit 75' INT TERM HUP",
        f"  for NUMBER in {' '.join(map(str, range(workers.count)))}; do worker \"$NUMBER\" & done",
        "  controller &",
        "  wait $! ;;",
        "esac",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"
