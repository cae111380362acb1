#!/usr/bin/env bash
# Trains with starjax under SLURM: submits itself as the batch script. See `launch/slurm.sh --help`.
#
# Options that every job needs; the others are set by the variables below.
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300
#SBATCH --output=%x-%j.log
set -euo pipefail

# Name and resources of the job, in SLURM's terms; if empty, the site's defaults.
NAME=${NAME:-starjax}
PARTITION=${PARTITION:-}
ACCOUNT=${ACCOUNT:-}
TIME=${TIME:-}
MEMORY=${MEMORY:-}
NODES=${NODES:-1}
# GPUs per node; with 0, the CPU cores compute. PER=node starts one process per node, PER=gpu one per GPU.
GPUS_PER_NODE=${GPUS_PER_NODE:-0}
PER=${PER:-node}
CPUS_PER_TASK=${CPUS_PER_TASK:-8}
# The Python of the environment that has starjax, on a file system that all nodes share.
PYTHON=${PYTHON:-python3}
# The number of jobs that share the runs of a grid (starjax grid); if empty, one run (starjax train).
ARRAY=${ARRAY:-}
# How often a run that was preempted, or that lost one of its processes, is queued again.
MAX_RESTARTS=${MAX_RESTARTS:-20}
variables=(NAME PARTITION ACCOUNT TIME MEMORY NODES GPUS_PER_NODE PER CPUS_PER_TASK PYTHON ARRAY MAX_RESTARTS)

usage() {
    cat <<'END'
launch/slurm.sh [--dry-run] [--] ARGUMENTS…

Submits `python -m starjax.main ARGUMENTS…` as a batch job with one process per node, or one per GPU:

  export OUTPUT_BASE=/shared/output
  NODES=2 GPUS_PER_NODE=4 TIME=12:00:00 launch/slurm.sh --config=deep_sets

Five minutes before its time limit, and when it is preempted, the run saves, is queued again under the same
job number, and resumes. After an error it ends. --dry-run prints the commands without running them.
To share the runs of a grid among eight jobs: ARRAY=8 launch/slurm.sh --config=grid
Set other options of sbatch by its own variables (SBATCH_QOS and so on). The variables and their values:
END
}

# SLURM runs a copy of this script, so that the job has to be told where common.sh is.
folder=$(cd "$(dirname "$0")" && pwd)
[[ ${1:-} != --in-job ]] || folder=$2
# shellcheck source=launch/common.sh
. "$folder/common.sh"

check() {
    check_counts NODES CPUS_PER_TASK ${ARRAY:+ARRAY}
    check_numbers GPUS_PER_NODE MAX_RESTARTS
    [[ $PER = node || $PER = gpu ]] || fail "PER=$PER should be node or gpu"
    [[ $PER = node || $GPUS_PER_NODE -gt 0 ]] ||
        fail "PER=gpu needs GPUS_PER_NODE, the number of GPUs per node"
    check_arguments launch/slurm.sh "$@"
}

# Within an allocation (salloc, a notebook), srun of the new job would read the allocation's variables.
forget_allocation() {
    local name
    [[ -n ${SLURM_JOB_ID:-} ]] || return 0
    for name in "${!SLURM@}"; do
        case $name in
            SLURM_CONF | SLURM_CLUSTERS | SLURM_JWT) ;;
            *) unset "$name" ;;
        esac
    done
}

submit() {
    local tasks=1 options
    [[ $PER = node ]] || tasks=$GPUS_PER_NODE
    options=("--job-name=$NAME" "--nodes=$NODES" "--ntasks-per-node=$tasks" "--cpus-per-task=$CPUS_PER_TASK")
    # Per node and not per task: a process sees all GPUs of its node, and jax takes that of its local number.
    [[ $GPUS_PER_NODE -eq 0 ]] || options+=("--gpus-per-node=$GPUS_PER_NODE")
    [[ -z $PARTITION ]] || options+=("--partition=$PARTITION")
    [[ -z $ACCOUNT ]] || options+=("--account=$ACCOUNT")
    [[ -z $TIME ]] || options+=("--time=$TIME")
    [[ -z $MEMORY ]] || options+=("--mem=$MEMORY")
    [[ -z $ARRAY ]] || options+=("--array=1-$ARRAY" "--output=%x-%A-%a.log")
    forget_allocation
    export "${variables[@]}"
    # --in-job marks the batch script: SLURM_JOB_ID is also set within an allocation.
    call sbatch --export=ALL "${options[@]}" "$folder/slurm.sh" --in-job "$folder" -- "$@"
}

# Prints the job's number for scontrol and scancel. SLURM_JOB_ID of an array's task may mean the whole array.
job() {
    echo "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
}

# Fails while SLURM cancels the job or requeues it by itself.
is_running() {
    [[ $(scontrol show job "$(job)") = *JobState=RUNNING* ]]
}

# Passes SIGTERM to the processes when only the batch script received it (`scancel --batch`). Sent to srun,
# it would kill them.
forward() {
    if is_running; then
        scancel --signal=TERM "$(job)"
    fi
}

step() {
    # The first process that ends must not end the others, which may still be saving, whatever the site's
    # default is.
    local program=starjax.main options=(--kill-on-bad-exit=0 "--cpus-per-task=$CPUS_PER_TASK")
    if [[ $GPUS_PER_NODE -gt 0 ]]; then
        options+=(--gpu-bind=none)
    elif [[ ${SLURM_JOB_NUM_NODES:-$NODES} -gt 1 ]]; then
        # A single process makes every core a device; with several, jax has to be told the number.
        export JAX_NUM_CPU_DEVICES=${JAX_NUM_CPU_DEVICES:-$CPUS_PER_TASK}
    fi
    if [[ -n $ARRAY ]]; then
        program=starjax
        set -- grid "$@" "--part=${SLURM_ARRAY_TASK_ID:-I}/$ARRAY"
    fi
    # Without a shell in between, since SLURM signals only what srun starts.
    call srun "${options[@]}" "$PYTHON" -m "$program" "$@"
}

batch() {
    local process status=0 restarts=${SLURM_RESTART_COUNT:-0}
    trap forward TERM
    step "$@" &
    process=$!
    # A signal interrupts `wait`, but not the step.
    while kill -0 "$process" 2>/dev/null; do wait "$process" || true; done
    wait "$process" || status=$?
    # srun returns the highest status of its processes. 75: preempted, or another process was lost (perhaps by
    # an error of its own, which is why restarts are limited); 134: the same, but jax noticed it first.
    if [[ $status -ne 75 && $status -ne 134 ]] || ! is_running; then
        exit "$status"
    fi
    [[ $restarts -lt $MAX_RESTARTS ]] ||
        fail "not queued again after $restarts restarts (MAX_RESTARTS); see above what ended the run"
    scontrol requeue "$(job)"
    exit "$status"
}

in_job=
if [[ ${1:-} = --in-job ]]; then
    in_job=1
    shift 2
fi
! take_option "${1:-}" || shift
[[ ${1:-} != -- ]] || shift
check "$@"
if [[ -n $dry_run ]]; then
    echo "# on this machine (sbatch also reads these lines of the script):"
    grep '^#SBATCH' "$0"
    submit "$@"
    echo "# in the job, and again after each preemption:"
    step "$@"
elif [[ -n $in_job ]]; then
    batch "$@"
else
    command -v sbatch >/dev/null ||
        fail "sbatch was not found; run this on a machine that submits jobs to SLURM"
    submit "$@"
fi
