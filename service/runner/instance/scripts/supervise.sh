# shellcheck shell=bash
# Runs one card and writes down how it ended. It leads a session and holds the lock on descriptor 9: as long as the lock
# is held, the attempt runs (attach.sh says who else takes it). So its children close descriptor 9 at once: one that
# outlives the supervisor would make the attempt look alive. Nothing is written after the lock is free: before that,
# `exit` is there and what is left of the card's processes has been killed. The card is a process group of its own, and
# only that group and what came from it ever gets signals.

dir=$RESOURCE_INSTALLER_ATTEMPT
# A tool that only redraws its progress writes less than this (aria2c: 500 bytes), and a download that lives moves more.
MOVED_BYTES_A_SECOND_MIN=1024
trap : HUP INT TERM

# Counts its own seconds, inside the card's group: what stops the card stops this clock as well.
watchdog() {
    local seconds=0 quiet=0 every=1 stall=$RESOURCE_INSTALLER_STALL
    local -A before=()
    [ "$stall" -lt 30 ] || every=5
    [ -r "/proc/$BASHPID/io" ] || stall=0
    while [ "$seconds" -lt "$RESOURCE_INSTALLER_TIMEOUT" ]; do
        sleep 1
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

# Fills `members`: the processes in this session, also those that dropped their environment, and those that carry this
# attempt's mark, also those that left the session. Zombies do not count.
list_members() {
    local process line file
    local -A seen=()
    for process in /proc/[0-9]*; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${line##*) }
        [ "$4" != "$$" ] || [ "$1" = Z ] || seen[${process#/proc/}]=1
    done
    # shellcheck disable=SC2013
    for file in $(grep -lszxF "RESOURCE_INSTALLER_ATTEMPT=$dir" /proc/[0-9]*/environ 9>&-); do
        file=${file#/proc/}
        seen[${file%/environ}]=1
    done
    unset "seen[$$]"
    members=("${!seen[@]}")
}

give_up() {
    trap '' TERM
    mv "$dir/armed" "$dir/$1"
    kill -TERM 0
    sleep 10
    kill -KILL 0
}

# A client may have cancelled or paused before there was a group to send a signal to.
obey() {
    [ ! -e "$dir/cancelled" ] || exit 143
    [ ! -e "$dir/paused" ] || kill -STOP "$BASHPID"
}

card() {
    exec 9>&-
    trap - HUP INT TERM
    printf '%s\n' "$BASHPID" >"$dir/group.new" && mv "$dir/group.new" "$dir/group"
    obey
    watchdog </dev/null >/dev/null 2>&1 &
    unset LC_ALL RESOURCE_INSTALLER_TIMEOUT RESOURCE_INSTALLER_STALL
    export LANG=C.UTF-8 PYTHONUTF8=1 PYTHONUNBUFFERED=1
    export PATH="$dir/bin:$RESOURCE_INSTALLER_PATH"
    if [ -e "$dir/hf_token" ]; then
        HF_TOKEN=$(<"$dir/hf_token")
        export HF_TOKEN
    fi
    cd "${HOME:-/}" || exit 1
    exec bash -e -o pipefail "$dir/card"
}

# Whether the group has a process that is not a zombie: process 1 of a container may never reap one.
alive() {
    local process line state member
    for process in /proc/[0-9]*; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        read -r state _ member _ <<<"${line##*) }"
        if [ "$member" = "$group" ] && [ "$state" != Z ]; then
            return 0
        fi
    done
    return 1
}

set -m
card </dev/null >>"$dir/log" 2>&1 &
group=$!
# Without job control `wait` does not return when the card is stopped.
set +m
wait "$group"
status=$?
while [ "$status" -gt 128 ] && kill -0 "$group" 2>/dev/null; do
    wait "$group"
    status=$?
done

# What is left of the group ends now: once the lock is free, nothing of this attempt may write any more.
kill -TERM -- "-$group" 2>/dev/null
kill -CONT -- "-$group" 2>/dev/null
for _ in {1..100}; do
    alive || break
    sleep 0.02 9>&-
done
kill -KILL -- "-$group" 2>/dev/null

how=0
if [ -e "$dir/timedout" ]; then
    how=1
elif [ -e "$dir/stalled" ]; then
    how=2
fi
if [ "$how" != 0 ] || [ -e "$dir/cancelled" ]; then
    # A download that had left the group would write beside the next attempt.
    list_members
    [ "${#members[@]}" = 0 ] || kill -KILL "${members[@]}" 2>/dev/null
fi
free=$(df -Pk "$dir" 2>/dev/null | { read -r _ && read -r _ _ _ free _ && printf '%s' "$free"; } 9>&-)
# Written in place over bytes that are there already, then renamed: that works on a full disk too.
printf '%-31s\n' "$status $how ${free:--}" 1<>"$dir/exit.new" && mv "$dir/exit.new" "$dir/exit" 9>&-
