# shellcheck shell=bash disable=SC2154 # shim.sh sets what is not set here
# aria2c writes to -o in the folder -d.

destinations() {
    local file
    read_argv dijklmoMOsTtuUx 'dir out input-file split max-connection-per-server max-concurrent-downloads
        header user-agent checksum min-split-size max-tries timeout' "$@"
    last_of -o --out
    file=$last
    last_of -d --dir
    if [ -n "$file" ]; then wrote file "${last:-.}/$file"; else wrote_named_by_address "${last:-.}"; fi
}

# Into a file its output stays in a buffer until the summary, which says how far it is and lets it out. Its cache would
# hold a slow download back from the disk for minutes, which looks like a stall.
run() {
    exec aria2c --summary-interval=1 --disk-cache=0 ${limit:+"--max-overall-download-limit=$limit"} "$@"
}
