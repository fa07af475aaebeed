# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh and files.sh set and use what is not set or used here
# What files.sh needs where something is in the way, was left half done, or is left so now. Most runs end without it.

# The run that began last has died.
recover() {
    local tool=$of origin=$from
    before=$known
    set_aside
    was=none from=- known='- - -'
    give_back
}

make_way() {
    local name=$destination
    mv -f -- "$name" "$name.part.old" || return 0
    [ ! -e "$name.aria2" ] || mv -f -- "$name.aria2" "$name.part.old.aria2"
}

# What had made way comes back, unless something is there. It makes way again.
give_back() {
    local name=$destination
    [ -e "$name.part.old" ] || return 0
    if [ -e "$name" ]; then
        rm -f -- "$name.part.old" "$name.part.old.aria2"
        return
    fi
    mv -f -- "$name.part.old" "$name"
    [ ! -e "$name.part.old.aria2" ] || mv -f -- "$name.part.old.aria2" "$name.aria2"
    look "$name"
    was=bad from=- known=$now
}

# Moves the part back, to be continued.
take_up() {
    mv -f -- "$destination.part" "$destination" || return 0
    [ ! -e "$destination.part.aria2" ] || mv -f -- "$destination.part.aria2" "$destination.aria2"
    half=- writer=-
    if [ "$match" = whole ]; then
        before='- - -'
        settle 0
        finish 0
    fi
    continue_half
}

# Moves a file that is not what was there `before` to NAME.part. A NAME.part that is not ours stays.
set_aside() {
    look "$destination"
    [ "$now" != "$before" ] && [ "$now" != '- - -' ] || return 0
    aside "$destination" "$destination.part"
}

# Moves the half $1 to $2, `state_file` being that of its final name.
aside() {
    look "$1"
    if [ "${now%% *}" = 0 ] || { [ "$half" = - ] && [ -e "$2" ]; }; then
        rm -f -- "$1" "$1.aria2"
        return
    fi
    rm -f -- "$2.aria2"
    mv -f -- "$1" "$2" || return
    [ ! -e "$1.aria2" ] || mv -f -- "$1.aria2" "$2.aria2"
    half=$origin writer=$tool
    [ ! -e "$2.aria2" ] || writer=aria2c
    encode "$2"
    record "part $token $encoded ${now%% *}"
}
