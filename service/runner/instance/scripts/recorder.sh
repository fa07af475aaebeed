# shellcheck shell=bash disable=SC2034,SC2154 # supervise.sh sets and uses what is not set or used here
# What an attempt records while it runs, for supervise.sh: how far its files are.

# Records once a second how far each live run is, and what processes that are no run's write: for tools that say nothing
# about it. It is of the card's group, so that a pause stops it. A run is known by the process of its shim, which its
# token ends with.
recorder() {
    local mark verb token shown log=
    local -A runs=() told=() told_at=() encoded=() paths=() untold=()
    printf '%s %s\n' "$watchdog" "$BASHPID" >"$dir/helpers"
    read -r mark <"$dir/mark"
    exec {ledger}<"$dir/ledger"
    while :; do
        [ -n "$log" ] || log=$(stat -c %i "$dir/log")
        while read -r verb token shown _ <&"$ledger"; do
            case $verb in
                begin)
                    runs[${token##*p}]="$token $shown"
                    [ "$shown" != aria2c ] || untold[${token##*p}]=1
                    ;;
                end) unset "runs[${token##*p}]" "untold[${token##*p}]" ;;
            esac
        done
        record_growth
        read -r -t 1 -u "$idle"
    done
}

# One look at the files that the processes of the session have open; of each run, or process without one, the file that
# grew most. A file that is only read does not grow.
record_growth() {
    local process line inode size path pid one at now=${EPOCHREALTIME-}
    local -A parents=() best=() grown=() rates=()
    local folders=()
    now=${now//[!0-9]/}
    for process in /proc/[0-9]*; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        # shellcheck disable=SC2086
        set -- ${line##*) }
        [ "$4" = "$$" ] || continue
        pid=${process#/proc/}
        parents[$pid]=$2
        [ "$pid" = "$$" ] || [ "$pid" = "$BASHPID" ] || [ "$2" = "$BASHPID" ] || folders+=("$process/fd/"*)
    done
    [ "${#folders[@]}" -gt 0 ] || return
    while read -r inode size path; do
        [ "$inode" != "$log" ] && [ "$size" != 0 ] || continue
        pid=${path#/proc/}
        pid=${pid%%/*}
        owner_of "$pid"
        # aria2c makes its file as long as it will be: what it has written is nearer the truth.
        [ "${runs[$owner]#* }" != aria2c ] || size=$(written_by "$pid")
        one=${told[$inode]-new} at=${told_at[$inode]-}
        told[$inode]=$size told_at[$inode]=$now
        [ "$one" != "$size" ] || continue
        if [ "$one" = new ] && [ -z "${runs[$owner]+is}" ]; then
            # It may have been there before, so that it has not grown yet. By the inode left.sh knows whose it is.
            ! is_written "$path" || printf '%s\n' "$inode" >>"$dir/written"
            continue
        fi
        [ "$size" -gt "${grown[$owner]:-0}" ] || continue
        grown[$owner]=$size best[$owner]="$inode $path" rates[$owner]=-
        # Where bash tells the time (5.0) and this is not the first look at the file.
        if [ -n "$at" ] && [ "$size" -gt "$one" ] && [ "$now" -gt "$at" ]; then
            rates[$owner]=$(((size - one) * 1000000 / (now - at)))
        fi
    done < <(stat -L -c '%i %s %n' "${folders[@]}" 2>/dev/null)
    for one in "${!grown[@]}"; do
        record_bytes "$one" "${grown[$one]}" "${rates[$one]}" "${best[$one]}"
    done
}

written_by() {
    local key value
    while read -r key value; do
        [ "$key" != wchar: ] || printf '%s' "$value"
    done <"/proc/$1/io"
}

# Sets `owner`: the shim that this process comes from, else the process.
owner_of() {
    local at=$1
    owner=$1
    while [ -n "${parents[$at]+known}" ]; do
        if [ -n "${runs[$at]+is}" ]; then
            owner=$at
            return
        fi
        at=${parents[$at]}
    done
}

record_bytes() {
    local path verb=idle token=$1 size=$2 inode=${4%% *} file=${4#* }
    is_written "$file" || return
    if [ -z "${encoded[$inode]-}" ]; then
        path=$(readlink "$file")
        case $path in "$dir"/*) return ;; esac
        paths[$inode]=$path
        encoded[$inode]=$(printf '%s' "${path##*/}" | base64 | tr -d '\n')
    fi
    if [ -n "${runs[$1]+is}" ]; then
        verb=bytes token=${runs[$1]% *}
    fi
    [ -z "${untold[$1]-}" ] || record_length "$1" "${paths[$inode]}.aria2"
    record_line "$verb $token $size ${encoded[$inode]} $3"
}

# Whether this descriptor of a process is open for writing.
is_written() {
    local key flags
    while read -r key flags; do
        [ "$key" != flags: ] || break
    done <"${1/\/fd\//\/fdinfo\/}"
    case $flags in *[12]) ;; *) return 1 ;; esac
} 2>/dev/null

# The length that the server announced to aria2c stands in its control file, the highest byte first: version (2),
# extension (4), length of a torrent's hash (4, here 0), length of a piece (4), the file's length (8).
record_length() {
    local bytes byte length=0
    [ -e "$2" ] && read -r -a bytes < <(od -An -v -tu1 -w16 -j 6 -N 16 -- "$2" 2>/dev/null) || return
    [ "${#bytes[@]}" = 16 ] && [ "${bytes[*]:0:4}" = '0 0 0 0' ] || return
    for byte in "${bytes[@]:8}"; do
        length=$((length * 256 + byte))
    done
    [ "$length" -gt 0 ] || return
    unset "untold[$1]"
    record_line "length ${runs[$1]% *} $length"
}

record_line() {
    printf '%s\n' "$1" >>"$dir/ledger"
    [ -z "$mark" ] || printf '\r%s %s\n' "$mark" "$1" >>"$dir/log"
}

