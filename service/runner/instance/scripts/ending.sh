# shellcheck shell=bash disable=SC2034,SC2154 # supervise.sh sets and uses what is not set or used here
# How an attempt ends, for supervise.sh: which of its processes it waits for, and which it ends.

LEFTOVER_SECONDS=2
# How long a pipe is asked whether anybody holds it.
INSTANT=0.01
YOUNG_SECONDS=3
NUMBERS_FEW=500

# Fills `names`: the processes of the group that are not zombies (process 1 of a container may never reap one) and not
# the supervisor's own.
list_group() {
    local process line state member words
    names=()
    for process in /proc/[0-9]*; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        read -r state _ member _ <<<"${line##*) }"
        [ "$member" = "$group" ] && [ "$state" != Z ] || continue
        words=()
        { mapfile -d '' -n 4 -t words <"$process/cmdline"; } 2>/dev/null
        [ "${words[3]-}" != "$dir/supervise" ] || continue
        names+=("${words[*]:-$line}")
    done
}

# The end that the watchdog or a client has begun.
is_ending() {
    [ -e "$dir/timedout" ] || [ -e "$dir/stalled" ] || [ -e "$dir/cancelled" ]
}

# The watchdog reaches only its own group: a run that left it gets its signal here.
end_members() {
    local seconds
    list_members
    [ "${#members[@]}" = 0 ] || kill -TERM "${members[@]}" 2>/dev/null
    for ((seconds = 0; seconds <= GRACE_SECONDS; seconds++)); do
        ! is_let_go "$run_pipe" 1 || return 0
    done
    list_members
    [ "${#members[@]}" = 0 ] || kill -KILL "${members[@]}" 2>/dev/null
}

# Whether no process holds the writing end of this pipe any more, or lets it go within so many seconds.
is_let_go() {
    local _
    read -r -t "$2" -u "$1" _
    [ $? = 1 ]
}

# Fills `stats` with the lines of /proc/PID/stat of all processes that may come from this one. In its first seconds their
# numbers are greater: no machine starts so many processes that the numbers begin again unseen. Where few were given out
# since, each is looked for: to list /proc costs time for all that runs on the machine.
list_stats() {
    local process line last=0
    stats=()
    if [ "$SECONDS" -ge "$YOUNG_SECONDS" ] || ! read -r _ _ _ _ last </proc/loadavg ||
        [ "$last" -lt "$group" ] || [ "$group" -lt "$$" ]; then
        mapfile -t stats < <(exec cat /proc/[0-9]*/stat 9>&-)
    elif [ $((last - $$)) -le "$NUMBERS_FEW" ]; then
        for ((process = $$; process <= last; process++)); do
            [ ! -e "/proc/$process/stat" ] || { read -r line <"/proc/$process/stat" && stats+=("$line"); }
        done
    else
        for process in /proc/[0-9]*; do
            [ "${process#/proc/}" -lt "$$" ] || { read -r line <"$process/stat" && stats+=("$line"); }
        done
    fi
} 2>/dev/null

# Whether a process of the card lives in the session: not the supervisor, nor the watchdog and the recorder.
has_others() {
    local line pid helpers stats
    read -r helpers <"$dir/helpers"
    list_stats
    for line in "${stats[@]}"; do
        pid=${line%% *}
        # shellcheck disable=SC2086
        set -- ${line##*) }
        [ "$4" = "$$" ] && [ "$1" != Z ] || continue
        case " $$ $helpers " in *" $pid "* | *" $2 "*) ;; *) return 0 ;; esac
    done
    return 1
}

