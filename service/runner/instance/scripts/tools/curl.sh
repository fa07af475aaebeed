# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh sets and uses what is not set or used here
# curl writes to each -o, and with -O or --remote-name-all into the folder --output-dir.

destinations() {
    local folder file
    read_argv AbcCdDeEFHhKmoPQrtTuUwxXyYz 'abstract-unix-socket alt-svc aws-sigv4 cacert capath cert cert-type ciphers
        config connect-timeout connect-to continue-at cookie cookie-jar create-file-mode crlfile curves data data-ascii
        data-binary data-raw data-urlencode delegation dns-interface dns-ipv4-addr dns-ipv6-addr dns-servers doh-url
        dump-header egd-file engine etag-compare etag-save expect100-timeout form form-string ftp-account
        ftp-alternative-to-user ftp-method ftp-port ftp-ssl-ccc-mode happy-eyeballs-timeout-ms header help hostpubmd5
        hostpubsha256 hsts interface json keepalive-time key key-type krb libcurl limit-rate local-port login-options
        mail-auth mail-from mail-rcpt max-filesize max-redirs max-time netrc-file noproxy oauth2-bearer output
        output-dir parallel-max pass pinnedpubkey proto proto-default proto-redir proxy proxy1.0 proxy-cacert
        proxy-capath proxy-cert proxy-cert-type proxy-ciphers proxy-crlfile proxy-header proxy-key proxy-key-type
        proxy-pass proxy-pinnedpubkey proxy-service-name proxy-tls13-ciphers proxy-tlsauthtype proxy-tlspassword
        proxy-tlsuser proxy-user pubkey preproxy quote random-file range rate referer request request-target resolve
        retry retry-delay retry-max-time sasl-authzid service-name socks4 socks4a socks5 socks5-gssapi-service
        socks5-hostname speed-limit speed-time stderr telnet-option tftp-blksize time-cond tls-max tls13-ciphers
        tlsauthtype tlspassword tlsuser trace trace-ascii unix-socket upload-file url url-query user user-agent
        write-out' "$@"
    values_of --url --url
    addresses=("${words[@]}" "${given[@]}")
    list_outputs
    read_request
    last_of --output-dir --output-dir
    folder=$last
    values_of -o --output
    for file in "${given[@]}"; do
        [ "$file" = - ] || wrote file "${folder:+$folder/}$file"
    done
    ! has -C --continue-at || looks=1 continues=1
    if has -O --remote-name || has --remote-name-all --remote-name-all; then
        wrote_named_by_address "${folder:-.}"
        remote_name "${folder:-.}"
    else
        values_of -o --output
        file=${given[0]--}
        if [ "$file" = - ]; then writes_to_output; else writes file "${folder:+$folder/}$file"; fi
    fi
    # An exit status of a request without a body is no download's.
    ! has -I --head && ! has -V --version || judged=0 kind=-
}

# Each address has its own output, in order: they are as many runs, where no option is about all of them together. Where
# they must stay together, curl ends with the first error, for its exit status is the last one's.
list_outputs() {
    local at files=0
    [ "${#addresses[@]}" -gt 1 ] || [[ ${addresses[0]-} == *[][{}]* ]] || has -: --next || return 0
    for at in "${!names[@]}"; do
        case ${names[at]} in
            -o | --output) [ "${values[at]}" = - ] || files=$((files + 1)) ;;
            -O | --remote-name | --remote-name-all) files=$((files + 1)) ;;
        esac
    done
    [ "$files" -gt 0 ] || return 0
    if has_any --url -: --next -Z --parallel -K --config -c --cookie-jar -D --dump-header -T --upload-file --libcurl \
        --stderr --trace --trace-ascii --etag-save || { ! has -g --globoff && [[ ${addresses[*]} == *[][{}]* ]]; }; then
        case $identity in curl/[89].* | curl/7.[6-9]* | curl/7.5[2-9]*) front+=(--fail-early) ;; esac
        return
    fi
    splits=1
}

share() {
    local at outputs=()
    for at in "${!names[@]}"; do
        case ${names[at]} in
            -o | -O | --output | --remote-name) outputs+=("$at") ;;
            *) give "$at" ;;
        esac
    done
    [ -z "${outputs[$1]-}" ] || give "${outputs[$1]}"
    command+=("${addresses[$1]}")
}

# The last transfer's, or the first error.
sum_up() {
    result=$status
    ! has --fail-early --fail-early || [ "$status" = 0 ] || leave "$status"
}

# What a half can be continued with: one address, and no more than a GET of it whose only result is the file.
read_request() {
    local at outputs=0
    [ "${#addresses[@]}" = 1 ] && [[ ${addresses[0]} != *[][{}]* ]] || return
    is_plain=1
    for at in "${!names[@]}"; do
        case ${names[at]} in
            -H | -A | -u | -e | -b | -E | -x | -m | --header | --user-agent | --user | --referer | --cookie | --cacert | \
                --capath | --cert | --key | --proxy | --proxy-user | --noproxy | --resolve | --connect-to | \
                --oauth2-bearer | --connect-timeout | --max-redirs | --ciphers | --proto* | --netrc-file)
                asks+=("${names[at]}" "${values[at]}")
                ;;
            -L | -k | -n | -4 | -6 | -q | --location | --location-trusted | --insecure | --netrc | --ipv4 | --ipv6 | \
                --disable | --http1.1 | --http2 | --tlsv1*)
                asks+=("${names[at]}")
                ;;
            -o | -O | --output | --remote-name | --remote-name-all) outputs=$((outputs + 1)) ;;
            --no-clobber) looks=1 ;;
            -C | --continue-at) [ "${values[at]}" = - ] || is_plain=0 ;;
            -d | -F | -G | -X | -T | -K | -r | -w | -i | -D | -: | -z | -Q | -I | --data* | --json | --form* | --get | \
                --request* | --upload-file | --config | --range | --write-out | --include | --dump-header | --next | \
                --time-cond | --compressed | --head | --etag* | --parallel | -Z)
                is_plain=0
                ;;
        esac
    done
    [ "$outputs" = 1 ] || is_plain=0
}

# A server that knows no ranges sends another beginning, which does not fit.
read_tail() {
    # A site that hangs must not hold up the run: it begins anew.
    curl -sf --max-time "$TAIL_SECONDS_MAX" -r "$1-$2" "${asks[@]}" -- "${addresses[0]}"
}

continue_half() {
    front+=(-C -)
}

into_folder() {
    case $identity in
        curl/7.[0-9].* | curl/7.[0-6]* | curl/7.7[0-2].*) own_folder= ;;
        *) back+=(--output-dir "$1") ;;
    esac
}

continue_named() {
    front+=(-C - -o "$1")
    ! has -J --remote-header-name || back+=(--no-remote-header-name)
}

# -J refuses a name that is taken, -O alone writes over it.
free_name() {
    free=$1/$2
    ! [ -e "$free" ] || ! has -J --remote-header-name || free=
}

remote_name() {
    local name=${addresses[0]%%[?#]*}
    name=${name##*/}
    guess_name
    if has -J --remote-header-name; then name='' looks=1; fi
    if [ -n "$name" ] && is_numbered "${addresses[0]}"; then
        case $identity in curl/*) front+=(--remote-header-name) name='' looks=1 ;; esac
    fi
    writes_named "$1" "$name"
}

compose() {
    # Only as the very first option does -q turn the user's own file of options off.
    case ${1-} in
        -q | --disable)
            front=("$1" "${front[@]}")
            shift
            ;;
    esac
    [ -z "$limit" ] || front+=(--limit-rate "$limit")
    assemble "$@"
}
