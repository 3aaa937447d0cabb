"""A search as batch jobs: a controller job (Dask's scheduler and the search) and an array of worker jobs.

jobs.py       what a job is made of, from a run and its settings
walltime.py   how long a job has, as its script says it and its program reads it
script.py     the part of a job's script that a shell reads
system.py     what is asked of a batch system, whichever it is
systems.py    which there are
slurm.py      SLURM's directives around the script, and SLURM's commands
pbs.py        PBS's
lsf.py        LSF's
sge.py        Grid Engine's
shell.py      controller and workers as a plain shell file
kubernetes.py or as manifests
commands.py   how a command of a batch system is run
worker.py     the program of a worker job
workers.py    keeps as many worker jobs as are wanted, while a search runs
run.py        one run's jobs: submitted, listed, ended
record.py     RUN/cluster/jobs.jsonl: what was submitted
"""
