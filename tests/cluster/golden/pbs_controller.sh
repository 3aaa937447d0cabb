#!/bin/bash
#PBS -N nas-0123456789ab-controller
#PBS -S /bin/bash
#PBS -j oe
#PBS -r y
#PBS -l select=1:ncpus=1:mem=4096mb
#PBS -l walltime=04:00:00
#PBS -q gpu
#PBS -A lab-1
#PBS -l place=excl
#PBS -W group_list=lab
exec >>/runs/fashion/logs/controller-"${PBS_JOBID:-$$}".log 2>&1
STARTED=$(date +%s)
trap '' USR1
export PATH=/opt/batch/bin:/usr/bin
command -v module >/dev/null || . /etc/profile
module load cuda/12.4
export NAS_DATA='/data/sets of mine'
export WHO='it'"'"'s me'
cd -- /home/me
exec '/home/me/my venv/bin/python' -P -m nas.submit.controller /runs/fashion --walltime 14400 --started "$STARTED"
