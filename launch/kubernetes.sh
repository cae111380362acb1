#!/usr/bin/env bash
# Trains with starjax on Kubernetes with JobSet. See `launch/kubernetes.sh --help`.
set -euo pipefail

# gpu or tpu: which of the manifests beside this script is used.
KIND=${KIND:-gpu}
# The name of the run in the cluster, and its namespace; if empty, kubectl's default.
NAME=${NAME:-starjax}
NAMESPACE=${NAMESPACE:-}
# An image built from launch/Dockerfile with ACCELERATOR=cuda or tpu.
IMAGE=${IMAGE:-}
# A persistent volume claim that all pods can write to; it becomes OUTPUT_BASE.
CLAIM=${CLAIM:-starjax}
# The number of nodes, and of GPUs or TPU chips per node.
HOSTS=${HOSTS:-1}
CHIPS_PER_HOST=${CHIPS_PER_HOST:-1}
# The TPU slice, by the labels that GKE gives its nodes.
TPU_ACCELERATOR=${TPU_ACCELERATOR:-tpu-v5-lite-podslice}
TPU_TOPOLOGY=${TPU_TOPOLOGY:-1x1}
# How often a run that was preempted, or that lost one of its processes, is started again.
MAX_RESTARTS=${MAX_RESTARTS:-20}
# The seconds between two queries whether the first pod has started.
POLL_SECONDS=${POLL_SECONDS:-5}
variables=(
    KIND NAME NAMESPACE IMAGE CLAIM HOSTS CHIPS_PER_HOST
    TPU_ACCELERATOR TPU_TOPOLOGY MAX_RESTARTS POLL_SECONDS
)
commands=(run logs resume delete)

usage() {
    cat <<'END'
launch/kubernetes.sh [--dry-run] COMMAND

  run -- ARGUMENTS…      starts `python -m starjax.main ARGUMENTS…`, one process on each of HOSTS nodes
  logs                   follows the first process, which prints all messages, until it ends or restarts
  resume -- ARGUMENTS…   resumes a run that failed or was restarted MAX_RESTARTS times
  delete                 asks the run to save and stop, and removes it; the files on the claim stay

  export IMAGE=registry.example/starjax:cuda CLAIM=starjax HOSTS=2 CHIPS_PER_HOST=8
  launch/kubernetes.sh run -- --config=deep_sets && launch/kubernetes.sh logs

When a node is preempted or drained, the run saves, is started again and resumes. After an error it ends.
On TPUs of GKE: KIND=tpu TPU_TOPOLOGY=4x4 HOSTS=4 CHIPS_PER_HOST=4.
--dry-run prints the manifest and the commands without running them. The variables and their values:
END
}

folder=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/common.sh
. "$folder/common.sh"
# A comment, so that the output of a dry run is a manifest.
dry_run_prefix='# '

# Refuses values with which the manifest would mean something else than it seems to.
check() {
    local name chips
    [[ -n $IMAGE ]] || fail "IMAGE is not set: export IMAGE=… (launch/Dockerfile says how to build one)"
    check_counts HOSTS
    check_numbers CHIPS_PER_HOST MAX_RESTARTS
    for name in IMAGE CLAIM TPU_ACCELERATOR TPU_TOPOLOGY; do
        [[ ${!name} =~ ^[A-Za-z0-9][A-Za-z0-9/:@._-]*$ ]] || fail "$name=${!name} should be a name"
    done
    if [[ $KIND = tpu ]]; then
        [[ $TPU_TOPOLOGY =~ ^[1-9][0-9]*(x[1-9][0-9]*)*$ ]] ||
            fail "TPU_TOPOLOGY=$TPU_TOPOLOGY should be of the form 4x4 or 2x2x4"
        chips=$((${TPU_TOPOLOGY//x/*}))
        [[ $chips -eq $((HOSTS * CHIPS_PER_HOST)) ]] ||
            fail "TPU_TOPOLOGY=$TPU_TOPOLOGY has $chips chips, but HOSTS=$HOSTS times" \
                "CHIPS_PER_HOST=$CHIPS_PER_HOST is $((HOSTS * CHIPS_PER_HOST))"
    fi
    check_arguments "launch/kubernetes.sh run --" "$@"
    [[ $* != *[[:cntrl:]]* ]] || fail "an argument contains a line break or another control character"
}

# Prints the arguments as a JSON list, which is YAML too. `$` is doubled, since Kubernetes expands $(…).
# shellcheck disable=SC2016
json_list() {
    local argument list=
    for argument in "$@"; do
        argument=${argument//\\/\\\\}
        argument=${argument//\"/\\\"}
        argument=${argument//\$/\$\$}
        list+="$indent\"$argument\","
    done
    # Each pod of a JobSet has a fixed host name, and its number in an environment variable.
    list+="$indent\"--coordinator_address=$NAME-workers-0-0.$NAME:55527\",$indent\"--num_processes=$HOSTS\","
    printf '[%s%s"--process_id=$(JOB_COMPLETION_INDEX)"]' "$list" "$indent"
}

# Prints the manifest with its variables replaced, scanning it once, so that values are not scanned in turn.
# shellcheck disable=SC2016,SC2034
manifest() {
    local text filled='' name ARGUMENTS indent=$'\n                    '
    check "$@"
    ARGUMENTS=$(json_list "$@")
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

cluster() {
    call kubectl ${NAMESPACE:+"--namespace=$NAMESPACE"} "$@"
}

run() {
    local filled
    filled=$(manifest "$@")
    cluster create --filename=- <<<"$filled"
    [[ -z $dry_run ]] || echo "$filled"
}

logs() {
    wait_for_pod
    # The whole log, to its end. When the run restarts, the pod is removed together with its log.
    cluster logs --follow --tail=-1 "$first"
}

# kubectl logs waits neither for the pod nor for its container.
wait_for_pod() {
    local phase
    [[ -z $dry_run ]] || return 0
    while true; do
        # Fails if there is no such run, which would never have a pod.
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
    # Refuses wrong arguments before anything is deleted.
    manifest "$@" >/dev/null
    cluster delete jobset "$NAME" --ignore-not-found --cascade=foreground
    run "$@"
}

delete() {
    cluster delete jobset "$NAME" --cascade=foreground
}

! take_option "${1:-}" || shift
command=${1:-}
check_command "$command" "${commands[@]}"
shift
[[ ${1:-} != -- ]] || shift
[[ $KIND = gpu || $KIND = tpu ]] || fail "KIND=$KIND should be gpu or tpu"
[[ $NAME =~ ^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$ ]] ||
    fail "NAME=$NAME should have at most 32 lowercase letters, digits and hyphens," \
        "start with a letter and not end with a hyphen"
[[ $command = run || $command = resume || $# -eq 0 ]] || fail "$command takes no arguments: $*"
# Selects the pod of the first process.
first="--selector=jobset.sigs.k8s.io/jobset-name=$NAME,batch.kubernetes.io/job-completion-index=0"
"$command" "$@"
