# shellcheck shell=bash disable=SC2034 # verify_checks.sh uses what is not used here
# Which files did this attempt leave? Fills `files` (absolute paths) from what the card names, else from its ledger where
# that accounts for everything, else from the records of its runs, the folders and files that the tools were given, and
# what it left without a run (left.sh). bash reads it before verify_checks.sh.

FILES_MAX=500
FOLDERS_DEEP_MAX=10
# Three processes start between the mark of the beginning and the first byte of a download; a clock that ticks a hundred
# times a second must not put the file before the mark.
SLACK_NANOSECONDS=10000000

is_model() {
    case ${1,,} in *.safetensors | *.ckpt | *.pt | *.pth | *.bin | *.gguf | *.onnx) return 0 ;; esac
    return 1
}

# What tools keep beside a download: their own notes, previews, parts.
is_beside() {
    case ${1,,} in
        *.tmp | *.part | *.aria2 | *.incomplete | *.lock | *.png | *.jpg | *.jpeg | *.webp | *.gif | *.mp4) return 0 ;;
        *.json | *.csv | *.txt) return 0 ;;
    esac
    return 1
}

add() {
    local identity
    identity=$(stat -L -c %d:%i -- "$1") || return
    [ -z "${chosen[$identity]}" ] || return
    chosen[$identity]=1
    if [ "${#files[@]}" -ge "$FILES_MAX" ]; then
        more=$((more + 1))
        return
    fi
    files+=("$1")
}

# Sets `begin`, nothing where nobody knows.
begin_of() {
    local at
    [ -z "$begin" ] || return 0
    at=$(stat -c %.9Y -- "$attempt/boot") || return 0
    at=$((10#${at/./} - SLACK_NANOSECONDS))
    printf -v begin '@%s.%s' "${at:0:-9}" "${at: -9}"
}

# Whether the ledger accounts for all that the attempt left: each run of a tool wrote a file that is there, below
# $UI_HOME, and nothing else is new in the folders that the tools were given. Then `files` are those, and nothing needs to
# be searched.
all_in_ledger() {
    local verb token judged encoded path folder
    local -A runs=() known=() seen=()
    [ -e "$attempt/boot" ] && [ -s "$attempt/ledger" ] || return
    while read -r verb token encoded judged _; do
        case $verb in
            begin) [ "$judged" = 1 ] && runs[$token]=1 || return ;;
            file | kept)
                [ "$token" != script ] || return
                unset "runs[$token]"
                [ -z "${seen[$encoded]}" ] || continue
                seen[$encoded]=1
                decode "$encoded"
                [ -f "$decoded" ] || return
                case $decoded in "$home"/*) known[$decoded]=1 ;; *) return 1 ;; esac
                ;;
        esac
    done <"$attempt/ledger"
    [ "${#runs[@]}" = 0 ] && [ "${#known[@]}" -gt 0 ] || return
    while read -r verb encoded; do
        [ "$verb" = dir ] && [ -z "${seen[$encoded]}" ] || continue
        seen[$encoded]=1
        decode "$encoded"
        nothing_was_left_in "${decoded%/.}" || nothing_else_in "${decoded%/.}" || return
    done <"$attempt/wrote"
    files=("${!known[@]}")
}

# What left.sh has found at the end of the attempt holds for all that it looks at.
nothing_was_left_in() {
    [ -e "$attempt/left" ] && ! [ -s "$attempt/left" ] && [ ! -e "$attempt/left_other" ] || return
    case $1/ in *[/].* | "$home"/temp/* | "$home"/output/*) return 1 ;; "$home"/*) return 0 ;; esac
    return 1
}

nothing_else_in() {
    local age identity path
    begin_of
    while IFS=$'\t' read -r -d '' age identity path; do
        [ "$age" = new ] && [ -z "${known[$path]}" ] && ! is_beside "$path" && ! is_of_another "$path" && return 1
    done < <(listing "$1" all)
    return 0
}

# Whether the ledger of another download of this job speaks of this file.
is_of_another() {
    local ledger words encoded
    encoded=$(printf %s "$1" | base64 -w 0)
    for ledger in "${attempt%/*}"/*/ledger; do
        [ "$ledger" != "$attempt/ledger" ] || continue
        while read -r -a words; do
            case " ${words[*]} " in *" $encoded "*) return 0 ;; esac
        done <"$ledger"
    done
    return 1
}

# Every file that may count, as "age identity path" with a NUL after each: any file directly in the folder (not with
# "models"), deeper those with a model's suffix and civitdl's lists of hashes.
listing() {
    local by_suffix=(-iname '*.safetensors' -o -iname '*.ckpt' -o -iname '*.pt' -o -iname '*.pth' -o -iname '*.bin'
        -o -iname '*.gguf' -o -iname '*.onnx' -o -name '*-mid_*-vid_*.csv')
    local print=(-newerct "$begin" -printf 'new\t%D:%i\t%p\0' -o -printf 'old\t%D:%i\t%p\0')
    if [ "$2" != models ]; then
        find -L "$1" -mindepth 1 -maxdepth 1 ! -name '.*' -type f ! \( "${by_suffix[@]}" \) \( "${print[@]}" \)
    fi
    find -L "$1" -mindepth 1 -maxdepth "$FOLDERS_DEEP_MAX" \
        \( -name '.*' -prune -o -type f \( "${by_suffix[@]}" \) \( "${print[@]}" \) \)
}

choose() {
    local destination path
    local -A chosen=() versions=() taken=()
    local shared=()
    files=() more=0 of_runs=0
    shopt -s nullglob
    if [ "${#card_files[@]}" -gt 0 ]; then
        files=("${card_files[@]/#/$home/}")
        return
    fi
    if all_in_ledger; then
        return
    fi
    [ -z "${is_riding-}" ] || exit 99
    begin_of
    read_log
    read_others
    add_recorded
    while IFS= read -r -d '' destination; do
        path=${destination#* }
        case $destination in
            'file '*) [ -f "$path" ] && add "$path" ;;
            'dir '*) is_recorded || scan "$path" all ;;
        esac
    done < <(destinations "$attempt")
    of_runs=${#files[@]}
    # A script may have moved or unpacked what it was given.
    if [ -e "$attempt/left" ]; then
        while IFS= read -r -d '' path; do
            ! [ -f "$path" ] || add "$path"
        done <"$attempt/left"
    fi
    for path in "${files[@]}"; do
        case $path in "$home"/*) return ;; esac
    done
    if [ -e "$attempt/left" ]; then scan "$home" models old; else scan "$home" models; fi
}

