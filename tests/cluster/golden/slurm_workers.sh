#!/bin/bash
#SBATCH --job-name=fashion-workers
#SBATCH --comment=nas-0123456789ab-workers
#SBATCH --output=/runs/fashion/logs/workers-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --array=0-3
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=2
#SBATCH --gres=gpu:1
#SBATCH --mem=8192M
#SBATCH --time=04:00:00
#SBATCH --partition=gpu
#SBATCH --account=lab-1
#SBATCH --qos=high
#SBATCH --constraint=a100|h100
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
