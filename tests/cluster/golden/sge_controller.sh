#!/bin/bash
#$ -N nas-0123456789ab-controller
#$ -S /bin/bash
#$ -o /dev/null
#$ -j y
#$ -r y
#$ -l mem_free=4096M
#$ -l h_rt=04:00:00
#$ -q gpu
#$ -P lab-1
#$ -l exclusive=true
#$ -hold_jid 12
exec >>/runs/fashion/logs/controller-"$JOB_ID".log 2>&1
STARTED=$(date +%s)
trap '' USR1
export PATH=/opt/batch/bin:/usr/bin
command -v module >/dev/null || . /etc/profile
module load cuda/12.4
export NAS_DATA='/data/sets of mine'
export WHO='it'"'"'s me'
cd -- /home/me
exec '/home/me/my venv/bin/python' -P -m nas.submit.controller /runs/fashion --walltime 14400 --started "$STARTED"
