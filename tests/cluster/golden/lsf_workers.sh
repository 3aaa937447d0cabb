#!/bin/bash
#BSUB -J "nas-0123456789ab-workers[1-4]"
#BSUB -o /dev/null
#BSUB -r
#BSUB -n 2
#BSUB -R "span[hosts=1]"
#BSUB -M 8192MB
#BSUB -R "rusage[mem=8192MB]"
#BSUB -gpu "num=1"
#BSUB -W 4:00
#BSUB -q gpu
#BSUB -P lab-1
#BSUB -app training
#BSUB -R select[model==h100]
exec >>/runs/fashion/logs/workers-"${LSB_JOBID}_$LSB_JOBINDEX".log 2>&1
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
