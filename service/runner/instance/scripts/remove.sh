# shellcheck shell=sh
# Removes the directories of the jobs named in `jobs`. These jobs have ended: what still runs for them (the service may
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

main() {
    LC_ALL=C
    export LC_ALL
    state=${HOME:-/root}/.local/state/resource-installer
    for job in $jobs; do
        for lock in "$state/$job"/*/lock; do
            [ -e "$lock" ] || continue
            flock -s -n 8 8<"$lock" || end "${lock%/lock}"
        done
        if [ "$keep_logs" = 1 ]; then
            strip "$state/$job"
        else
            rm -rf -- "${state:?}/$job"
        fi
    done
    exit 0
}

main </dev/null
