# shellcheck shell=bash
# Runs one card and writes down how it ended. It leads a session and holds the lock on descriptor 9: as long as the lock
# is held, the attempt runs (attach.sh says who else takes it). So its children close descriptor 9 at once: one that
# outlives the supervisor would make the attempt look alive. Nothing is written after the lock is free: before that,
# `exit` is there and what is left of the card's processes has been killed. The card is a process group of its own, and
# only that group and what came from it ever gets signals.

#
# The attempt ends when the script has ended and no run of a tool is alive: each holds `runs.lock` (shim.sh). One that is
# only just being started holds `card.lock`, as all do that the card forked, so that a server does too: it is waited for
# only LEFTOVER_SECONDS.

dir=$RESOURCE_INSTALLER_ATTEMPT
LEFTOVER_SECONDS=2
GRACE_SECONDS=10
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

# Records once a second how far each live run is, and what processes that are no run's write: for tools that say nothing
# about it. It is of the card's group, so that a pause stops it. A run is known by the process of its shim, which its
# token ends with.
recorder() {
    local mark verb token shown log=
    local -A runs=() told=() encoded=()
    read -r mark <"$dir/mark"
    exec {ledger}<"$dir/ledger"
    while :; do
        read -r -t 1 -u "$idle"
        [ -n "$log" ] || log=$(stat -c %i "$dir/log")
        while read -r verb token shown _ <&"$ledger"; do
            case $verb in
                begin) runs[${token##*p}]="$token $shown" ;;
                end) unset "runs[${token##*p}]" ;;
            esac
        done
        record_growth
    done
}

