# Runs one card and writes down how it ended. A session leader that holds the lock on descriptor 9: as long as it is
# held, the attempt runs. The card is a process group of its own; only that group ever gets signals.

dir=$RESOURCE_INSTALLER_ATTEMPT
trap : HUP INT TERM

# Counts its own seconds, inside the card's group: whatever stops the card stops this clock as well.
watchdog() {
    seconds=0
    while [ "$seconds" -lt "$RESOURCE_INSTALLER_TIMEOUT" ]; do
        sleep 1
        seconds=$((seconds + 1))
    done
    trap '' TERM
    mv "$dir/armed" "$dir/timedout"
    kill -TERM 0
    sleep 10
    kill -KILL 0
}

card() {
    exec 9>&-
    trap - HUP INT TERM
    printf '%s\n' "$BASHPID" >"$dir/group.new" && mv "$dir/group.new" "$dir/group"
    watchdog </dev/null >/dev/null 2>&1 &
    unset LC_ALL RESOURCE_INSTALLER_TIMEOUT
    export LANG=C.UTF-8 PYTHONUTF8=1 PYTHONUNBUFFERED=1
    export PATH="$dir/bin:$RESOURCE_INSTALLER_PATH"
    if [ -d "$dir/config" ]; then
        export XDG_CONFIG_HOME="$dir/config"
    fi
    cd "${HOME:-/}" || exit 1
    exec bash -e -o pipefail "$dir/card"
}

# Whether the group has a process that is no zombie: process 1 of a container may never reap one.
alive() {
    local process line state parent member
    for process in /proc/[0-9]*; do
        { read -r line <"$process/stat"; } 2>/dev/null || continue
        read -r state parent member _ <<<"${line##*) }"
        if [ "$member" = "$group" ] && [ "$state" != Z ]; then
            return 0
        fi
    done
    return 1
}

set -m
card </dev/null >>"$dir/log" 2>&1 &
group=$!
set +m
wait "$group"
status=$?
while kill -0 "$group" 2>/dev/null; do
    wait "$group"
    status=$?
done

# What is left of the group ends now: behind a free lock nothing of this attempt may write any more.
kill -TERM -- "-$group" 2>/dev/null
kill -CONT -- "-$group" 2>/dev/null
for _ in {1..100}; do
    alive || break
    sleep 0.02 9>&-
done
kill -KILL -- "-$group" 2>/dev/null

timed_out=0
if [ -e "$dir/timedout" ]; then
    timed_out=1
fi
free=$(df -Pk "$dir" 2>/dev/null | { read -r _ && read -r _ _ _ free _ && printf '%s' "$free"; } 9>&-)
# Written in place over bytes that are there already, then renamed: that works on a full disk too.
printf '%-31s\n' "$status $timed_out ${free:--}" 1<>"$dir/exit.new" && mv "$dir/exit.new" "$dir/exit" 9>&-
