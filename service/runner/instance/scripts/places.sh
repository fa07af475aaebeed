# shellcheck shell=bash disable=SC2034,SC2154 # the programs that it is a part of set and use what is not set or used here
# The state of a destination, one line in a file of the service's folder: where it lies, how it is read and written.
# files.sh says what stands in it. The shims, the supervisor and the verification all have this part. `state`: the
# service's folder.

# What was put into base64 before: a path comes up several times in a program, and in each program of its attempt.
# `known_names`: the file in which these tell each other.
declare -A encodings texts
known_names=
# The path that was put into base64 last, and what it gave: that of its folder, or of a file in it, begins in the same way.
stem='' stem_encoded=''

# Sets `encoded`: the text in base64, "-" for none.
encode() {
    encoded=${encodings[=$1]-}
    [ -z "$encoded" ] || return 0
    encode_by_stem "$1"
    know "$1" "$encoded"
    [ -z "$known_names" ] || [[ $1 == *$'\n'* ]] || { printf '%s %s\n' "$encoded" "$1" >>"$known_names"; } 2>/dev/null
}

know() {
    encodings[=$1]=$2 texts[=$2]=$1
}

# Takes over what is in file $1.
read_known_names() {
    local line
    while IFS= read -r line; do
        know "${line#* }" "${line%% *}"
    done <"$1"
} 2>/dev/null

encode_by_stem() {
    local LC_ALL=C at=0 hash=0
    if [[ $1 == "$stem"* ]]; then
        at=${#stem}
    elif [[ $stem == "$1"* ]]; then
        at=${#1}
    fi
    at=$((at - at % 3))
    encode_from "$at" "${stem_encoded:0:at / 3 * 4}" "$1"
    stem=$1 stem_encoded=$encoded
}

# Sets `encoded`, and `hash`, a number for the text (FNV-1a over three bytes at a time). A process for each of them would
# cost more than all the rest.
encode_anew() {
    hash=-3750763034362895579
    encode_from 0 '' "$1"
}

# Text $3 from byte $1 on, a multiple of three; $2 is what the bytes before it give.
encode_from() {
    local LC_ALL=C at=$1 out=$2 text=$3 bits
    local digits=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/
    for ((; at < ${#text}; at += 3)); do
        # An expression, whose value the next line takes.
        printf -v bits '(%d & 255) << 16 | (%d & 255) << 8 | %d & 255' "'${text:at:1}" "'${text:at+1:1}" "'${text:at+2:1}"
        bits=$((bits))
        hash=$(((hash ^ bits) * 1099511628211))
        out+=${digits:bits>>18:1}${digits:bits>>12&63:1}${digits:bits>>6&63:1}${digits:bits&63:1}
    done
    case $((${#text} % 3)) in
        1) out=${out:0:-2}== ;;
        2) out=${out:0:-1}= ;;
    esac
    encoded=${out:--}
}

# Sets `decoded`: what stands in base64.
decode() {
    decoded=${texts[=$1]-}
    [ -z "$decoded" ] || return 0
    decode_anew "$1"
    texts[=$1]=$decoded
}

decode_anew() {
    local LC_ALL=C text=${1%%=*} at bits digit before escaped=
    local digits=ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/
    for ((at = bits = 0; at < ${#text}; at++)); do
        digit=${text:at:1} before=${digits%%"$digit"*}
        bits=$((bits << 6 | ${#before}))
        case $((at & 3)) in
            0) continue ;;
            1) printf -v digit '\\x%02x' $((bits >> 4 & 255)) ;;
            2) printf -v digit '\\x%02x' $((bits >> 2 & 255)) ;;
            3) printf -v digit '\\x%02x' $((bits & 255)) ;;
        esac
        escaped+=$digit
    done
    printf -v decoded %b "$escaped"
}

# Sets `state_file` for a path in base64, which may be longer than a file's name may be.
place() {
    local rest=${1//\//-} folder=$state/files
    while [ "${#rest}" -gt 200 ]; do
        folder+=/${rest:0:200}
        rest=${rest:200}
    done
    [ -d "$folder" ] || mkdir -p "$folder"
    state_file=$folder/$rest.state
}

read_state() {
    local size inode ctime
    was='' from='' size='' inode='' ctime='' half='' writer='' by='' of=''
    { read -r was from size inode ctime half writer by of <"$state_file"; } 2>/dev/null
    was=${was:-none} from=${from:--} half=${half:--} writer=${writer:--} by=${by:--} of=${of:--}
    known="${size:--} ${inode:--} ${ctime:--}"
}

# Notes what stands there: what, address, look.
note() {
    printf '%s\n' "$1 $2 $3 $half $writer $by $tool" >"$state_file"
}
