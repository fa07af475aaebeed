# shellcheck shell=sh
# Starts an attempt or finds it, then follows its log: `sh` reads it from standard input, after lines that set nonce,
# job, epoch (fence.sh), name (of the attempt's directory), card_name (of what is remembered of this card here), offset,
# must_exist, timeout_seconds, stall_seconds, bandwidth, provision, ui_home, remote_path, card, programs (a name for
# what they say), files (of these programs; none where the instance has them), file_1 and so on (what each says),
# commands (that get a shim), is_card (0: the service's own program, which runs no tools), mark (of the records in the
# log, or nothing), background (1: what the card leaves running stays), reinstall (1: whole files are loaded anew),
# riding (what its verification has to know, or nothing: riding.sh), ahead (the names of the attempts that the job is to
# begin after this one), civitdl_config, civitai_token and hf_token.
# Standard output: the nonce on a line of its own, then the log from `offset` on. Standard error: after the nonce, the
# ledger's records, one a line, and how the attempt ended.
#
# One lock says everything about an attempt: while it is held, the attempt runs. Who takes `lock`, how, and why:
#
# - Exclusive, here: to start. Of several that start at once one gets it; the supervisor inherits the descriptor and
#   holds it until the attempt has ended. It is only tried while `boot` is empty, the last file that is written before
#   the start: later it could only disturb those that ask.
# - Shared, without waiting: to ask whether the attempt runs (`report` here, signal.sh, remove.sh). Several may ask at
#   once. signal.sh asks only where `boot` is there, so that it never holds the lock when somebody wants to start.
# - Shared, waiting: the waiter below. It gets the lock when the attempt has ended, and the `tail` that watches it ends.
#
# Most of what an attempt costs is processes that start, a millisecond or two each on a small instance. So what a shell
# can do itself, it does: `read` and `printf` in place of cat, sed and cut.

LEDGER_RECORDS_MAX=1000
LEDGER_BYTES_MAX=65536
# So much of it is read by the shell itself.
LEDGER_BYTES_FEW=8192
# For so long the free room that another attempt has found counts.
ROOM_SECONDS=2

say() {
    printf '\n%s %s\n' "$nonce" "$*" >&2
    exit 0
}

# Nothing for a file system that has no room by its nature, such as /proc.
free_kib() {
    df -Pk "$1" 2>/dev/null | { read -r _ && read -r _ all _ free _ && [ "$all" != 0 ] && printf '%s' "$free"; }
}

# A container that is started again keeps the boot id of its host: the start time of process 1 tells them apart.
# Sets `boot` and `started`.
identify() {
    boot='' started=''
    { read -r boot </proc/sys/kernel/random/boot_id && read -r started </proc/1/stat; } 2>/dev/null
    # shellcheck disable=SC2086
    set -- ${started##*) }
    started=${20-}
}

# Whether the attempt began in this boot.
is_same_boot() {
    { read -r boot_before && read -r started_before; } 2>/dev/null <"$dir/boot"
    [ "$boot_before $started_before" = "$boot $started" ]
}

cannot_write() {
    free=$(free_kib "${HOME:-/}")
    case $1 in
        *'ermission denied'* | *'Read-only'*) ;;
        *) [ "${free:-64}" -ge 64 ] || say full ;;
    esac
    say "refused cannot write below $state: $1"
}

# Only its `log` says that an attempt was there: its folders and pipes may have been made with those of an earlier one.
make_folders() {
    if [ ! -p "$dir/run_pipe" ]; then
        # shellcheck disable=SC2086
        make_for "$name" $ahead || return
    fi
    printf '' >>"$dir/log" && printf '' >>"$dir/lock"
}

# What these attempts need, by two processes for all of them. Another may be making the same now; and where a file system
# knows no pipes, the supervisor finds another place for them.
make_for() {
    names=$*
    for one; do
        shift
        one=$state/$job/$one
        if [ "$is_card" = 1 ]; then
            set -- "$@" "$one/config/civitdl" ${riding:+"$one-verify"}
        else
            set -- "$@" "$one"
        fi
    done
    mkdir -p "$@" || return
    set --
    for one in $names; do
        one=$state/$job/$one
        [ -p "$one/run_pipe" ] || set -- "$@" "$one/idle" "$one/card_pipe" "$one/run_pipe"
    done
    [ "$#" = 0 ] || mkfifo "$@" 2>/dev/null || :
}

