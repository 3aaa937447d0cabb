#!/bin/bash
#BSUB -J "nas-0123456789ab-controller"
#BSUB -o /dev/null
#BSUB -r
#BSUB -n 1
#BSUB -R "span[hosts=1]"
#BSUB -M 4096MB
#BSUB -R "rusage[mem=4096MB]"
#BSUB -W 4:00
#BSUB -q gpu
#BSUB -P lab-1
#BSUB -app training
#BSUB -R select[model==h100]
exec >>/runs/fashion/logs/controller-"$LSB_JOBID".log 2>&1
STARTED=$(date +%s)
trap '' USR1
command -v module >/dev/null || . /etc/profile
module load cuda/12.4
export NAS_DATA='/data/sets of mine'
export WHO='it'"'"'s me'
cd -- /home/me
exec '/home/me/my venv/bin/python' -P -m nas.submit.controller /runs/fashion --walltime 14400 --started "$STARTED"
