#!/usr/bin/env bash
# Stands before a tool of the same name: runs the real one behind this folder with what the service adds to it, and notes
# where its argv says that it writes. It comes first on PATH, so that scripts and xargs meet it too. What it adds stands
# first: the tools take the last of two.
tool=${0##*/}
attempt=$RESOURCE_INSTALLER_ATTEMPT
limit=$RESOURCE_INSTALLER_BANDWIDTH
state=${HOME:-/root}/.local/state/resource-installer
export PATH=$RESOURCE_INSTALLER_PATH

say() {
    printf 'resource-installer: %s\n' "$*"
}

# Takes an argv apart as getopt would: `names` and `values` of its options, in order, and the other `words`. The letters
# and long names that take a value come first.
read_argv() {
    local LC_ALL=C letters=$1 longs=" ${2//$'\n'/ } " argument rest letter
    shift 2
    names=() values=() words=()
    while [ "$#" -gt 0 ]; do
        argument=$1
        shift
        case $argument in
            --)
                words+=("$@")
                return
                ;;
            --*=*) option "${argument%%=*}" "${argument#*=}" ;;
            --*)
                if [[ $longs == *" ${argument#--} "* ]]; then
                    option "$argument" "${1-}"
                    shift "$(($# > 0))"
                else
                    option "$argument" ''
                fi
                ;;
            -?*)
                rest=${argument#-}
                while [ -n "$rest" ]; do
                    letter=${rest:0:1} rest=${rest:1}
                    if [[ $letters != *"$letter"* ]]; then
                        option "-$letter" ''
                        continue
                    fi
                    if [ -z "$rest" ] && [ "$#" -gt 0 ]; then
                        rest=$1
                        shift
                    fi
                    option "-$letter" "$rest"
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

# One line "kind<TAB>path in base64" for each place that is written to. Standard output is none.
wrote() {
    local path=$2
    case $path in
        - | /dev/*) return ;;
        /*) ;;
        *) path=$PWD/$path ;;
    esac
    printf '%s\t%s\n' "$1" "$(printf '%s' "$path" | base64 | tr -d '\n')" >>"$attempt/wrote"
} 2>/dev/null

# A tool that is given no name takes the one in the address, or what the server says.
wrote_named_by_address() {
    local LC_ALL=C folder=$1 address name
    for address in "${words[@]}"; do
        [[ $address =~ ^([a-z]+://)?[^/]+/ ]] || continue
        name=${address%%[?#]*} name=${name##*/}
        [ -z "$name" ] || wrote file "$folder/$name"
    done
    wrote dir "$folder"
}

wget_destinations() {
    local file
    last_of -O --output-document
    file=$last
    last_of -P --directory-prefix
    if [ -n "$file" ]; then wrote file "$file"; else wrote_named_by_address "${last:-.}"; fi
}

curl_destinations() {
    local folder file
    last_of --output-dir --output-dir
    folder=$last
    values_of -o --output
    for file in "${given[@]}"; do
        [ "$file" = - ] || wrote file "${folder:+$folder/}$file"
    done
    values_of -O --remote-name
    [ "${#given[@]}" = 0 ] || wrote_named_by_address "${folder:-.}"
    values_of --remote-name-all --remote-name-all
    [ "${#given[@]}" = 0 ] || wrote_named_by_address "${folder:-.}"
}

aria2c_destinations() {
    local file
    last_of -o --out
    file=$last
    last_of -d --dir
    if [ -n "$file" ]; then wrote file "${last:-.}/$file"; else wrote_named_by_address "${last:-.}"; fi
}

