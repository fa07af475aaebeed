# shellcheck shell=bash disable=SC2034,SC2154 # supervise.sh, which comes after it in one program, sets what is not set here
# The verification of an attempt that left little: it rides on the download's exec, while the lock is still held.
#
# What it finds is written into its own directory, as if it had been started there and had ended: attach.sh reports it
# with the end of the download, and whoever asks for it later finds it. It gives up (status 99, and nothing is written)
# where no run wrote a file, or where it would have to search for files or to hash for long: then the service starts it as
# a program of its own, beside the next download.
#
# It is the last thing that the supervisor does, in its own process: that may end at any point of it.

ride() {
    local own=$dir-verify findings='' result boot started is_riding=1
    [ -n "${has_file_of_run-}" ] && [ -s "$dir/riding" ] && [ -d "$own" ] && [ ! -s "$own/boot" ] || return
    unset BASH_ENV
    export PATH=$RESOURCE_INSTALLER_PATH RESOURCE_INSTALLER_ATTEMPT=$own
    # shellcheck disable=SC1091 # they are made from verification.py
    . "$dir/riding" && . "$programs/verify"
    case $result in 0 | 1 | 127) ;; *) return ;; esac
    { read -r boot && read -r started; } <"$dir/boot"
    # Without `boot` it has never run.
    printf '%s' "$findings" >"$own/log" && printf '' >>"$own/lock" &&
        printf '%-31s\n' "$result 0 -" >"$own/exit" && printf '%s\n%s\n' "$boot" "$started" >"$own/boot"
} 2>/dev/null 9>&-
