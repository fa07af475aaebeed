# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh and files.sh set and use what is not set or used here
# Whether a half on the disk is the beginning of what the server sends now. The tools do not ask: they would splice two
# contents and call that a success. The last 64 KiB that are known to have been loaded are asked for again, plus one byte
# more: without it, the half is the whole. A half that is no longer than this is not worth the question.
#
# A half of aria2c has holes; only its control file knows them. So with a control file, the last piece or block that it
# calls loaded is compared, and only aria2c continues it.

TAIL_BYTES=65536
# A site that hangs must not hold up the run: it begins anew.
TAIL_SECONDS_MAX=15

# Sets `match` for file $1: whole, more (the server has more of the same), or other (also if nobody answers).
compare() {
    local size
    match='other'
    [ "$is_plain" = 1 ] || [ "$doubts" = 1 ] || return 0
    declare -F read_tail >/dev/null || return 0
    if [ -e "$1.aria2" ]; then
        [ "$tool" = aria2c ] || return 0
        find_loaded "$1.aria2" && compare_span "$1" && match='more'
        return 0
    fi
    look "$1"
    size=${now%% *}
    [ "$size" != - ] && [ "$size" -gt "$TAIL_BYTES" ] || return 0
    first=$((size - TAIL_BYTES)) last=$size
    compare_tail "$1"
}

compare_tail() {
    local got status
    ask_for "$first" "$last"
    got=${now%% *}
    if is_same "$1" "$((last - first))"; then
        if [ "$got" -gt "$((last - first))" ]; then match='more'; elif [ "$status" = 0 ]; then match='whole'; fi
    fi
    rm -f -- "$span"
}

compare_span() {
    local status same=1
    ask_for "$first" "$((last - 1))"
    is_same "$1" "$((last - first))" || same=0
    rm -f -- "$span"
    [ "$same" = 1 ]
}

# Sets `span`: a file with the bytes from $1 to $2 as the server sends them, `now` for it, and `status`.
ask_for() {
    span=$attempt/span.$token
    read_tail "$1" "$2" 2>/dev/null | head -c $(($2 - $1 + 1)) >"$span"
    status=${PIPESTATUS[0]}
    look "$span"
}

# Whether the first $2 bytes of `span` stand at `first` of file $1.
is_same() {
    [ "$(tail -c "+$((first + 1))" -- "$1" | head -c "$2" | cksum)" = "$(head -c "$2" -- "$span" | cksum)" ]
}

# Sets `first` and `last` (past the end) to the last bytes that control file $1 calls loaded. It holds, all numbers with
# the highest byte first: version (2), extension (4), length of the info hash (4) and the info hash, length of a piece
# (4), of the file (8), of what was uploaded (8), of the bit field (4), the bit field; then how many pieces are begun
# (4), and for each its index (4), length (4), the length of its bit field (4) and the field, a bit for 16 KiB.
find_loaded() {
    local at piece total fields index
    # shellcheck disable=SC2207
    bytes=($(od -An -v -tu1 -- "$1"))
    at=$((10 + $(number 6 4)))
    piece=$(number "$at" 4) total=$(number $((at + 4)) 8) fields=$(number $((at + 20)) 4)
    at=$((at + 24))
    [ "$piece" -gt 0 ] && [ "$((at + fields))" -le "${#bytes[@]}" ] || return
    last_bit "$at" "$fields"
    if [ "$bit" -ge 0 ]; then
        first=$((bit * piece)) last=$(((bit + 1) * piece))
    else
        at=$((at + fields))
        [ "$(number "$at" 4)" -gt 0 ] || return
        index=$(number $((at + 4)) 4)
        last_bit $((at + 16)) "$(number $((at + 12)) 4)"
        [ "$bit" -ge 0 ] || return
        first=$((index * piece + bit * 16384)) last=$((index * piece + (bit + 1) * 16384))
    fi
    [ "$last" -le "$total" ] || last=$total
    [ $((last - first)) -le "$TAIL_BYTES" ] || first=$((last - TAIL_BYTES))
    [ "$first" -lt "$last" ]
}

number() {
    local at value=0
    for ((at = $1; at < $1 + $2; at++)); do
        value=$((value << 8 | ${bytes[at]:-0}))
    done
    printf '%s' "$value"
}

# Sets `bit`: the last that is set in the field of $2 bytes at $1, or -1.
last_bit() {
    local at one
    for ((at = $1 + $2 - 1; at >= $1; at--)); do
        [ "${bytes[at]:-0}" != 0 ] || continue
        for ((one = 7; one >= 0; one--)); do
            if (((bytes[at] >> (7 - one)) & 1)); then
                bit=$(((at - $1) * 8 + one))
                return
            fi
        done
    done
    bit=-1
}

# Prints the bytes from $1 to $2 of address $3, for tools that cannot ask for a part; `asks` in the words of curl.
fetch_span() {
    local at wget_asks=()
    if hash curl 2>/dev/null; then
        curl -sfL --max-time "$TAIL_SECONDS_MAX" -r "$1-$2" "${asks[@]}" -- "$3"
        return
    fi
    for at in "${!asks[@]}"; do
        case ${asks[at]} in -H) wget_asks+=("--header=${asks[at + 1]}") ;; -k) wget_asks+=(--no-check-certificate) ;; esac
    done
    ask wget -q -O - "--header=Range: bytes=$1-$2" "${wget_asks[@]}" -- "$3"
}
