# Removes the directories of the jobs named in `jobs`.
main() {
    cd "${HOME:-/root}/.local/state/resource-installer" 2>/dev/null || exit 0
    for job in $jobs; do
        rm -rf -- "$job"
    done
    exit 0
}

main </dev/null
