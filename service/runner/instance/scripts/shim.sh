# The program that stands before a tool of the same name: it runs the real one, which is later on PATH, with what the
# service adds to it, and records in the ledger that the run began, where it writes, and how it ended. It comes first on
# PATH, so that scripts and xargs use it too. attach.sh puts "#!<bash> -p" before it: with -p, neither BASH_ENV nor the
# functions and options that a card exports reach it.
#
# This is what all tools share, with argv.sh (options and addresses), places.sh and files.sh (whole files and half ones),
# which come next. The part of the tool that was called, tools/<name>.sh, is read after them, then `main` is called. Such
# a part defines two functions, both called with the tool's argv:
#   destinations   takes the argv apart (read_argv), calls `wrote` for each place that the tool will write to, and sets
#                  judged, kind, destination and addresses of the run, and what files.sh needs
#   compose        fills `command`: the tool and its argv, with what the service adds and this very tool knows
# and, where something is left to do when the tool has ended, after_run.
# `package` and `version` are set where the tool can be installed with pip.
#
# shellcheck shell=bash disable=SC2034 # what is not used here is for the tools' parts
set +o posix
tool=${0##*/}
# Under `env -i` only the path of this program says which attempt it belongs to.
attempt=${RESOURCE_INSTALLER_ATTEMPT:-${0%/../../programs/*}}
# The service's own folder on the instance, and for the tools' parts, a limit in bytes a second or nothing.
state=${attempt%/*/*}
limit=${RESOURCE_INSTALLER_BANDWIDTH-}
if [ -n "${RESOURCE_INSTALLER_PATH-}" ]; then
    PATH=$RESOURCE_INSTALLER_PATH
elif [ -r "$attempt/settings" ]; then
    { read -r limit && read -r RESOURCE_INSTALLER_PROVISION && IFS= read -r -d '' PATH; } <"$attempt/settings"
fi
export PATH
package='' version=''
judged=0 kind=- is_plain=0 may_keep=1 looks=0 continues=0 spares=0 doubts=0 splits=0 asks=() guess=''
own_folder='' destination='' addresses=() writes_stdout=0 replaces=''
command=() front=() back=() identity=- child='' interrupted='' background='' token='' mark=''
declare -A parts

# Reads parts of this program, each once. What few runs need lies apart: it takes longer to read than a small download.
needs() {
    local part
    for part; do
        # shellcheck disable=SC1090
        [ -n "${parts[$part]-}" ] || . "${0%/*}/../parts/$part"
        parts[$part]=1
    done
}

say() {
    printf 'resource-installer: %s\n' "$*"
}

# One line "kind<TAB>path in base64" for each place that is written to. Standard output is not a place.
wrote() {
    local path=$2
    [ "$splits" = 0 ] || return
    case $path in
        - | /dev/*) return ;;
        /*) ;;
        *) path=$PWD/$path ;;
    esac
    encode "$path"
    printf '%s\t%s\n' "$1" "$encoded" >>"$attempt/wrote"
} 2>/dev/null

# A tool that is given no name takes the one in the address, or what the server says.
wrote_named_by_address() {
    local LC_ALL=C folder=$1 address name
    for address in "${words[@]}"; do
        [[ $address =~ ^([a-z]+://)?[^/]+/ ]] || continue
        name=${address%%[?#]*} name=${name##*/}
        [ -z "$name" ] || wrote file "$folder/$name"
    done
    wrote dir "$folder"
}

# The run writes this file, or into this folder ($1). It is judged unless that is a device or a pipe.
writes() {
    kind=$1 destination=$2
    case $destination in
        -)
            writes_to_output
            return
            ;;
        /dev/*)
            kind=-
            return
            ;;
        /*) ;;
        *) destination=$PWD/$destination ;;
    esac
    while [[ $destination == *[/]./* || $destination == *//* ]]; do
        destination=${destination//\/.\//\/} destination=${destination//\/\//\/}
    done
    destination=${destination%/.}
    if [ -e "$destination" ] && ! [ -f "$destination" ] && ! [ -d "$destination" ]; then kind=-; else judged=1; fi
}

# Standard output is a file of the run's own where a redirection of this very command has just made it: it is empty, and
# whoever called this program writes elsewhere. Such a run is judged, and its half set aside, but never continued.
writes_to_output() {
    local path
    kind=-
    [ -f /proc/self/fd/1 ] && ! [ -s /proc/self/fd/1 ] && ! [ "/proc/self/fd/1" -ef "/proc/$PPID/fd/1" ] || return 0
    path=$(readlink "/proc/$$/fd/1")
    case $path in "$attempt"/* | *' (deleted)') return ;; esac
    kind=file destination=$path judged=1 writes_stdout=1 is_plain=0
}

# The run writes one file into folder $1, by the name that stands in its only address ($2), where that is certain; else
# somewhere into the folder.
writes_named() {
    if [ "${#addresses[@]}" = 1 ] && [[ $2 =~ ^[A-Za-z0-9_.,=+@-]+$ ]]; then writes file "$1/$2"; else writes dir "$1"; fi
}

# Sets `guess`: the name in the only address, where it is a plain one.
guess_name() {
    guess=${addresses[0]-}
    guess=${guess%%[?#]*}
    guess=${guess##*/}
    [ "${#addresses[@]}" = 1 ] && [[ $guess =~ ^[A-Za-z0-9_.,=+@-]+$ ]] || guess=
}

