#!/usr/bin/env bash
# Trains with starjax on the workers of a Cloud TPU slice. `launch/tpu_pod.sh --help` says how.
set -euo pipefail

# The slice's name, that of its queued resource too, and where it is.
NAME=${NAME:-starjax}
PROJECT=${PROJECT:-}
ZONE=${ZONE:-}
# What it is: `gcloud compute tpus accelerator-types list` and `… versions list` say what a zone has.
ACCELERATOR_TYPE=${ACCELERATOR_TYPE:-v5litepod-16}
RUNTIME_VERSION=${RUNTIME_VERSION:-v2-alpha-tpuv5-lite}
# 1: of what nobody else uses, cheaper, and taken away when somebody does; 0: kept until it is deleted.
SPOT=${SPOT:-1}
# SERVER:/SHARE, a file server that every worker mounts as OUTPUT_BASE; empty: OUTPUT_BASE is there without.
NFS=${NFS:-}
OUTPUT_BASE=${OUTPUT_BASE:-/mnt/starjax}
# The workers' Python; whose log is followed; seconds between two looks at the queue.
PYTHON_VERSION=${PYTHON_VERSION:-3.12}
WORKER=${WORKER:-0}
POLL_SECONDS=${POLL_SECONDS:-30}
variables=(NAME PROJECT ZONE ACCELERATOR_TYPE RUNTIME_VERSION SPOT NFS OUTPUT_BASE PYTHON_VERSION WORKER POLL_SECONDS)

usage() {
    cat <<'END'
launch/tpu_pod.sh [--dry-run] COMMAND

  create                 asks for the slice, and waits for it
  install                puts starjax, as it is committed here, on all workers
  run -- ARGUMENTS…      starts `python -m starjax.main ARGUMENTS…` on all workers, and leaves it to them
  logs                   follows the run to its end, and ends as it did (0: done, 75: asked to go)
  stop                   asks the run to save and go
  resume -- ARGUMENTS…   the run again, from where it stands, on a new slice if it was taken away
  delete                 gives the slice back; OUTPUT_BASE stays, on its file server

  export PROJECT=mine ZONE=us-west4-a NFS=10.0.0.2:/share
  launch/tpu_pod.sh create && launch/tpu_pod.sh install
  launch/tpu_pod.sh run -- --config=deep_sets && launch/tpu_pod.sh logs

--dry-run prints the commands and runs none. Variables, as they are now:
END
    printf '  '
    for name in "${variables[@]}"; do printf '%s=%s ' "$name" "${!name}"; done
    echo
}

fail() {
    echo "error: $*" >&2
    exit 1
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

tpus() {
    call gcloud compute tpus "$@" "--project=$PROJECT" "--zone=$ZONE"
}

# on WORKER COMMAND…: on one of the workers, or on all.
on() {
    local worker=$1
    shift
    tpus tpu-vm ssh "$NAME" "--worker=$worker" "--command=$*"
}

work() {
    echo "bash starjax/launch/tpu_worker.sh $(quoted "$@")"
}

# What the queue says of the slice; nothing where it is not there.
state() {
    [[ -n $dry_run ]] || tpus queued-resources list "--filter=name~/$NAME\$" '--format=value(state.state)'
}

create() {
    local options=("--node-id=$NAME" "--accelerator-type=$ACCELERATOR_TYPE" "--runtime-version=$RUNTIME_VERSION")
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
                fail "$NAME is ${state:-not in the queue}: gcloud compute tpus queued-resources describe $NAME says why"
                ;;
            *) echo "$NAME: $state" >&2 ;;
        esac
        sleep "$POLL_SECONDS"
    done
}

install() {
    folder=$(mktemp -d)
    trap 'rm -rf "$folder"' EXIT
    git -C "$root" diff --quiet HEAD || echo "warning: what is not committed stays here" >&2
    call git -C "$root" archive --format=tar.gz "--output=$folder/starjax.tar.gz" HEAD
    tpus tpu-vm scp "$folder/starjax.tar.gz" "$NAME:" --worker=all
    on all "rm -rf new && mkdir new && tar -xzf starjax.tar.gz -C new &&" \
        "bash new/launch/tpu_worker.sh install $(quoted "$PYTHON_VERSION" "$NFS" "$OUTPUT_BASE")"
}

run() {
    on all "$(work start "$OUTPUT_BASE" "$@")"
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

dry_run=
root=$(cd "$(dirname "$0")/.." && pwd)
case ${1:-} in
    --help | -h) usage && exit ;;
    --dry-run) dry_run=1 && shift ;;
esac
command=${1:-}
commands="create, install, run, logs, stop, resume or delete"
case $command in
    create | install | run | logs | stop | resume | delete) shift ;;
    '') fail "name a command: $commands; --help says more" ;;
    *) fail "unknown command $command: $commands" ;;
esac
[[ ${1:-} != -- ]] || shift
for name in NAME PROJECT ZONE; do
    [[ -n ${!name} ]] || fail "$name is not set: export $name=…"
done
case $command in
    run | resume) [[ $# -gt 0 ]] || fail "name a config, such as: launch/tpu_pod.sh $command -- --config=set_transformer" ;;
    *) [[ $# -eq 0 ]] || fail "$command takes no arguments: $*" ;;
esac
case $command in
    logs) on "$WORKER" "$(work follow)" ;;
    stop) on all "$(work stop)" ;;
    *) "$command" "$@" ;;
esac
