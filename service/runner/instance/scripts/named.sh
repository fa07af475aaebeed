# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh and files.sh set and use what is not set or used here
# Whole files and half ones (files.sh) for runs whose file the server names: only the folder and the address are known
# before. Such a run gets a folder of its own beside its file's final place, so that whatever stands there when it ends
# is its file. A file that has succeeded moves up by the tool's own rule for a name that is taken; a half moves up as
# NAME.part. The state file has one word more, the name in base64.
#
# A tool's part defines into_folder (adds the options for folder $1), continue_named (for a half named $1) and free_name
# (sets `free` for file $2 in folder $1: the path that it gives a new file there, or nothing if it gives up).

claim_named() {
    local was='' size inode ctime encoded_name='' name=
    declare -F into_folder >/dev/null && [ "$is_plain" = 1 ] || return 0
    own_folder=$destination/.resource-installer-${2#-}
    place "$1.${2#-}"
    exec {held}>>"$state_file.lock" || return 0
    turn "$held" -x "another download into $destination"
    mkdir -p "$own_folder" 2>/dev/null || {
        own_folder=
        return 0
    }
    has_part=0 origin=$2
    { read -r was _ size inode ctime _ encoded_name <"$state_file"; } 2>/dev/null
    # What a run that died left.
    part_up
    [ "$has_part" = 0 ] || read -r was _ size inode ctime _ encoded_name <"$state_file"
    [ -z "$encoded_name" ] || name=$(printf '%s' "$encoded_name" | base64 -d)
    case $was in
        whole) keep_or_clear "$1.${2#-}" "$destination/$name" "$size $inode $ctime" ;;
        part) take_up_named "$destination/$name" ;;
    esac
    into_folder "$own_folder"
}

keep_or_clear() {
    local was
    look "$2"
    [ "$now" = "$3" ] || return 0
    encode "$2"
    place "$encoded"
    { read -r was _ <"$state_file"; } 2>/dev/null
    place "$1"
    if [ "$was" = bad ] || is_loaded_anew; then
        rm -f -- "$2"
        return
    fi
    rmdir -- "$own_folder" 2>/dev/null
    encode "$2"
    record "kept $token $encoded ${now%% *}"
    finish 0
}

take_up_named() {
    local is_whole=0 name=${1##*/} destination=$1
    [ -f "$1.part" ] && can_continue || return 0
    [ -e "$1.part.aria2" ] || fits "$1.part" || return 0
    mv -f -- "$1.part" "$own_folder/$name" || return 0
    [ ! -e "$1.part.aria2" ] || mv -f -- "$1.part.aria2" "$own_folder/$name.aria2"
    if [ "$is_whole" = 1 ]; then
        destination=${1%/*}
        settle_named 0
        finish 0
    fi
    continue_named "$name"
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
        free_name "$destination" "${file##*/}"
        if [ -z "$free" ]; then
            status=23
            continue
        fi
        mv -f -- "$file" "$free" || continue
        rm -f -- "$destination/${file##*/}.part" "$destination/${file##*/}.part.aria2"
        look "$free"
        encode "${free##*/}"
        note whole "$origin" "$now" 0 "$encoded"
        encode "$free"
        record "file $token $encoded ${now%% *}"
        # By its path a verification finds it.
        place "$encoded"
        note whole - "$now" 0
    done
    rm -rf -- "$own_folder"
}

# Moves the half in the run's own folder up, as NAME.part. A NAME.part that is not ours stays.
part_up() {
    local file up
    for file in "$own_folder"/* "$own_folder"/.[!.]*; do
        case $file in *.aria2) continue ;; esac
        [ -s "$file" ] || continue
        up=$destination/${file##*/}.part
        [ ! -e "$up" ] || is_our_part "${file##*/}" || continue
        rm -f -- "$up.aria2"
        mv -f -- "$file" "$up" || continue
        [ ! -e "$file.aria2" ] || mv -f -- "$file.aria2" "$up.aria2"
        has_part=1
        encode "${file##*/}"
        note part "$origin" - - - 1 "$encoded"
        look "$up"
        encode "$up"
        record "part $token $encoded ${now%% *}"
    done
    rm -rf -- "${own_folder:?}"/* "$own_folder"/.[!.]*
}

is_our_part() {
    local was name
    read -r was _ _ _ _ _ name <"$state_file"
    encode "$1"
    [ "$was" = part ] && [ "$name" = "$encoded" ]
}
