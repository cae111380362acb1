#!/usr/bin/env bash
# Trains with starjax on the workers of a Cloud TPU slice. See `launch/tpu_pod.sh --help`.
set -euo pipefail

# The name of the slice and of its queued resource, and where it is.
NAME=${NAME:-starjax}
PROJECT=${PROJECT:-}
ZONE=${ZONE:-}
# `gcloud compute tpus accelerator-types list` and `… tpu-vm versions list` list what a zone offers.
ACCELERATOR_TYPE=${ACCELERATOR_TYPE:-v5litepod-16}
RUNTIME_VERSION=${RUNTIME_VERSION:-v2-alpha-tpuv5-lite}
# 1: a spot slice, cheaper, and preempted when somebody else needs it; 0: on demand, kept until it is deleted.
SPOT=${SPOT:-1}
# SERVER:/SHARE, an NFS share that all workers mount at OUTPUT_BASE; if empty, OUTPUT_BASE must exist.
NFS=${NFS:-}
OUTPUT_BASE=${OUTPUT_BASE:-/mnt/starjax}
# The Python of the workers; the worker whose log is followed; the seconds between two queries of the queue.
PYTHON_VERSION=${PYTHON_VERSION:-3.12}
WORKER=${WORKER:-0}
POLL_SECONDS=${POLL_SECONDS:-30}
variables=(
    NAME PROJECT ZONE ACCELERATOR_TYPE RUNTIME_VERSION SPOT NFS OUTPUT_BASE PYTHON_VERSION WORKER POLL_SECONDS
)
commands=(create install run logs stop resume delete)

usage() {
    cat <<'END'
launch/tpu_pod.sh [--dry-run] COMMAND

  create                 requests the slice and waits until it is ready
  install                installs the committed state of this clone on all workers
  run -- ARGUMENTS…      starts `python -m starjax.main ARGUMENTS…` on all workers and returns
  logs                   follows the run to its end and returns its status (0: done, 75: preempted)
  stop                   asks the run to save and stop
  resume -- ARGUMENTS…   resumes the run, on a new slice if this one was preempted
  delete                 returns the slice; OUTPUT_BASE stays on its file server

  export PROJECT=mine ZONE=us-west4-a NFS=10.0.0.2:/share
  launch/tpu_pod.sh create && launch/tpu_pod.sh install
  launch/tpu_pod.sh run -- --config=deep_sets && launch/tpu_pod.sh logs

--dry-run prints the commands without running them. The variables and their values:
END
}

root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=launch/common.sh
. "$root/launch/common.sh"

tpus() {
    call gcloud compute tpus "$@" "--project=$PROJECT" "--zone=$ZONE"
}

# on WORKER COMMAND…: on one worker, or on all of them.
on() {
    local worker=$1
    shift
    tpus tpu-vm ssh "$NAME" "--worker=$worker" "--command=$*"
}

worker_command() {
    echo "bash starjax/launch/tpu_worker.sh $(quoted "$@")"
}

# Prints the state of the queued resource, or nothing if there is none.
state() {
    [[ -n $dry_run ]] || tpus queued-resources list "--filter=name~/$NAME\$" '--format=value(state.state)'
}

create() {
    local options
    options=("--node-id=$NAME" "--accelerator-type=$ACCELERATOR_TYPE" "--runtime-version=$RUNTIME_VERSION")
    [[ $SPOT = 0 ]] || options+=(--spot)
    tpus queued-resources create "$NAME" "${options[@]}"
    wait_for_slice
}

wait_for_slice() {
    local state
    [[ -z $dry_run ]] || return 0
    while true; do
        state=$(state)
        case $state in
            ACTIVE) return ;;
            FAILED | SUSPENDING | SUSPENDED | DELETING | '')
                fail "$NAME is ${state:-not in the queue}." \
                    "To see why: gcloud compute tpus queued-resources describe $NAME"
                ;;
            *) echo "$NAME: $state" >&2 ;;
        esac
        sleep "$POLL_SECONDS"
    done
}

install() {
    local folder
    folder=$(mktemp -d)
    # Expanded now, since the variable is gone when the script exits.
    # shellcheck disable=SC2064
    trap "rm -rf $(quoted "$folder")" EXIT
    git -C "$root" diff --quiet HEAD || echo "warning: uncommitted changes are not installed" >&2
    call git -C "$root" archive --format=tar.gz "--output=$folder/starjax.tar.gz" HEAD
    tpus tpu-vm scp "$folder/starjax.tar.gz" "$NAME:" --worker=all
    on all "rm -rf new && mkdir new && tar -xzf starjax.tar.gz -C new &&" \
        "bash new/launch/tpu_worker.sh install $(quoted "$PYTHON_VERSION" "$NFS" "$OUTPUT_BASE")"
}

run() {
    on all "$(worker_command start "$OUTPUT_BASE" "$@")"
}

logs() {
    on "$WORKER" "$(worker_command follow)"
}

stop() {
    on all "$(worker_command stop)"
}

resume() {
    local state
    state=$(state)
    case $state in
        ACTIVE) ;;
        '') create ;;
        FAILED | SUSPENDING | SUSPENDED) delete && create ;;
        *) wait_for_slice ;;
    esac
    install
    run "$@"
}

delete() {
    tpus queued-resources delete "$NAME" --force --quiet
}

! take_option "${1:-}" || shift
command=${1:-}
check_command "$command" "${commands[@]}"
shift
[[ ${1:-} != -- ]] || shift
for name in NAME PROJECT ZONE; do
    [[ -n ${!name} ]] || fail "$name is not set: export $name=…"
done
case $command in
    run | resume) check_arguments "launch/tpu_pod.sh $command --" "$@" ;;
    *) [[ $# -eq 0 ]] || fail "$command takes no arguments: $*" ;;
esac
"$command" "$@"
