"""5. The service breaks nothing that works without it. (The tables of options are in test_options.py.)"""

from __future__ import annotations

from tests.realwork.case import Case, Expect

BUSYBOX = {"wget": "/usr/bin/busybox"}
WGET2 = {"wget": "/usr/bin/wget2"}
M = Expect(files={"loras/m.safetensors": "m.safetensors"}, attempts=1)
EMPTY_LIST = """get_files() {
    if [[ -z $2 ]]; then return 1; fi
    folder=$1; shift
    for url in "$@"; do wget -q -P "$folder" "$url"; done
}
NONE=()
get_files "$L" "${NONE[@]}"
get_files "$L" @/whole/m.safetensors
"""

CASES = (
    Case(id="5.busybox-P", script='wget -P "$L" @/whole/m.safetensors', tools=BUSYBOX, expect=M),
    Case(id="5.busybox-O", script='wget -q -O "$L/m.safetensors" @/whole/m.safetensors', tools=BUSYBOX, expect=M),
    Case(
        id="5.busybox-not-found",
        script='wget -P "$L" @/status=404/m.safetensors',
        tools=BUSYBOX,
        expect=Expect(state="failed", causes=("not_found",)),
        own=True,
    ),
    Case(
        id="5.busybox-drops",
        script='wget -P "$L" @/drops=1/m.pth',
        tools=BUSYBOX,
        expect=Expect(files={"loras/m.pth": "m.pth"}),
        own=True,
    ),
    Case(id="5.wget2-P", script='wget -P "$L" @/whole/m.safetensors', tools=WGET2, expect=M),
    Case(id="5.wget2-O", script='wget -q -O "$L/m.safetensors" @/whole/m.safetensors', tools=WGET2, expect=M),
    Case(
        id="5.wget2-by-its-own-name",
        script='wget2 -P "$L" @/whole/m.safetensors',
        expect=M,
        own=True,
    ),
    Case(
        id="5.wget2-not-found",
        script='wget -P "$L" @/status=404/m.safetensors',
        tools=WGET2,
        expect=Expect(state="failed", causes=("not_found",)),
        own=True,
    ),
    Case(
        id="5.wget2-drops",
        script='wget --tries=1 -O "$L/m.pth" @/drops=1/m.pth',
        tools=WGET2,
        expect=Expect(files={"loras/m.pth": "m.pth"}),
        own=True,
    ),
    Case(id="5.shebang-bash", script="#!/bin/bash\n" + EMPTY_LIST, expect=M),
    Case(
        id="5.shebang-env-bash",
        script='#!/usr/bin/env bash\nfalse\nwget -q -P "$L" @/whole/m.safetensors\n[[ -f /nowhere ]] && echo yes\n',
        expect=M,
        own=True,
    ),
    Case(
        id="5.shebang-python",
        script="#!/usr/bin/env python3\nimport os\nfrom urllib.request import urlretrieve\n"
        "urlretrieve('@/whole/m.safetensors', os.environ['UI_HOME'] + '/models/loras/m.safetensors')\n",
        expect=M,
    ),
    Case(
        id="5.shebang-sh",
        script='#!/bin/sh\n[ -e /nowhere ]\nwget -q -P "$L" @/whole/m.safetensors\n',
        expect=M,
        own=True,
    ),
    Case(
        id="5.shebang-python-fails",
        script="#!/usr/bin/env python3\nfrom urllib.request import urlopen\nurlopen('@/status=404/m.safetensors')\n",
        expect=Expect(state="failed", causes=("not_found",)),
        own=True,
    ),
    Case(
        id="5.shebang-with-options",
        script='#!/bin/bash -e\nfalse\nwget -q -P "$L" @/whole/m.safetensors\n',
        expect=Expect(state="failed"),
        own=True,
    ),
    Case(
        id="5.without-shebang",
        script='false\nwget -q -P "$L" @/whole/m.safetensors\n',
        expect=Expect(state="failed"),
    ),
    Case(
        id="5.without-shebang-pipefail",
        script='wget -q -P "$L" @/whole/m.safetensors\nfalse | cat\n',
        expect=Expect(state="failed", also=("loras/m.safetensors",)),
        own=True,
    ),
    Case(
        id="5.bash-env-with-set-u",
        script='wget -q -P "$L" @/whole/m.safetensors',
        env={"BASH_ENV": "{home}/bash_env"},
        home={"bash_env": "set -u\n"},
        expect=M,
    ),
    Case(
        id="5.bash-env-that-prints",
        script='wget -q -P "$L" @/whole/m.safetensors',
        env={"BASH_ENV": "{home}/bash_env"},
        home={"bash_env": 'echo "Welcome to your pod"; cd /\n'},
        expect=M,
        own=True,
    ),
    Case(
        id="5.posixly-correct",
        script='wget -q -P "$L" @/whole/m.safetensors',
        env={"POSIXLY_CORRECT": "1", "GREP_COLORS": "mt=01;31", "LS_COLORS": "di=01;34"},
        expect=M,
        own=True,
    ),
    Case(
        id="5.profile-functions",
        script='wget() { command wget -q "$@"; }\nwget -P "$L" @/whole/m.safetensors',
        expect=M,
        own=True,
    ),
)
