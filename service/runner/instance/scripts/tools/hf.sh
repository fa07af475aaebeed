# shellcheck shell=bash disable=SC2034,SC2154 # shim.sh sets and uses what is not set or used here
# hf writes into --local-dir, else into its own cache. It is told to draw its bars, though no terminal shows them.

destinations() {
    read_argv '' 'local-dir repo-type revision include exclude cache-dir token max-workers' "$@"
    last_of --local-dir --local-dir
    [ -z "$last" ] || wrote dir "$last"
    if [ "${words[0]-}" = download ]; then
        addresses=("${words[@]:1}")
        writes dir "${last:-${HF_HOME:-$HOME/.cache/huggingface}}"
    fi
}

compose() {
    export TQDM_POSITION=-1
    assemble "$@"
}
