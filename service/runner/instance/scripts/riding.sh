# shellcheck shell=bash disable=SC2034,SC2154 # supervise.sh, which comes after it in one program, sets what is not set here
# The verification of an attempt that left little: it rides on the download's exec, while the lock is still held.
#
# What it finds is written into its own directory, as if it had been started there and had ended: attach.sh reports it
# with the end of the download, and whoever asks for it later finds it. It gives up (status 99, and nothing is written)
# where no run wrote a file, or where it would have to search for files or to hash for long: then the service starts it as a program of its own, beside
# the next download.

ride() {
    local own=$dir-verify said status boot
    [ -n "${has_file_of_run-}" ] && [ -s "$dir/riding" ] && [ -d "$own" ] && [ ! -s "$own/boot" ] || return
    said=$(
        exec 9>&- </dev/null
        trap - HUP INT TERM
        unset BASH_ENV
        is_riding=1
        export PATH=$RESOURCE_INSTALLER_PATH RESOURCE_INSTALLER_ATTEMPT=$own
        # shellcheck disable=SC1091 # they are made from verification.py
        . "$dir/riding" && . "$programs/verify"
    )
    status=$?
    case $status in 0 | 1 | 127) ;; *) return ;; esac
    boot=$(<"$dir/boot")
    # Without `boot` it has never run.
    printf '%s\n' "$said" >"$own/log" && printf '' >>"$own/lock" &&
        printf '%-31s\n' "$status 0 -" >"$own/exit" && printf '%s\n' "$boot" >"$own/boot"
} 2>/dev/null
