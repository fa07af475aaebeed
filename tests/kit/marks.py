"""Marks that several rooms of the tests share."""

from __future__ import annotations

import os

import pytest

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system of its own: run as root")
