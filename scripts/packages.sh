#!/bin/sh
# Installs the Debian packages that a step needs and does not find; names them in one line if the user is not root.
#   packages.sh python       Python's venv
#   packages.sh postgresql   the server, for the check of the migrations
#   packages.sh cluster      what `make cluster` runs
#   packages.sh tests        what the tests run besides
#
# Each check is run by a shell of its own, which expands it.
# shellcheck disable=SC2016
set -eu

missing=
need() { # <package> <command that succeeds if it is there>
    if ! sh -c "$2" >/dev/null 2>&1; then
        missing="$missing $1"
    fi
}

need python3 '${PYTHON:-python3} -c "import sys; sys.exit(sys.version_info < (3, 11))"'
need python3-venv '${PYTHON:-python3} -c "import ensurepip, venv"'
case "${1:-}" in
postgresql | cluster | tests) need postgresql 'ls /usr/lib/postgresql/*/bin/initdb' ;;
esac
case "${1:-}" in
cluster | tests) need nginx-light 'PATH=$PATH:/usr/sbin command -v nginx' ;;
esac
if [ "${1:-}" = tests ]; then
    need pgbouncer 'PATH=$PATH:/usr/sbin command -v pgbouncer'
    need openssh-server 'PATH=$PATH:/usr/sbin command -v sshd'
    need nodejs 'command -v node'
    need npm 'command -v npm'
    need wget 'command -v wget'
    need wget2 'command -v wget2'
    need busybox 'command -v busybox'
    need curl 'command -v curl'
    need aria2 'command -v aria2c'
    need git 'command -v git'
    need sqlite3 'command -v sqlite3'
    need procps 'command -v ps'
    need strace 'command -v strace'
    need chromium 'command -v chromium'
    need fonts-dejavu-core 'test -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf'
fi

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "some packages are missing: sudo apt-get install$missing" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086
apt-get install -y -qq --no-install-recommends $missing >/dev/null
