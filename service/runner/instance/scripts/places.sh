# shellcheck shell=bash disable=SC2034,SC2154 # the programs that it is a part of set and use what is not set or used here
# The state of a destination, one line in a file of the service's folder: where it lies, how it is read and written.
# files.sh says what stands in it. The shims, the supervisor and the verification all have this part. `state`: the
# service's folder.

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
