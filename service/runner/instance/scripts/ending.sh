# shellcheck shell=bash disable=SC2034,SC2154 # supervise.sh sets and uses what is not set or used here
# How an attempt ends, for supervise.sh: which of its processes it waits for, and which it ends.

LEFTOVER_SECONDS=2

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
        [ "${words[1]-}" != "$dir/supervise" ] && [ "${words[2]-}" != "$dir/supervise" ] || continue
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
        ! flock -w 1 -x 7 7>>"$dir/runs.lock" 9>&- || return 0
    done
    list_members
    [ "${#members[@]}" = 0 ] || kill -KILL "${members[@]}" 2>/dev/null
}

# Whether a process of the card lives in the session: not the supervisor, nor the watchdog and the recorder.
has_others() {
    local line pid helpers
    read -r helpers <"$dir/helpers"
    while read -r line; do
        pid=${line%% *}
        # shellcheck disable=SC2086
        set -- ${line##*) }
        [ "$4" = "$$" ] && [ "$1" != Z ] || continue
        case " $$ $helpers " in *" $pid "* | *" $2 "*) ;; *) return 0 ;; esac
    done < <(exec cat /proc/[0-9]*/stat 2>/dev/null 9>&-)
    return 1
}

# Returns when no run is alive and none can be expected any more. Where the attempt's folder was deleted, nobody can know
# of any, and no lock in it can be had.
wait_for_runs() {
    local before at
    # The usual end. Asked in this order: a run that is only being started holds the first lock until it has the second.
    ! flock -n -x 7 7>>"$dir/card.lock" 9>&- || ! flock -n -x 7 7>>"$dir/runs.lock" 9>&- || has_others || return
    while [ -d "$dir" ]; do
        until flock -w 1 -x 7 7>>"$dir/runs.lock" 9>&-; do
            [ -d "$dir" ] || return
            ! is_ending || [ -e "$dir/cancelled" ] || end_members
        done
        ! is_ending || return
        before=$(grep -c '^begin ' "$dir/ledger" 9>&-)
        if ! flock -w "$LEFTOVER_SECONDS" -x 7 7>>"$dir/card.lock" 9>&-; then
            while [ -e "$dir/paused" ] && ! is_ending; do
                sleep 0.5 9>&-
            done
        elif has_others; then
            # Python closes what it inherits, so that a run that it has only just started holds no lock.
            for ((at = 0; at < LEFTOVER_SECONDS * 20; at++)); do
                has_others && [ "$(grep -c '^begin ' "$dir/ledger" 9>&-)" = "$before" ] || break
                sleep 0.05 9>&-
            done
        fi
        [ "$(grep -c '^begin ' "$dir/ledger" 9>&-)" = "$before" ] || continue
        ! flock -n -x 7 7>>"$dir/runs.lock" 9>&- || return
    done
} 2>/dev/null

# The keys were for the tools of this attempt; its folder may stay.
forget_keys() {
    local file
    for file in hf_token civitai_token config/civitdl/config.json; do
        [ ! -s "$dir/$file" ] || printf '' >"$dir/$file"
    done
} 2>/dev/null

has_dead_run() {
    local verb alive=0
    while read -r verb _; do
        case $verb in
            begin) alive=$((alive + 1)) ;;
            end) alive=$((alive - 1)) ;;
        esac
    done <"$dir/ledger"
    [ "$alive" -gt 0 ]
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
    if ! is_ending; then
        # shellcheck disable=SC2046
        kill -KILL $(<"$dir/helpers") 2>/dev/null
    fi
    # The usual end. Process 1 may reap the helpers late or never: zombies do not count.
    for _ in {1..3}; do
        kill -0 -- "-$group" 2>/dev/null && may_live || return
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

# One look at all processes, which says only whether a closer one may find any of the group.
may_live() {
    local lives="\\) [^ZX] [0-9]+ $group "
    [[ $(cat /proc/[0-9]*/stat 2>/dev/null 9>&-) =~ $lives ]]
}

is_group_alive() {
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
