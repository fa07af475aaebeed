# shellcheck shell=bash disable=SC2034,SC2154 # supervise.sh sets and uses what is not set or used here
# The stall watch and the time limit of one attempt, for supervise.sh.

# A tool that only redraws its progress writes less than this (aria2c: 500 bytes), and a download that lives moves more.
MOVED_BYTES_A_SECOND_MIN=1024

# Counts its own seconds, inside the card's group: what stops the card stops this clock as well. The first is over.
watchdog() {
    local seconds=1 quiet=0 every=1 stall=$RESOURCE_INSTALLER_STALL
    local -A before=()
    [ "$stall" -lt 30 ] || every=5
    [ -r "/proc/$BASHPID/io" ] || stall=0
    while [ "$seconds" -lt "$RESOURCE_INSTALLER_TIMEOUT" ]; do
        read -r -t 1 -u "$idle"
        seconds=$((seconds + 1))
        if [ "$stall" -gt 0 ] && [ $((seconds % every)) = 0 ]; then
            quiet=$((quiet + every))
            ! moved || quiet=0
            [ "$quiet" -lt "$stall" ] || give_up stalled
        fi
    done
    give_up timedout
}

# Whether the card's processes read and wrote enough since the last call. The known ones are asked first: to look for
# others means to look at every process there is. A process that waits for its turn, or that may not be looked at,
# counts as moving.
moved() {
    local total=0
    [ ! -e "$dir/waiting" ] || return 0
    count_moved "${!before[@]}" && return 0
    list_members
    count_moved "${members[@]}"
}

# Adds to `total` what these processes moved, and says whether it is enough.
count_moved() {
    local pid key value now
    for pid; do
        now=0
        [ "$pid" != "$BASHPID" ] || continue
        while read -r key value; do
            case $key in
                rchar: | wchar:) now=$((now + value)) ;;
            esac
        done 2>/dev/null <"/proc/$pid/io" || {
            unset "before[$pid]"
            [ ! -e "/proc/$pid/stat" ] && continue || return 0
        }
        total=$((total + now - ${before[$pid]:-0}))
        before[$pid]=$now
    done
    [ "$total" -gt $((every * MOVED_BYTES_A_SECOND_MIN)) ]
}

give_up() {
    trap '' TERM
    mv "$dir/armed" "$dir/$1"
    kill -TERM 0
    sleep "$GRACE_SECONDS"
    kill -KILL 0
}