# `:` with a redirection that fails would end this shell, `printf` does not.
write_files() {
    printf '%s' "$card" >"$dir/card" &&
        printf '%s\n' "$mark" >"$dir/mark" &&
        printf '%s\n%s\n%s' "$bandwidth" "$provision" "$PATH${remote_path:+:$remote_path}" >"$dir/settings" &&
        printf '' >"$dir/armed" && printf '%-31s\n' '' >"$dir/exit.new" || return
    if [ "$is_card" = 1 ]; then
        write_secrets || return
    fi
    printf '%s\n%s\n' "$boot" "$started" >"$dir/boot"
}

# The programs are the same for every attempt, so they are sent and written once: their folder is named after what they
# say. Each command is two lines that read the shim beside it, which still goes by the name that it was called by. What
# few runs need of the shim lies in parts/.
lay_programs() {
    [ ! -e "$place/ready" ] || return 0
    # One at a time: who took away what is there without being ready would take it from another who has just laid it.
    mkdir -p "$state" && printf '' >>"$state/programs.lock" || return
    exec 7>>"$state/programs.lock"
    flock 7 || return
    if [ ! -e "$place/ready" ]; then
        own=$place.$$
        rm -rf -- "$place"
        { write_programs && mv "$own" "$place"; } || rm -rf -- "$own"
    fi
    exec 7>&-
    [ -e "$place/ready" ]
}

write_programs() {
    find_bash
    mkdir -p "$own/bin" "$own/parts" || return
    number=0
    for file in $files; do
        number=$((number + 1))
        eval "text=\$file_$number"
        [ "$file" != bin/shim ] || text="#!$bash -p
$text"
        printf '%s' "$text" >"$own/$file" || return
    done
    for command in $commands; do
        # shellcheck disable=SC2016
        printf '#!%s -p\n. "${0%%/*}/shim"\n' "$bash" >"$own/bin/$command" || return
    done
    chmod 700 "$own/bin"/* && printf '' >"$own/ready"
}

write_secrets() {
    printf '' >"$dir/ledger" && civitdl_config >"$dir/config/civitdl/config.json" || return
    if [ -n "$riding" ]; then
        printf '%s' "$riding" >"$dir/riding" || return
    fi
    if [ -n "$hf_token" ]; then
        printf '%s' "$hf_token" >"$dir/hf_token" || return
    fi
    if [ -n "$civitai_token" ]; then
        printf '%s' "$civitai_token" >"$dir/civitai_token" || return
    fi
}

# Sets `bash`: its path, which stands in the first line of each tool.
find_bash() {
    rest=$PATH:
    while [ -n "$rest" ]; do
        bash=${rest%%:*}/bash rest=${rest#*:}
        case $bash in /*) [ ! -x "$bash" ] || [ -d "$bash" ] || return 0 ;; esac
    done
    bash=$(command -v bash)
}

# When the service has no key, the key in the instance's own configuration stays in use.
civitdl_config() {
    own=${XDG_CONFIG_HOME:-${HOME:-/root}/.config}/civitdl/config.json
    if [ ! -r "$own" ]; then
        printf '%s' "$civitdl_config"
        return
    fi
    own=$(sed -n 's/.*"api_key"[[:space:]]*:[[:space:]]*"\([A-Za-z0-9_-]*\)".*/\1/p' "$own" 2>/dev/null | head -n 1)
    printf '%s' "$civitdl_config" | sed "s/\"api_key\": \"\"/\"api_key\": \"$own\"/"
}

# Whether a file is newer than each program of this name on the PATH.
is_newest() {
    rest=$PATH:
    while [ -n "$rest" ]; do
        program=${rest%%:*}/$2 rest=${rest#*:}
        [ ! -e "$program" ] || [ "$1" -nt "$program" ] || return
    done
}

# What the programs of this instance can do is asked once a boot, and again when tail was replaced. Sets `guard`: a process
# can be told to die with the one that started it.
check_programs() {
    { read -r known && read -r guard; } 2>/dev/null <"$state/able"
    if [ "${known-}" = "$boot $started" ] && is_newest "$state/able" tail; then
        return
    fi
    tail -c 0 --pid=$$ /dev/null >/dev/null 2>&1 || say "missing tail --pid (of GNU coreutils)"
    guard=
    ! setpriv --pdeathsig KILL true >/dev/null 2>&1 || guard=1
    {
        mkdir -p "$state" && printf '%s\n%s\n' "$boot $started" "$guard" >"$state/able.$$" &&
            mv -f "$state/able.$$" "$state/able"
    } 2>/dev/null
}

# The free room where the resource will lie, as the first record of the log: what a run announces is compared with it.
# Before an attempt is ended for want of it, it is measured anew (signal.sh).
record_room() {
    [ -n "$mark" ] || return 0
    find_room 2>/dev/null
    [ -z "$room" ] || printf '\r%s room %s\n' "$mark" "$room" >>"$dir/log"
}

# Sets `room`. A job begins several small resources within the time for which another attempt's answer counts.
find_room() {
    room='' at='' where='' now=''
    read -r now _ </proc/uptime && read -r room at where <"$state/room"
    now=${now%%.*}
    case x${now}x${at}x${room}x in
        *xx* | *[!0-9x]*) ;;
        *) [ "$where" = "$ui_home" ] && [ "$now" -ge "$at" ] && [ $((now - at)) -le "$ROOM_SECONDS" ] && return ;;
    esac
    measure_room
    [ -z "$room$now" ] || printf '%s %s %s\n' "$room" "$now" "$ui_home" >"$state/room"
}

