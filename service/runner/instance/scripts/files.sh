# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh sets and uses what is not set or used here
# Whole files and half ones, for runs that write one file whose name is known before they begin. While a run is alive it
# holds a lock on its destination, and `files/<destination>.state` in the service's folder, which outlives jobs, says
# what is there:
#
#   begun <address> <size> <inode> <ctime> <part>    a run began while that was there; if nobody holds the lock, it died
#   part <address> - - - 1                           NAME.part is a half of ours
#   whole <address> <size> <inode> <ctime> 0         a run finished it; as long as nothing changed, it is kept
#   bad <address> <size> <inode> <ctime> 0           the same, but a verification has found it bad: it makes way
#
# `<address>` is a hash. A half never keeps its final name: it moves to NAME.part when its run has failed or died. The
# next run that writes NAME from the same address moves it back and continues it where its tool can and where the last
# 64 KiB, asked for again, are the same: the tools themselves would splice two contents and call that a success. Else the
# run begins anew, and the part stays until another has succeeded.
#
# A tool's part sets `is_plain` (one address, nothing but a GET of it) and `asks` (its options that shape the request),
# and defines continue_half (adds the options that continue) and read_tail (prints the address from byte $1 to $2 on).

TAIL_BYTES=65536
TAIL_SECONDS_MAX=15

