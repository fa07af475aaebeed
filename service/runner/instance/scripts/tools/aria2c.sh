# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh sets and uses what is not set or used here
# aria2c writes to -o in the folder -d. Several addresses are several sources of one file.

destinations() {
    local file folder
    read_argv dijklmoMOsTtuUx 'timeout connect-timeout max-tries auto-save-interval log dir out split referer
        lowest-speed-limit piece-length max-overall-download-limit max-download-limit file-allocation
        no-file-allocation-limit netrc-path input-file max-concurrent-downloads conf-path stop summary-interval
        log-level console-log-level uri-selector server-stat-timeout server-stat-if server-stat-of max-file-not-found
        event-poll rpc-listen-port rpc-user rpc-passwd rpc-max-request-size rpc-certificate rpc-private-key
        on-download-start on-download-pause on-download-stop on-download-complete on-download-error interface
        multiple-interface max-resume-failure-tries save-session max-connection-per-server min-split-size
        max-download-result retry-wait async-dns-server stream-piece-selector download-result checksum
        stop-with-process disk-cache gid save-session-interval rpc-secret dscp rlimit-nofile min-tls-version
        socket-recv-buffer-size max-mmap-limit ftp-user ftp-passwd ftp-type ssh-host-key-md http-user http-passwd
        user-agent load-cookies save-cookies header certificate private-key ca-certificate http-proxy https-proxy
        ftp-proxy all-proxy no-proxy proxy-method http-proxy-user http-proxy-passwd https-proxy-user https-proxy-passwd
        max-overall-upload-limit max-upload-limit torrent-file listen-port select-file seed-time seed-ratio
        index-out metalink-file' "$@"
    addresses=("${words[@]}")
    last_of -o --out
    file=$last
    last_of -d --dir
    folder=${last:-.}
    if has -Z --force-sequential && [ "${#words[@]}" -gt 1 ]; then
        has_any -o --out -i --input-file -D --daemon -l --log --save-session --enable-rpc --dry-run || splits=1
    fi
    if [ -n "$file" ]; then wrote file "$folder/$file"; else wrote_named_by_address "$folder"; fi
    ! has --enable-rpc --dry-run && ! has -h --help && ! has -v --version && ! has -S --show-files || return
    looks=1
    last_of --allow-overwrite --allow-overwrite
    [ "$last" != true ] || looks=0
    last_of -c --continue
    ! has -c --continue || [ "$last" = false ] || continues=1
    if has -i --input-file; then
        writes dir "$folder"
    elif has -Z --force-sequential && [ "${#words[@]}" -gt 1 ]; then
        writes dir "$folder"
    elif [ "${#words[@]}" -gt 0 ]; then
        read_request
        guess_name
        if [ -n "$file" ]; then writes file "$folder/$file"; else writes dir "$folder"; fi
    fi
}

share() {
    local at
    for at in "${!names[@]}"; do
        case ${names[at]} in -Z | --force-sequential) ;; *) give "$at" ;; esac
    done
    command+=(-- "${addresses[$1]}")
}

sum_up() {
    [ "$status" = 0 ] || result=$status
}

read_request() {
    local at
    [ "${#words[@]}" = 1 ] || return
    is_plain=1
    for at in "${!names[@]}"; do
        case ${names[at]} in
            --header) asks+=(-H "${values[at]}") ;;
            --referer) asks+=(-e "${values[at]}") ;;
            -U | --user-agent) asks+=(-A "${values[at]}") ;;
            --check-certificate) [ "${values[at]}" != false ] || asks+=(-k) ;;
            -i | -V | -T | -M | -j | --input-file | --check-integrity | --torrent-file | \
                --metalink-file | --http-user | --http-passwd | --load-cookies | --conditional-get)
                is_plain=0
                ;;
        esac
    done
}

# aria2c has no way to ask for a part of a file.
read_tail() {
    fetch_span "$1" "$2" "${words[0]}"
}

# Where the server knows no ranges, it begins anew by itself.
continue_half() {
    front+=(--continue=true --always-resume=false)
}

into_folder() {
    back+=("--dir=$1")
}

continue_named() {
    continue_half
    back+=("--out=$1")
}

# A new file gets a number before its suffix.
free_name() {
    local number=1 base=${2%.*} suffix=
    free=$1/$2
    [ -e "$free" ] || return 0
    last_of --allow-overwrite --allow-overwrite
    [ "$last" != true ] || return 0
    case $2 in ?*.*) suffix=.${2##*.} ;; *) base=$2 ;; esac
    while [ -e "$1/$base.$number$suffix" ]; do
        number=$((number + 1))
    done
    free=$1/$base.$number$suffix
}

# Into a file its output stays in a buffer until the summary, which says how far it is and lets it out. Its cache would
# hold a slow download back from the disk for minutes, which looks like a stall. Its control file, without which a half
# is lost, is written once a minute if nobody asks for more.
compose() {
    case $identity in aria2/*)
        front+=(--summary-interval=1 --disk-cache=0 --auto-save-interval=1)
        [ -z "$limit" ] || front+=("--max-overall-download-limit=$limit")
        if [ "$judged" = 1 ] && has -D --daemon; then
            background=1 back+=(--daemon=false)
        fi
        ;;
    esac
    assemble "$@"
}
