"""Pages that a command writes are as that command would write them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_the_table_of_statuses_is_current() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "bench" / "document.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"docs/library.md is behind csrc/headrace.h: make docs\n{done.stderr}"


def test_the_page_of_figures_has_a_place_for_each_table() -> None:
    text = (ROOT / "docs" / "performance.md").read_text("utf-8")
    for name in ("machine", "kernels", "costs", "batches", "bars", "pipeline", "tunnel", "sessions"):
        assert text.count(f"<!-- {name} -->\n") == text.count(f"<!-- /{name} -->") == 1, name
