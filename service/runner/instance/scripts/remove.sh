# shellcheck shell=sh
# Removes the directories of the jobs in `jobs`, words `job:epoch` (fence.sh), but for the fence: the sweep removes that a
# day later (list.sh). These jobs have ended: what still runs for them (the service may
# give a job up while its instance does not answer) ends first. With keep_logs=1 the logs stay, and what explains them:
# never a token, a tool's configuration or a program.

# What carries the mark of an attempt whose lock is held: what a card in the background left running stays. Most jobs have
# left nothing, and one look at all processes costs less than one at each lock.
end_what_runs() {
    grep -qszF "RESOURCE_INSTALLER_ATTEMPT=$1/" /proc/[0-9]*/environ || return 0
    for lock in "$1"/*/lock; do
        [ -e "$lock" ] || continue
        flock -s -n 8 8<"$lock" || end "${lock%/lock}"
    done
}

end() {
    # shellcheck disable=SC2013
    for file in $(grep -lszxF "RESOURCE_INSTALLER_ATTEMPT=$1" /proc/[0-9]*/environ); do
        file=${file#/proc/}
        kill -KILL "${file%/environ}" 2>/dev/null
    done
}

strip() {
    for entry in "$1"/*/* "$1"/*/.[!.]*; do
        case ${entry##*/} in
            log | exit | ledger) ;;
            *) rm -rf -- "$entry" ;;
        esac
    done
}

# All but the fence, whose time is that of the removal.
clear_job() {
    fence=$1/fence
    printf '\n%s\n' "$epoch" >>"$fence"
    set -- "$1"/* "$1"/.[!.]*
    for entry; do
        shift
        [ "$entry" = "$fence" ] || set -- "$@" "$entry"
    done
    [ "$#" = 0 ] || rm -rf -- "$@"
} 2>/dev/null

main() {
    LC_ALL=C
    export LC_ALL
    state=${HOME:-/root}/.local/state/resource-installer
    umask 077
    for word in $jobs; do
        job=${word%:*} epoch=${word#*:}
        { [ -d "$state/$job" ] && enter "$state/$job"; } || continue
        end_what_runs "$state/$job"
        if [ "$keep_logs" = 1 ]; then
            strip "$state/$job"
        else
            clear_job "$state/$job"
        fi
    done
    exit 0
}

main </dev/null
