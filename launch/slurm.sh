#!/usr/bin/env bash
# Trains with starjax under SLURM: submits itself, and is the batch script then (--in-job). `launch/slurm.sh --help` says how.
#
# What every such job needs; the rest are the variables below.
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=TERM@300
#SBATCH --output=%x-%j.log
set -euo pipefail

# The job's name, and what it asks for, in SLURM's words; empty: as the site has it.
NAME=${NAME:-starjax}
PARTITION=${PARTITION:-}
ACCOUNT=${ACCOUNT:-}
TIME=${TIME:-}
MEMORY=${MEMORY:-}
NODES=${NODES:-1}
# GPUs of each node; 0: its cores compute. PER=node is one process for all GPUs of a node, PER=gpu one for each.
GPUS_PER_NODE=${GPUS_PER_NODE:-0}
PER=${PER:-node}
CPUS_PER_TASK=${CPUS_PER_TASK:-8}
# The Python that has starjax, where all nodes see it.
PYTHON=${PYTHON:-python3}
# How many jobs share the runs of a grid (starjax.grid); empty: one run (starjax.main).
ARRAY=${ARRAY:-}
# How often a run that was asked to go, or has lost one of its processes, is taken up again.
MAX_RESTARTS=${MAX_RESTARTS:-20}
variables=(NAME PARTITION ACCOUNT TIME MEMORY NODES GPUS_PER_NODE PER CPUS_PER_TASK PYTHON ARRAY MAX_RESTARTS)

usage() {
    cat <<'END'
launch/slurm.sh [--dry-run] [--] ARGUMENTS…

Submits `python -m starjax.main ARGUMENTS…` as a batch job of one process a node, or one a GPU:

  export OUTPUT_BASE=/shared/output
  NODES=2 GPUS_PER_NODE=4 TIME=12:00:00 launch/slurm.sh --config=deep_sets

Asked to go, five minutes before its time is over or to make room, it saves, queues itself again under the
same number, and goes on. After an error it ends. --dry-run prints the commands and runs none.
The runs of a grid as eight jobs: ARRAY=8 launch/slurm.sh --config=grid
What else sbatch is to know, its own variables tell it (SBATCH_QOS and so on). Variables, as they are now:
END
    printf '  '
    for name in "${variables[@]}"; do printf '%s=%s ' "$name" "${!name}"; done
    echo
}

fail() {
    echo "error: $*" >&2
    exit 1
}

check() {
    local name
    for name in NODES CPUS_PER_TASK ${ARRAY:+ARRAY}; do
        [[ ${!name} =~ ^[1-9][0-9]*$ ]] || fail "$name=${!name} should be a whole number, 1 or more"
    done
    for name in GPUS_PER_NODE MAX_RESTARTS; do
        [[ ${!name} =~ ^(0|[1-9][0-9]*)$ ]] || fail "$name=${!name} should be a whole number, without zeros before it"
    done
    [[ $PER = node || $PER = gpu ]] || fail "PER=$PER should be node or gpu"
    [[ $PER = node || $GPUS_PER_NODE -gt 0 ]] || fail "PER=gpu needs GPUS_PER_NODE: how many GPUs does a node have?"
    [[ $# -gt 0 ]] || fail "name a config, such as: launch/slurm.sh --config=set_transformer"
}

# Words as a shell takes them back.
quoted() {
    local word words=
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_=:/.,@%+-]+$ ]] || word=\'${word//\'/\'\\\'\'}\'
        words+="${words:+ }$word"
    done
    printf '%s' "$words"
}

# Runs a command, or prints it.
call() {
    if [[ -n $dry_run ]]; then
        quoted "$@" && echo
    else
        "$@"
    fi
}

# Called within an allocation: what SLURM says of it is not to reach the job, whose srun would take it for options.
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
    # Of the node, not of each task: jax takes from all of them the one of its number.
    [[ $GPUS_PER_NODE -eq 0 ]] || options+=("--gpus-per-node=$GPUS_PER_NODE")
    [[ -z $PARTITION ]] || options+=("--partition=$PARTITION")
    [[ -z $ACCOUNT ]] || options+=("--account=$ACCOUNT")
    [[ -z $TIME ]] || options+=("--time=$TIME")
    [[ -z $MEMORY ]] || options+=("--mem=$MEMORY")
    [[ -z $ARRAY ]] || options+=("--array=1-$ARRAY" "--output=%x-%A-%a.log")
    forget_allocation
    export "${variables[@]}"
    # What is an allocation already (salloc, a notebook) has a job's number too: the word tells the batch script that it is one.
    call sbatch --export=ALL "${options[@]}" "$0" --in-job -- "$@"
}

# The job, for scontrol and scancel. Of an array one task has the array's number, which alone means all of them.
job() {
    echo "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}"
}

# Whether SLURM leaves the job alone: it is not cancelling it, nor taking it back into the queue itself.
is_running() {
    [[ $(scontrol show job "$(job)") = *JobState=RUNNING* ]]
}

# What reaches the batch shell alone (`scancel --batch`) is for the processes. By way of srun it would kill them.
forward() {
    if is_running; then
        scancel --signal=TERM "$(job)"
    fi
}

step() {
    # Whatever the site has as its way: the first process that ends is not to end others, which may be saving.
    local program=starjax.main options=(--kill-on-bad-exit=0 "--cpus-per-task=$CPUS_PER_TASK")
    if [[ $GPUS_PER_NODE -gt 0 ]]; then
        options+=(--gpu-bind=none)
    elif [[ ${SLURM_JOB_NUM_NODES:-$NODES} -gt 1 ]]; then
        # A process alone makes a device of every core; of many, jax is to be told.
        export JAX_NUM_CPU_DEVICES=${JAX_NUM_CPU_DEVICES:-$CPUS_PER_TASK}
    fi
    if [[ -n $ARRAY ]]; then
        program=starjax.grid
        set -- "$@" "--shard=${SLURM_ARRAY_TASK_ID:-I}/$ARRAY"
    fi
    # No shell between: SLURM may signal nothing but what srun starts.
    call srun "${options[@]}" "$PYTHON" -m "$program" "$@"
}

batch() {
    local process status=0 restarts=${SLURM_RESTART_COUNT:-0}
    trap forward TERM
    step "$@" &
    process=$!
    # A signal ends `wait`, not the step.
    while kill -0 "$process" 2>/dev/null; do wait "$process" || true; done
    wait "$process" || status=$?
    # The highest of all. 75: asked to go, or another process was lost (by an error of its own, perhaps: hence the limit);
    # 134: the same, where jax noticed first.
    if [[ $status -ne 75 && $status -ne 134 ]] || ! is_running; then
        exit "$status"
    fi
    [[ $restarts -lt $MAX_RESTARTS ]] || fail "taken up again $restarts times (MAX_RESTARTS), and no more: see above what ends it"
    scontrol requeue "$(job)"
    exit "$status"
}

dry_run='' in_job=''
case ${1:-} in
    --help | -h) usage && exit ;;
    --dry-run) dry_run=1 && shift ;;
    --in-job) in_job=1 && shift ;;
esac
[[ ${1:-} != -- ]] || shift
check "$@"
if [[ -n $dry_run ]]; then
    echo "# here, where sbatch takes from the script:" && grep '^#SBATCH' "$0"
    submit "$@"
    echo "# in the job, and again after each time it was asked to go:" && step "$@"
elif [[ -n $in_job ]]; then
    batch "$@"
else
    command -v sbatch >/dev/null || fail "there is no sbatch here: give this on a machine that submits jobs to SLURM"
    submit "$@"
fi
