"""Puts the results of the last run into docs/interop.md: ``.venv/bin/python tests/interop/report.py``."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PAGE: Final = ROOT / "docs/interop.md"
RESULTS: Final = ROOT / ".cache/interop/results/results.json"

BEGIN: Final = "<!-- results: written by tests/interop/report.py -->\n"
END: Final = "<!-- end of results -->"

ROOMS: Final = {
    "client": "The guest as the client of `headrace serve`",
    "server": "The guest as the server of `headrace dial`",
    "ppp": "Compression and EAP, the guest at either end",
    "serial": "Without any tunnel: pppd on a serial line",
    "many": "Several clients at once",
    "tshark": "Captures opened by tshark with our key log",
}
_LONGEST: Final = 150


def note(row: dict[str, Any]) -> str:
    """What the run said, short, without what differs from run to run for no reason."""
    text = str(row.get("note", ""))
    text = re.sub(r"^(session-up|session-down|refused) ", r"\1: ", text)
    text = re.sub(r" C=[0-9a-f]{32}", "", text)
    text = re.sub(r" \(serial [0-9a-f]+\)", "", text)
    if len(text) > _LONGEST:
        text = text[:_LONGEST].rpartition(" ")[0] + " ..."
    return text.replace("|", "\\|").replace("<", "&lt;")


def tables(data: dict[str, Any]) -> Iterator[str]:
    """The section between the marks."""
    rows: list[dict[str, Any]] = data["rows"]
    passed = sum(row["outcome"] == "passed" for row in rows)
    minutes = sum(row["seconds"] for row in rows) / 60
    yield f"{passed} of {len(rows)} scenarios passed when they were last run; all of them take {minutes:.0f} minutes on a busy machine.\n"
    yield "Versions: " + ", ".join(f"{name} {version}" for name, version in data["versions"].items()) + ".\n"
    for room, title in ROOMS.items():
        found = [row for row in rows if row["scenario"].partition("-")[0] == room]
        if not found:
            continue
        yield f"### {title}\n"
        yield "| scenario | what it shows | result | first ping | what was said |"
        yield "| --- | --- | --- | ---: | --- |"
        for row in found:
            ping = row.get("first_ping")
            seconds = "" if ping is None else f"{ping:.1f} s"
            yield f"| {row['scenario']} | {row['shows'].removesuffix('.')} | {row['outcome']} | {seconds} | {note(row)} |"
        yield ""


def main(results: Path = RESULTS) -> None:
    """Replace what stands between the marks."""
    page = PAGE.read_text("utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(before + BEGIN + "\n" + "\n".join(tables(json.loads(results.read_text("utf-8")))) + END + after, "utf-8")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:2]))
