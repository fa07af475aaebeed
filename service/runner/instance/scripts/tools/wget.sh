# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh sets and uses what is not set or used here
# wget writes to -O, else into the folder -P. GNU wget is asked for a bar, which it would not draw into a file; BusyBox
# and wget2, which carry the same name, know no such option.

destinations() {
    local file folder name at
    read_argv aABDeiIlnoOPQRtTUwX 'execute output-file append-output report-speed input-file base config rejected-log
        tries retry-on-http-error output-document start-pos progress timeout dns-timeout connect-timeout read-timeout
        wait waitretry quota bind-address limit-rate restrict-file-names prefer-family user password use-askpass
        local-encoding remote-encoding directory-prefix cut-dirs http-user http-password default-page header
        compression proxy-user proxy-password referer user-agent load-cookies save-cookies post-data post-file method
        body-data body-file secure-protocol certificate certificate-type private-key private-key-type ca-certificate
        ca-directory crl-file pinnedpubkey ciphers ftp-user ftp-password warc-file warc-header warc-max-size
        warc-tempdir level backups accept reject accept-regex reject-regex regex-type domains exclude-domains
        follow-tags ignore-tags include-directories exclude-directories' "$@"
    addresses=("${words[@]}")
    last_of -O --output-document
    file=$last
    last_of -P --directory-prefix
    folder=${last:-.}
    list_addresses
    if [ -n "$file" ]; then wrote file "$file"; else wrote_named_by_address "$folder"; fi
    has -i --input-file || [ "${#words[@]}" -gt 0 ] || return
    ! has --spider --version && ! has -V --help && ! has -h -h || return
    read_request
    read_habits
    if [ -n "$file" ]; then
        writes file "$file"
        return
    fi
    name=${words[0]-}
    name=${name##*/}
    guess_name
    if names_by_server || has_any -r --recursive -m --mirror -p --page-requisites -x --force-directories -i --input-file \
        --content-disposition --trust-server-names || [[ ${words[0]-} != *[!:/]/* ]]; then
        name=
    fi
    writes_named "$folder" "${name%%#*}"
}

# Several addresses, or a list of them, are as many runs, where no option is about all of them together.
list_addresses() {
    local list=()
    case $identity in wget/*) ;; *) return ;; esac
    ! has_any -O --output-document -r --recursive -m --mirror -p --page-requisites -k --convert-links -b --background \
        -o --output-file -Q --quota -w --wait --random-wait --save-cookies -F --force-html -B --base --warc-file \
        --input-metalink --spider -V --version -h --help || return
    values_of -i --input-file
    case ${#given[@]}:${given[0]-} in
        0:*) ;;
        1:-) mapfile -t list ;;
        1:*://*) return ;;
        1:*)
            [ -f "${given[0]}" ] && ! grep -q '<' -- "${given[0]}" || return
            mapfile -t list <"${given[0]}"
            ;;
        *) return ;;
    esac
    for at in "${list[@]}"; do
        [[ ! $at =~ ^[[:space:]]*([^[:space:]].*[^[:space:]])[[:space:]]*$ ]] || addresses+=("${BASH_REMATCH[1]}")
    done
    if [ "${#addresses[@]}" -gt 1 ] || { [ "${#list[@]}" -gt 0 ] && [ "${#addresses[@]}" = 1 ]; }; then splits=1; fi
}

share() {
    local at
    for at in "${!names[@]}"; do
        case ${names[at]} in -i | --input-file) ;; *) give "$at" ;; esac
    done
    command+=(-- "${addresses[$1]}")
}

# Of several errors wget ends with the lowest, and with 1 only if there is no other.
sum_up() {
    [ "$status" != 0 ] || return
    if [ "$result" -le 1 ] || { [ "$status" -gt 1 ] && [ "$status" -lt "$result" ]; }; then result=$status; fi
}

# Without -O, a new file gets a number where the name is taken.
read_habits() {
    [ -n "$file" ] || looks=1
    if has -c --continue; then looks=1 continues=1; fi
    ! has --no-clobber --no-clobber || looks=1 spares=1
    values_of -n -n
    [[ ${given[*]} != *c* ]] || looks=1 spares=1
}

# The address ends with a number, under which ComfyUI would not list the file: the server says its name.
names_by_server() {
    case $identity in wget/1.* | wget2/*) ;; *) return 1 ;; esac
    is_numbered "${words[0]-}" && front+=(--content-disposition)
}

# What a half can be continued with: one address, and no more than a GET of it.
read_request() {
    local at
    [ "${#words[@]}" = 1 ] || return
    case $identity in
        wget/1.1[6-9]* | wget/1.[2-9][0-9]*) ;;
        wget2/*)
            read_wget2
            return
            ;;
        *) return ;;
    esac
    is_plain=1
    for at in "${!names[@]}"; do
        case ${names[at]} in
            --header | --user-agent | --user | --password | --http-user | --http-password | --referer | --load-cookies | \
                --ca-certificate | --ca-directory | --certificate | --private-key | --timeout | --execute)
                asks+=("${names[at]}=${values[at]}")
                ;;
            -U | -e | -T) asks+=("${names[at]}${values[at]}") ;;
            --no-check-certificate | --auth-no-challenge | --no-proxy | --inet4-only | -4 | --inet6-only | -6)
                asks+=("${names[at]}")
                ;;
            -i | -r | -m | -p | -x | -E | -k | -S | --input-file | --recursive | --mirror | --page-requisites | \
                --force-directories | --post-* | --method | --body-* | --start-pos | --save-headers | \
                --warc-* | --delete-after | --compression | --adjust-extension | --convert-links | --metalink* | --config)
                is_plain=0
                ;;
            # It asks the server itself whether there is a newer one.
            -N | --timestamping) may_keep=0 ;;
        esac
    done
}

# wget2 ends with 0 although the server has hung up in the middle: the server is asked whether it has more.
read_wget2() {
    doubts=1
    for at in "${!names[@]}"; do
        case ${names[at]} in
            --header) asks+=(-H "${values[at]}") ;;
            -U | --user-agent) asks+=(-A "${values[at]}") ;;
            --no-check-certificate) asks+=(-k) ;;
            --check-certificate) [ "${values[at]}" != off ] || asks+=(-k) ;;
            -c | --continue | --post-* | --method | --body-* | -r | --recursive | --compression) doubts=0 ;;
        esac
    done
}

# Without --start-pos it would refuse the answer, without the header the server would send all the rest. Where the server
# knows no ranges, wget would load and skip everything before: so it is asked first, without a body.
read_tail() {
    if [ "$doubts" = 1 ]; then
        fetch_span "$1" "$2" "${words[0]}"
        return
    fi
    case $(wget --tries=1 "--timeout=$TAIL_SECONDS_MAX" --spider -S "--header=Range: bytes=$1-$2" "${asks[@]}" -- "${words[0]}" 2>&1) in
        *HTTP/*' 206'*) ;;
        *HTTP/*' 200'*) return 1 ;;
    esac
    wget -q --tries=1 "--timeout=$TAIL_SECONDS_MAX" -O - "--start-pos=$1" "--header=Range: bytes=$1-$2" "${asks[@]}" -- \
        "${words[0]}"
}

# -nc would call the half a whole one.
continue_half() {
    back+=(-c)
    [ "$spares" = 0 ] || back+=(--clobber)
}

into_folder() {
    back+=("--directory-prefix=$1")
}

continue_named() {
    continue_half
}

# -nc leaves what is there; else a new file gets a number.
free_name() {
    local number=1
    free=$1/$2
    [ -e "$free" ] || return 0
    if [ "$spares" = 1 ]; then
        free=
        return
    fi
    while [ -e "$1/$2.$number" ]; do
        number=$((number + 1))
    done
    free=$1/$2.$number
}

compose() {
    case $identity in
        wget/1.[0-9] | wget/1.[0-9].* | wget/1.1[0-5]*) front+=(--progress=bar:force) ;;
        wget/*) front+=(--progress=bar:force:noscroll) ;;
        *) limit= ;;
    esac
    [ -z "$limit" ] || front+=("--limit-rate=$limit")
    if [ "$judged" = 1 ] && has -b --background; then
        case $identity in wget*) background=1 back+=(--no-background) ;; esac
    fi
    assemble "$@"
}
