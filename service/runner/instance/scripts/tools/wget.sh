# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh sets and uses what is not set or used here
# wget writes to -O, else into the folder -P. GNU wget is asked for a bar, which it would not draw into a file; BusyBox
# and wget2, which carry the same name, know no such option.

destinations() {
    local file folder name
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
    if [ -n "$file" ]; then wrote file "$file"; else wrote_named_by_address "$folder"; fi
    has -i --input-file || [ "${#words[@]}" -gt 0 ] || return
    ! has --spider --version && ! has -V --help && ! has -h -h || return
    read_request
    if [ -n "$file" ]; then
        writes file "$file"
        return
    fi
    name=${words[0]##*/}
    if has -r --recursive || has -m --mirror || has -p --page-requisites || has -x --force-directories ||
        has -i --input-file || has --content-disposition --trust-server-names || [[ ${words[0]} != *[!:/]/* ]]; then
        name=
    fi
    writes_named "$folder" "${name%%#*}"
}

# What a half can be continued with: one address, and no more than a GET of it.
read_request() {
    local at
    case $identity in wget/1.1[6-9]* | wget/1.[2-9][0-9]*) ;; *) return ;; esac
    [ "${#words[@]}" = 1 ] || return
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
            -i | -r | -m | -p | -x | -E | -k | -N | -S | --input-file | --recursive | --mirror | --page-requisites | \
                --force-directories | --post-* | --method | --body-* | --start-pos | --save-headers | --timestamping | \
                --warc-* | --delete-after | --compression | --adjust-extension | --convert-links | --metalink* | --config)
                is_plain=0
                ;;
        esac
    done
}

# Without --start-pos it would refuse the answer, without the header the server would send all the rest.
read_tail() {
    wget -q --tries=1 "--timeout=$TAIL_SECONDS_MAX" -O - "--start-pos=$1" "--header=Range: bytes=$1-$2" "${asks[@]}" -- "${words[0]}"
}

# -nc would call the half a whole one.
continue_half() {
    back+=(-c)
    values_of -n --no-clobber
    [ "${#given[@]}" = 0 ] || back+=(--clobber)
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
    values_of -n --no-clobber
    case " ${given[*]} " in *c*)
        free=
        return
        ;;
    esac
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
