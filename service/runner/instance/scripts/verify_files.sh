# shellcheck shell=bash disable=SC2034 # verify_checks.sh uses what is not used here
# Which files did this attempt leave? Fills `files` (absolute paths) from what the card names, else from its ledger where
# that accounts for everything, else from the records of its runs, the folders and files that the tools were given, and
# what it left without a run (left.sh). bash reads it before verify_checks.sh.

FILES_MAX=500
DESTINATIONS_MAX=1000
FOLDERS_DEEP_MAX=10
LOG_BYTES_MAX=268435456
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

# The lines in which a tool speaks of a download: a listing of a folder at the end of a card names nothing.
log_lines() {
    head -c "$LOG_BYTES_MAX" -- "$attempt/log" | tr '\r' '\n' | grep -aE '://|already|omplete|aving to|saved'
}

read_log() {
    local id
    while read -r id; do
        versions[$id]=1
    done < <(head -c "$LOG_BYTES_MAX" -- "$attempt/log" | tr '\r' '\n' | grep -aoE 'Version ID: [0-9]{1,20}' |
        grep -oE '[0-9]+' | sort -u | head -n 10000)
}

# Sets `begin`, nothing where nobody knows.
begin_of() {
    local at
    [ -z "$begin" ] || return 0
    at=$(stat -c %.9Y -- "$attempt/boot") || return 0
    at=$((10#${at/./} - SLACK_NANOSECONDS))
    printf -v begin '@%s.%s' "${at:0:-9}" "${at: -9}"
}

# `wrote` of an attempt, as lines "kind path" with a NUL after each.
destinations() {
    local kind encoded path
    while IFS=$'\t' read -r kind encoded; do
        path=$(printf %s "$encoded" | base64 -d && printf x) || continue
        path=${path%x}
        path=${path//\/.\//\/}
        path=${path%/.}
        case $path in /*) printf '%s %s\0' "$kind" "$path" ;; esac
    done < <(head -n "$DESTINATIONS_MAX" -- "$1/wrote")
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

# Where the other downloads of this job write: their files are not ours, and a folder that is theirs as well is shared.
# What had ended before this attempt began has made nothing that is new here.
read_others() {
    local other destination own=${attempt##*/}
    touch -d "$begin" "$RESOURCE_INSTALLER_ATTEMPT/begin"
    for other in "${attempt%/*}"/*/wrote; do
        other=${other%/wrote}
        case ${other##*/} in "${own%-*}"-* | *-verify | '*') continue ;; esac
        if [ -e "$other/exit" ] && [ "$other/exit" -ot "$RESOURCE_INSTALLER_ATTEMPT/begin" ]; then
            continue
        fi
        while IFS= read -r -d '' destination; do
            case $destination in
                'file '*) taken[${destination#file }]=1 ;;
                'dir '*) shared+=("${destination#dir }") ;;
            esac
        done < <(destinations "$other")
    done
}

# Whether another download may have made this file as well.
is_shared() {
    local folder
    [ -z "${taken[$1]}" ] || return 0
    for folder in "${shared[@]}"; do
        case $1 in "${folder%/}"/*) return 0 ;; esac
    done
    return 1
}

# Which of these names the log contains.
read_named() {
    local name
    named=()
    [ "$#" -gt 0 ] || return
    while IFS= read -r name; do
        named[$name]=1
    done < <(log_lines | grep -aoFf <(printf '%s\n' "$@") | sort -u | head -n 10000)
}

# The files that processes hold open for writing, of those in `among`.
read_writing() {
    local identity descriptor key value
    writing=()
    while IFS=$'\t' read -r identity descriptor; do
        [ -n "${among[$identity]}" ] || continue
        while read -r key value; do
            [ "$key" = flags: ] && case $value in *[1-3]) writing[$identity]=1 ;; esac
        done <"${descriptor/\/fd\///fdinfo/}"
    done < <(find -L /proc/[0-9]*/fd -maxdepth 1 -type f -printf '%D:%i\t%p\n' 2>/dev/null)
}

