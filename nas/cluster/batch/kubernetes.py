"""A search as manifests for Kubernetes: a Job with the search and Dask's scheduler, and an indexed Job of workers.

An indexed Job and not a Deployment: a worker that has ended well is not wanted again, one that was lost is. They meet
by the run's folder, on a volume that all pods mount where the submitting host has it: scheduler.json has the
controller's address, and the TLS keys stay in the folder, which pods read as the user who submitted. So nothing secret
is in here, no pod is given a token of the API, and no Service is needed. What cannot be mended by another start (exit
codes 2, 3, 74) fails at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from nas.cluster.batch.jobs import FINAL, Job, mebibytes
from nas.errors import InputError

FILE = "manifests.yaml"  # in RUN/cluster
AGAIN = 1000  # how often pods are started again, all together: preemptions are many


def render(controller: Job, workers: Job) -> str:
    """Two documents of YAML.

    Raises:
        InputError: the run's folder is not on the volume.
    """
    indexed = {"completionMode": "Indexed", "completions": workers.count, "parallelism": workers.count}
    final = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": list(FINAL)}}
    documents = [_job(controller, {"podFailurePolicy": {"rules": [final]}}), _job(workers, indexed)]
    return "".join("---\n" + yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=1 << 20) for one in documents)


def _job(job: Job, more: Mapping[str, Any]) -> dict[str, Any]:
    labels = {"app.kubernetes.io/name": "nas", "app.kubernetes.io/instance": job.tag.rpartition("-")[0],
              "app.kubernetes.io/component": job.role}  # fmt: skip
    template = {"metadata": {"labels": labels}, "spec": _pod(job)}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": job.tag, "labels": dict(labels)},
        "spec": {"backoffLimit": AGAIN, **more, "template": template},
    }


def _pod(job: Job) -> dict[str, Any]:
    run = job.logs.parent
    mount = Path(job.settings.mount or run.parent)
    if not run.is_relative_to(mount):
        raise InputError(f"{run} is not below {mount}, where pods find the volume; give another --run DIR")
    limits = {"memory": f"{mebibytes(job.memory)}Mi"} if job.memory is not None else {}
    gpus = {"nvidia.com/gpu": str(job.gpus)} if job.gpus else {}
    container = {
        "name": "nas",
        "image": job.settings.container,
        "command": [_plain(word) for word in job.command],
        "workingDir": str(run),
        "env": [{"name": name, "value": _plain(value)} for name, value in job.environment.items()],
        "resources": {"requests": {"cpu": str(job.cpus), **limits}, "limits": {**limits, **gpus}},
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "runs", "mountPath": str(mount)}],
    }
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {"runAsUser": os.getuid(), "runAsGroup": os.getgid()},
        "containers": [container],
        "volumes": [{"name": "runs", "persistentVolumeClaim": {"claimName": job.settings.claim}}],
    }


def _plain(text: str) -> str:
    """Kubernetes expands $(NAME) in commands and values, and makes one $ of two."""
    return text.replace("$", "$$")


class _Dumper(yaml.SafeDumper):
    """Every text that another reader of YAML might take for something else stands in quotes: 1e3, 0x10, y, .5"""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.Node:
    harmless = re.fullmatch(r"[A-Za-z/][A-Za-z0-9/._-]+", text)
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if harmless else '"')


_Dumper.add_representer(str, _text)
