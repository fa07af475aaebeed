# Tells an attempt to pause, to go on, or to end: read by `sh` from standard input, behind lines that set nonce, job,
# attempts (directory names), what and grace_seconds. Says on standard output behind the nonce: whether one is running,
# how many processes got the signal, and, behind a cancel, the files that were left half done, each in base64.

# Whatever carries the mark of this attempt in its environment, but for its supervisor: the card, what it started, and
# what left its group. Never an id alone, it may be another's by now.
marked() {
    for file in $(grep -lszxF "RESOURCE_INSTALLER_ATTEMPT=$dir" /proc/[0-9]*/environ); do
        pid=${file#/proc/}
        pid=${pid%/environ}
        is_supervisor "$pid" || echo "$pid"
    done
}

# The supervisor leads the session; the card's shell, which is forked from it, does not.
is_supervisor() {
    grep -qszF "$dir/supervise" "/proc/$1/cmdline" && [ "$(field 4 "$1")" = "$1" ]
}

# A field of /proc/<pid>/stat behind the name: 1 the state, 3 the group, 4 the session.
field() {
    sed 's/.*) //' "/proc/$2/stat" 2>/dev/null | cut -d ' ' -f "$1"
}

# A process that is forked while the others are stopped is found by the next round.
stop_all() {
    for round in 1 2 3 4 5 6 7 8 9 10; do
        left=
        for pid in $(marked); do
            case $(field 1 "$pid") in
                T | Z | X | '') ;;
                *) kill -STOP "$pid" 2>/dev/null && left=1 && count=$((count + 1)) ;;
            esac
        done
        [ -n "$left" ] || return 0
    done
}

send_all() {
    for pid in $(marked); do
        kill "-$1" "$pid" 2>/dev/null && count=$((count + 1))
    done
}

alive() {
    for pid in $(marked); do
        case $(field 1 "$pid") in
            Z | X | '') ;;
            *) return 0 ;;
        esac
    done
    return 1
}

end_all() {
    send_all TERM
    send_all CONT
    waited=0
    while alive && [ "$waited" -lt $((grace_seconds * 10)) ]; do
        sleep 0.1
        waited=$((waited + 1))
    done
    ! alive || send_all KILL
}

# What the card's processes are writing at this moment, one path a line.
open_files() {
    for pid in $(marked); do
        for fd in /proc/"$pid"/fd/*; do
            case $(sed -n 's/^flags:[[:space:]]*//p' "/proc/$pid/fdinfo/${fd##*/}" 2>/dev/null) in
                *[12]) readlink "$fd" ;;
            esac
        done
    done | grep -v "^$dir/\|^/dev/\|^[a-z]*:" | sort -u | head -n 50
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
    } | sort -u | head -n 20 | while IFS= read -r path; do
        [ ! -f "$path" ] || printf 'file %s\n' "$(printf '%s' "$path" | cut -c 1-300 | base64 | tr -d '\n')"
    done
}

main() {
    LC_ALL=C
    export LC_ALL
    printf '\n%s\n' "$nonce"
    state=${HOME:-/root}/.local/state/resource-installer
    running=0
    count=0
    for name in $attempts; do
        dir=$state/$job/$name
        [ -e "$dir/lock" ] || continue
        if ! flock -n 8 8<"$dir/lock"; then
            running=1
            case $what in
                # The mark holds for a card that is only just being started: it stops itself.
                pause) : >"$dir/paused" && stop_all ;;
                resume) rm -f "$dir/paused" && send_all CONT ;;
                cancel)
                    rm -f "$dir/paused"
                    written=$(open_files)
                    end_all
                    partial_files "$written"
                    ;;
            esac
        fi
    done
    printf 'told %s %s\n' "$running" "$count"
    exit 0
}

main </dev/null