# Whether this is one of CivitAI's addresses, which end with the number of a version.
is_numbered() {
    [[ $1 =~ ^(https?://)?([a-z0-9-]+\.)*civitai\.(com|red|green)/api/download/models/[0-9]+/?([?#]|$) ]]
}

# Waits for the lock on descriptor $1, shared (-s) or not (-x). While it waits, the stall watch waits too.
turn() {
    flock -n "$2" "$1" && return
    say "waiting for $3"
    : >"$attempt/waiting"
    flock "$2" "$1"
    rm -f "$attempt/waiting"
}

missing() {
    say "$1" >&2
    exit 127
}

not_found() {
    echo "$tool: command not found" >&2
    exit 127
}

# A Python tool that the instance lacks is installed once, into a virtual environment of the service's own.
provision() {
    local home=${HOME:-/root}/.local/share/resource-installer/$tool-$version
    if [ ! -e "$home/ready" ]; then
        [ "${RESOURCE_INSTALLER_PROVISION-}" = 1 ] || not_found
        command -v python3 >/dev/null || missing "python3 is not installed, $tool needs it"
        python3 -c 'import ensurepip, venv' 2>/dev/null || missing "python3-venv is not installed, $tool needs it"
        mkdir -p "${home%/*}" || exit 1
        exec 5>>"$home.lock"
        turn 5 -x "another installation of $tool"
        [ -e "$home/ready" ] || build "$package==$version" "$home" 5>&- || exit 1
        exec 5>&-
    fi
    PATH=$home/bin:$PATH
}

build() {
    say "provision begin $tool"
    rm -rf "$2"
    if python3 -m venv "$2" && "$2/bin/python" -m pip install --progress-bar off --disable-pip-version-check "$1"; then
        : >"$2/ready"
        say "provision end $tool"
    else
        say "$tool could not be installed into $2"
        return 1
    fi
}

# One write each: two would be torn by another run's.
record() {
    printf '%s\n' "$1" >>"$attempt/ledger"
    [ -z "$mark" ] || printf '\r%s %s\n' "$mark" "$1" >>"$attempt/log"
} 2>/dev/null

# Asks the real tool once what it is: `identity` is "name/version", or "-". The answer is kept for as long as the tool
# has the same time of change.
identify() {
    local cache said
    hash "$tool" 2>/dev/null && real=${BASH_CMDS[$tool]} || return
    cache=$state/tools/${real//\//%}
    if [ -e "$cache" ] && ! [ "$cache" -nt "$real" ] && ! [ "$cache" -ot "$real" ]; then
        read -r identity <"$cache"
        return
    fi
    said=$(ask "$real" --version 2>&1 | head -c 2000)
    if [[ $said =~ GNU\ (Wget2?)\ ([0-9][0-9.]*) || $said =~ (BusyBox)\ v([0-9][0-9.]*) ||
        $said =~ ^(curl)\ ([0-9][0-9.]*) || $said =~ ^(aria2)\ version\ ([0-9][0-9.]*) ]]; then
        identity=${BASH_REMATCH[1],,}/${BASH_REMATCH[2]}
    fi
    mkdir -p "$state/tools" && printf '%s\n' "$identity" >"$cache.$$" && touch -r "$real" "$cache.$$" &&
        mv -f "$cache.$$" "$cache"
} 2>/dev/null

ask() {
    if hash timeout; then timeout 10 "$@"; else "$@"; fi
} </dev/null

begin() {
    local address=${addresses[0]-} named hash
    token=${EPOCHREALTIME-$RANDOM}
    token=${token//[!0-9]/}p$BASHPID
    { read -r mark <"$attempt/mark"; } 2>/dev/null
    [[ ! $address =~ ^([a-z]+://)[^/@]*@(.*) ]] || address=${BASH_REMATCH[1]}${BASH_REMATCH[2]}
    address=${address:0:1000}
    [ "${#addresses[@]}" -le 1 ] || address+=" +$((${#addresses[@]} - 1))"
    encode "$destination"
    named=$encoded
    encode_anew "$address"
    [ "$judged" = 0 ] || hold_runs
    exec 198>&-
    record "begin $token $tool $judged $kind $named $encoded $identity"
    claim "$named" "$hash"
}

# As long as a process holds this pipe, the attempt does not end. By its path, for who started this may have closed all
# descriptors.
hold_runs() {
    exec {runs}<>"$attempt/run_pipe"
} 2>/dev/null

forward() {
    interrupted=1
    [ -z "$child" ] || kill "-$1" "$child" 2>/dev/null
}

# Runs `command` as a child, so that its end is written down whatever ends it, and sets `status`. It dies with this shell
# where setpriv can see to that. A child in the background ignores INT, so that it gets a TERM instead.
run_command() {
    local guard=()
    [ -z "${RESOURCE_INSTALLER_GUARD-}" ] || guard=(setpriv --pdeathsig KILL)
    trap 'forward TERM' TERM INT
    trap 'forward HUP' HUP
    { : <&0; } 2>/dev/null || exec </dev/null
    {
        # What outlives a Python tool (a helper that it starts) is not its run.
        [ -z "$package" ] || [ -z "${runs-}" ] || exec {runs}>&-
        exec "${guard[@]}" "${command[@]}"
    } <&0 6>&- 7>&- &
    child=$!
    [ -z "$interrupted" ] || forward TERM
    local told
    interrupted=1
    while [ -n "$interrupted" ]; do
        interrupted=
        wait "$child"
        told=$?
        # bash loses the status of a child that ends while a signal interrupts the wait: then it ended with that signal,
        # as far as anybody can know.
        [ "$told" -lt 0 ] || status=$told
    done 2>/dev/null
}

after_run() {
    :
}

launch() {
    run_command
    after_run
    settle "$status" # may say that the tool would have refused
    finish "$status"
}

finish() {
    record "end $token $1"
    leave "$1"
}

# Ends as the tool did, by the same signal.
leave() {
    trap - TERM INT HUP
    case $1 in 129 | 130 | 131 | 137 | 141 | 143) kill "-$(($1 - 128))" "$BASHPID" ;; esac
    exit "$1"
}

main() {
    if [ "$tool" = shim ]; then
        needs dead named aside
        settle_dead
        exit
    fi
    if ! hash "$tool" 2>/dev/null; then
        [ -n "$package" ] || not_found
        provision
    fi
    [ -n "$package" ] || identify
    known_names=$attempt/names
    destinations "$@"
    [ "$splits" = 0 ] || run_each
    begin
    compose "$@"
    if [ -n "$background" ]; then
        launch </dev/null >>"$attempt/log" 2>&1 &
        exit 0
    fi
    launch
}
