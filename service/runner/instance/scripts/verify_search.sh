# shellcheck shell=bash disable=SC2004,SC2034,SC2154 # verify_files.sh and verify_checks.sh set and use what is not set or used here
# Searches for the files of an attempt whose ledger does not account for all that it left: by the folders and files that
# the tools were given, their names in the log, and what is new there. bash reads it before verify_files.sh.

DESTINATIONS_MAX=1000
LOG_BYTES_MAX=268435456

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
