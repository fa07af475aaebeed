#!/usr/bin/env bash
# Stands before a tool of the same name: runs the real one behind this folder with what the service adds to it, and notes
# where its argv says that it writes. It comes first on PATH, so that scripts and xargs meet it too.
tool=${0##*/}
attempt=$RESOURCE_INSTALLER_ATTEMPT
limit=$RESOURCE_INSTALLER_BANDWIDTH
export PATH=$RESOURCE_INSTALLER_PATH

wrote() {
    local path=$2
    case $path in
        - | /dev/*) return ;;
        /*) ;;
        *) path=$PWD/$path ;;
    esac
    printf '%s\t%s\n' "$1" "$(printf '%s' "$path" | base64 | tr -d '\n')" >>"$attempt/wrote"
}

# The value of an option, however it is written: -o x, -ox, -so x, --output x, --output=x. The last one counts.
value_of() {
    local letter=$1 word=$2 value='' next=
    shift 2
    for argument; do
        if [ -n "$next" ]; then
            value=$argument next=
            continue
        fi
        case $argument in
            --"$word") next=1 ;;
            --"$word"=*) value=${argument#*=} ;;
            --*) ;;
            -*"$letter") [[ $argument =~ ^-[A-Za-z#0]*$ ]] && next=1 ;;
            -"$letter"*) value=${argument#-"$letter"} ;;
        esac
    done
    printf '%s' "$value"
}

# The names under which a tool that is given none saves what these addresses hold.
named_after() {
    local folder=$1 address name
    shift
    for address; do
        [[ $address =~ ^[a-z]+://[^/]+/ ]] || continue
        name=${address%%[?#]*} name=${name##*/}
        [ -z "$name" ] || wrote file "$folder/$name"
    done
    wrote dir "$folder"
}

destinations() {
    local file folder
    case $tool in
        wget)
            file=$(value_of O output-document "$@") folder=$(value_of P directory-prefix "$@")
            if [ -n "$file" ]; then wrote file "$file"; else named_after "${folder:-.}" "$@"; fi
            ;;
        curl)
            file=$(value_of o output "$@") folder=$(value_of '' output-dir "$@")
            if [ -n "$file" ]; then wrote file "${folder:+$folder/}$file"; else named_after "${folder:-.}" "$@"; fi
            ;;
        aria2c)
            file=$(value_of o out "$@") folder=$(value_of d dir "$@")
            if [ -n "$file" ]; then wrote file "${folder:-.}/$file"; else named_after "${folder:-.}" "$@"; fi
            ;;
        hf)
            folder=$(value_of '' local-dir "$@")
            [ -z "$folder" ] || wrote dir "$folder"
            ;;
        civitdl)
            [ -z "$root" ] || wrote dir "$root"
            ;;
    esac
}

# civitdl's argv: sources, then the root folder; options that take a value stand anywhere.
civitdl_words() {
    local skip=
    words=()
    for argument; do
        if [ -n "$skip" ]; then
            skip=
            continue
        fi
        case $argument in
            -s | -i | -k | --sorter | --max-images | --nsfw-mode | --api-key | --limit-rate | --retry-count | --pause-time | --cache-mode | --strict-mode) skip=1 ;;
            -*) ;;
            *) words+=("$argument") ;;
        esac
    done
    root=
    [ "${#words[@]}" -lt 2 ] || root=${words[-1]}
}

# Two runs that write into one model's folder delete each other's files: they take turns. A run whose models cannot be
# told takes the whole root folder.
civitdl_locks() {
    local folder id sources=("${words[@]:0:${#words[@]}-1}") ids=()
    locks=${HOME:-/root}/.local/state/resource-installer/locks
    mkdir -p "$locks" || return
    folder=$(realpath -m -- "$root" | cksum | tr -c '0-9\n' '-')
    for source in "${sources[@]}"; do
        if [[ $source =~ ^[0-9]+$ || $source =~ ^https?://[^/,[:space:]]+/models/([0-9]+)[^,[:space:]]*$ ]]; then
            ids+=("${BASH_REMATCH[1]:-$source}")
        else
            ids=()
            break
        fi
    done
    exec 7>>"$locks/$folder.root"
    if [ "${#ids[@]}" != 1 ]; then
        turn 7 -x
        return
    fi
    turn 7 -s
    exec 6>>"$locks/$folder-${ids[0]}.model"
    turn 6 -x
}

turn() {
    flock -n "$2" "$1" && return
    echo "resource-installer: waiting for another download into this folder"
    : >"$attempt/waiting"
    flock "$2" "$1"
    rm -f "$attempt/waiting"
}

missing() {
    echo "$1: command not found" >&2
    exit 127
}

# A Python tool that the instance lacks is installed once, into a virtual environment of the service's own.
provision() {
    local package=$2 home=${HOME:-/root}/.local/share/resource-installer/$1-$3
    if [ ! -e "$home/ready" ]; then
        [ "$RESOURCE_INSTALLER_PROVISION" = 1 ] || missing "$1"
        mkdir -p "${home%/*}" || exit 1
        exec 5>>"$home.lock"
        flock -n 5 || { : >"$attempt/waiting"; flock 5; rm -f "$attempt/waiting"; }
    fi
    if [ ! -e "$home/ready" ]; then
        command -v python3 >/dev/null 2>&1 || {
            echo "resource-installer: python3 is not installed, $1 needs it" >&2
            exit 127
        }
        echo "resource-installer: provision begin $1"
        rm -rf "$home"
        python3 -m venv "$home" || {
            echo "resource-installer: python3-venv is not installed, $1 needs it" >&2
            exit 127
        }
        "$home/bin/python" -m pip install --progress-bar off --disable-pip-version-check "$package==$3" 5>&- || exit 1
        : >"$home/ready"
        echo "resource-installer: provision end $1"
    fi
    exec 5>&-
    PATH=$home/bin:$PATH
}

case $tool in
    civitdl) command -v civitdl >/dev/null 2>&1 || provision civitdl civitdl 2.2.0 ;;
    hf) command -v hf >/dev/null 2>&1 || provision hf huggingface_hub "$RESOURCE_INSTALLER_HF_VERSION" ;;
    *) command -v "$tool" >/dev/null 2>&1 || missing "$tool" ;;
esac

root=
[ "$tool" != civitdl ] || civitdl_words "$@"
destinations "$@"

case $tool in
    wget) exec wget --progress=bar:force:noscroll ${limit:+"--limit-rate=$limit"} "$@" ;;
    curl) exec curl ${limit:+--limit-rate "$limit"} "$@" ;;
    # Away from a terminal it shows how far it is only in its summary.
    aria2c) exec aria2c --summary-interval=1 ${limit:+"--max-overall-download-limit=$limit"} "$@" ;;
    hf)
        # A token never stands in an argv, and the bars are wanted though nobody looks at a terminal.
        if [ -e "$attempt/hf_token" ]; then
            HF_TOKEN=$(cat "$attempt/hf_token")
            export HF_TOKEN
        fi
        TQDM_POSITION=-1 exec hf "$@"
        ;;
    civitdl)
        [ -z "$root" ] || civitdl_locks
        # Its own retries and pauses are off there: one policy decides, and each failure is seen.
        export XDG_CONFIG_HOME=$attempt/config
        # The locks stay with this shell: a child that outlives the tool must not hold them.
        civitdl ${limit:+--limit-rate "$limit"} "$@" 5>&- 6>&- 7>&-
        exit
        ;;
esac