# On the nearest folder that exists.
measure_room() {
    folder=$ui_home room=
    while [ ! -d "$folder" ] && [ "$folder" != / ]; do
        folder=$(dirname -- "$folder")
    done
    # shellcheck disable=SC2046
    set -- $(exec stat -f -c '%b %a %S' -- "$folder")
    [ "${1:-0}" = 0 ] || room=$(($2 * $3))
}

start() {
    # Once more for what it says: `$(...)` around the first would cost a process.
    write_files 2>/dev/null || error=$(write_files 2>&1) || cannot_write "$error"
    printf '' >"$dir/log"
    record_room
    RESOURCE_INSTALLER_ATTEMPT=$dir RESOURCE_INSTALLER_PATH=$PATH${remote_path:+:$remote_path} \
        RESOURCE_INSTALLER_TIMEOUT=$timeout_seconds RESOURCE_INSTALLER_STALL=$stall_seconds \
        RESOURCE_INSTALLER_BANDWIDTH=$bandwidth RESOURCE_INSTALLER_PROVISION=$provision \
        RESOURCE_INSTALLER_GUARD=$guard RESOURCE_INSTALLER_BACKGROUND=$background \
        RESOURCE_INSTALLER_REINSTALL=$reinstall RESOURCE_INSTALLER_IS_CARD=$is_card \
        RESOURCE_INSTALLER_CARD=$card_name UI_HOME=$ui_home \
        setsid bash -p "$place/supervise" "$dir/supervise" </dev/null >/dev/null 2>&1 &
    supervisor=$!
}

# Everything that still carries this attempt's mark in its environment, and its group while the leader carries it: never
# an id alone, which may be another process's by now.
kill_leftovers() {
    group=$(cat "$dir/group" 2>/dev/null)
    if [ -n "$group" ] && grep -qszxF "RESOURCE_INSTALLER_ATTEMPT=$dir" "/proc/$group/environ"; then
        kill -KILL -- "-$group" 2>/dev/null
    fi
    for _ in 1 2 3; do
        found=
        for process in /proc/[0-9]*; do
            if grep -qszxF "RESOURCE_INSTALLER_ATTEMPT=$dir" "$process/environ"; then
                kill -KILL "${process#/proc/}" 2>/dev/null && found=1
            fi
        done
        [ -n "$found" ] || return 0
        sleep 0.1
    done
}

# The last records of the ledger, without those that only say how far a run is, and without one that is cut.
say_ledger() {
    [ -e "$dir/ledger" ] || return 0
    printf '%s ledger\n' "$nonce" >&2
    say_few_records && return
    grep -avE '^(bytes|idle) ' "$dir/ledger" | tail -n "$LEDGER_RECORDS_MAX" | tail -c "$LEDGER_BYTES_MAX" |
        sed -n "s/^[a-z]* [0-9a-z_]* ..*/$nonce ledger &/p" >&2
}

