# shellcheck shell=bash disable=SC2034,SC2154 # supervise.sh, which comes after it in one program, sets what is not set here
# What an attempt leaves below $UI_HOME, looked for at its end.
#
# What a card leaves is known by three witnesses, and one is enough: the records of its runs; a file that came without a
# run (git clone, cp, unzip, a Python script); and the files that the same card left there before and that have not
# changed since, so that a guard like `[ -f F ] || wget` may skip them.
#
# A file without a run belongs to this attempt unless something says whose else it is: the resources of a job run side by
# side, and each has records of its runs and of what its other processes wrote. A script that failed may have left a
# model half done at its final name, where its next attempt would take it for the whole one: what it wrote last moves to
# NAME.part, as the half of a run does (files.sh), and is deleted when an attempt has succeeded.

LOOSE_FILES_MAX=500
# A script with several threads writes several files at once.
HALF_SECONDS=30
# What files.sh would note of the new files, as they were seen here.
declare -A seen_here

record_what_it_left() {
    local home=${UI_HOME%/} loose=() any='' has_company=- has_files='' encoded decoded state=${dir%/*/*}
    local -A mine=() theirs=()
    card_files=$state/cards/$RESOURCE_INSTALLER_CARD
    read_known_names "$dir/names"
    read_own_claims
    printf '' >"$dir/looked"
    list_loose
    if [ "$status" = 0 ] && ! is_ending; then
        record_loose
    else
        set_aside_loose
    fi
    printf '' >"$dir/left"
    [ "${#loose[@]}" = 0 ] || printf '%s\0' "${loose[@]}" >>"$dir/left"
    [ -z "$any" ] || printf '%s\0' "$any" >"$dir/left_other"
    if [ -n "$has_files" ]; then
        [ "$status" != 0 ] || remember_files
    elif [ -e "$card_files" ]; then
        recall_files
    fi
} 2>/dev/null 9>&-

# Fills `loose`: the new files with the name of a model that came without a run; and `any`: one of the others. What
# ComfyUI itself writes while it runs is not the card's.
list_loose() {
    local size inode changed zone path
    while IFS=' ' read -r -d '' size inode changed zone path; do
        seen_here[$path]="$size $inode ${changed%0}_$zone"
        if has_name_of_model "$path"; then
            [ "${#loose[@]}" -lt "$LOOSE_FILES_MAX" ] && is_loose "$path" "$inode" && loose+=("$path")
        elif [ -z "$any" ] && is_loose "$path" "$inode"; then
            any=$path
        fi
    done < <(exec find -L "$home" -mindepth 1 \( -name '.*' -o -name __pycache__ -o -path "$home/temp" -o -path \
        "$home/output" \) -prune -o -type f -cnewer "$dir/boot" ! -name '*.part' ! -name '*.aria2' ! -name '*.log' \
        ! -name 'comfyui.db*' -printf '%s %i %CY-%Cm-%Cd_%CT %Cz %p\0')
}

has_name_of_model() {
    case ${1,,} in
        *.safetensors | *.sft | *.ckpt | *.pt | *.pth | *.bin | *.pkl | *.gguf | *.onnx | *.zip) return 0 ;;
    esac
    return 1
}

# Fills `mine`, and sets `has_files` and `has_file_of_run`: a run finished a file, or found it whole.
read_own_claims() {
    local whose=mine
    read_claims "$dir"
    [ -z "${mine[has file]-}" ] || has_files=1 has_file_of_run=1
}

# Fills `theirs`: the claims of the attempts that ran beside this one. Most attempts leave nothing that could be
# another's, so they are read only when something is.
read_company() {
    local other own=${dir##*/} whose=theirs
    [ "$has_company" = - ] || return 0
    has_company=
    for other in "${dir%/*}"/*/ledger; do
        other=${other%/ledger}
        case ${other##*/} in "${own%-*}"-* | *-verify) continue ;; esac
        # One that had ended before this one began wrote nothing that is new.
        [ ! -e "$other/exit" ] || [ "$other/exit" -nt "$dir/boot" ] || continue
        has_company=1
        read_claims "$other"
    done
}

# What an attempt's records say: "path" (in base64) of a file of a run, "inode" of one that another process wrote, "tool"
# where a run named only a folder, and "has" where a run has a file. What an attempt took for its own without a run is
# not a claim: two that end beside each other may both take a file that came too fast to be seen with its process.
read_claims() {
    local verb token third judged kind path
    while read -r verb token third judged kind path _; do
        case $verb in
            begin)
                [ "$judged$kind" != 1file ] || claim path "$path"
                [ "$judged" != 1 ] || case $third in civitdl | hf | huggingface-cli) claim tool "$third" ;; esac
                ;;
            file | kept | part)
                [ "$token" = script ] || claim path "$third"
                [ "$verb" = part ] || claim has file
                ;;
        esac
    done <"$1/ledger"
    [ ! -e "$1/written" ] || while read -r path; do
        claim inode "$path"
    done <"$1/written"
    [ ! -e "$1/wrote" ] || while IFS=$'\t' read -r kind path; do
        [ "$kind" != file ] || claim path "$path"
    done <"$1/wrote"
}

