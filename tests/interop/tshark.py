"""tshark as a judge: a capture with its keys, read by somebody else's dissectors."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PREFERENCES: Final = {
    "esp.enable_encryption_decode": "TRUE",
    "esp.enable_authentication_check": "TRUE",
    # The inner checksum is of addresses that a NAT may have changed; the outer ones of a tap are the device's to compute.
    "udp.check_checksum": "FALSE",
    "ip.check_checksum": "FALSE",
}
_ERROR: Final = 0x00800000
"""Severity of Wireshark's expert information from which on something is wrong."""

_OURS: Final = {"isakmp", "udpencap", "esp", "l2tp", "ppp"}


@dataclass(frozen=True)
class Capture:
    """A file of packets, and the folder of the key log that opens it."""

    path: Path
    keys: Path | None = None

    @contextmanager
    def _profile(self) -> Iterator[Path]:
        # What docs/troubleshooting tells a person to do: both files of the key log into the profile folder.
        with tempfile.TemporaryDirectory(prefix="hr-tshark-") as name:
            folder = Path(name)
            for file in ("esp_sa", "ikev1_decryption_table"):
                if self.keys is not None and (self.keys / file).exists():
                    shutil.copy(self.keys / file, folder / file)
            yield folder

    def _run(self, *arguments: str) -> str:
        options = [item for name, value in _PREFERENCES.items() for item in ("-o", f"{name}:{value}")]
        with self._profile() as folder:
            done = subprocess.run(
                ["tshark", "-n", "-r", str(self.path), *options, *arguments],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                env={**os.environ, "WIRESHARK_CONFIG_DIR": str(folder)},
            )
        if done.returncode:
            raise AssertionError(f"tshark {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def rows(self, display_filter: str, fields: Sequence[str]) -> list[tuple[str, ...]]:
        """The fields of every packet that passes a display filter; of a field with several values, the outermost."""
        wanted = [item for name in fields for item in ("-e", name)]
        text = self._run("-Y", display_filter, "-T", "fields", "-E", "separator=/t", "-E", "occurrence=f", *wanted)
        return [tuple(line.split("\t")) for line in text.splitlines()]

    def count(self, display_filter: str) -> int:
        """How many packets pass a display filter."""
        return len(self.rows(display_filter, ["frame.number"]))

    def protocols(self) -> Counter[str]:
        """How many packets have each protocol in them."""
        found: Counter[str] = Counter()
        for (stack,) in self.rows("frame", ["frame.protocols"]):
            found.update(set(stack.split(":")))
        return found

    def wrong(self) -> list[str]:
        """Every packet that tshark calls malformed, or says an error of: number, protocols, what it says."""
        fields = ["frame.number", "frame.protocols", "udp.payload", "_ws.expert.message", "_ws.col.Info"]
        rows = self.rows(f"_ws.malformed || _ws.expert.severity >= {_ERROR}", fields)
        if not rows:
            return []
        # tshark moves on in the chain of IVs at a repeated message, too, and then cannot read it: such are compared octet by octet.
        first: dict[str, str] = {}
        for number, payload in self.rows("isakmp", ["frame.number", "udp.payload"]):
            first.setdefault(payload, number)
        return [
            f"frame {number} ({stack}): {message or info}"
            for number, stack, payload, message, info in rows
            # A NAT may choose a port of which tshark thinks that it knows what runs there.
            if first.get(payload, number) == number and _OURS & set(stack.split(":"))
        ]


def version() -> str:
    """The version of tshark."""
    done = subprocess.run(["tshark", "--version"], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.split()[2]
