# shellcheck shell=sh
# Which owner of a job speaks: the text before attach.sh, signal.sh, remove.sh and remove_files.sh, which set `epoch`. A
# service that was stopped and woken after its job had gone to another one must neither launch, nor signal, nor remove
# anything.
#
# `fence` in the job's directory holds the epochs of all owners that were here, one a line. Lines are only ever added, and
# adding one is atomic, so the greatest epoch is the last owner's, without a lock. All of it is done by the shell itself.
# The file stays when the rest of the directory is removed.

# Whether a later owner was here. $1: the job's directory. Sets `last_epoch`.
is_stale() {
    last_epoch=0
    while read -r line; do
        case $line in '' | *[!0-9]*) continue ;; esac
        [ "$line" -le "$last_epoch" ] || last_epoch=$line
    done <"$1/fence"
    [ "$epoch" -lt "$last_epoch" ]
} 2>/dev/null

# From now on every earlier owner is refused; false if a later one was here. A disk that is full lets the owner in all the
# same: it must be able to end what filled it.
enter() {
    ! is_stale "$1" || return 1
    [ "$epoch" -gt "$last_epoch" ] || return 0
    # The newline before it ends a line that a full disk or a crash cut off.
    printf '\n%s\n' "$epoch" >>"$1/fence"
    ! is_stale "$1"
} 2>/dev/null
