# shellcheck shell=bash disable=SC2034,SC2154 # the tools' parts and shim.sh set and use what is not set or used here
# What a tool was called with: its argv taken apart, and put together again for one address of several.

# Takes an argv apart as getopt would: `names` and `values` of its options, in order, and the other `words`. The letters
# and long names that take a value come first.
read_argv() {
    local LC_ALL=C letters=$1 longs=" ${2//$'\n'/ } " argument rest letter
    shift 2
    names=() values=() forms=() words=()
    while [ "$#" -gt 0 ]; do
        argument=$1
        shift
        case $argument in
            --)
                words+=("$@")
                return
                ;;
            --*=*) option "${argument%%=*}" "${argument#*=}" equals ;;
            --*)
                if [[ $longs == *" ${argument#--} "* ]]; then
                    option "$argument" "${1-}" apart
                    shift "$(($# > 0))"
                else
                    option "$argument" '' alone
                fi
                ;;
            -?*)
                rest=${argument#-}
                while [ -n "$rest" ]; do
                    letter=${rest:0:1} rest=${rest:1}
                    if [[ $letters != *"$letter"* ]]; then
                        option "-$letter" '' alone
                        continue
                    fi
                    if [ -n "$rest" ]; then
                        option "-$letter" "$rest" joined
                    else
                        option "-$letter" "${1-}" apart
                        shift "$(($# > 0))"
                    fi
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
    forms+=("$3")
}

# Adds option number $1 to `command`, as it was given.
give() {
    case ${forms[$1]} in
        alone) command+=("${names[$1]}") ;;
        equals) command+=("${names[$1]}=${values[$1]}") ;;
        joined) command+=("${names[$1]}${values[$1]}") ;;
        apart) command+=("${names[$1]}" "${values[$1]}") ;;
    esac
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

has() {
    values_of "$@"
    [ "${#given[@]}" -gt 0 ]
}

# Whether any of these options was given.
has_any() {
    local name
    for name in "${names[@]}"; do
        case " $* " in *" $name "*) return 0 ;; esac
    done
    return 1
}

# Fills `command`: options before the given ones (`front`), which count for more, and after them (`back`).
assemble() {
    local argument
    command=("$tool" "${front[@]}")
    for argument; do
        if [ "$argument" = -- ]; then
            command+=("${back[@]}")
            back=()
        fi
        command+=("$argument")
    done
    command+=("${back[@]}")
}

# One call that loads several files is as many runs of this same program, one after the other: each file is continued,
# kept or set aside by itself, and a failure of the first is not hidden by the last. A tool's part sets `splits` where
# that is the same to the tool, and defines share (fills `command` for address number $1) and sum_up (sets `result`, from
# what it was and the `status` of one run more, to what the tool itself would end with).
run_each() {
    local at result=0
    hold_runs
    for at in "${!addresses[@]}"; do
        command=("$0")
        share "$at"
        run_command
        sum_up
        [ "$status" -lt 128 ] || leave "$status"
    done
    leave "$result"
}
