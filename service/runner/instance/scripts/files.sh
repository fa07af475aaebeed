# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh sets and uses what is not set or used here
# Whole files and half ones, for runs that write one file whose name is known before they begin. While a run is alive it
# holds a lock on its destination, and `files/<destination>.state` in the service's folder (places.sh), which outlives
# jobs, says what is there, in one line:
#
#   <what> <address> <size> <inode> <ctime> <half> <writer> <by> <tool>
#
#   what      whole: a run finished it; as long as nothing changed, it is kept
#             bad: the same, but a verification has found it bad: it makes way
#             begun: a run of <tool> began while that was there; if nobody holds the lock, it died
#             none: nothing is known of what is there
#   half      the address whose half NAME.part is, and the tool that wrote it; "script" is what came without a run
#             (left.sh); "-": NAME.part is not ours
#   by        the attempt that finished it or found it whole
#
# An address is a hash. A half never keeps its final name: it moves to NAME.part when its run has failed or died. The
# next run that writes NAME from the same address moves it back and continues it where its tool can and where it fits
# what the server sends now (halves.sh). Else the run begins anew, and the part stays until another has succeeded. What
# makes way for a run waits as NAME.part.old, and comes back if the run fails.
#
# A tool's part sets `is_plain` (one address, nothing but a GET of it), `may_keep` (0: it asks the server itself whether
# the file is the newest), `looks` (1: it does not simply write over what is there), `continues` (1: it was asked to go
# on with what is there), `spares` (1: it was asked to leave what is there), `doubts` (1: its exit status proves
# nothing) and `asks` (its options that shape the request), and defines continue_half (adds the options that continue)
# and read_tail (prints the bytes of the address from $1 to $2).

# Sets `now`: size, inode and time of change; "- - -" where no file is.
look() {
    local size inode changed
    now='- - -'
    if [ -f "$1" ]; then
        read -r size inode changed < <(stat -L -c '%s %i %z' -- "$1")
        now="$size $inode ${changed// /_}"
    fi
}

# Removes these files, where there are any: most runs leave none.
drop() {
    local path there=()
    for path; do
        [ ! -e "$path" ] && [ ! -L "$path" ] || there+=("$path")
    done
    [ "${#there[@]}" = 0 ] || rm -f -- "${there[@]}"
}

# Sets `stands` for the file at $1, which is to come from address $2: nothing, whole, bad, elsewhere (whole, from another
# address), changed (since it was whole), holes (a half of aria2c) or foreign.
judge_there() {
    look "$1"
    stands=foreign
    if [ "$now" = '- - -' ]; then
        stands=nothing
    elif [ -e "$1.aria2" ]; then
        stands=holes
    elif [ "$was" = bad ] && [ "$now" = "$known" ]; then
        stands=bad
    elif [ "$was" = whole ] && [ "$now" = "$known" ]; then
        stands=whole
        # Two files of one name in one script: the second is the tool's affair.
        [ "$from" = "$2" ] || [ "$by" = "$attempt_name" ] || stands=elsewhere
        [ "$from" = "$2" ] || [ "$by" != "$attempt_name" ] || stands=foreign
        # Once a job is enough.
        [ "$stands.${RESOURCE_INSTALLER_REINSTALL-}" != whole.1 ] || [ "${by%%/*}" = "${attempt_name%%/*}" ] || stands=bad
    elif [ "$was" = whole ]; then
        stands=changed
    fi
}

# Sets `plan` for what stands at $1: keep, continue, replace or leave (to the tool).
plan_for() {
    plan=leave
    case $stands in
        nothing) return ;;
        bad) plan=replace && return ;;
        whole)
            [ "$may_keep" = 0 ] || [ "$is_plain" = 0 ] || plan=keep
            return
            ;;
    esac
    [ "$looks" = 1 ] || return
    case $stands in
        changed) [ "$spares" = 1 ] || plan=replace ;;
        elsewhere) plan=replace ;;
        holes) plan=replace ;;
        foreign) [ "$continues" = 0 ] || plan=replace ;;
    esac
    case $stands.$continues.$spares in
        foreign.* | holes.* | *.1.? | *.?.1)
            needs halves
            compare "$1"
            case $match.$stands in more.*) plan='continue' ;; whole.changed) ;; whole.*) plan=keep ;; esac
            ;;
    esac
}

