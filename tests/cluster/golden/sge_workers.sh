#!/bin/bash
#$ -N nas-0123456789ab-workers
#$ -S /bin/bash
#$ -o /dev/null
#$ -j y
#$ -r y
#$ -t 1-4
#$ -pe smp 2
#$ -l mem_free=4096M
#$ -l gpu=1
#$ -l h_rt=04:00:00
#$ -q gpu
#$ -P lab-1
#$ -l exclusive=true
#$ -hold_jid 12
exec >>/runs/fashion/logs/workers-"$JOB_ID.$SGE_TASK_ID".log 2>&1
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
