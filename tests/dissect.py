"""tshark over octets that were never on a wire: what it makes of them, and whether it finds anything wrong."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

ETHERNET = 1
PPP = 50
"""Link types of a capture file; the PPP one is in HDLC-like framing, ff 03 in front."""

NONE = shutil.which("tshark") is None


def capture(path: Path, link: int, packets: list[bytes]) -> Path:
    """Write a capture file."""
    records = [struct.pack("<IIII", number, 0, len(packet), len(packet)) + packet for number, packet in enumerate(packets)]
    path.write_bytes(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link) + b"".join(records))
    return path


def dissect(path: Path, *fields: str) -> list[list[str]]:
    """The fields of every packet, as tshark sees them; fails where it finds one malformed."""
    run = ["tshark", "-n", "-r", str(path), "-T", "fields", "-E", "separator=|"]
    wanted = ("_ws.malformed", "frame.protocols", *fields)
    done = subprocess.run(
        [*run, *(part for name in wanted for part in ("-e", name))], capture_output=True, text=True, check=True, timeout=60
    )
    rows = [line.split("|") for line in done.stdout.splitlines()]
    wrong = [(number, row) for number, row in enumerate(rows) if row[0]]
    assert not wrong, wrong
    return [row[1:] for row in rows]
