# shellcheck shell=bash disable=SC2154 # shim.sh sets what is not set here
# hf writes into --local-dir, else into its own cache. It is told to draw its bars, though no terminal shows them.

destinations() {
    read_argv '' 'local-dir repo-type revision include exclude cache-dir token max-workers' "$@"
    last_of --local-dir --local-dir
    [ -z "$last" ] || wrote dir "$last"
}

run() {
    TQDM_POSITION=-1 exec hf "$@"
}
