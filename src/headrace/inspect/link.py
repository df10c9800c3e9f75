"""What lies before the IP packet: the link types that captures of this field have (www.tcpdump.org/linktypes.html)."""

from __future__ import annotations

from typing import Final

from headrace.wire import Malformed, Truncated

LAYER: Final = "link"
_IP: Final = (0x0800, 0x86DD)
_TAGS: Final = (0x8100, 0x88A8, 0x9100)
_PPPOE: Final = 0x8864
_TAGS_MAX: Final = 4

NAMES: Final = {
    0: "BSD loopback",
    1: "Ethernet",
    9: "PPP",
    12: "raw IP",
    14: "raw IP",
    50: "PPP in HDLC",
    101: "raw IP",
    108: "OpenBSD loopback",
    113: "Linux cooked",
    166: "pppd",
    204: "PPP with direction",
    228: "IPv4",
    229: "IPv6",
    276: "Linux cooked 2",
}
"""LINKTYPE_* numbers that are read."""
PPP: Final = frozenset({9, 50, 166, 204})
"""Those that begin with a PPP frame."""


class Foreign(Malformed):
    """A frame that carries something else than IP. Not wrong, only of no concern."""

    def __init__(self, reason: str) -> None:
        super().__init__(LAYER, "type", 0, reason)


def strip(link: int, data: bytes) -> int:
    """Octets before the IP packet (or the PPP frame, for ``PPP`` links). Raises ``Foreign`` or ``Truncated``."""
    if link == 1:
        return _ethernet(data)
    if link in {101, 12, 14, 228, 229}:
        return 0
    if link in {113, 276}:
        size, at = (16, 14) if link == 113 else (20, 0)
        kind = int.from_bytes(data[at : at + 2], "big")
        _need(data, size)
        return size if kind in _IP else _tagged(data, size, kind)
    if link in {0, 108}:
        _need(data, 4)
        return 4
    if link in PPP:
        return {204: 1}.get(link, 0)
    raise Foreign(f"link type {link} is not read here")


def _need(data: bytes, size: int) -> None:
    if len(data) < size:
        raise Truncated(LAYER, "header", 0, f"{len(data)} octets")


def _ethernet(data: bytes) -> int:
    _need(data, 14)
    kind = data[12] << 8 | data[13]
    return 14 if kind in _IP else _tagged(data, 14, kind)


def _tagged(data: bytes, at: int, kind: int) -> int:
    """Skip VLAN tags, and PPPoE with IP in it."""
    for _ in range(_TAGS_MAX):
        if kind in _IP:
            return at
        if kind == _PPPOE and data[at + 6 : at + 8] in {b"\x00\x21", b"\x00\x57"}:
            return at + 8
        if kind not in _TAGS:
            break
        kind = int.from_bytes(data[at + 2 : at + 4], "big")
        at += 4
        _need(data, at)
    raise Foreign(f"Ethernet type {kind:04x}")
