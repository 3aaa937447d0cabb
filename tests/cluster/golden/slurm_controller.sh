#!/bin/bash
#SBATCH --job-name=fashion
#SBATCH --comment=nas-0123456789ab-controller
#SBATCH --output=/runs/fashion/logs/controller-%j.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=1
#SBATCH --mem=4096M
#SBATCH --time=04:00:00
#SBATCH --partition=gpu
#SBATCH --account=lab-1
#SBATCH --qos=high
#SBATCH --constraint=a100|h100
STARTED=$(date +%s)
trap '' USR1
command -v module >/dev/null || . /etc/profile
module load cuda/12.4
export NAS_DATA='/data/sets of mine'
export WHO='it'"'"'s me'
cd -- /home/me
exec '/home/me/my venv/bin/python' -P -m nas.submit.controller /runs/fashion --walltime 14400 --started "$STARTED"
