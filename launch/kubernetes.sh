#!/usr/bin/env bash
# Trains with starjax in Kubernetes, by way of JobSet. `launch/kubernetes.sh --help` says how.
set -euo pipefail

# gpu or tpu: which of the manifests beside this script.
KIND=${KIND:-gpu}
# The run's name in the cluster, and the namespace; empty: kubectl's own.
NAME=${NAME:-starjax}
NAMESPACE=${NAMESPACE:-}
# Built of launch/Dockerfile, with ACCELERATOR=cuda or tpu.
IMAGE=${IMAGE:-}
# A persistent volume claim that all pods may write to, which becomes OUTPUT_BASE.
CLAIM=${CLAIM:-starjax}
# Nodes, and GPUs or TPU chips of each.
HOSTS=${HOSTS:-1}
CHIPS_PER_HOST=${CHIPS_PER_HOST:-1}
# Which slice, by the labels that GKE gives its nodes.
TPU_ACCELERATOR=${TPU_ACCELERATOR:-tpu-v5-lite-podslice}
TPU_TOPOLOGY=${TPU_TOPOLOGY:-1x1}
# How often a run that was asked to go, or has lost one of its processes, is taken up again.
MAX_RESTARTS=${MAX_RESTARTS:-20}
# Between two looks at whether the first pod has started.
POLL_SECONDS=${POLL_SECONDS:-5}
variables=(KIND NAME NAMESPACE IMAGE CLAIM HOSTS CHIPS_PER_HOST TPU_ACCELERATOR TPU_TOPOLOGY MAX_RESTARTS POLL_SECONDS)

usage() {
    cat <<'END'
launch/kubernetes.sh [--dry-run] COMMAND

  run -- ARGUMENTS…      starts `python -m starjax.main ARGUMENTS…`, a process on each of HOSTS nodes
  logs                   follows the first of them, which says all, until it ends or starts anew
  resume -- ARGUMENTS…   the same run again, after it failed, or was taken up MAX_RESTARTS times
  delete                 asks the run to save and go, and removes it; what is on the claim stays

  export IMAGE=registry.example/starjax:cuda CLAIM=starjax HOSTS=2 CHIPS_PER_HOST=8
  launch/kubernetes.sh run -- --config=deep_sets && launch/kubernetes.sh logs

Asked to go, when a node is taken away or drained, it saves, starts anew and goes on. After an error it ends.
On GKE's TPUs: KIND=tpu TPU_TOPOLOGY=4x4 HOSTS=4 CHIPS_PER_HOST=4.
--dry-run prints the manifest and the commands, and runs none. Variables, as they are now:
END
    printf '  '
    for name in "${variables[@]}"; do printf '%s=%s ' "$name" "${!name}"; done
    echo
}

fail() {
    echo "error: $*" >&2
    exit 1
}

