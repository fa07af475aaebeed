# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh sets and uses what is not set or used here
# civitdl's words are its sources, then the root folder; its options stand anywhere.

destinations() {
    read_argv sik 'sorter max-images nsfw-mode api-key limit-rate retry-count pause-time cache-mode strict-mode' "$@"
    root=
    if [ "${#words[@]}" -ge 2 ]; then
        root=${words[-1]}
        wrote dir "$root"
        addresses=("${words[@]:0:${#words[@]}-1}")
        writes dir "$root"
        read_pin
    fi
}

# Sets `pin`: the version that the only source names. Without one the site says which is the newest, and an option may
# ask for something else.
read_pin() {
    pin=
    [ "${#words[@]}.${#names[@]}" = 2.0 ] || return 0
    [[ ! ${addresses[0]} =~ ^https?://[^/]+/models/[0-9]+[^[:space:],]*[?\&]modelVersionId=([0-9]+)(\&|$) ]] ||
        pin=${BASH_REMATCH[1]} is_plain=1
}

compose() {
    if [ "${#words[@]}" -ge 2 ]; then
        take_turn
        [ -z "$pin" ] || keep_pinned
        lend_lists
    fi
    # By itself it keeps a file that is there, and copies one that its lists know.
    [ "${RESOURCE_INSTALLER_REINSTALL-}" != 1 ] || front+=(--model-overwrite --cache-mode 0)
    # Its own retries and pauses are off there: one policy decides, and each failure is seen.
    export XDG_CONFIG_HOME=$attempt/config
    # The locks stay with this shell (`launch` closes 6 and 7): a child that outlives the tool must not hold them.
    [ -z "$limit" ] || front+=(--limit-rate "$limit")
    assemble "$@"
}

# Two runs that write into one model's folder delete each other's files: they take turns. A run whose models cannot be
# known from its argv takes the whole root folder.
take_turn() {
    local folder ids=() source sources=("${words[@]:0:${#words[@]}-1}")
    mkdir -p "$state/locks" || return
    folder=$state/locks/$(realpath -m -- "$root" | cksum | tr -c '0-9\n' -)
    for source in "${sources[@]}"; do
        if [[ $source =~ ^[0-9]+$ || $source =~ ^https?://[^/,[:space:]]+/models/([0-9]+)[^,[:space:]]*$ ]]; then
            ids+=("${BASH_REMATCH[1]:-$source}")
        else
            ids+=(any any)
        fi
    done
    exec 7>>"$folder.root"
    if [ "${#ids[@]}" != 1 ]; then
        turn 7 -x "another download into $root"
        return
    fi
    turn 7 -s "another download into $root"
    exec 6>>"$folder-${ids[0]}.model"
    turn 6 -x "another download of model ${ids[0]}"
}

# civitdl asks for a model's file before it looks whether the file is there: the site sends what nobody reads. A file that
# a run has loaded whole from this very source is kept without a question (files.sh). Its state file is that of its path;
# one of the folder and the source holds the path.
keep_pinned() {
    local path
    encode "$root"
    place "$encoded.${origin#-}"
    pin_file=$state_file
    { read -r path <"$pin_file"; } 2>/dev/null || return 0
    place "$path"
    decode "$path"
    read_state
    judge_there "$decoded" "$origin"
    plan_for "$decoded"
    [ "$plan" != keep ] || keep "$decoded"
}

# civitdl exits with 0 whatever happens: that it has written its row of the version anew says that the file is whole.
note_pinned() {
    local list=$lent/civitdl/hashes/$((10#$pin / 10000))/$((10#$pin / 100)).csv row path=''
    [ "$list" -nt "$lent/begun" ] || return 0
    while IFS= read -r row; do
        # A path with a comma stands in quotes.
        [[ ! $row =~ ^$((10#$pin)),(\"([^\"]+)\"|([^,\"]+)), ]] || path=${BASH_REMATCH[2]}${BASH_REMATCH[3]}
    done <"$list"
    look "$path"
    [ "$now" != '- - -' ] || return 0
    encode "$path"
    printf '%s\n' "$encoded" >"$pin_file"
    place "$encoded"
    half=- writer=- by=$attempt_name
    note whole "$origin" "$now"
}

# civitdl remembers which models it has loaded in lists that all its runs share. It empties such a list and then writes it
# anew, so that another run that reads it meanwhile fails ("Unable to access cache."), and one that is killed there leaves
# an empty list, on which every later run fails. So each run has a copy of the whole rows, and what it adds comes back in
# files that are replaced whole.
lend_lists() {
    lists=${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/civitdl/hashes
    lent=$attempt/lists-$token
    export XDG_CACHE_HOME=$lent
    copy_lists "$lists" "$lent/civitdl/hashes"
    [ -z "$pin" ] || : >"$lent/begun"
}

after_run() {
    [ -n "${lent-}" ] || return 0
    {
        [ -z "$pin" ] || [ "$status" != 0 ] || note_pinned
        exec {shared}>>"$state/locks/civitdl.lists" && flock "$shared"
        copy_lists "$lent/civitdl/hashes" "$lists"
        exec {shared}>&-
        rm -rf "$lent"
    } 2>/dev/null
}

# Adds the rows of all lists in folder $1 to those in $2. A row of $1 comes before one of $2 with the same number. A row is
# "version,path,SHA-256,BLAKE3"; what is not is a torn one.
copy_lists() {
    local list to row LC_ALL=C whole=$'^([0-9]+),.+,[0-9A-Fa-f]*,[0-9A-Fa-f]*\r?$'
    for list in "$1"/*/*.csv; do
        [ -s "$list" ] || continue
        to=$2${list#"$1"}
        local -A rows=()
        while IFS= read -r row; do
            [[ ! $row =~ $whole ]] || rows[${BASH_REMATCH[1]}]=${row%$'\r'}
        done < <(cat "$to" "$list")
        [ "${#rows[@]}" -gt 0 ] || continue
        mkdir -p "${to%/*}"
        printf '%s\r\n' volume_id,model_filepath,SHA256,BLAKE3 "${rows[@]}" >"$to.$$" && mv -f "$to.$$" "$to"
    done
} 2>/dev/null
