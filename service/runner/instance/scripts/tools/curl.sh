# shellcheck shell=bash disable=SC2154 # shim.sh sets what is not set here
# curl writes to each -o, and with -O or --remote-name-all into the folder --output-dir.

destinations() {
    local folder file
    read_argv AbcCdDeEFHKmoPQrtTuUwxXyYz 'output output-dir header user user-agent data request proxy cacert cert key
        retry retry-delay retry-max-time max-time connect-timeout limit-rate range referer cookie cookie-jar form
        write-out config continue-at data-raw data-binary url speed-limit speed-time' "$@"
    last_of --output-dir --output-dir
    folder=$last
    values_of -o --output
    for file in "${given[@]}"; do
        [ "$file" = - ] || wrote file "${folder:+$folder/}$file"
    done
    values_of -O --remote-name
    [ "${#given[@]}" = 0 ] || wrote_named_by_address "${folder:-.}"
    values_of --remote-name-all --remote-name-all
    [ "${#given[@]}" = 0 ] || wrote_named_by_address "${folder:-.}"
}

run() {
    # Only as the very first option does -q turn the user's own file of options off.
    local first=()
    case ${1-} in
        -q | --disable)
            first=("$1")
            shift
            ;;
    esac
    exec curl "${first[@]}" ${limit:+--limit-rate "$limit"} "$@"
}
