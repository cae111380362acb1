#!/usr/bin/env bash
# What `launch/tpu_pod.sh` has a worker of the slice do; not called by hand.
#
#   tpu_worker.sh install PYTHON_VERSION NFS OUTPUT_BASE    from ~/new, where the code was unpacked
#   tpu_worker.sh start OUTPUT_BASE ARGUMENTS…
#   tpu_worker.sh follow
#   tpu_worker.sh stop
#
# In the home folder: starjax/ the code, venv/ its environment, run/ the log, process and status of the last run.
set -euo pipefail
cd
mkdir -p run

fail() {
    echo "error: $(hostname): $*" >&2
    exit 1
}

# By its command too: after a restart of the machine another process may have its number.
is_running() {
    [[ -e run/pid ]] && grep --quiet --no-messages 'starjax\.main' "/proc/$(<run/pid)/cmdline"
}

install() {
    local version=$1 share=$2 folder=$3
    rm -rf starjax && mv new starjax
    # The Python that the images bring is older than starjax needs; uv brings another.
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --user --quiet uv
    python3 -m uv venv --quiet --clear --python "$version" venv
    python3 -m uv pip install --quiet --python venv/bin/python './starjax[tpu]'
    if [[ -n $share ]] && ! mountpoint --quiet "$folder"; then
        sudo apt-get update -qq
        sudo apt-get install -qq -y nfs-common
        sudo mkdir -p "$folder"
        sudo mount -t nfs "$share" "$folder"
        # A new share is root's alone.
        [[ -w $folder ]] || sudo chmod 1777 "$folder"
    fi
}

start() {
    export OUTPUT_BASE=$1
    shift
    [[ -x venv/bin/python ]] || fail "starjax is not installed: launch/tpu_pod.sh install"
    [[ -d $OUTPUT_BASE && -w $OUTPUT_BASE ]] || fail "OUTPUT_BASE=$OUTPUT_BASE is no folder that can be written to"
    rm -f run/status
    # In a session of its own, which outlives the connection; asked to go, the shell stays to note how the run ended.
    (cd starjax && exec setsid bash -c 'trap : TERM; ../venv/bin/python -m starjax.main "$@"; echo $? >../run/status' \
        starjax "$@" >>../run/log 2>&1 </dev/null) &
    echo $! >run/pid
}

follow() {
    [[ -e run/pid ]] || fail "nothing was run here"
    tail -n +1 -F --pid="$(<run/pid)" run/log
    # Killed before it could say: the same command goes on.
    [[ -e run/status ]] || exit 75
    exit "$(<run/status)"
}

stop() {
    is_running || fail "no run is at work here"
    kill -TERM -- "-$(<run/pid)"
}

command=${1:-}
[[ $# -eq 0 ]] || shift
case $command in
    install | start) ! is_running || fail "a run is at work here: see launch/tpu_pod.sh logs, or stop" ;;
    follow | stop) ;;
    *) fail "unknown command $command: install, start, follow or stop" ;;
esac
"$command" "$@"
