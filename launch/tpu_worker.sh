#!/usr/bin/env bash
# The part of `launch/tpu_pod.sh` that runs on each worker of the slice; not called by hand.
#
#   tpu_worker.sh install PYTHON_VERSION NFS OUTPUT_BASE    from ~/new, where the code was unpacked
#   tpu_worker.sh start OUTPUT_BASE ARGUMENTS…
#   tpu_worker.sh follow
#   tpu_worker.sh stop
#
# In the home folder, starjax/ has the code, venv/ its environment, and run/ the log, process number and
# status of the last run.
set -euo pipefail
cd
mkdir -p run

fail() {
    echo "error: $(hostname): $*" >&2
    exit 1
}

# Checks the process's command too: after a restart of the machine another process may have its number.
is_running() {
    [[ -e run/pid ]] && grep --quiet --no-messages 'starjax\.main' "/proc/$(<run/pid)/cmdline"
}

install() {
    local version=$1 share=$2 folder=$3
    rm -rf starjax && mv new starjax
    # The Python of the TPU images is older than starjax needs; uv brings another one.
    PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --user --quiet uv
    python3 -m uv venv --quiet --clear --python "$version" venv
    python3 -m uv pip install --quiet --python venv/bin/python './starjax[tpu]'
    if [[ -n $share ]] && ! mountpoint --quiet "$folder"; then
        sudo apt-get update -qq
        sudo apt-get install -qq -y nfs-common
        sudo mkdir -p "$folder"
        sudo mount -t nfs "$share" "$folder"
        # Only root may write to a new share.
        [[ -w $folder ]] || sudo chmod 1777 "$folder"
    fi
}

start() {
    export OUTPUT_BASE=$1
    shift
    [[ -x venv/bin/python ]] || fail "starjax is not installed: launch/tpu_pod.sh install"
    [[ -d $OUTPUT_BASE && -w $OUTPUT_BASE ]] || fail "OUTPUT_BASE=$OUTPUT_BASE is not a writable folder"
    rm -f run/status
    # setsid, since the run must outlive the connection. The shell survives SIGTERM to note how the run ended.
    (cd starjax &&
        exec setsid bash -c 'trap : TERM; ../venv/bin/python -m starjax.main "$@"; echo $? >../run/status' \
            starjax "$@" >>../run/log 2>&1 </dev/null) &
    echo $! >run/pid
}

follow() {
    [[ -e run/pid ]] || fail "no run has been started here"
    tail -n +1 -F --pid="$(<run/pid)" run/log
    # Without a status the run was killed; like a preempted run, the same command resumes it.
    [[ -e run/status ]] || exit 75
    exit "$(<run/status)"
}

stop() {
    is_running || fail "no run is active here"
    kill -TERM -- "-$(<run/pid)"
}

command=${1:-}
[[ $# -eq 0 ]] || shift
case $command in
    install | start) ! is_running || fail "a run is active here; see launch/tpu_pod.sh logs, or stop it" ;;
    follow | stop) ;;
    *) fail "unknown command $command; it should be one of: install, start, follow, stop" ;;
esac
"$command" "$@"