claim() {
    if [ "$whose" = mine ]; then mine[$1 $2]=1; else theirs[$1 $2]=1; fi
}

is_loose() {
    encode "$1"
    [ -z "${mine[path $encoded]}" ] || return 1
    read_company
    [ "${#theirs[@]}" -gt 0 ] || return 0
    [ -z "${theirs[path $encoded]}" ] || return 1
    [ -z "${mine[inode $2]}" ] || return 0
    [ -z "${theirs[inode $2]}" ] || return 1
    # civitdl puts its numbers into each name, hf keeps a note of each file beside it.
    case $1 in *-mid_*-vid_*) [ -n "${mine[tool civitdl]}" ] || [ -z "${theirs[tool civitdl]}" ] || return 1 ;; esac
    [ -n "${mine[tool hf]}${mine[tool huggingface-cli]}" ] || ! is_of_hf "$1"
}

is_of_hf() {
    local folder=${1%/*} rest=${1##*/}
    while [ "${#folder}" -ge "${#home}" ]; do
        [ ! -e "$folder/.cache/huggingface/download/$rest.metadata" ] || return 0
        rest=${folder##*/}/$rest folder=${folder%/*}
    done
    return 1
}

# A success: its files are recorded, and the halves that an attempt before it left of them are not needed any more.
record_loose() {
    local path
    for path in "${loose[@]}"; do
        record_file file "$path"
        look_up "$path"
        [ "$half" != script ] || rm -f -- "$path.part" "$state_file"
    done
    [ -z "$any" ] || [ -n "$has_files" ] || record_file file "$any"
}

record_file() {
    encode "$2"
    printf '%s script %s %s\n' "$1" "$encoded" "$(stat -L -c %s -- "$2")" >>"$dir/ledger"
    [ "$1" != file ] || has_files=1
}

# A half has the time of its last byte; what was unpacked or copied whole often has an older one. Where other attempts
# ran beside this one, only what its own processes were seen to write is moved, or what its script alone names: a file can
# be there before anybody has said whose it is.
set_aside_loose() {
    local path at inode newest=0 now=$EPOCHSECONDS
    local -A times=()
    [ "${#loose[@]}" = 0 ] || read_company
    for path in "${loose[@]}"; do
        [ "$path" -nt "$dir/boot" ] || continue
        ! is_in_repository "$path" || continue
        # These two give a file its final name when it is whole.
        ! is_of_hf "$path" || continue
        case $path in *-mid_*-vid_*) continue ;; esac
        read -r at inode < <(stat -L -c '%Y %i' -- "$path") || continue
        [ -z "$has_company" ] || [ -n "${mine[inode $inode]}" ] || is_named_here_alone "${path##*/}" || continue
        times[$path]=$at
        [ "$at" -le "$newest" ] || newest=$at
    done
    for path in "${!times[@]}"; do
        at=${times[$path]}
        [ "$at" -lt "$newest" ] && [ "$at" -lt $((now - HALF_SECONDS)) ] || set_aside "$path"
    done
}

is_named_here_alone() {
    local other
    grep -qF -- "$1" "$dir/card" || return
    for other in "${dir%/*}"/*/card; do
        case $other in "${dir%-*}"-*) continue ;; esac
        ! grep -qF -- "$1" "$other" || return 1
    done
}

# What git has checked out it has checked out whole, or removed.
is_in_repository() {
    local folder=${1%/*}
    while [ "${#folder}" -gt "${#home}" ]; do
        [ ! -e "$folder/.git" ] || return 0
        folder=${folder%/*}
    done
    return 1
}

look_up() {
    encode "$1"
    place "$encoded"
    read_state
}

# A NAME.part that is not ours stays.
set_aside() {
    local tool=script
    look_up "$1"
    if [ ! -s "$1" ] || { [ -e "$1.part" ] && [ "$half" = - ]; }; then
        rm -f -- "$1"
        return
    fi
    mv -f -- "$1" "$1.part" || return
    half=script writer=script by=-
    note none - '- - -'
    record_file part "$1.part"
}

# A line for each file: its path in base64, and what it looks like (files.sh notes the same of a file that is whole).
remember_files() {
    local kind encoded
    [ -d "${card_files%/*}" ] || mkdir -p "${card_files%/*}" || return
    while read -r kind _ encoded _; do
        case $kind in file | kept) ;; *) continue ;; esac
        place "$encoded"
        read_state
        if [ "$was" != whole ]; then
            decode "$encoded"
            known=$(looks_like "$decoded")
        fi
        printf '%s %s\n' "$encoded" "$known"
    done <"$dir/ledger" >"$card_files"
}

looks_like() {
    local size inode changed
    read -r size inode changed < <(stat -L -c '%s %i %z' -- "$1")
    printf '%s %s %s' "$size" "$inode" "${changed// /_}"
}

recall_files() {
    local encoded known path paths=()
    while read -r encoded known; do
        decode "$encoded"
        [ "$(looks_like "$decoded")" = "$known" ] || return
        paths+=("$decoded")
    done <"$card_files"
    for path in "${paths[@]}"; do
        record_file kept "$path"
    done
}
