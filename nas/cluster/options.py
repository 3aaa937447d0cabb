"""What a batch system's options may be: any directive, but those that nas says itself, by a word of its own or as its
pattern needs them. ``cluster.options: [qos=high]`` is ``--qos=high`` to SLURM; ``l=place=excl`` is ``-l place=excl``.
"""

from __future__ import annotations

import re

# Option -> the word of `cluster:` to write instead; "" where there is none. Both of directives and of the commands.
_SLURM = {
    "job-name": "name", "J": "name", "partition": "partition", "p": "partition", "account": "account", "A": "account",
    "time": "time", "t": "time", "mem": "memory", "mem-per-cpu": "memory", "cpus-per-task": "cpus_per_worker",
    "c": "cpus_per_worker", "nodes": "nodes", "N": "nodes", "gpus": "gpus_per_worker", "G": "gpus_per_worker",
    "gpus-per-task": "gpus_per_worker", "gpus-per-node": "gpus_per_worker", "ntasks": "workers", "n": "workers",
    "ntasks-per-node": "workers", "array": "workers", "a": "workers", "comment": "", "output": "", "o": "",
    "error": "", "e": "", "open-mode": "", "requeue": "", "no-requeue": "", "signal": "", "chdir": "", "D": "",
    "wrap": "", "parsable": "", "test-only": "", "wait": "", "W": "", "export-file": "", "help": "", "h": "",
    "version": "", "V": "", "quiet": "", "Q": "",
    "clusters": "", "M": "",
}  # fmt: skip
_PBS = {
    "N": "name", "q": "partition", "A": "account", "J": "workers", "t": "workers", "l=select": "cpus_per_worker",
    "l=nodes": "cpus_per_worker", "l=ncpus": "cpus_per_worker", "l=ngpus": "gpus_per_worker", "l=mem": "memory",
    "l=walltime": "time", "v": "environment", "V": "environment", "S": "", "j": "", "o": "", "e": "", "k": "", "r": "",
    "C": "", "I": "", "X": "", "f": "", "z": "", "W=block": "", "h": "", "version": "",
}  # fmt: skip
_LSF = {
    "J": "name", "q": "partition", "P": "account", "W": "time", "M": "memory", "n": "cpus_per_worker",
    "gpu": "gpus_per_worker", "env": "environment", "cwd": "", "o": "", "oo": "", "e": "", "eo": "", "r": "", "rn": "",
    "K": "", "I": "", "Ip": "", "Is": "", "L": "", "w": "", "h": "", "V": "", "json": "", "jsdl": "", "pack": "",
}  # fmt: skip
_SGE = {
    "N": "name", "q": "partition", "P": "account", "t": "workers", "pe": "parallel_environment", "l=h_rt": "time",
    "l=mem_free": "memory", "l=gpu": "gpus_per_worker", "v": "environment", "V": "environment", "o": "", "e": "",
    "j": "", "S": "", "r": "", "cwd": "", "wd": "", "terse": "", "sync": "", "b": "", "C": "", "h": "", "help": "",
    "verify": "", "@": "",
}  # fmt: skip
OWN = {"slurm": _SLURM, "pbs": _PBS, "lsf": _LSF, "sge": _SGE}


def read(value: str) -> str:
    """``qos=high`` of ``qos=high`` or ``--qos=high``, with nothing in it that needs quotes; or ValueError."""
    found = re.fullmatch(r"(?:--?)?([A-Za-z][A-Za-z0-9_-]*(?:=[A-Za-z0-9_./:=,@%+*()\[\]|&!~^-]+)?)", value)
    if not found:
        raise ValueError(
            f"{value[:80]!r} is no option of a scheduler; write NAME or NAME=VALUE, e.g. --qos=high, with no blanks, "
            "quotes, #, ; or $ in it"
        )
    return found[1]


def check(kind: str, option: str) -> None:
    """Raises ValueError for one that nas says itself. ``option``: as ``read`` returns it."""
    name, _, said = option.partition("=")
    resources = [f"{name}={part.partition('=')[0]}" for part in re.split("[,:]", said)]  # -l takes several
    own = OWN.get(kind, {})
    if kind == "slurm" and len(name) > 1 and name not in (*own, "export"):
        name = next((whole for whole in own if whole.startswith(name)), name)  # sbatch knows a name by its beginning
    if kind == "slurm" and name in ("clusters", "M"):
        raise ValueError(
            f"{words(kind, name)} sends jobs to another cluster, which nas status and cancel do not ask; leave it out, "
            "and submit on a host of that cluster"
        )
    for key in (name, *resources):
        if key in own:
            word = own[key]
            instead = f"; write {word if word == 'name' else f'cluster.{word}'}" if word else ""
            raise ValueError(f"{words(kind, key)} is said by nas itself{instead}")


def words(kind: str, option: str) -> str:
    """As it stands in a directive.

    >>> words("slurm", "qos=high"), words("slurm", "C=a100"), words("pbs", "l=place=excl")
    ('--qos=high', '-C a100', '-l place=excl')
    """
    name, equals, said = option.partition("=")
    if kind == "slurm" and len(name) > 1:
        return f"--{name}{equals}{said}"
    return f"-{name} {said}" if equals else f"-{name}"
