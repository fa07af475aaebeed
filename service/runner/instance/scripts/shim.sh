#!/usr/bin/env bash
# Stands before a tool of the same name: runs the real one, which is later on PATH, with what the service adds to it, and
# notes where its argv says that it writes. It comes first on PATH, so that scripts and xargs use it too. What it adds
# stands first: the tools take the last of two.
#
# This is what all tools share. The part of the tool that was called, tools/<name>.sh, comes after it, then a call of
# `main`. Such a part defines two functions, both called with the tool's argv:
#   destinations   takes the argv apart (read_argv) and calls `wrote` for each place that the tool will write to
#   run            runs the tool with what the service adds; as `exec` where nothing is left to do after it
# `package` and `version` are set where the tool can be installed with pip.
#
# shellcheck disable=SC2034 # what is not used here is for the tools' parts
tool=${0##*/}
attempt=$RESOURCE_INSTALLER_ATTEMPT
# For the tools' parts: a limit in bytes a second or nothing, and the service's own folder on the instance.
limit=$RESOURCE_INSTALLER_BANDWIDTH
state=${HOME:-/root}/.local/state/resource-installer
package='' version=''
export PATH=$RESOURCE_INSTALLER_PATH

say() {
    printf 'resource-installer: %s\n' "$*"
}

# Takes an argv apart as getopt would: `names` and `values` of its options, in order, and the other `words`. The letters
# and long names that take a value come first.
read_argv() {
    local LC_ALL=C letters=$1 longs=" ${2//$'\n'/ } " argument rest letter
    shift 2
    names=() values=() words=()
    while [ "$#" -gt 0 ]; do
        argument=$1
        shift
        case $argument in
            --)
                words+=("$@")
                return
                ;;
            --*=*) option "${argument%%=*}" "${argument#*=}" ;;
            --*)
                if [[ $longs == *" ${argument#--} "* ]]; then
                    option "$argument" "${1-}"
                    shift "$(($# > 0))"
                else
                    option "$argument" ''
                fi
                ;;
            -?*)
                rest=${argument#-}
                while [ -n "$rest" ]; do
                    letter=${rest:0:1} rest=${rest:1}
                    if [[ $letters != *"$letter"* ]]; then
                        option "-$letter" ''
                        continue
                    fi
                    if [ -z "$rest" ] && [ "$#" -gt 0 ]; then
                        rest=$1
                        shift
                    fi
                    option "-$letter" "$rest"
                    rest=
                done
                ;;
            *) words+=("$argument") ;;
        esac
    done
}

option() {
    names+=("$1")
    values+=("$2")
}

# Fills `given` with the values of an option, which has two names.
values_of() {
    local index
    given=()
    for index in "${!names[@]}"; do
        case ${names[$index]} in "$1" | "$2") given+=("${values[$index]}") ;; esac
    done
}

last_of() {
    values_of "$@"
    last=
    [ "${#given[@]}" = 0 ] || last=${given[-1]}
}

# One line "kind<TAB>path in base64" for each place that is written to. Standard output is not a place.
wrote() {
    local path=$2
    case $path in
        - | /dev/*) return ;;
        /*) ;;
        *) path=$PWD/$path ;;
    esac
    printf '%s\t%s\n' "$1" "$(printf '%s' "$path" | base64 | tr -d '\n')" >>"$attempt/wrote"
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
        [ "$RESOURCE_INSTALLER_PROVISION" = 1 ] || not_found
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

main() {
    if ! command -v "$tool" >/dev/null 2>&1; then
        [ -n "$package" ] || not_found
        provision
    fi
    destinations "$@"
    run "$@"
}
