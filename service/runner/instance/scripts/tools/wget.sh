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

compose() {
    case $identity in
        wget/1.[0-9] | wget/1.[0-9].* | wget/1.1[0-5]*) front=(--progress=bar:force) ;;
        wget/*) front=(--progress=bar:force:noscroll) ;;
        *) limit= ;;
    esac
    [ -z "$limit" ] || front+=("--limit-rate=$limit")
    if [ "$judged" = 1 ] && has -b --background; then
        case $identity in wget*) background=1 back=(--no-background) ;; esac
    fi
    assemble "$@"
}