# Takes the destination for this run, and brings it into the state that the run begins with.
claim() {
    origin=$2 attempt_name=${attempt#"$state/"}
    attempt_name=${attempt_name// /_}
    [ "$judged" = 1 ] || return 0
    if [ "$kind" = dir ]; then
        needs named
        claim_named "$@"
        return
    fi
    place "$1"
    exec {held}>>"$state_file.lock" || return 0
    turn "$held" -x "another download of $destination"
    read_state
    if [ "$writes_stdout" = 1 ]; then
        begin_with '- - -'
        return
    fi
    if [ "$was" = begun ]; then
        needs aside
        recover
    fi
    judge_there "$destination" "$2"
    plan_for "$destination"
    case $plan in
        keep) keep "$destination" ;;
        replace)
            needs aside
            make_way
            ;;
        continue)
            continue_half
            begin_with '- - -'
            return
            ;;
    esac
    look "$destination"
    if [ "$now" = '- - -' ]; then
        # Alone, a control file is of no use to anybody.
        drop "$destination.aria2"
        if can_continue "$destination.part"; then
            needs aside
            take_up
        fi
    elif [ "$stands.$looks" = holes.0 ]; then
        rm -f -- "$destination.aria2"
    fi
    begin_with "$now"
}

# What was noted of a file that the run does not touch is noted again when it ends.
begin_with() {
    prior="$was $from $known"
    before=$1 of=$tool
    note begun "$origin" "$before"
}

# Whether the half $1 is of this run's address, and fits. Only aria2c's control file knows the holes in its half.
can_continue() {
    [ "$half" = "$origin" ] && [ "$is_plain" = 1 ] && [ -f "$1" ] || return
    [ "$writer" != aria2c ] || [ -e "$1.aria2" ] || return
    needs halves
    compare "$1"
    [ "$match" != other ]
}

# The run has nothing to do.
keep() {
    look "$1"
    by=$attempt_name
    note whole "$origin" "$now"
    encode "$1"
    record "kept $token $encoded ${now%% *}"
    finish 0
}

# After the run: what it finished is noted, what it left half done is set aside. `status` may become another.
settle() {
    local left
    if [ "$kind" = dir ]; then
        needs named
        if [ -z "${state_file-}" ]; then settle_folder "$1"; elif [ -n "$own_folder" ]; then settle_named "$1"; fi
        return
    fi
    [ -n "${state_file-}" ] || return 0
    look "$destination"
    left=$now
    if [ "$1" = 0 ] && [ "$now" != "$before" ] && [ "$now" != '- - -' ]; then
        if ! is_cut "$destination"; then
            finished "$destination" "$left"
            return
        fi
    elif [ "$1" = 0 ]; then
        [ ! -e "$destination.part.old" ] || { needs aside && give_back; }
        read -r was from known <<<"$prior"
        note "$was" "$from" "$known"
        return
    fi
    needs aside
    # What aria2c has held against a checksum is not continued.
    [ "$tool $1" != 'aria2c 32' ] || [ "$now" = "$before" ] || rm -f -- "$destination" "$destination.aria2"
    set_aside
    read -r was from known <<<"$prior"
    give_back
    look "$destination"
    [ "$now" = "$known" ] || was=none
    note "$was" "$from" "$known"
}

# Whether the server has more of file $1 than its run loaded, though the run ended well.
is_cut() {
    [ "$doubts" = 1 ] || return
    needs halves
    compare "$1"
    [ "$match" = more ] || return
    say "the download of ${1##*/} was cut off"
    status=4
}

# File $1 is whole, and looks like $2 if that is known; `state_file` is its own.
finished() {
    drop "$1.aria2" "$1.part.old" "$1.part.old.aria2"
    [ "$half" = - ] || drop "$1.part" "$1.part.aria2"
    half=- writer=- by=$attempt_name
    if [ -n "${2-}" ]; then now=$2; else look "$1"; fi
    note whole "$origin" "$now"
    encode "$1"
    record "file $token $encoded ${now%% *}"
}

