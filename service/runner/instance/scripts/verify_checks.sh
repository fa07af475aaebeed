# shellcheck shell=bash
# Compares the files of an attempt with what the card and civitdl say of them. bash runs it as the card of the
# verification, after lines that set card_files, card_sha256s, card_sizes (arrays) and card_sha256, and after
# verify_files.sh and verify_contents.sh. It prints its findings as lines "verify <word> ...", names and foreign text in base64. What tools
# print on standard error goes to a file: it may hold names, and names may look like findings.

HASHED_WITHOUT_NEED_BYTES_MAX=2147483648
ANSWER_REMOVED_BYTES_MAX=4194304
# From how many bytes on hashing is measured, with how many zeros, and their SHA-256.
MEASURED_FROM_BYTES=1000000
# What is hashed with the end of the download (riding.sh): more would keep the next download waiting.
RIDING_BYTES_MAX=16777216
MEASURED_BYTES=4194304
MEASURED_SHA256=bb9f8df61474d25e71fa00722318cd387396ca1736605e1248821cc0de3d3af8

finding() {
    if [ -n "${is_riding-}" ]; then findings+="verify $*"$'\n'; else printf 'verify %s\n' "$*"; fi
}

encoded() {
    # shellcheck disable=SC2034
    local encoded
    encode "$1"
    [ "$encoded" = - ] || printf %s "$encoded"
}

bad() {
    failures=$((failures + 1))
    finding bad "$file_number" "$@"
    forget "${files[$file_number]}"
    case $1 in html | json | xml | text | empty) make_way "${files[$file_number]}" ;; esac
}

# What a run finished is kept and not loaded again (files.sh), nor recalled for a script that skips it (left.sh), unless
# it is found bad.
forget() {
    local index encoded state=${attempt%/*/*} state_file
    encoded=$(encoded "$1")
    for index in "$state"/cards/*; do
        ! grep -qsF -- "$encoded " "$index" || rm -f -- "$index"
    done
    place "$encoded"
    [ ! -e "$state_file" ] || sed -i 's/^whole /bad /' "$state_file"
}

# An answer that a run of this attempt saved under a model's name goes: a script that asks whether the file is there
# would take it for the model for ever. Its words are in the finding. A file without a run may be another attempt's.
make_way() {
    { grep -vs " script " "$attempt/ledger"; grep -s "^file" "$attempt/wrote"; } | grep -qF -- "$(encoded "$1")" || return 0
    begin_of
    [ -n "$begin" ] && [ "${sizes[$file_number]}" -le "$ANSWER_REMOVED_BYTES_MAX" ] && [ ! -L "$1" ] || return 0
    [ -z "$(find "$1" -maxdepth 0 -newerct "$begin")" ] || rm -f -- "$1"
}

# Sets `said`: civitdl writes what CivitAI says of a file into a list beside it.
listed_sha256() {
    local list=${1%.*}.csv line lines=0
    said=
    case ${list##*/} in *-mid_*-vid_*.csv) ;; *) return ;; esac
    [ -f "$list" ] || return
    while { IFS= read -r line || [ -n "$line" ]; } && [ $((lines += 1)) -le 100 ]; do
        if [[ $line =~ ^SHA256,[[:space:]]*([0-9A-Fa-f]{64})[[:space:]]*$ ]]; then
            said=${BASH_REMATCH[1],,}
            return
        fi
    done <"$list"
}

# Sets `seen`: size, inode and time of change, as files.sh notes them of a file that a run has finished. With the end of
# the download that note will do: it is held against the file once that is hashed.
see() {
    local size='' inode changed
    if [ -n "${is_riding-}" ]; then
        encode "$1"
        place "$encoded"
        read_state
        seen=$known
        [ "$was" != whole ] || return 0
    fi
    see_again "$1"
}

