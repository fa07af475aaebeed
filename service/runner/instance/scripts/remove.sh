# shellcheck shell=sh
# Removes the directories of the jobs in `jobs`, words `job:epoch` (fence.sh), but for the fence: the sweep removes that a
# day later (list.sh). These jobs have ended: what still runs for them (the service may
# give a job up while its instance does not answer) ends first. With keep_logs=1 the logs stay, and what explains them:
# never a token, a tool's configuration or a program.

end() {
    for process in /proc/[0-9]*; do
        if grep -qszxF "RESOURCE_INSTALLER_ATTEMPT=$1" "$process/environ"; then
            kill -KILL "${process#/proc/}" 2>/dev/null
        fi
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
        for lock in "$state/$job"/*/lock; do
            [ -e "$lock" ] || continue
            flock -s -n 8 8<"$lock" || end "${lock%/lock}"
        done
        if [ "$keep_logs" = 1 ]; then
            strip "$state/$job"
        else
            clear_job "$state/$job"
        fi
    done
    exit 0
}

main </dev/null
