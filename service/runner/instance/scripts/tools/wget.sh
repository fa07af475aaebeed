# shellcheck shell=bash disable=SC2154 # shim.sh sets what is not set here
# wget writes to -O, else into the folder -P. A bar is asked for, which it would not draw into a file.

destinations() {
    local file
    read_argv aABDeiIlnoOPQRtTUwX 'output-document directory-prefix output-file append-output execute input-file tries
        timeout wait quota user-agent header user password progress limit-rate accept reject base post-data' "$@"
    last_of -O --output-document
    file=$last
    last_of -P --directory-prefix
    if [ -n "$file" ]; then wrote file "$file"; else wrote_named_by_address "${last:-.}"; fi
}

run() {
    exec wget --progress=bar:force:noscroll ${limit:+"--limit-rate=$limit"} "$@"
}