# Returns when no run is alive and none can be expected any more. Where the attempt's folder was deleted, nobody can know
# of any, and no lock in it can be had.
wait_for_runs() {
    local before at
    # The usual end. Asked in this order: a run that is only being started holds the first pipe until it holds the second.
    ! is_let_go "$card_pipe" "$INSTANT" || ! is_let_go "$run_pipe" "$INSTANT" || has_others || return
    while [ -d "$dir" ]; do
        until is_let_go "$run_pipe" 1; do
            [ -d "$dir" ] || return
            ! is_ending || [ -e "$dir/cancelled" ] || end_members
        done
        ! is_ending || return
        before=$(grep -c '^begin ' "$dir/ledger" 9>&-)
        if ! is_let_go "$card_pipe" "$LEFTOVER_SECONDS"; then
            while [ -e "$dir/paused" ] && ! is_ending; do
                sleep 0.5 9>&-
            done
        elif has_others; then
            # Python closes what it inherits, so that a run that it has only just started holds no pipe.
            for ((at = 0; at < LEFTOVER_SECONDS * 20; at++)); do
                has_others && [ "$(grep -c '^begin ' "$dir/ledger" 9>&-)" = "$before" ] || break
                sleep 0.05 9>&-
            done
        fi
        [ "$(grep -c '^begin ' "$dir/ledger" 9>&-)" = "$before" ] || continue
        ! is_let_go "$run_pipe" "$INSTANT" || return
    done
} 2>/dev/null

# The keys were for the tools of this attempt; its folder may stay.
forget_keys() {
    local file
    for file in hf_token civitai_token config/civitdl/config.json; do
        [ ! -s "$dir/$file" ] || printf '' >"$dir/$file"
    done
} 2>/dev/null

# Sets `alive`: the runs that did not end; and `troubled`: something may have failed that a full disk would explain.
read_ends() {
    local verb third begun=0
    alive=0 troubled=''
    while read -r verb _ third _; do
        case $verb in
            begin)
                alive=$((alive + 1)) begun=1
                case $third in wget | wget2 | curl | aria2c) ;; *) troubled=1 ;; esac
                ;;
            end)
                alive=$((alive - 1))
                [ "$third" = 0 ] || troubled=1
                ;;
        esac
    done <"$dir/ledger"
    [ "$begun.$status" = 1.0 ] || troubled=1
}

# The last words of the attempt in its ledger and log.
warn() {
    local mark encoded
    read -r mark <"$dir/mark"
    encoded=$(printf '%s' "${2:0:1000}" | base64 | tr -d '\n') 9>&-
    printf 'warn %s %s\n' "$1" "$encoded" >>"$dir/ledger"
    [ -z "$mark" ] || printf '\r%s warn %s %s\n' "$mark" "$1" "$encoded" >>"$dir/log"
}

# What is left of the group ends: once the lock is free, nothing of this attempt may write any more. What a card in the
# background leaves running stays, but not the watchdog and the recorder.
end_group() {
    local helpers
    # The usual end. A recorder that begins this very moment says so soon. Process 1 may reap the helpers late or never:
    # zombies do not count.
    for _ in {1..10}; do
        read -r helpers <"$dir/helpers"
        # shellcheck disable=SC2086
        is_ending || kill -KILL $helpers 2>/dev/null
        kill -0 -- "-$group" 2>/dev/null && is_group_alive || return
    done
    list_group
    if [ "${#names[@]}" -gt 0 ] && ! is_ending; then
        # What the recorder had just started ends by itself.
        sleep 0.05 9>&-
        list_group
    fi
    if [ "$RESOURCE_INSTALLER_BACKGROUND" = 1 ] && ! is_ending; then
        return
    fi
    [ "${#names[@]}" = 0 ] || is_ending || warn daemon_ended "$(printf '%s\n' "${names[@]:0:5}")"
    kill -TERM -- "-$group" 2>/dev/null
    kill -CONT -- "-$group" 2>/dev/null
    for _ in {1..100}; do
        is_group_alive || break
        sleep 0.02 9>&-
    done
    kill -KILL -- "-$group" 2>/dev/null
}

# Zombies do not count.
is_group_alive() {
    local line stats
    list_stats
    for line in "${stats[@]}"; do
        # shellcheck disable=SC2086
        set -- ${line##*) }
        [ "$3" != "$group" ] || [ "$1" = Z ] || return 0
    done
    return 1
}
