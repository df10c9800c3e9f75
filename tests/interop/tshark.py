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
from functools import cache
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

_OURS: Final = {"isakmp", "udpencap", "l2tp"}
"""What UDP carries here."""


@cache
def _others() -> str:
    """Every other protocol that tshark expects on some UDP port, one a line, as a profile names those that are switched off.

    A NAT may choose such a port: a main mode from port 389 would be taken for LDAP, and then none of its messages could be opened.
    """
    done = subprocess.run(["tshark", "-G", "decodes"], capture_output=True, text=True, timeout=60, check=True)
    rows = (line.split("\t") for line in done.stdout.splitlines())
    return "".join(f"{name}\n" for name in sorted({row[2] for row in rows if row[0] == "udp.port"} - _OURS))


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
            (folder / "disabled_protos").write_text(_others())
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
        first = self._first_of_each()
        return [
            f"frame {number} ({stack}): {message or info}"
            for number, stack, payload, message, info in rows
            if first.get(payload, number) == number
        ]

    def first_ping(self) -> float | None:
        """Seconds from the first datagram to the first ping that was answered; ``None`` if there was none.

        Below MPPE pings are not seen; then the second encrypted packet is taken for the answer to the first.
        """
        shown = self.rows("icmp.type == 0 || icmpv6.type == 129 || comp_data", ["frame.time_relative", "comp_data"])
        answers = [time for time, closed in shown if not closed]
        hidden = [time for time, closed in shown if closed]
        times = [answers[0]] if answers else hidden[1:2]
        return float(times[0]) if times else None

    def closed(self) -> list[str]:
        """The frames of encrypted IKE messages that tshark could not open, or opened to something without a HASH payload.

        Every encrypted message of IKEv1 with a pre-shared key has one (RFC 2409 section 5); tshark shows payloads only of messages it
        has a key for, and a wrong key shows nothing of that kind.
        """
        first = self._first_of_each()
        rows = self.rows("isakmp.flag_e == 1 && !(isakmp.typepayload == 8)", ["frame.number", "udp.payload"])
        return [number for number, payload in rows if first[payload] == number]

    def _first_of_each(self) -> dict[str, str]:
        """The frame in which each IKE datagram was seen first.

        tshark moves on in the chain of IVs at a repeated message, too, and then cannot read it: such are told by their octets.
        """
        first: dict[str, str] = {}
        for number, payload in self.rows("isakmp", ["frame.number", "udp.payload"]):
            first.setdefault(payload, number)
        return first


def version() -> str:
    """The version of tshark."""
    done = subprocess.run(["tshark", "--version"], capture_output=True, text=True, timeout=30, check=True)
    return done.stdout.split()[2]
