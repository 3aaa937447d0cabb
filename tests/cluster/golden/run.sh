#!/bin/bash
# fashion: the search and 2 workers; or one of them: controller | worker NUMBER
controller() {
exec >>/runs/fashion/logs/controller-"$HOSTNAME-$BASHPID".log 2>&1
STARTED=$(date +%s)
trap '' USR1
cd -- /home/me
exec '/home/me/my venv/bin/python' -P -m nas.submit.controller /runs/fashion --started "$STARTED"
}
worker() {
NUMBER=$1
export CUDA_VISIBLE_DEVICES=$(seq -s, $((NUMBER * 2)) $((NUMBER * 2 + 1)))
exec >>/runs/fashion/logs/workers-"$HOSTNAME-$BASHPID".log 2>&1
STARTED=$(date +%s)
trap '' USR1
export MALLOC_TRIM_THRESHOLD_=17179869184
export MALLOC_MMAP_THRESHOLD_=8589934592
export MALLOC_TOP_PAD_=67108864
export OMP_NUM_THREADS=1
export MKL_NUM_THREADS=1
export OPENBLAS_NUM_THREADS=1
cd -- /home/me
exec '/home/me/my venv/bin/python' -P -m nas.cluster.batch.worker /runs/fashion/cluster --started "$STARTED"
}
case "${1:-all}" in
controller) controller ;;
worker) worker "${2:-0}" ;;
all)
  trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
  trap 'exit 75' INT TERM HUP
  for NUMBER in 0 1; do worker "$NUMBER" & done
  controller &
  wait $! ;;
esac
