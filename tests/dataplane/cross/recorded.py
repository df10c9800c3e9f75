"""Write the recorded connection of tests/vectors/dataplane as a header for answers.c: ``recorded.py > recorded.h``."""

from __future__ import annotations

import json
from pathlib import Path

RECORD = json.loads((Path(__file__).parents[2] / "vectors" / "dataplane" / "linux-mppe128.json").read_text("utf-8"))
RECEIVER = {"client": ("server", 0xBA14, 0x280A), "server": ("client", 0x1E8E, 0x4AD6)}
"""Who hears this side, under which tunnel and session."""


def c_bytes(octets: bytes) -> str:
    """An initialiser."""
    return "{" + ", ".join(map(str, octets)) + "}"


def main() -> None:
    """Print the header."""
    print(
        "/* SPDX-License-Identifier: Apache-2.0. Made by recorded.py. */\n#include <stdint.h>\n"
        "struct extent { uint32_t at, len; };\n"
        "struct recorded { const char *name; uint32_t spi; uint16_t tunnel, session; uint8_t enc[32], auth[32], start[16];\n"
        "\tuint32_t packets, inners; struct extent packet[64], inner[16]; const uint8_t *octets; };"
    )
    rows = []
    for side, (receiver, tunnel, session) in RECEIVER.items():
        octets = b""
        extents: dict[str, list[str]] = {"packets": [], "inner": []}
        for kind, found in extents.items():
            for sender, text in RECORD[kind]:
                if sender == side:
                    found.append(f"{{{len(octets)}, {len(text) // 2}}}")
                    octets += bytes.fromhex(text)
        print(f"static const uint8_t {side}_octets[] = {c_bytes(octets)};")
        sa = RECORD["sas"][side]
        keys = ", ".join(c_bytes(bytes.fromhex(text)) for text in (sa["enc"], sa["auth"], RECORD["mppe_start"][side]))
        packets, inner = extents["packets"], extents["inner"]
        rows.append(
            f'{{"recorded, heard by the {receiver}", {sa["spi"]}u, {tunnel}, {session}, {keys}, {len(packets)}, {len(inner)}, '
            f"{{{', '.join(packets)}}}, {{{', '.join(inner)}}}, {side}_octets}}"
        )
    print("static const struct recorded recorded[] = {\n" + ",\n".join(rows) + "\n};")


if __name__ == "__main__":
    main()
