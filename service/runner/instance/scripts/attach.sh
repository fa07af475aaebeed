# shellcheck shell=sh
# Starts an attempt or finds it, then follows its log: `sh` reads it from standard input, after lines that set nonce,
# job, name (of the attempt's directory), offset, must_exist, timeout_seconds, stall_seconds, bandwidth, provision,
# ui_home, remote_path, card, supervise, shim, commands (that get a shim), mark (of the records in the log,
# or nothing), background (1: what the card leaves running stays),
# reinstall (1: whole files are loaded anew), civitdl_config,
# civitai_token and hf_token.
# Standard output: the nonce on a line of its own, then the log from `offset` on. Standard error: after the nonce, the
# ledger's records, one a line, and how the attempt ended.
#
# One lock says everything about an attempt: while it is held, the attempt runs. Who takes `lock`, how, and why:
#
# - Exclusive, here: to start. Of several that start at once one gets it; the supervisor inherits the descriptor and
#   holds it until the attempt has ended. It is only tried while there is no `boot`, the last file that is written before
#   the start: later it could only disturb those that ask.
# - Shared, without waiting: to ask whether the attempt runs (`report` here, signal.sh, remove.sh). Several may ask at
#   once. signal.sh asks only where `boot` is there, so that it never holds the lock when somebody wants to start.
# - Shared, waiting: the waiter below. It gets the lock when the attempt has ended, and the `tail` that watches it ends.

LEDGER_RECORDS_MAX=1000
LEDGER_BYTES_MAX=65536

say() {
    printf '\n%s %s\n' "$nonce" "$*" >&2
    exit 0
}

# Nothing for a file system that has no room by its nature, such as /proc.
free_kib() {
    df -Pk "$1" 2>/dev/null | { read -r _ && read -r _ all _ free _ && [ "$all" != 0 ] && printf '%s' "$free"; }
}

# A container that is started again keeps the boot id of its host: the start time of process 1 tells them apart.
identity() {
    cat /proc/sys/kernel/random/boot_id
    sed 's/.*) //' /proc/1/stat | cut -d ' ' -f 20
}

cannot_write() {
    free=$(free_kib "${HOME:-/}")
    case $1 in
        *'ermission denied'* | *'Read-only'*) ;;
        *) [ "${free:-64}" -ge 64 ] || say full ;;
    esac
    say "refused cannot write below $state: $1"
}

write_files() {
    mkdir -p "$dir/bin" &&
        printf '%s' "$card" >"$dir/card" &&
        printf '%s' "$supervise" >"$dir/supervise" &&
        printf '#!%s -p\n%s' "$(command -v bash)" "$shim" >"$dir/bin/shim" && chmod 700 "$dir/bin/shim" &&
        printf '%s\n' "$mark" >"$dir/mark" &&
        printf '%s\n%s\n%s' "$bandwidth" "$provision" "$PATH${remote_path:+:$remote_path}" >"$dir/settings" &&
        : >"$dir/ledger" && : >"$dir/runs.lock" && : >"$dir/card.lock" &&
        : >"$dir/armed" && printf '%-31s\n' '' >"$dir/exit.new" || return
    for command in $commands; do
        ln -sf shim "$dir/bin/$command" || return
    done
    mkdir -p "$dir/config/civitdl" && civitdl_config >"$dir/config/civitdl/config.json" || return
    if [ -n "$hf_token" ]; then
        printf '%s' "$hf_token" >"$dir/hf_token" || return
    fi
    if [ -n "$civitai_token" ]; then
        printf '%s' "$civitai_token" >"$dir/civitai_token" || return
    fi
    identity >"$dir/boot.new" && mv "$dir/boot.new" "$dir/boot"
}

# When the service has no key, the key in the instance's own configuration stays in use.
civitdl_config() {
    own=$(sed -n 's/.*"api_key"[[:space:]]*:[[:space:]]*"\([A-Za-z0-9_-]*\)".*/\1/p' \
        "${XDG_CONFIG_HOME:-${HOME:-/root}/.config}/civitdl/config.json" 2>/dev/null | head -n 1)
    printf '%s' "$civitdl_config" | sed "s/\"api_key\": \"\"/\"api_key\": \"$own\"/"
}

