"""``python -m tests.attack [pytest's options]``: runs all attacks, one after the other, and prints the table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

if __name__ == "__main__":
    folder = str(Path(__file__).parent)
    sys.exit(pytest.main([folder, "-q", "--no-header", "-p", "no:randomly", "--attack-alone", *sys.argv[1:]]))