# civitdl puts the ids into the name: by them its files are ours or another's.
version_in() {
    [[ ${1##*/} =~ -mid_[0-9]+-vid_([0-9]+)\.[^.]*$ ]]
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

# civitdl's new lists of hashes name the models beside them, also those that were there already.
add_listed() {
    local list sibling
    for list in "$@"; do
        is_ours_by_version "$list" || continue
        for sibling in "${list%.csv}".*; do
            is_model "$sibling" && [ -f "$sibling" ] && add "$sibling"
        done
    done
}

# civitdl puts the ids into the name and prints them: where it does, a file of another version belongs to another run.
is_ours_by_version() {
    [ "${#versions[@]}" = 0 ] || { version_in "$1" && [ -n "${versions[${BASH_REMATCH[1]}]}" ]; }
}

# The files of this attempt below a folder: what is new there; if nothing is, what was there before and is named in the
# log, if `$3` is not `new`; with `old` that alone.
scan() {
    local folder=$1 which=$2 age identity path new=() old=() lists=() names=() some_named='' before=${#files[@]}
    local -A among=() writing=() named=() identity_of=()
    [ -d "$folder" ] && [ -n "$begin" ] || return
    while IFS=$'\t' read -r -d '' age identity path; do
        case $path in
            *-mid_*-vid_*.csv)
                [ "$age" = new ] && lists+=("$path")
                continue
                ;;
        esac
        is_beside "$path" && continue
        among[$identity]=1
        identity_of[$path]=$identity
        if [ "$age" != new ]; then old+=("$path"); elif [ "$3" != old ]; then new+=("$path"); fi
        case $path in *$'\n'*) ;; *) names+=("${path##*/}") ;; esac
    done < <(listing "$folder" "$which" | sort -z -t $'\t' -k 3)
    add_listed "${lists[@]}"
    read_named "${names[@]}"
    read_writing
    for path in "${new[@]}"; do
        [ -n "${named[${path##*/}]}" ] && some_named=1
    done
    for path in "${new[@]}"; do
        [ -z "${writing[${identity_of[$path]}]}" ] || continue
        if version_in "$path"; then
            is_ours_by_version "$path" || continue
        elif [ -z "${named[${path##*/}]}" ] && is_shared "$path"; then
            [ "$which" != models ] && [ -z "$some_named" ] && [ -z "${taken[$path]}" ] || continue
        fi
        add "$path"
    done
    [ "${#files[@]}" = "$before" ] || return
    for path in "${old[@]}"; do
        [ -n "${named[${path##*/}]}" ] && ! version_in "$path" && add "$path"
    done
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

# What the ledger knows exactly: the files of runs, and those that were kept.
add_recorded() {
    local kind token path
    [ -e "$attempt/ledger" ] || return
    while read -r kind token path _; do
        path=$(printf %s "$path" | base64 -d && printf x) || continue
        path=${path%x}
        [ "$token" != script ] || { [ "$kind" = kept ] && must_be_binary "$path"; } || continue
        ! [ -f "$path" ] || add "$path"
    done < <(grep -aE '^(file|kept) ' "$attempt/ledger" | head -n "$DESTINATIONS_MAX")
}

# Whether each run that was given only a folder, and ended well, has recorded what it wrote there.
is_recorded() {
    local kind token third judged what
    local -A unknown=()
    [ -e "$attempt/ledger" ] || return
    while read -r kind token third judged what _; do
        case $kind:$judged$what in
            begin:1dir) unknown[$token]=1 ;;
            file:* | kept:*) unset "unknown[$token]" ;;
            end:*) [ "$third" = 0 ] || unset "unknown[$token]" ;;
        esac
    done <"$attempt/ledger"
    [ "${#unknown[@]}" = 0 ]
}
