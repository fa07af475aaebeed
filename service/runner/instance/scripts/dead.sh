# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh, files.sh and named.sh set and use what is not set or used here
# What runs that died left half done, at the end of their attempt: `begin` without `end` in its ledger.
settle_dead() {
    local verb one of_ judged_ kind_ encoded_ rest
    local -A dead=()
    attempt_name=${attempt#"$state/"} attempt_name=${attempt_name// /_}
    read -r mark <"$attempt/mark"
    while read -r verb one of_ judged_ kind_ encoded_ rest; do
        case $verb in
            begin) [ "$judged_" != 1 ] || dead[$one]="$of_ $kind_ $encoded_ ${rest%% *}" ;;
            end) unset "dead[$one]" ;;
        esac
    done <"$attempt/ledger"
    for token in "${!dead[@]}"; do
        read -r tool kind encoded_ rest <<<"${dead[$token]}"
        destination=$(printf '%s' "$encoded_" | base64 -d && printf x)
        destination=${destination%x}
        origin=$(printf '%s' "$rest" | base64 -d)
        encode_anew "$origin"
        origin=$hash
        settle_one
    done
}

settle_one() {
    local held
    if [ "$kind" = file ]; then
        place "$encoded_"
    else
        own_folder=$destination/.resource-installer-${origin#-}
        if [ ! -d "$own_folder" ]; then
            state_file=
            settle_folder 137
            return
        fi
        place "$encoded_.${origin#-}"
        name_file=$state_file
    fi
    exec {held}>>"$state_file.lock"
    if flock -n -x "$held"; then
        if [ "$kind" = dir ]; then
            settle_named 137
        else
            read_state
            [ "$was" != begun ] || settle_begun
        fi
    fi
    exec {held}>&-
}

settle_begun() {
    tool=$of origin=$from
    recover
    note "$was" "$from" "$known"
}
