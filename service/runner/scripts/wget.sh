#!/bin/sh
# Asks for a bar, which a pipe would not get (it would get a line for each 50 KiB), and runs the wget behind this folder.
PATH=$RESOURCE_INSTALLER_PATH
export PATH
if ! command -v wget >/dev/null 2>&1; then
    echo 'wget: command not found' >&2
    exit 127
fi
exec wget --progress=bar:force:noscroll "$@"