# One look at the files that the processes of the session have open; of each run, or process without one, the file that
# grew most. A file that is only read does not grow.
record_growth() {
    local process line inode size path pid one
    local -A parents=() best=() grown=()
    local folders=()
    for process in /proc/[0-9]*; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${line##*) }
        [ "$4" = "$$" ] || continue
        pid=${process#/proc/}
        parents[$pid]=$2
        [ "$pid" = "$$" ] || [ "$pid" = "$BASHPID" ] || [ "$2" = "$BASHPID" ] || folders+=("$process/fd/"*)
    done
    [ "${#folders[@]}" -gt 0 ] || return
    while read -r inode size path; do
        [ "$inode" != "$log" ] && [ "$size" != 0 ] || continue
        pid=${path#/proc/}
        pid=${pid%%/*}
        owner_of "$pid"
        # aria2c makes its file as long as it will be: what it has written is nearer the truth.
        [ "${runs[$owner]#* }" != aria2c ] || size=$(written_by "$pid")
        one=${told[$inode]-new}
        told[$inode]=$size
        # What a process without a run opened may have been there before.
        [ "$one" != "$size" ] || continue
        [ "$one" != new ] || [ -n "${runs[$owner]+is}" ] || continue
        [ "$size" -gt "${grown[$owner]:-0}" ] || continue
        grown[$owner]=$size best[$owner]="$inode $path"
    done < <(stat -L -c '%i %s %n' "${folders[@]}" 2>/dev/null)
    for one in "${!grown[@]}"; do
        record_bytes "$one" "${grown[$one]}" "${best[$one]}"
    done
}

written_by() {
    local key value
    while read -r key value; do
        [ "$key" != wchar: ] || printf '%s' "$value"
    done <"/proc/$1/io"
}

# Sets `owner`: the shim that this process comes from, else the process.
owner_of() {
    local at=$1
    owner=$1
    while [ -n "${parents[$at]+known}" ]; do
        if [ -n "${runs[$at]+is}" ]; then
            owner=$at
            return
        fi
        at=${parents[$at]}
    done
}

record_bytes() {
    local path verb=idle token=$1 size=$2 inode=${3%% *} file=${3#* } key flags
    while read -r key flags; do
        [ "$key" != flags: ] || break
    done <"${file/\/fd\//\/fdinfo\/}"
    case $flags in *[12]) ;; *) return ;; esac
    if [ -z "${encoded[$inode]-}" ]; then
        path=$(readlink "$file")
        case $path in "$dir"/*) return ;; esac
        encoded[$inode]=$(printf '%s' "${path##*/}" | base64 | tr -d '\n')
    fi
    if [ -n "${runs[$1]+is}" ]; then
        verb=bytes token=${runs[$1]% *}
    fi
    printf '%s\n' "$verb $token $size ${encoded[$inode]}" >>"$dir/ledger"
    [ -z "$mark" ] || printf '\r%s %s\n' "$mark" "$verb $token $size ${encoded[$inode]}" >>"$dir/log"
}

# Fills `members`: the processes in this session, also those that dropped their environment, and those that carry this
# attempt's mark, also those that left the session. Zombies do not count, nor does the recorder.
list_members() {
    local process line file
    local -A seen=() own=()
    for process in /proc/[0-9]*; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${line##*) }
        [ "$2" != "${recorder:-none}" ] || own[${process#/proc/}]=1
        [ "$4" != "$$" ] || [ "$1" = Z ] || seen[${process#/proc/}]=1
    done
    # shellcheck disable=SC2013
    for file in $(grep -lszxF "RESOURCE_INSTALLER_ATTEMPT=$dir" /proc/[0-9]*/environ 9>&-); do
        file=${file#/proc/}
        seen[${file%/environ}]=1
    done
    for process in "$$" "${recorder:-$$}" "${!own[@]}"; do
        unset "seen[$process]"
    done
    members=("${!seen[@]}")
}

give_up() {
    trap '' TERM
    mv "$dir/armed" "$dir/$1"
    kill -TERM 0
    sleep "$GRACE_SECONDS"
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
    printf '%s\n' "$BASHPID" >"$dir/group"
    obey
    # A second is a read that gets nothing: a `sleep` would be one more process of the card's group.
    exec {idle}<> <(:)
    recorder=
    if [ "$RESOURCE_INSTALLER_IS_CARD" = 1 ]; then
        recorder </dev/null >/dev/null 2>&1 &
        recorder=$!
    fi
    watchdog </dev/null >/dev/null 2>&1 &
    printf '%s %s\n' "$recorder" "$!" >"$dir/helpers"
    exec {idle}>&-
    unset LC_ALL RESOURCE_INSTALLER_TIMEOUT RESOURCE_INSTALLER_STALL
    if [ "$RESOURCE_INSTALLER_IS_CARD" = 0 ]; then
        # What the instance runs in each bash stays out of the service's own program.
        unset BASH_ENV
        export PATH=$RESOURCE_INSTALLER_PATH
        exec bash "$dir/card"
    fi
    export LANG=C.UTF-8 PYTHONUTF8=1 PYTHONUNBUFFERED=1
    export PATH="$dir/bin:$RESOURCE_INSTALLER_PATH"
    if [ -e "$dir/hf_token" ]; then
        HF_TOKEN=$(<"$dir/hf_token")
        export HF_TOKEN
    fi
    if [ -e "$dir/civitai_token" ]; then
        CIVITAI_TOKEN=$(<"$dir/civitai_token")
        CIVITAI_API_KEY=$CIVITAI_TOKEN
        export CIVITAI_TOKEN CIVITAI_API_KEY
    fi
    # The folder that holds ComfyUI, as the provisioning scripts of the field know it.
    [ -n "${WORKSPACE-}" ] || WORKSPACE=${UI_HOME%/*}
    export WORKSPACE
    cd "${HOME:-/}" || exit 1
    # The shims know this number.
    exec 198>>"$dir/card.lock"
    flock -s 198
    run_script
}

# A script that begins with "#!" is run by the program that it names, as it would be from a file: what its author wrote
# for plain bash does not stop at the first command that fails. Without such a line it does.
run_script() {
    local first
    IFS= read -r first <"$dir/card"
    case $first in
        '#!'*)
            chmod 700 "$dir/card" && exec "$dir/card"
            exit 126
            ;;
    esac
    exec bash -e -o pipefail "$dir/card"
}

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

# Returns when no run is alive and none can be expected any more.
wait_for_runs() {
    local before
    # The usual end. Asked in this order: a run that is only being started holds the first lock until it has the second.
    ! flock -n -x 7 7>>"$dir/card.lock" 9>&- || ! flock -n -x 7 7>>"$dir/runs.lock" 9>&- || return
    while :; do
        until flock -w 1 -x 7 7>>"$dir/runs.lock" 9>&-; do
            ! is_ending || [ -e "$dir/cancelled" ] || end_members
        done
        ! is_ending || return
        before=$(grep -c '^begin ' "$dir/ledger" 9>&-)
        if ! flock -w "$LEFTOVER_SECONDS" -x 7 7>>"$dir/card.lock" 9>&-; then
            while [ -e "$dir/paused" ] && ! is_ending; do
                sleep 0.5 9>&-
            done
            [ "$(grep -c '^begin ' "$dir/ledger" 9>&-)" = "$before" ] || continue
        fi
        ! flock -n -x 7 7>>"$dir/runs.lock" 9>&- || return
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
[ "$RESOURCE_INSTALLER_IS_CARD" = 0 ] || wait_for_runs
end_group

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
# Where a shim died, its half is set aside here.
if [ "$RESOURCE_INSTALLER_IS_CARD" = 1 ]; then
    ! has_dead_run || bash -p "$dir/bin/shim" </dev/null >/dev/null 2>&1 9>&-
    record_what_it_left
fi
free=
{ read -r blocks size < <(exec stat -f -c '%a %S' -- "$dir" 9>&-) && free=$((blocks * size / 1024)); } 2>/dev/null
# Written in place over bytes that are there already, then renamed: that works on a full disk too.
printf '%-31s\n' "$status $how ${free:--}" 1<>"$dir/exit.new" && mv "$dir/exit.new" "$dir/exit" 9>&-
