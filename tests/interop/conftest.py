"""The interoperability suite runs only when asked for (``make interop``): it boots QEMU guests and takes minutes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

if not os.environ.get("HEADRACE_INTEROP"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture(scope="session")
def results() -> Path:
    """Where captures and logs of every scenario are kept."""
    path = Path(os.environ.get("HEADRACE_INTEROP_RESULTS", ".cache/interop/results")).resolve()
    path.mkdir(parents=True, exist_ok=True)
    return path
