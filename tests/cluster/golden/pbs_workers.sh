#!/bin/bash
#PBS -N nas-0123456789ab-workers
#PBS -S /bin/bash
#PBS -j oe
#PBS -r y
#PBS -l select=1:ncpus=2:mem=8192mb:ngpus=1
#PBS -J 0-3
#PBS -l walltime=04:00:00
#PBS -q gpu
#PBS -A lab-1
#PBS -l place=excl
#PBS -W group_list=lab
exec >>/runs/fashion/logs/workers-"${PBS_JOBID:-$$}".log 2>&1
STARTED=$(date +%s)
trap '' USR1
command -v module >/dev/null || . /etc/profile
module load cuda/12.4
export MALLOC_TRIM_THRESHOLD_=17179869184
export MALLOC_MMAP_THRESHOLD_=8589934592
export MALLOC_TOP_PAD_=67108864
export OMP_NUM_THREADS=2
export MKL_NUM_THREADS=2
export OPENBLAS_NUM_THREADS=2
export NAS_DATA='/data/sets of mine'
export WHO='it'"'"'s me'
cd -- /home/me
exec '/home/me/my venv/bin/python' -P -m nas.cluster.batch.worker /runs/fashion/cluster --walltime 14400 --started "$STARTED"