# What would make the manifest another one than it looks is refused.
check() {
    local name
    [[ -n $IMAGE ]] || fail "IMAGE is not set: export IMAGE=… (launch/README.md says how one is built)"
    [[ $HOSTS =~ ^[1-9][0-9]*$ ]] || fail "HOSTS=$HOSTS should be a whole number, 1 or more"
    for name in CHIPS_PER_HOST MAX_RESTARTS; do
        # In YAML 010 would be eight.
        [[ ${!name} =~ ^(0|[1-9][0-9]*)$ ]] || fail "$name=${!name} should be a whole number, without zeros before it"
    done
    for name in IMAGE CLAIM TPU_ACCELERATOR TPU_TOPOLOGY; do
        [[ ${!name} =~ ^[A-Za-z0-9][A-Za-z0-9/:@._-]*$ ]] || fail "$name=${!name} should be a name"
    done
    if [[ $KIND = tpu ]]; then
        [[ $TPU_TOPOLOGY =~ ^[1-9][0-9]*(x[1-9][0-9]*)*$ ]] || fail "TPU_TOPOLOGY=$TPU_TOPOLOGY should be as 4x4, or 2x2x4"
        [[ $((${TPU_TOPOLOGY//x/*})) -eq $((HOSTS * CHIPS_PER_HOST)) ]] ||
            fail "TPU_TOPOLOGY=$TPU_TOPOLOGY has $((${TPU_TOPOLOGY//x/*})) chips, HOSTS=$HOSTS with CHIPS_PER_HOST=$CHIPS_PER_HOST have $((HOSTS * CHIPS_PER_HOST))"
    fi
    [[ $# -gt 0 ]] || fail "name a config, such as: launch/kubernetes.sh run -- --config=set_transformer"
    [[ $* != *[[:cntrl:]]* ]] || fail "an argument has a line break or another control character in it"
}

# The arguments as a list in JSON, which YAML reads too; `$` is doubled, since Kubernetes replaces $(…) in them.
# shellcheck disable=SC2016
listed() {
    local argument list=
    for argument in "$@"; do
        argument=${argument//\\/\\\\}
        argument=${argument//\"/\\\"}
        argument=${argument//\$/\$\$}
        list+="$indent\"$argument\","
    done
    # Each pod of a JobSet has a name that lasts, and is told which of them it is.
    list+="$indent\"--coordinator_address=$NAME-workers-0-0.$NAME:55527\",$indent\"--num_processes=$HOSTS\","
    printf '[%s%s"--process_id=$(JOB_COMPLETION_INDEX)"]' "$list" "$indent"
}

# The manifest with the variables filled in, from its head to its end, so that none is looked for within a value.
# shellcheck disable=SC2016,SC2034
manifest() {
    local text filled='' name ARGUMENTS indent=$'\n                    '
    check "$@"
    ARGUMENTS=$(listed "$@")
    text=$(<"$folder/jobset-$KIND.yaml")
    while [[ $text = *'${'* ]]; do
        filled+=${text%%'${'*}
        text=${text#*'${'}
        name=${text%%'}'*}
        filled+=${!name}
        text=${text#*'}'}
    done
    printf '%s%s\n' "$filled" "$text"
}

# Runs kubectl, or prints how it would be.
cluster() {
    [[ -z $NAMESPACE ]] || set -- "--namespace=$NAMESPACE" "$@"
    if [[ -n $dry_run ]]; then echo "# kubectl $*"; else kubectl "$@"; fi
}

run() {
    local filled
    filled=$(manifest "$@")
    cluster create --filename=- <<<"$filled"
    [[ -z $dry_run ]] || echo "$filled"
}

logs() {
    wait_for_pod
    # From its first line on, to its end. Where the run starts anew the pod is removed, with what it said.
    cluster logs --follow --tail=-1 "$first"
}

# kubectl logs waits neither for the pod nor for its container.
wait_for_pod() {
    local phase
    [[ -z $dry_run ]] || return 0
    while true; do
        # Ends where there is no such run, to which no pod will come.
        cluster get jobset "$NAME" --output=name >/dev/null
        phase=$(cluster get pods "$first" '--output=jsonpath={.items[*].status.phase}')
        case $phase in
            '' | Pending) echo "$NAME: ${phase:-no pod yet}" >&2 ;;
            *) return ;;
        esac
        sleep "$POLL_SECONDS"
    done
}

resume() {
    manifest "$@" >/dev/null
    cluster delete jobset "$NAME" --ignore-not-found --cascade=foreground
    run "$@"
}

delete() {
    cluster delete jobset "$NAME" --cascade=foreground
}

dry_run=
folder=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in
    --help | -h) usage && exit ;;
    --dry-run) dry_run=1 && shift ;;
esac
command=${1:-}
commands="run, logs, resume or delete"
case $command in
    run | logs | resume | delete) shift ;;
    '') fail "name a command: $commands; --help says more" ;;
    *) fail "unknown command $command: $commands" ;;
esac
[[ ${1:-} != -- ]] || shift
[[ $KIND = gpu || $KIND = tpu ]] || fail "KIND=$KIND should be gpu or tpu"
[[ $NAME =~ ^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
    fail "NAME=$NAME should be a small letter, and up to 31 more, digits or -, of which - is not the last"
[[ $command = run || $command = resume || $# -eq 0 ]] || fail "$command takes no arguments: $*"
# The pod of the first process.
first="--selector=jobset.sigs.k8s.io/jobset-name=$NAME,batch.kubernetes.io/job-completion-index=0"
"$command" "$@"