# Once it is hashed. With the end of the download, left.sh has seen it after its run: where it was as noted then, is still
# the file that was hashed, and was not written since, it is as noted.
see_again() {
    local size='' inode changed
    if [ -n "${is_riding-}" ] && [ -n "${opened[$file_number]-}" ] && [ "${seen_here[$1]-}" = "${states[$file_number]}" ] &&
        [ "$1" -ef "/dev/fd/${opened[$file_number]}" ] && [ ! "$1" -nt "$attempt/looked" ]; then
        seen=${states[$file_number]}
        return
    fi
    read -r size inode changed < <(stat -L -c '%s %i %z' -- "$1")
    seen=${size:+$size $inode ${changed// /_}}
}

# All checks that are cheap, before anything is hashed.
look() {
    local file=$1 want=${want_size[$file_number]}
    [ -e "$file" ] || [ -L "$file" ] || { bad missing && return; }
    [ -f "$file" ] || { bad no_file && return; }
    see "$file"
    states[file_number]=$seen
    sizes[file_number]=${states[$file_number]%% *}
    [ -r "$file" ] && [ -n "${states[$file_number]}" ] || { bad unreadable && return; }
    if [ "${sizes[$file_number]}" = 0 ]; then
        ! must_be_binary "$file" || [ "$want" = 0 ] || { bad empty && return; }
    else
        is_answer "$file" "${sizes[$file_number]}" && return
    fi
    checked[file_number]=not_html
    suffix_of "$file"
    if [ "$suffix" = safetensors ] && [ "${sizes[$file_number]}" != 0 ]; then
        has_header "$file" "${sizes[$file_number]}" || return
        checked[file_number]+=,safetensors_header
    elif [ "${sizes[$file_number]}" != 0 ]; then
        begins_right "$file" || return
        checked[file_number]+=${has_magic:+,magic}
    fi
    ! is_unlisted "$file" || finding unlisted "$file_number"
    [ -n "$want" ] || return
    if [ "${sizes[$file_number]}" != "$want" ]; then
        bad size "${sizes[$file_number]}" "$want" card
        return
    fi
    checked[file_number]+=,size
}

# Sets `hasher`: of the programs here, the one that hashes fastest. Measured once an instance, once there is something to
# hash, which takes as long as some megabytes: openssl uses instructions of the processor that some builds of sha256sum
# do not (2.1 to 0.5 GB a second), and elsewhere it is the other way round. It takes longer to start.
choose_hasher() {
    local known=${attempt%/*/*}/hasher sums openssl
    hasher=(sha256sum)
    [ "$1" -ge "$MEASURED_FROM_BYTES" ] && command -v openssl >/dev/null || return 0
    if [ -s "$known" ]; then
        read -r sums openssl _ <"$known"
    else
        sums=$(milliseconds sha256sum)
        openssl=$(milliseconds openssl dgst -sha256 -r)
        printf '%s %s\n' "$sums" "$openssl" >"$known"
    fi
    [ "${openssl:-0}" = 0 ] || [ "$openssl" -ge "${sums:-0}" ] || hasher=(openssl dgst -sha256 -r)
}

# The processor's time that this program takes for some megabytes of zeros, which does not depend on what else runs there;
# 0 where it does not work.
milliseconds() {
    local TIMEFORMAT='%3U %3S' said digest user system
    said=$({ time head -c "$MEASURED_BYTES" /dev/zero | "$@"; } 2>&1)
    read -r digest _ <<<"$said"
    read -r user system <<<"${said##*$'\n'}"
    [ "$digest" = "$MEASURED_SHA256" ] && printf %s $((10#${user//[!0-9]/} + 10#${system//[!0-9]/})) || printf 0
}

# Starts to hash a file: `hashing` holds the descriptor of what the program prints, `pids` its process, `opened` the
# descriptor of the file.
begin_hash() {
    local descriptor file=''
    exec {file}<"$1"
    exec {descriptor}< <(exec "${hasher[@]}" <&"$file")
    pids[$2]=$!
    opened[$2]=$file
    hashing[$2]=$descriptor
}

# Sets `digest`. `read` waits for it and wakes once a second to print how far it is: the position in the file is that of
# the hashing process itself.
hash() {
    local file=$1 size=$2 pid key at said descriptor
    digest=
    [ -n "${hashing[$file_number]}" ] || begin_hash "$file" "$file_number"
    pid=${pids[$file_number]} descriptor=${hashing[$file_number]}
    while :; do
        read -r -t 1 digest _ <&"$descriptor"
        said=$?
        [ "$said" -gt 128 ] || break
        [ -z "${is_riding-}" ] || { kill -KILL "$pid" && exit 99; }
        while read -r key at; do
            [ "$key" = pos: ] && finding at "$file_number" "$at"
        done <"/proc/$pid/fdinfo/0"
    done
    exec {descriptor}<&-
    [[ $digest =~ ^[0-9a-f]{64}$ ]] || digest=
    [ -z "$digest" ] || finding at "$file_number" "$size"
}

close_file() {
    local file=${opened[$file_number]}
    [ -z "$file" ] || exec {file}<&-
}

# Whether there is a reason to hash a file, or it costs little.
is_hashed() {
    [ -n "${want_sha256[$1]}${listed[$1]}" ] || [ "${sizes[$1]}" -le "$HASHED_WITHOUT_NEED_BYTES_MAX" ]
}

# The first files at once, one a core; each that has been read makes way for the next.
hash_ahead() {
    local number last=$((file_number + cores))
    for ((number = file_number; number < last && number < ${#files[@]}; number++)); do
        [ -z "${hashing[$number]}" ] && is_hashed "$number" && begin_hash "${files[$number]}" "$number"
    done
}

weigh() {
    local file=$1 size=${sizes[$file_number]} card=${want_sha256[$file_number]} listed=${listed[$file_number]}
    local digest=- against=-
    if [ -n "${hashing[$file_number]}" ]; then
        hash "$file" "$size"
        see_again "$file"
        close_file
        if [ "$seen" != "${states[$file_number]}" ]; then
            [ -z "${is_riding-}" ] || exit 99
            if [ -e "$file" ]; then bad changed; else bad vanished; fi
            return
        fi
        # A client may have ended what hashed it.
        [ -n "$digest" ] || [ -z "${is_riding-}" ] || exit 99
        [ -n "$digest" ] || { bad unreadable && return; }
    fi
    [ -z "${want_size[$file_number]}" ] || against=card
    if [ -n "$listed" ]; then
        [ "$digest" = "$listed" ] || { bad sha256 "$digest" "$listed" civitdl && return; }
        against=civitdl
    fi
    if [ -n "$card" ]; then
        [ "$digest" = "$card" ] || { bad sha256 "$digest" "$card" card && return; }
        against=card
    fi
    [ -z "$card$listed" ] || checked[file_number]+=,sha256
    finding good "$file_number" "$digest" "$against" "${checked[$file_number]}"
}

# What the card says of its only file, which a run has loaded if any has. Its size is an estimate and proves nothing:
# people round it.
expect_one() {
    local number models=() among=$of_runs
    [ "$among" -gt 0 ] || among=${#files[@]}
    for ((number = 0; number < among; number++)); do
        is_model "${files[$number]}" && models+=("$number")
    done
    [ "${#files[@]}" = 1 ] && models=(0)
    [ "${#models[@]}" = 1 ] || return
    want_sha256[models[0]]=$card_sha256
}

verify() {
    # shellcheck disable=SC2034
    local tool file_number said seen encoded decoded begin='' suffix has_magic='' failures=0 more=0 of_runs=0
    # shellcheck disable=SC2034
    local attempt=${RESOURCE_INSTALLER_ATTEMPT%-verify} home=${UI_HOME%/}
    local state=${attempt%/*/*} state_file was known
    local hasher=() hashing=() opened=() pids=() listed=() total=0 cores
    local files=() states=() sizes=() checked=() want_sha256=("${card_sha256s[@]}") want_size=("${card_sizes[@]}")
    for tool in base64 find grep head od sed sha256sum sort stat tail tr; do
        command -v "$tool" >/dev/null || { finding missing "$tool" && return 127; }
    done
    [ -n "${is_riding-}" ] || read_known_names "$attempt/names"
    choose
    [ "${#card_files[@]}" -gt 0 ] || expect_one
    for file_number in "${!files[@]}"; do
        encode "${files[$file_number]#"$home"/}"
        finding name "$file_number" "$encoded"
        look "${files[$file_number]}"
    done
    if [ "$failures" = 0 ]; then
        for file_number in "${!files[@]}"; do
            listed_sha256 "${files[$file_number]}"
            listed[file_number]=$said
            total=$((total + sizes[file_number]))
        done
        [ -z "${is_riding-}" ] || [ "$total" -le "$RIDING_BYTES_MAX" ] || return 99
        choose_hasher "$total"
        cores=1
        [ "${#files[@]}" = 1 ] || cores=$(nproc) || cores=1
        for file_number in "${!files[@]}"; do
            hash_ahead
            finding begin "$file_number" "${sizes[$file_number]}"
            weigh "${files[$file_number]}"
        done
    fi
    [ "$failures" = 0 ] || [ ! -s "$errors" ] || finding said "$(head -c 2000 -- "$errors" | base64 -w 0)"
    finding end "${#files[@]}" "$more" "$failures"
    [ "$failures" = 0 ]
}

set +e +o pipefail
LC_ALL=C
export LC_ALL
errors=$RESOURCE_INSTALLER_ATTEMPT/errors
{ printf '' >"$errors"; } 2>/dev/null || errors=/dev/null
exec 2>"$errors"
verify
result=$?
[ -n "${is_riding-}" ] || exit "$result"
