# shellcheck shell=sh
# Pauses, resumes or ends an attempt, or only says whether it runs (what=ask): `sh` reads it from standard input, after
# lines that set nonce, job, epoch (fence.sh), attempts (directory names), what, grace_seconds, needed_bytes and ui_home (both only for
# "room": the attempt ends if that much is not free, neither there nor where its runs write). Prints after the nonce: the
# files that a cancel left half done, each in base64, or for "ask" the length of the log; then whether an attempt is
# running, and how many processes got the signal.

ROUNDS_MAX=10

# Words "pid:state" of the living processes of this attempt, without its supervisor: those that carry its mark in their
# environment, also when they left the group, and those in its session, also when they dropped their environment. An id
# alone may be another process's by now; the session's cannot be while its supervisor lives.
living() {
    files=$(grep -lszxF "RESOURCE_INSTALLER_ATTEMPT=$dir" /proc/[0-9]*/environ | sed 's/environ$/stat/')
    # shellcheck disable=SC2086
    leader=$(leader_of $files)
    {
        # shellcheck disable=SC2086
        [ -z "$files" ] || sed -n 's/^\([0-9]*\) (.*) \([A-Za-z]\) .*/\1 \2/p' $files 2>/dev/null
        [ -z "$leader" ] || sed -n "s/^\([0-9]*\) (.*) \([A-Za-z]\) [0-9]* [0-9]* $leader .*/\1 \2/p" \
            /proc/[0-9]*/stat 2>/dev/null
    } | sort -u | while read -r pid state; do
        case $state in Z | X) continue ;; esac
        [ "$pid" = "$leader" ] || echo "$pid:$state"
    done
}

# The supervisor leads the session; the card's shell, which is forked from it, does not.
leader_of() {
    for file; do
        pid=${file#/proc/}
        pid=${pid%/stat}
        grep -qszxF "$dir/supervise" "/proc/$pid/cmdline" || continue
        case $(sed -n 's/^[0-9]* (.*) [A-Za-z] [0-9]* [0-9]* \([0-9]*\) .*/\1/p' "$file" 2>/dev/null) in
            "$pid") echo "$pid" && return ;;
        esac
    done
}

# Sends a signal to what lives and is in none of the states `but`, and counts each process once.
send() {
    signal=$1 but=${2:-none}
    sent=
    for one in $(living); do
        pid=${one%:*}
        case $but in *"${one#*:}"*) continue ;; esac
        kill "-$signal" "$pid" 2>/dev/null || continue
        sent=1
        case " $counted " in *" $pid "*) ;; *) counted="$counted $pid" count=$((count + 1)) ;; esac
    done
    [ -n "$sent" ]
}

# A process that is forked while the others are stopped is found by the next round.
stop_all() {
    round=0
    while send STOP Tt && [ "$round" -lt "$ROUNDS_MAX" ]; do
        round=$((round + 1))
    done
}

# All of it is stopped first, so that all of it has the signal before any of it forks again.
end_all() {
    stop_all
    send TERM
    send CONT
    tenths=0
    while ! is_over && [ "$tenths" -lt $((grace_seconds * 10)) ]; do
        sleep 0.2
        tenths=$((tenths + 2))
    done
    round=0
    while ! is_over && [ "$round" -lt "$ROUNDS_MAX" ]; do
        send KILL
        sleep 0.2
        round=$((round + 1))
    done
}

is_over() {
    [ -z "$(living)" ] && flock -s -n 8 8<"$dir/lock"
}

# The files that the card's processes have open for writing at this moment, one path a line.
open_files() {
    for one in $(living); do
        pid=${one%:*}
        grep -ls '^flags:.*[12]$' "/proc/$pid/fdinfo/"* | while read -r file; do
            path=$(readlink "/proc/$pid/fd/${file##*/}")
            case $path in
                "$home"/* | /dev/* | /proc/*) ;;
                /*) printf '%s\n' "$path" ;;
            esac
        done
    done
}

# What was left half done: files that were being written, and those that tools name so.
partial_files() {
    {
        printf '%s\n' "$1"
        [ ! -e "$dir/wrote" ] || sort -u "$dir/wrote" | head -n 20 | while read -r kind encoded; do
            path=$(printf '%s' "$encoded" | base64 -d)
            [ "$kind" = dir ] || path=${path%/*}
            find "$path" -maxdepth 4 -type f -newer "$dir/boot" \( -name '*.tmp' -o -name '*.part' -o -name '*.aria2' \
                -o -name '*.incomplete' -o -name '*.crdownload' -o -path '*/.tmp/*' \) 2>/dev/null
        done
    } | sed 's|/\./|/|g' | sort -u | while IFS= read -r path; do
        [ ! -f "$path" ] || printf 'file %s\n' "$(printf '%s' "$path" | cut -b 1-300 | base64 | tr -d '\n')"
    done | head -n 20
}

cancel() {
    rm -f "$dir/paused"
    : >"$dir/cancelled"
    written=$(open_files)
    end_all
    partial_files "$written" >"$dir/partial"
}

# The most bytes that are free on the file systems that the attempt writes to.
most_free() {
    {
        printf '%s\n' "$ui_home"
        sed -n 's/^begin [^ ]* [^ ]* 1 [a-z]* \([^ ]*\) .*/\1/p' "$dir/ledger" | tail -n 20 | sort -u |
            while read -r encoded; do
                printf '%s' "$encoded" | base64 -d
                printf '\n'
            done
    } | while IFS= read -r folder; do
        case $folder in /*) ;; *) continue ;; esac
        while [ ! -d "$folder" ] && [ "$folder" != / ]; do
            folder=$(dirname -- "$folder")
        done
        df -Pk "$folder" | { read -r _ && read -r _ _ _ free _ && printf '%s\n' $((free * 1024)); }
    done | sort -n | tail -n 1
} 2>/dev/null

end_without_room() {
    free=$(most_free)
    [ -n "$free" ] && [ "$free" -lt "$needed_bytes" ] || return 0
    printf '%s %s\n' "$needed_bytes" "$free" >"$dir/noroom"
    cancel
}

main() {
    LC_ALL=C
    export LC_ALL
    umask 077
    printf '\n%s\n' "$nonce"
    home=${HOME:-/root}/.local/state/resource-installer
    running=0 count=0 counted=
    [ "$what" = ask ] || enter "$home/$job" || {
        printf 'stale\n'
        exit 0
    }
    for name in $attempts; do
        dir=$home/$job/$name
        # Without `boot` nothing was launched, and asking for the lock could keep a launch from it: see attach.sh.
        [ -s "$dir/boot" ] || continue
        if ! flock -s -n 8 8<"$dir/lock"; then
            running=1
            case $what in
                # A card that is only just being started has no group yet: it sees the mark and stops itself.
                pause) : >"$dir/paused" && stop_all ;;
                resume) rm -f "$dir/paused" && send CONT ;;
                cancel) cancel ;;
                room) end_without_room ;;
            esac
        fi
        [ "$what" != ask ] || printf 'size %s\n' "$(wc -c <"$dir/log")"
        # Also when the service asks again because the first answer was lost.
        [ "$what" != cancel ] || [ ! -e "$dir/partial" ] || cat "$dir/partial"
    done
    printf 'signalled %s %s\n' "$running" "$count"
    exit 0
}

main </dev/null
