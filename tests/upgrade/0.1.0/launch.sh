nonce=00000000000000000000000000000000
offset=0
job=@JOB@
name=1-1
must_exist=0
timeout_seconds=600
stall_seconds=120
bandwidth=''
provision=0
needed_bytes=''
civitdl_version=2.2.0
hf_version=2.4.0
ui_home=@UI_HOME@
remote_path=''
card='@CARD@
'
supervise='# Runs one card and writes down how it ended. A session leader that holds the lock on descriptor 9: as long as it is
# held, the attempt runs. The card is a process group of its own; only that group ever gets signals.

dir=$RESOURCE_INSTALLER_ATTEMPT
# A tool that only redraws its progress writes less than this (aria2c: 500 bytes), and a download that lives moves more.
MOVED_BYTES_A_SECOND_MIN=1024
trap : HUP INT TERM

# Counts its own seconds, inside the card'"'"'s group: whatever stops the card stops this clock as well.
watchdog() {
    local seconds=0 quiet=0 every=1 stall=$RESOURCE_INSTALLER_STALL
    local -A before=()
    [ "$stall" -lt 30 ] || every=5
    [ -r "/proc/$BASHPID/io" ] || stall=0
    while [ "$seconds" -lt "$RESOURCE_INSTALLER_TIMEOUT" ]; do
        sleep 1
        seconds=$((seconds + 1))
        if [ "$stall" -gt 0 ] && [ $((seconds % every)) = 0 ]; then
            quiet=$((quiet + every))
            ! moved || quiet=0
            [ "$quiet" -lt "$stall" ] || give_up stalled
        fi
    done
    give_up timedout
}

# Whether the card'"'"'s processes read and wrote enough since this was asked last. Those that are known are asked first: to
# look for others means to look at every process there is. What waits for its turn, and what may not be looked at, counts
# as moving.
moved() {
    local total=0
    [ ! -e "$dir/waiting" ] || return 0
    count_moved "${!before[@]}" && return 0
    list_members
    count_moved "${members[@]}"
}

# Adds to `total` what these processes moved, and says whether it is enough.
count_moved() {
    local pid key value now
    for pid; do
        now=0
        [ "$pid" != "$BASHPID" ] || continue
        while read -r key value; do
            case $key in
                rchar: | wchar:) now=$((now + value)) ;;
            esac
        done 2>/dev/null <"/proc/$pid/io" || {
            unset "before[$pid]"
            [ ! -e "/proc/$pid/stat" ] && continue || return 0
        }
        total=$((total + now - ${before[$pid]:-0}))
        before[$pid]=$now
    done
    [ "$total" -gt $((every * MOVED_BYTES_A_SECOND_MIN)) ]
}

