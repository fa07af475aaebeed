"""``python -m tests.realwork [pytest's options]``: runs the cases and prints section, cases, right."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    sys.exit(pytest.main([str(Path(__file__).parent), "-q", "--no-header", *(sys.argv[1:] or ["-n", "3"])]))