say_few_records() {
    records='' bytes=0
    while read -r record; do
        bytes=$((bytes + ${#record}))
        [ "$bytes" -le "$LEDGER_BYTES_FEW" ] || return
        case $record in
            'bytes '* | 'idle '*) ;;
            [a-z]*' '[0-9a-z_]*' '?*) records="$records$nonce ledger $record
" ;;
        esac
    done <"$dir/ledger"
    printf '%s' "$records" >&2
}

# What the verification said that ran with the end of this attempt, and how it ended.
say_ridden() {
    [ -n "$riding" ] && [ -s "$dir-verify/boot" ] && [ -s "$dir-verify/exit" ] || return 0
    said='' bytes=0
    while IFS= read -r line; do
        bytes=$((bytes + ${#line} + 1))
        [ "$bytes" -le "$LEDGER_BYTES_FEW" ] || return 0
        said="$said$nonce verified $line
"
    done <"$dir-verify/log"
    read -r line <"$dir-verify/exit"
    printf '%s%s ridden %s exit %s\n' "$said" "$nonce" "$bytes" "$line" >&2
}

# The attempt still runs, but was not followed to its end. A pause, so that a follower does not retry in a tight loop.
broken() {
    rm -f "$state/able"
    sleep 1
    say held
}

# The supervisor did not come to it: ends what is left, sets the halves aside, and forgets the keys.
settle() {
    ! is_same_boot || kill_leftovers
    for file in hf_token civitai_token config/civitdl/config.json; do
        [ ! -s "$dir/$file" ] || printf '' >"$dir/$file"
    done
    [ ! -e "$dir/ledger" ] || RESOURCE_INSTALLER_ATTEMPT=$dir RESOURCE_INSTALLER_PATH=$PATH bash -p "$place/bin/shim"
} >/dev/null 2>&1

report() {
    [ -s "$dir/exit" ] || settle
    printf '\n' >&2
    say_ledger
    [ ! -s "$dir/noroom" ] || say "room $(cat "$dir/noroom")"
    if [ -s "$dir/exit" ]; then
        read -r exit <"$dir/exit"
        say_ridden
        say "exit $exit"
    fi
    is_same_boot || say lost
    free=$(free_kib "$dir")
    [ "${free:-64}" -lt 64 ] && say full
    say killed
}

# Prints the log from `offset` on, until the attempt has ended. What is waited for ends when the lock is free: the
# supervisor itself if it was started here, else a process that asks for the lock. tail sees that, reads to the end of the
# file and ends too. It looks for it only every 0.1 s, but what changes in a file that it follows wakes it at once, so it
# follows a second one, which is always empty, and which is touched then. Where tail ends first (nobody reads any more),
# nothing is waited for any longer.
#
# Each write of a tool is a packet. To gather them for 20 ms would save none of the ten bars a second that tools draw (60
# packets of 60 bars), at a hundred a second the half, at a thousand six of seven; but a tail that gathers looks fifty
# times a second, also while nothing comes. So this one does not.
follow() {
    waiter=$supervisor
    if [ -z "$waiter" ]; then
        flock -s 8 8<"$dir/lock" &
        waiter=$!
    fi
    wake=$dir/wake
    printf '' 2>/dev/null >"$wake" || wake=
    is_read=1
    trap 'is_read=0' USR1
    {
        tail -q -c "+$((offset + 1))" -f --pid="$waiter" -s 0.1 "$dir/log" ${wake:+"$wake"} || {
            [ -n "$supervisor" ] || kill "$waiter"
            kill -USR1 "$$"
            exit 1
        }
    } 2>/dev/null &
    follower=$!
    wait "$waiter"
    has_ended=$?
    [ -z "$supervisor" ] || has_ended=0
    [ -z "$wake" ] || printf '' 2>/dev/null >"$wake"
    [ "$is_read" = 1 ] && wait "$follower" && [ "$has_ended" = 0 ]
}

main() {
    LC_ALL=C
    export LC_ALL
    umask 077
    printf '\n%s\n' "$nonce"
    for tool in bash flock mkfifo setsid tail; do
        command -v "$tool" >/dev/null 2>&1 || say "missing $tool"
    done
    state=${HOME:-/root}/.local/state/resource-installer
    dir=$state/$job/$name
    place=$state/programs/$programs
    identify
    check_programs
    [ -e "$place/ready" ] || [ -n "$files" ] || say unprepared
    lay_programs 2>/dev/null || error=$(lay_programs 2>&1) || cannot_write "$error"
    ! is_stale "$state/$job" || say stale
    if [ ! -e "$dir/log" ]; then
        [ "$must_exist" = 1 ] && say lost
        make_folders 2>/dev/null || error=$(make_folders 2>&1) || cannot_write "$error"
    fi
    enter "$state/$job" || say stale
    exec 9>>"$dir/lock" || cannot_write lock
    supervisor=
    if [ ! -s "$dir/boot" ] && flock -n 9 && [ ! -s "$dir/boot" ]; then
        [ "$must_exist" = 1 ] && say lost
        # Once more: waiting for the lock takes time.
        ! is_stale "$state/$job" || say stale
        start
    fi
    exec 9>&-
    if [ "$offset" != 0 ]; then
        [ "$(wc -c <"$dir/log")" -ge "$offset" ] || say lost
    fi
    follow || broken
    report
}

main </dev/null
