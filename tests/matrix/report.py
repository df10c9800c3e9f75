"""Puts the results of the last run into docs/matrix.md: ``.venv/bin/python tests/matrix/report.py``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs/matrix.md"
RESULTS: Final = ROOT / ".cache/matrix/results.json"

BEGIN: Final = "<!-- results: written by tests/matrix/report.py -->\n"
END: Final = "<!-- end of results -->"


def table(rows: list[dict[str, Any]]) -> Iterator[str]:
    """The section between the marks."""
    right = sum(row["right"] for row in rows)
    yield f"{right} of {len(rows)} set-ups are told right by both sides. Silence is -.\n"
    yield "| case | what is broken | expected of the gateway | expected of troubleshoot | gateway | troubleshoot |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for row in rows:
        case = row["case"]
        cells = [case["name"], case["broken"], case["gateway"], case["troubleshoot"]]
        cells += ["as expected" if row[side] == case[side] else f"**{row[side]}**" for side in ("gateway", "troubleshoot")]
        yield "| " + " | ".join(cells) + " |"


def main(results: Path = RESULTS) -> None:
    """Replace what stands between the marks."""
    before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    lines = "\n".join(table(json.loads(results.read_text("utf-8"))))
    PAGE.write_text(f"{before}{BEGIN}\n{lines}\n\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