# Two runs that write into one model's folder delete each other's files: they take turns. A run whose models cannot be
# told takes the whole root folder.
civitdl_locks() {
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

turn() {
    flock -n "$2" "$1" && return
    say "waiting for $3"
    : >"$attempt/waiting"
    flock "$2" "$1"
    rm -f "$attempt/waiting"
}

missing() {
    say "$1" >&2
    exit 127
}

# A Python tool that the instance lacks is installed once, into a virtual environment of the service's own.
provision() {
    local package=$1==$2 home=${HOME:-/root}/.local/share/resource-installer/$tool-$2
    if [ ! -e "$home/ready" ]; then
        if [ "$RESOURCE_INSTALLER_PROVISION" != 1 ]; then
            echo "$tool: command not found" >&2
            exit 127
        fi
        command -v python3 >/dev/null || missing "python3 is not installed, $tool needs it"
        python3 -c 'import ensurepip, venv' 2>/dev/null || missing "python3-venv is not installed, $tool needs it"
        mkdir -p "${home%/*}" || exit 1
        exec 5>>"$home.lock"
        turn 5 -x "another installation of $tool"
        [ -e "$home/ready" ] || build "$package" "$home" 5>&- || exit 1
        exec 5>&-
    fi
    PATH=$home/bin:$PATH
}

build() {
    say "provision begin $tool"
    rm -rf "$2"
    if python3 -m venv "$2" && "$2/bin/python" -m pip install --progress-bar off --disable-pip-version-check "$1"; then
        : >"$2/ready"
        say "provision end $tool"
    else
        say "$tool could not be installed into $2"
        return 1
    fi
}

if ! command -v "$tool" >/dev/null 2>&1; then
    case $tool in
        civitdl) provision civitdl "$RESOURCE_INSTALLER_CIVITDL_VERSION" ;;
        hf) provision huggingface_hub "$RESOURCE_INSTALLER_HF_VERSION" ;;
        *)
            echo "$tool: command not found" >&2
            exit 127
            ;;
    esac
fi

case $tool in
    wget)
        read_argv aABDeiIlnoOPQRtTUwX 'output-document directory-prefix output-file append-output execute input-file tries
            timeout wait quota user-agent header user password progress limit-rate accept reject base post-data' "$@"
        wget_destinations
        exec wget --progress=bar:force:noscroll ${limit:+"--limit-rate=$limit"} "$@"
        ;;
    curl)
        read_argv AbcCdDeEFHKmoPQrtTuUwxXyYz 'output output-dir header user user-agent data request proxy cacert cert key
            retry retry-delay retry-max-time max-time connect-timeout limit-rate range referer cookie cookie-jar form
            write-out config continue-at data-raw data-binary url speed-limit speed-time' "$@"
        curl_destinations
        # Only as the first of all does it turn the user's own file of options off.
        first=()
        case ${1-} in
            -q | --disable)
                first=("$1")
                shift
                ;;
        esac
        exec curl "${first[@]}" ${limit:+--limit-rate "$limit"} "$@"
        ;;
    aria2c)
        read_argv dijklmoMOsTtuUx 'dir out input-file split max-connection-per-server max-concurrent-downloads
            header user-agent checksum min-split-size max-tries timeout' "$@"
        aria2c_destinations
        # Into a file its output stays in a buffer until the summary, which says how far it is and lets it out. Its cache
        # would hold a slow download back from the disk for minutes, which looks like a stall.
        exec aria2c --summary-interval=1 --disk-cache=0 ${limit:+"--max-overall-download-limit=$limit"} "$@"
        ;;
    hf)
        read_argv '' 'local-dir repo-type revision include exclude cache-dir token max-workers' "$@"
        last_of --local-dir --local-dir
        [ -z "$last" ] || wrote dir "$last"
        # Its bars are wanted though nobody looks at a terminal.
        TQDM_POSITION=-1 exec hf "$@"
        ;;
    civitdl)
        # Sources, then the root folder; options stand anywhere.
        read_argv sik 'sorter max-images nsfw-mode api-key limit-rate retry-count pause-time cache-mode strict-mode' "$@"
        if [ "${#words[@]}" -ge 2 ]; then
            root=${words[-1]}
            wrote dir "$root"
            civitdl_locks
        fi
        # Its own retries and pauses are off there: one policy decides, and each failure is seen.
        export XDG_CONFIG_HOME=$attempt/config
        # The locks stay with this shell: a child that outlives the tool must not hold them.
        civitdl ${limit:+--limit-rate "$limit"} "$@" 6>&- 7>&-
        exit
        ;;
esac
