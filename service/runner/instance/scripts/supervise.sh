# shellcheck shell=bash disable=SC2034,SC2154 # the other parts set and use what is not set or used here
# Runs one card and writes down how it ended. It leads a session and holds the lock on descriptor 9: as long as the lock
# is held, the attempt runs (attach.sh says who else takes it). So its children close descriptor 9 at once: one that
# outlives the supervisor would make the attempt look alive. Nothing is written after the lock is free: before that,
# `exit` is there and what is left of the card's processes has been killed. The card is a process group of its own, and
# only that group and what came from it ever gets signals.
#
# The attempt ends when the script has ended and no run of a tool is alive: each holds the writing end of `run_pipe`
# (shim.sh). One that is only just being started holds that of `card_pipe`, as all do that the card forked, so that a
# server does too: it is waited for only LEFTOVER_SECONDS. A pipe says without a process whether anybody holds it: whoever
# reads it meets its end when nobody does.
#
# places.sh, left.sh, ending.sh and riding.sh come before it in one program; watchdog.sh and recorder.sh lie in parts/.

dir=$RESOURCE_INSTALLER_ATTEMPT
programs=${0%/*}
GRACE_SECONDS=10
trap : HUP INT TERM

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
    exec {idle}<>"$pipes/idle" {run_pipe}<&- {card_pipe}<&-
    helpers </dev/null >/dev/null 2>&1 &
    printf '%s\n' "$!" >"$dir/helpers"
    exec {idle}>&-
    unset LC_ALL RESOURCE_INSTALLER_TIMEOUT RESOURCE_INSTALLER_STALL RESOURCE_INSTALLER_CARD
    if [ "$RESOURCE_INSTALLER_IS_CARD" = 0 ]; then
        # What the instance runs in each bash stays out of the service's own program.
        unset BASH_ENV
        export PATH=$RESOURCE_INSTALLER_PATH
        exec bash "$dir/card"
    fi
    export LANG=C.UTF-8 PYTHONUTF8=1 PYTHONUNBUFFERED=1
    # The shims are the same for every attempt; the way to them begins with this one's directory, by which they find it
    # where their environment is lost.
    export PATH="$dir/../../programs/${programs##*/}/bin:$RESOURCE_INSTALLER_PATH"
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
    exec 198<>"$pipes/card_pipe"
    run_script
}

# The watchdog, and for a card the recorder beside it. Most small downloads end within their first second: until that is
# over, they are not even read.
helpers() {
    local watchdog=$BASHPID
    recorder=
    read -r -t 1 -u "$idle"
    # shellcheck disable=SC1091
    . "$programs/parts/watchdog"
    if [ "$RESOURCE_INSTALLER_IS_CARD" = 1 ]; then
        # shellcheck disable=SC1091
        . "$programs/parts/recorder"
        recorder &
        recorder=$!
    fi
    watchdog
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

# Opens the reading ends. An end that was opened before a writer came and went is told apart from one that never had any.
# Where a file system knows no pipes, attach.sh could not make them: they lie in the one for temporary files.
open_pipes() {
    pipes=$dir
    if ! [ -p "$dir/idle" ] || ! [ -p "$dir/card_pipe" ] || ! [ -p "$dir/run_pipe" ]; then
        pipes=$(mktemp -d) && mkfifo "$pipes/idle" "$pipes/card_pipe" "$pipes/run_pipe" &&
            ln -sf "$pipes/run_pipe" "$dir/run_pipe"
    fi 9>&-
    # shellcheck disable=SC2094
    exec {both}<>"$pipes/card_pipe" {card_pipe}<"$pipes/card_pipe" {both}>&-
    # shellcheck disable=SC2094
    exec {both}<>"$pipes/run_pipe" {run_pipe}<"$pipes/run_pipe" {both}>&-
    exec {both}>"$pipes/run_pipe" {both}>&-
}

# Written at once where there is room. Else in place over bytes that are there already, then renamed: that works on a full
# disk too.
write_exit() {
    local line said=
    printf -v line %-31s "$status $how ${free:--}"
    printf '%s\n' "$line" >"$dir/exit"
    IFS= read -r said <"$dir/exit"
    [ "$said" != "$line" ] || return 0
    printf '%s\n' "$line" 1<>"$dir/exit.new" && mv -f "$dir/exit.new" "$dir/exit" 9>&-
} 2>/dev/null

open_pipes
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
troubled=1
if [ "$RESOURCE_INSTALLER_IS_CARD" = 1 ]; then
    read_ends
    # Where a shim died, its half is set aside here.
    [ "$alive" -le 0 ] || bash -p "$programs/bin/shim" </dev/null >/dev/null 2>&1 9>&-
    record_what_it_left
    forget_keys
fi
[ "$pipes" = "$dir" ] || rm -rf -- "$pipes" 9>&-
free=
if [ -n "$troubled" ]; then
    { read -r blocks size < <(exec stat -f -c '%a %S' -- "$dir" 9>&-) && free=$((blocks * size / 1024)); } 2>/dev/null
fi
write_exit
[ "$status.$how" != 0.0 ] || is_ending || ride
