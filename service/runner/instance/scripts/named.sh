# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh and files.sh set and use what is not set or used here
# Whole files and half ones (files.sh) for runs whose file the server names: only the folder and the address are known
# before. Such a run gets a folder of its own beside its file's final place, so that whatever stands there when it ends
# is its file. A file that has succeeded moves up by the tool's own rule for a name that is taken; a half moves up as
# NAME.part. What is known of NAME stands in its state file, as for every run; a state file of the folder and the address
# holds the name, in base64, that the server gave last. Before that, the name in the address is a guess.
#
# A tool's part sets `guess`, and defines into_folder (adds the options for folder $1), continue_named (for a half named
# $1) and free_name (sets `free` for file $2 in folder $1: the path that it gives a new file there, or nothing if it
# gives up).

claim_named() {
    local name=
    declare -F into_folder >/dev/null && [ "$is_plain" = 1 ] || return 0
    own_folder=$destination/.resource-installer-${2#-}
    place "$1.${2#-}"
    name_file=$state_file
    exec {held}>>"$state_file.lock" || return 0
    turn "$held" -x "another download into $destination"
    mkdir -p "$own_folder" 2>/dev/null || {
        own_folder=
        return 0
    }
    # What a run that died left.
    part_up
    { read -r name <"$name_file"; } 2>/dev/null
    name=$(printf '%s' "$name" | base64 -d 2>/dev/null)
    name=${name:-$guess}
    [ -z "$name" ] || begin_named "$destination/$name"
    into_folder "$own_folder"
}

begin_named() {
    local name=${1##*/}
    encode "$1"
    place "$encoded"
    exec {named}>>"$state_file.lock" && turn "$named" -x "another download of $1"
    read_state
    judge_there "$1" "$origin"
    plan_for "$1"
    case $plan in
        keep)
            rmdir -- "$own_folder" 2>/dev/null
            keep "$1"
            ;;
        replace) replaces=$name ;;
        continue) bring_down "$1" "$name" ;;
    esac
    [ "$stands" != nothing ] || drop "$1.aria2"
    if [ "$stands" = nothing ] && can_continue "$1.part"; then
        bring_down "$1.part" "$name"
        half=- writer=-
        note "$was" "$from" "$known"
        if [ "$match" = whole ]; then
            settle_named 0
            finish 0
        fi
    fi
}

# A half comes into the run's own folder, to be continued.
bring_down() {
    mv -f -- "$1" "$own_folder/$2" || return 0
    [ ! -e "$1.aria2" ] || mv -f -- "$1.aria2" "$own_folder/$2.aria2"
    [ "$match" = whole ] || continue_named "$2"
}

# After the run: its files move to their final places, or aside.
settle_named() {
    local file free
    if [ "$1" != 0 ]; then
        case "$tool $1" in 'aria2c 32') rm -rf -- "$own_folder" ;; esac
        part_up
        rm -rf -- "$own_folder"
        return 0
    fi
    for file in "$own_folder"/* "$own_folder"/.[!.]*; do
        [ -f "$file" ] || continue
        free=$destination/${file##*/}
        [ "${file##*/}" = "$replaces" ] || free_name "$destination" "${file##*/}"
        if [ -z "$free" ]; then
            status=23
            continue
        fi
        move_up "$file" "$free"
    done
    rm -rf -- "$own_folder"
}

move_up() {
    mv -f -- "$1" "$2" || return
    encode "${2##*/}"
    printf '%s\n' "$encoded" >"$name_file"
    encode "$2"
    place "$encoded"
    read_state
    finished "$2"
}

# Moves the half in the run's own folder up, as NAME.part. A NAME.part that is not ours stays, and where another run of
# this attempt has finished NAME, no half is needed.
part_up() {
    local file path
    needs aside
    for file in "$own_folder"/* "$own_folder"/.[!.]*; do
        case $file in *.aria2) continue ;; esac
        [ -s "$file" ] || continue
        path=$destination/${file##*/}
        encode "$path"
        place "$encoded"
        read_state
        look "$path"
        [ "$was $by $known" != "whole $attempt_name $now" ] || continue
        aside "$file" "$path.part"
        note "$was" "$from" "$known"
        encode "${file##*/}"
        printf '%s\n' "$encoded" >"$name_file"
    done
    rm -rf -- "${own_folder:?}"/* "$own_folder"/.[!.]*
}

# Of a run that loads several files by itself (a tree, a list of aria2c): what is half is set aside, never continued.
# aria2c leaves a control file beside each half; of other tools it is the file that was written last, unless a run of its
# own holds that.
settle_folder() {
    local since file path
    [ "$1" != 0 ] && [[ $token =~ ^([0-9]{10})([0-9]{6})p ]] || return 0
    # Others look after their halves.
    case $tool in aria2c | curl | wget | wget2) ;; *) return ;; esac
    since=@${BASH_REMATCH[1]}.${BASH_REMATCH[2]}
    needs aside
    if [ "$tool" = aria2c ]; then
        find "$destination" -maxdepth 3 -name '*.aria2' ! -name '*.part.aria2' -newerct "$since" -print0
    else
        case $tool.$1 in wget.[1-3] | wget.[5-9] | curl.22) return ;; esac
        find "$destination" -maxdepth 8 -name '.resource-installer-*' -prune -o -type f ! -name '*.part' \
            -newerct "$since" -printf '%C@ %p\0' | sort -zn | tail -zn 1 | cut -zd ' ' -f 2-
    fi 2>/dev/null | while IFS= read -r -d '' file; do
        path=${file%.aria2}
        encode "$path"
        place "$encoded"
        exec {named}>>"$state_file.lock"
        if flock -n -x "$named"; then
            read_state
            look "$path"
            if [ "$was $known" != "whole $now" ] && [ "$was" != begun ]; then
                aside "$path" "$path.part"
                note none - '- - -'
            fi
        fi
        exec {named}>&-
    done
}
