# shellcheck shell=bash
# Sourced by slurm.sh, tpu_pod.sh and kubernetes.sh. Works with the bash 3.2 of macOS too.
# A script defines `variables`, the names of its settings, and `usage`, which prints its help without them.

dry_run=
# Put before the commands that a dry run prints.
dry_run_prefix=

fail() {
    echo "error: $*" >&2
    exit 1
}

# Succeeds if WORD is an option that all scripts have. --help prints the help and exits.
take_option() {
    local name
    case $1 in
        --help | -h)
            usage
            printf '  '
            # shellcheck disable=SC2154
            for name in "${variables[@]}"; do printf '%s=%s ' "$name" "${!name}"; done
            echo
            exit
            ;;
        --dry-run) dry_run=1 ;;
        *) return 1 ;;
    esac
}

# check_command WORD COMMANDS…
check_command() {
    local word=$1 known
    shift
    for known in "$@"; do
        [[ $word != "$known" ]] || return 0
    done
    known="$*"
    [[ -n $word ]] || fail "no command given; it should be one of: ${known// /, }. --help explains them"
    fail "unknown command $word; it should be one of: ${known// /, }"
}

# check_arguments USAGE ARGUMENTS…: a run needs at least a config.
check_arguments() {
    [[ $# -gt 1 ]] || fail "no config given; give one, for example: $1 --config=set_transformer"
}

# check_counts NAMES…: variables of which one or more are needed.
check_counts() {
    local name
    for name in "$@"; do
        [[ ${!name} =~ ^[1-9][0-9]*$ ]] || fail "$name=${!name} should be a whole number, 1 or more"
    done
}

# check_numbers NAMES…: variables that may be 0. Bash and YAML would read leading zeros as octal.
check_numbers() {
    local name
    for name in "$@"; do
        [[ ${!name} =~ ^(0|[1-9][0-9]*)$ ]] ||
            fail "$name=${!name} should be a whole number without leading zeros"
    done
}

# Quotes words for any POSIX shell. Only bash could read some of what its own `printf %q` prints.
quoted() {
    local word words=
    for word in "$@"; do
        [[ $word =~ ^[A-Za-z0-9_=:/.,@%+-]+$ ]] || word=\'${word//\'/\'\\\'\'}\'
        words+="${words:+ }$word"
    done
    printf '%s' "$words"
}

# Runs a command, or prints it in a dry run.
call() {
    if [[ -n $dry_run ]]; then
        echo "$dry_run_prefix$(quoted "$@")"
    else
        "$@"
    fi
}