# The free room where the resource will lie, on the nearest folder above it that exists, as the first record of the log:
# what a run announces is compared with it.
record_room() {
    [ -n "$mark" ] || return 0
    folder=$ui_home
    while [ ! -d "$folder" ] && [ "$folder" != / ]; do
        folder=$(dirname -- "$folder")
    done
    free=$(free_kib "$folder")
    [ -z "$free" ] || printf '\r%s room %s\n' "$mark" $((free * 1024)) >>"$dir/log"
}

start() {
    error=$(write_files 2>&1) || cannot_write "$error"
    record_room
    guard=
    ! setpriv --pdeathsig KILL true >/dev/null 2>&1 || guard=1
    RESOURCE_INSTALLER_ATTEMPT=$dir RESOURCE_INSTALLER_PATH=$PATH${remote_path:+:$remote_path} \
        RESOURCE_INSTALLER_TIMEOUT=$timeout_seconds RESOURCE_INSTALLER_STALL=$stall_seconds \
        RESOURCE_INSTALLER_BANDWIDTH=$bandwidth RESOURCE_INSTALLER_PROVISION=$provision \
        RESOURCE_INSTALLER_GUARD=$guard RESOURCE_INSTALLER_BACKGROUND=$background \
        RESOURCE_INSTALLER_REINSTALL=$reinstall UI_HOME=$ui_home \
        setsid bash -p "$dir/supervise" </dev/null >/dev/null 2>&1 &
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
    grep -avE '^(bytes|idle) ' "$dir/ledger" | tail -n "$LEDGER_RECORDS_MAX" | tail -c "$LEDGER_BYTES_MAX" |
        sed -n "s/^[a-z]* [0-9a-z_]* ..*/$nonce ledger &/p" >&2
}

# The attempt still runs, but was not followed to its end. A pause, so that a follower does not retry in a tight loop.
broken() {
    sleep 1
    say held
}

# The supervisor did not come to it: ends what is left, and sets the halves aside.
settle() {
    [ "$(cat "$dir/boot" 2>/dev/null)" != "$(identity)" ] || kill_leftovers
    [ ! -e "$dir/ledger" ] || RESOURCE_INSTALLER_ATTEMPT=$dir RESOURCE_INSTALLER_PATH=$PATH bash -p "$dir/bin/shim"
} >/dev/null 2>&1

report() {
    flock -s -n 8 8<"$dir/lock" || broken
    [ -s "$dir/exit" ] || settle
    printf '\n' >&2
    say_ledger
    [ -s "$dir/noroom" ] && say "room $(cat "$dir/noroom")"
    [ -s "$dir/exit" ] && say "exit $(cat "$dir/exit")"
    [ "$(cat "$dir/boot" 2>/dev/null)" = "$(identity)" ] || say lost
    free=$(free_kib "$dir")
    [ "${free:-64}" -lt 64 ] && say full
    say killed
}

main() {
    LC_ALL=C
    export LC_ALL
    umask 077
    printf '\n%s\n' "$nonce"
    for tool in bash flock setsid tail; do
        command -v "$tool" >/dev/null 2>&1 || say "missing $tool"
    done
    tail -c 0 --pid=$$ /dev/null >/dev/null 2>&1 || say "missing tail --pid (of GNU coreutils)"
    state=${HOME:-/root}/.local/state/resource-installer
    dir=$state/$job/$name
    if [ ! -e "$dir/log" ]; then
        [ "$must_exist" = 1 ] && say lost
        error=$({ mkdir -p "$dir" && : >>"$dir/log" && : >>"$dir/lock"; } 2>&1) || cannot_write "$error"
    fi
    exec 9>>"$dir/lock" || cannot_write lock
    if [ ! -e "$dir/boot" ] && flock -n 9 && [ ! -e "$dir/boot" ]; then
        [ "$must_exist" = 1 ] && say lost
        start
    fi
    exec 9>&-
    [ "$(wc -c <"$dir/log")" -ge "$offset" ] || say lost
    # The waiter ends when the lock is free; tail sees that, reads to the end of the file and ends too.
    flock -s 8 8<"$dir/lock" &
    waiter=$!
    tail -c "+$((offset + 1))" -f --pid="$waiter" -s 0.1 "$dir/log" 2>/dev/null &
    wait $!
    followed=$?
    kill "$waiter" 2>/dev/null
    [ "$followed" = 0 ] || broken
    report
}

main </dev/null