# Sets `state_file` for the destination, whose name may be longer than a file's may be.
place() {
    local rest=${1//\//-} folder=$state/files
    while [ "${#rest}" -gt 200 ]; do
        folder+=/${rest:0:200}
        rest=${rest:200}
    done
    [ -d "$folder" ] || mkdir -p "$folder"
    state_file=$folder/$rest.state
}

# Sets `now`: size, inode and time of change; "- - -" where no file is.
look() {
    local size inode changed
    now='- - -'
    if [ -f "$1" ]; then
        read -r size inode changed < <(stat -L -c '%s %i %z' -- "$1")
        now="$size $inode ${changed// /_}"
    fi
}

note() {
    printf '%s\n' "$*" >"$state_file"
}

# Takes the destination for this run, and brings it into the state that the run begins with.
claim() {
    local was='' size inode ctime
    [ "$judged" = 1 ] || return 0
    if [ "$kind" = dir ]; then
        claim_named "$@"
        return
    fi
    place "$1"
    exec {held}>>"$state_file.lock" || return 0
    turn "$held" -x "another download of $destination"
    has_part=0 before='- - -'
    { read -r was origin size inode ctime has_part <"$state_file"; } 2>/dev/null
    if [ "$was" = begun ]; then
        before="$size $inode $ctime"
        set_aside
    fi
    look "$destination"
    if [ "$now" != "$size $inode $ctime" ]; then was=; fi
    [ "$was" != whole ] || [ "${RESOURCE_INSTALLER_REINSTALL-}" != 1 ] || was=bad
    if [ "$was" = bad ]; then
        before='- - -'
        set_aside
        look "$destination"
        origin=-
    fi
    if [ "$was" = whole ] && [ "$is_plain" = 1 ] && [ "$origin" = "$2" ]; then
        encode "$destination"
        record "kept $token $encoded $size"
        finish 0
    fi
    before=$now
    if [ "$now" = '- - -' ] && [ "$has_part" = 1 ] && [ "$is_plain" = 1 ] && [ "$origin" = "$2" ]; then take_up; fi
    origin=$2
    note begun "$origin" "$before" "$has_part"
}

# Moves the part back, if it can be continued.
take_up() {
    local is_whole=0
    [ -f "$destination.part" ] && can_continue || return 0
    if [ ! -e "$destination.part.aria2" ]; then
        fits "$destination.part" || return 0
    fi
    mv -f -- "$destination.part" "$destination" || return 0
    [ ! -e "$destination.part.aria2" ] || mv -f -- "$destination.part.aria2" "$destination.aria2"
    has_part=0
    if [ "$is_whole" = 1 ]; then
        settle 0
        finish 0
    fi
    continue_half
}

# Only aria2c knows what its control file says about the holes in its half.
can_continue() {
    if [ -e "$destination.part.aria2" ]; then [ "$tool" = aria2c ]; else declare -F read_tail >/dev/null; fi
}

# Whether the server still sends what this half ends with; `is_whole` where it sends no byte more.
fits() {
    local size first length got status ours theirs tail=$attempt/tail.$token
    look "$1"
    size=${now%% *}
    [ "$size" -gt 0 ] || return
    first=$((size > TAIL_BYTES ? size - TAIL_BYTES : 0))
    length=$((size - first))
    read_tail "$first" "$size" 2>/dev/null | head -c $((length + 1)) >"$tail"
    status=${PIPESTATUS[0]}
    look "$tail"
    got=${now%% *}
    ours=$(tail -c "$length" -- "$1" | cksum)
    theirs=$(head -c "$length" -- "$tail" | cksum)
    rm -f -- "$tail"
    [ "$ours" = "$theirs" ] || return
    [ "$got" -gt "$length" ] || [ "$status" != 0 ] || is_whole=1
    [ "$got" -gt "$length" ] || [ "$is_whole" = 1 ]
}

# After the run: what it finished is noted, what it left half done is set aside.
settle() {
    [ -n "${state_file-}" ] || return 0
    if [ "$kind" = dir ]; then
        [ -z "$own_folder" ] || settle_named "$1"
        return
    fi
    if [ "$1" = 0 ]; then
        look "$destination"
        if [ "$now" = '- - -' ] || [ "$now" = "$before" ]; then
            note none
            return
        fi
        [ "$has_part" = 0 ] || rm -f -- "$destination.part" "$destination.part.aria2"
        note whole "$origin" "$now" 0
        encode "$destination"
        record "file $token $encoded ${now%% *}"
        return
    fi
    look "$destination"
    # What aria2c has held against a checksum is not continued.
    [ "$tool $1" != 'aria2c 32' ] || [ "$now" = "$before" ] || rm -f -- "$destination" "$destination.aria2"
    set_aside
    if [ "$has_part" = 1 ]; then note part "${origin:--}" - - - 1; else note none; fi
}

# Moves a file that is not what was there `before` to NAME.part. A NAME.part that is not ours stays.
set_aside() {
    look "$destination"
    [ "$now" != "$before" ] && [ "$now" != '- - -' ] || return 0
    if [ "${now%% *}" = 0 ] || { [ "$has_part" = 0 ] && [ -e "$destination.part" ]; }; then
        rm -f -- "$destination" "$destination.aria2"
        return
    fi
    rm -f -- "$destination.part.aria2"
    mv -f -- "$destination" "$destination.part" || return
    [ ! -e "$destination.aria2" ] || mv -f -- "$destination.aria2" "$destination.part.aria2"
    has_part=1
    encode "$destination.part"
    record "part $token $encoded ${now%% *}"
}

# What runs that died left half done, at the end of their attempt: `begin` without `end` in its ledger.
settle_dead() {
    local verb one of judged_ kind_ encoded_ rest
    local -A dead=()
    read -r mark <"$attempt/mark"
    while read -r verb one of judged_ kind_ encoded_ rest; do
        case $verb in
            begin) [ "$judged_" != 1 ] || dead[$one]="$kind_ $encoded_ ${rest%% *}" ;;
            end) unset "dead[$one]" ;;
        esac
    done <"$attempt/ledger"
    for token in "${!dead[@]}"; do
        read -r kind encoded_ rest <<<"${dead[$token]}"
        destination=$(printf '%s' "$encoded_" | base64 -d && printf x)
        destination=${destination%x}
        if [ "$kind" = file ]; then
            place "$encoded_"
        else
            origin=$(printf '%s' "$rest" | base64 -d)
            encode "$origin"
            origin=$hash
            own_folder=$destination/.resource-installer-${hash#-}
            [ -d "$own_folder" ] || continue
            place "$encoded_.${hash#-}"
        fi
        settle_one
    done
}

settle_one() {
    local was size inode ctime held
    exec {held}>>"$state_file.lock"
    if [ "$kind" = dir ]; then
        ! flock -n -x "$held" || settle_named 137
    elif flock -n -x "$held" && read -r was origin size inode ctime has_part <"$state_file" && [ "$was" = begun ]; then
        before="$size $inode $ctime"
        settle 137
    fi
    exec {held}>&-
}