# Fills `members`: what lives in this session, which includes what dropped its environment, and what carries this
# attempt'"'"'s mark, which includes what left the session. Zombies do not live.
list_members() {
    local process line file
    local -A seen=()
    for process in /proc/[0-9]*; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${line##*) }
        [ "$4" != "$$" ] || [ "$1" = Z ] || seen[${process#/proc/}]=1
    done
    for file in $(grep -lszxF "RESOURCE_INSTALLER_ATTEMPT=$dir" /proc/[0-9]*/environ 9>&-); do
        file=${file#/proc/}
        seen[${file%/environ}]=1
    done
    unset "seen[$$]"
    members=("${!seen[@]}")
}

give_up() {
    trap '"'"''"'"' TERM
    mv "$dir/armed" "$dir/$1"
    kill -TERM 0
    sleep 10
    kill -KILL 0
}

# What a client decided before there was a group to tell it to holds all the same.
obey() {
    [ ! -e "$dir/cancelled" ] || exit 143
    [ ! -e "$dir/paused" ] || kill -STOP "$BASHPID"
}

card() {
    exec 9>&-
    trap - HUP INT TERM
    printf '"'"'%s\n'"'"' "$BASHPID" >"$dir/group.new" && mv "$dir/group.new" "$dir/group"
    obey
    watchdog </dev/null >/dev/null 2>&1 &
    unset LC_ALL RESOURCE_INSTALLER_TIMEOUT RESOURCE_INSTALLER_STALL
    export LANG=C.UTF-8 PYTHONUTF8=1 PYTHONUNBUFFERED=1
    export PATH="$dir/bin:$RESOURCE_INSTALLER_PATH"
    if [ -e "$dir/hf_token" ]; then
        HF_TOKEN=$(<"$dir/hf_token")
        export HF_TOKEN
    fi
    cd "${HOME:-/}" || exit 1
    exec bash -e -o pipefail "$dir/card"
}

# Whether the group has a process that is no zombie: process 1 of a container may never reap one.
alive() {
    local process line state parent member
    for process in /proc/[0-9]*; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        read -r state parent member _ <<<"${line##*) }"
        if [ "$member" = "$group" ] && [ "$state" != Z ]; then
            return 0
        fi
    done
    return 1
}

set -m
card </dev/null >>"$dir/log" 2>&1 &
group=$!
# Without job control `wait` does not return when the card is stopped.
set +m
wait "$group"
status=$?
while [ "$status" -gt 128 ] && kill -0 "$group" 2>/dev/null; do
    wait "$group"
    status=$?
done

# What is left of the group ends now: behind a free lock nothing of this attempt may write any more.
kill -TERM -- "-$group" 2>/dev/null
kill -CONT -- "-$group" 2>/dev/null
for _ in {1..100}; do
    alive || break
    sleep 0.02 9>&-
done
kill -KILL -- "-$group" 2>/dev/null

how=0
if [ -e "$dir/timedout" ]; then
    how=1
elif [ -e "$dir/stalled" ]; then
    how=2
fi
if [ "$how" != 0 ] || [ -e "$dir/cancelled" ]; then
    # A download that had left the group would write beside the next attempt.
    list_members
    [ "${#members[@]}" = 0 ] || kill -KILL "${members[@]}" 2>/dev/null
fi
free=$(df -Pk "$dir" 2>/dev/null | { read -r _ && read -r _ _ _ free _ && printf '"'"'%s'"'"' "$free"; } 9>&-)
# Written in place over bytes that are there already, then renamed: that works on a full disk too.
printf '"'"'%-31s\n'"'"' "$status $how ${free:--}" 1<>"$dir/exit.new" && mv "$dir/exit.new" "$dir/exit" 9>&-
'
shim='#!/usr/bin/env bash
# Stands before a tool of the same name: runs the real one behind this folder with what the service adds to it, and notes
# where its argv says that it writes. It comes first on PATH, so that scripts and xargs meet it too. What it adds stands
# first: the tools take the last of two.
tool=${0##*/}
attempt=$RESOURCE_INSTALLER_ATTEMPT
limit=$RESOURCE_INSTALLER_BANDWIDTH
state=${HOME:-/root}/.local/state/resource-installer
export PATH=$RESOURCE_INSTALLER_PATH

say() {
    printf '"'"'resource-installer: %s\n'"'"' "$*"
}

# Takes an argv apart as getopt would: `names` and `values` of its options, in order, and the other `words`. The letters
# and long names that take a value come first.
read_argv() {
    local LC_ALL=C letters=$1 longs=" ${2//$'"'"'\n'"'"'/ } " argument rest letter
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
                    option "$argument" '"'"''"'"'
                fi
                ;;
            -?*)
                rest=${argument#-}
                while [ -n "$rest" ]; do
                    letter=${rest:0:1} rest=${rest:1}
                    if [[ $letters != *"$letter"* ]]; then
                        option "-$letter" '"'"''"'"'
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
    printf '"'"'%s\t%s\n'"'"' "$1" "$(printf '"'"'%s'"'"' "$path" | base64 | tr -d '"'"'\n'"'"')" >>"$attempt/wrote"
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

# Two runs that write into one model'"'"'s folder delete each other'"'"'s files: they take turns. A run whose models cannot be
# told takes the whole root folder.
civitdl_locks() {
    local folder ids=() source sources=("${words[@]:0:${#words[@]}-1}")
    mkdir -p "$state/locks" || return
    folder=$state/locks/$(realpath -m -- "$root" | cksum | tr -c '"'"'0-9\n'"'"' -)
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

# A Python tool that the instance lacks is installed once, into a virtual environment of the service'"'"'s own.
provision() {
    local package=$1==$2 home=${HOME:-/root}/.local/share/resource-installer/$tool-$2
    if [ ! -e "$home/ready" ]; then
        if [ "$RESOURCE_INSTALLER_PROVISION" != 1 ]; then
            echo "$tool: command not found" >&2
            exit 127
        fi
        command -v python3 >/dev/null || missing "python3 is not installed, $tool needs it"
        python3 -c '"'"'import ensurepip, venv'"'"' 2>/dev/null || missing "python3-venv is not installed, $tool needs it"
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
        read_argv aABDeiIlnoOPQRtTUwX '"'"'output-document directory-prefix output-file append-output execute input-file tries
            timeout wait quota user-agent header user password progress limit-rate accept reject base post-data'"'"' "$@"
        wget_destinations
        exec wget --progress=bar:force:noscroll ${limit:+"--limit-rate=$limit"} "$@"
        ;;
    curl)
        read_argv AbcCdDeEFHKmoPQrtTuUwxXyYz '"'"'output output-dir header user user-agent data request proxy cacert cert key
            retry retry-delay retry-max-time max-time connect-timeout limit-rate range referer cookie cookie-jar form
            write-out config continue-at data-raw data-binary url speed-limit speed-time'"'"' "$@"
        curl_destinations
        # Only as the first of all does it turn the user'"'"'s own file of options off.
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
        read_argv dijklmoMOsTtuUx '"'"'dir out input-file split max-connection-per-server max-concurrent-downloads
            header user-agent checksum min-split-size max-tries timeout'"'"' "$@"
        aria2c_destinations
        # Into a file its output stays in a buffer until the summary, which says how far it is and lets it out. Its cache
        # would hold a slow download back from the disk for minutes, which looks like a stall.
        exec aria2c --summary-interval=1 --disk-cache=0 ${limit:+"--max-overall-download-limit=$limit"} "$@"
        ;;
    hf)
        read_argv '"'"''"'"' '"'"'local-dir repo-type revision include exclude cache-dir token max-workers'"'"' "$@"
        last_of --local-dir --local-dir
        [ -z "$last" ] || wrote dir "$last"
        # Its bars are wanted though nobody looks at a terminal.
        TQDM_POSITION=-1 exec hf "$@"
        ;;
    civitdl)
        # Sources, then the root folder; options stand anywhere.
        read_argv sik '"'"'sorter max-images nsfw-mode api-key limit-rate retry-count pause-time cache-mode strict-mode'"'"' "$@"
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
'
civitdl_config='{"version": "1", "default": {"sorter": "basic", "max_images": 3, "nsfw_mode": "2", "api_key": "", "with_prompt": true, "without_model": false, "limit_rate": "0", "retry_count": 0, "pause_time": 0.0, "cache_mode": "1", "strict_mode": "1", "model_overwrite": false, "with_color": true}, "sorters": [["basic", "", "basic"], ["tags", "", "tags"]], "aliases": []}'
hf_token=''
# Starts an attempt or finds it, then follows its log: read by `sh` from standard input, behind lines that set nonce, job,
# name (of the attempt's directory), offset, must_exist, timeout_seconds, stall_seconds, bandwidth, provision,
# needed_bytes, civitdl_version, hf_version, ui_home, remote_path, card, supervise, shim, civitdl_config and hf_token.
# Standard output: the nonce on a line of its own, then the log from `offset` on. Standard error: the nonce and how it
# ended.

say() {
    printf '\n%s %s\n' "$nonce" "$*" >&2
    exit 0
}

free_kib() {
    df -Pk "$1" 2>/dev/null | { read -r _ && read -r _ _ _ free _ && printf '%s' "$free"; }
}

# A container that is started again keeps the boot id of its host: the start time of process 1 tells them apart.
identity() {
    cat /proc/sys/kernel/random/boot_id
    sed 's/.*) //' /proc/1/stat | cut -d ' ' -f 20
}

cannot_write() {
    free=$(free_kib "${HOME:-/}")
    [ "${free:-64}" -lt 64 ] && say full
    say "refused cannot write below $state: $1"
}

write_files() {
    mkdir -p "$dir/bin" &&
        printf '%s' "$card" >"$dir/card" &&
        printf '%s' "$supervise" >"$dir/supervise" &&
        printf '%s' "$shim" >"$dir/bin/shim" && chmod 700 "$dir/bin/shim" &&
        : >"$dir/armed" && printf '%-31s\n' '' >"$dir/exit.new" || return
    for tool in civitdl wget curl aria2c hf; do
        ln -sf shim "$dir/bin/$tool" || return
    done
    mkdir -p "$dir/config/civitdl" && civitdl_config >"$dir/config/civitdl/config.json" || return
    if [ -n "$hf_token" ]; then
        printf '%s' "$hf_token" >"$dir/hf_token" || return
    fi
    identity >"$dir/boot.new" && mv "$dir/boot.new" "$dir/boot"
}

# A key that the instance's own configuration holds stays in use when the service has none.
civitdl_config() {
    own=$(sed -n 's/.*"api_key"[[:space:]]*:[[:space:]]*"\([A-Za-z0-9_-]*\)".*/\1/p' \
        "${XDG_CONFIG_HOME:-${HOME:-/root}/.config}/civitdl/config.json" 2>/dev/null | head -n 1)
    printf '%s' "$civitdl_config" | sed "s/\"api_key\": \"\"/\"api_key\": \"$own\"/"
}

# The free room where the resource will lie: on the nearest folder above it that exists.
check_room() {
    [ -n "$needed_bytes" ] || return 0
    folder=$ui_home
    while [ ! -d "$folder" ] && [ "$folder" != / ]; do
        folder=$(dirname -- "$folder")
    done
    free=$(free_kib "$folder")
    [ -n "$free" ] || return 0
    [ $((free * 1024)) -ge "$needed_bytes" ] || say room "$needed_bytes" $((free * 1024))
}

start() {
    check_room
    error=$(write_files 2>&1) || cannot_write "$error"
    RESOURCE_INSTALLER_ATTEMPT=$dir RESOURCE_INSTALLER_PATH=$PATH${remote_path:+:$remote_path} \
        RESOURCE_INSTALLER_TIMEOUT=$timeout_seconds RESOURCE_INSTALLER_STALL=$stall_seconds \
        RESOURCE_INSTALLER_BANDWIDTH=$bandwidth RESOURCE_INSTALLER_PROVISION=$provision \
        RESOURCE_INSTALLER_CIVITDL_VERSION=$civitdl_version RESOURCE_INSTALLER_HF_VERSION=$hf_version \
        UI_HOME=$ui_home \
        setsid bash "$dir/supervise" </dev/null >/dev/null 2>&1 &
}

# Whatever still carries this attempt's mark in its environment, and its group while the leader carries it: never an id
# alone, it may be another's by now.
kill_leftovers() {
    group=$(cat "$dir/group" 2>/dev/null)
    if [ -n "$group" ] && grep -qszxF "RESOURCE_INSTALLER_ATTEMPT=$dir" "/proc/$group/environ"; then
        kill -KILL -- "-$group" 2>/dev/null
    fi
    for round in 1 2 3; do
        found=
        for process in /proc/[0-9]*; do
            if grep -qszxF "RESOURCE_INSTALLER_ATTEMPT=$dir" "$process/environ"; then
                kill -KILL "${process#/proc/}" 2>/dev/null && found=1
            fi
        done
        [ -n "$found" ] || return 0
        sleep 0.1
    done
}

# The attempt goes on, but was not followed to its end; not at once again, whatever the reason is.
broken() {
    sleep 1
    say held
}

report() {
    flock -s -n 8 8<"$dir/lock" || broken
    [ -s "$dir/exit" ] && say "exit $(cat "$dir/exit")"
    [ "$(cat "$dir/boot" 2>/dev/null)" = "$(identity)" ] || say lost
    kill_leftovers
    free=$(free_kib "$dir")
    [ "${free:-64}" -lt 64 ] && say full
    say killed
}

main() {
    LC_ALL=C
    export LC_ALL
    umask 077
    printf '\n%s\n' "$nonce"
    for tool in bash flock setsid tail; do
        command -v "$tool" >/dev/null 2>&1 || say "missing $tool"
    done
    tail -c 0 --pid=$$ /dev/null >/dev/null 2>&1 || say "missing tail --pid (of GNU coreutils)"
    state=${HOME:-/root}/.local/state/resource-installer
    dir=$state/$job/$name
    if [ ! -e "$dir/log" ]; then
        [ "$must_exist" = 1 ] && say lost
        error=$({ mkdir -p "$dir" && : >>"$dir/log" && : >>"$dir/lock"; } 2>&1) || cannot_write "$error"
    fi
    exec 9>>"$dir/lock" || cannot_write lock
    if flock -n 9 && [ ! -e "$dir/boot" ]; then
        [ "$must_exist" = 1 ] && say lost
        start
    fi
    exec 9>&-
    [ "$(wc -c <"$dir/log")" -ge "$offset" ] || say lost
    # The waiter ends when the lock is free; tail sees that, reads to the end of the file and ends too.
    flock -s 8 8<"$dir/lock" &
    waiter=$!
    tail -c "+$((offset + 1))" -f --pid="$waiter" -s 0.1 "$dir/log" 2>/dev/null &
    wait $!
    followed=$?
    kill "$waiter" 2>/dev/null
    [ "$followed" = 0 ] || broken
    report
}

main </dev/null
