# shellcheck shell=sh
# Removes the directories of the jobs named in `jobs`. These jobs have ended: what still runs for them (the service may
# give a job up while its instance does not answer) ends first.

end() {
    for process in /proc/[0-9]*; do
        if grep -qszxF "RESOURCE_INSTALLER_ATTEMPT=$1" "$process/environ"; then
            kill -KILL "${process#/proc/}" 2>/dev/null
        fi
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
        rm -rf -- "${state:?}/$job"
    done
    exit 0
}

main </dev/null
