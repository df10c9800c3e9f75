"""IP packets of a capture, and fragments put together again (RFC 791, RFC 8200). Everything that is kept is bounded."""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from headrace.wire import Malformed, Truncated

LAYER: Final = "ip"
ICMP: Final = 1
TCP: Final = 6
UDP: Final = 17
ESP: Final = 50
AH: Final = 51
ICMP6: Final = 58

FRAGMENTED_MAX: Final = 64
"""Datagrams whose fragments are kept at once."""
DATAGRAM_MAX: Final = 65535
PIECES_MAX: Final = 256

_EXTENSIONS: Final = frozenset({0, 43, 60})
"""Hop-by-hop, routing, destination options."""
_FRAGMENT: Final = 44
_EXTENSIONS_MAX: Final = 8


@dataclass(frozen=True, slots=True)
class Ip:
    """One IP packet."""

    version: int
    header: int
    """Octets, extension headers included."""
    protocol: int
    source: bytes
    destination: bytes
    payload: bytes
    whole: int
    """Octets that the header claims, padding of the link left out."""
    fragment: tuple[int, int, bool] | None = None
    """Identification, offset in octets, whether more follow; ``None`` if it is no fragment."""


def parse(data: bytes) -> Ip:
    """Read a packet; octets behind its own length are dropped. Raises ``Malformed``."""
    version = data[0] >> 4 if data else 0
    if version == 4:
        return _parse4(data)
    if version == 6:
        return _parse6(data)
    raise Malformed(LAYER, "version", 0, f"version {version} in {len(data)} octets")


def _parse4(data: bytes) -> Ip:
    header = (data[0] & 15) * 4
    if header < 20 or len(data) < header:
        raise Truncated(LAYER, "header", 0, f"{len(data)} octets with a header of {header}")
    total = data[2] << 8 | data[3]
    if total == 0:  # segmentation offload: the device fills it in
        total = len(data)
    if total < header:
        raise Malformed(LAYER, "total length", 2, f"{total} is less than the header")
    bits = data[6] << 8 | data[7]
    fragment = None
    if bits & 0x3FFF:
        fragment = (data[4] << 8 | data[5], (bits & 0x1FFF) * 8, bool(bits & 0x2000))
    return Ip(4, header, data[9], data[12:16], data[16:20], data[header:total], total, fragment)


def _parse6(data: bytes) -> Ip:
    if len(data) < 40:
        raise Truncated(LAYER, "header", 0, f"{len(data)} octets")
    total = 40 + (data[4] << 8 | data[5])
    following, at = data[6], 40
    fragment = None
    for _ in range(_EXTENSIONS_MAX):
        if following in _EXTENSIONS and len(data) >= at + 8:
            following, at = data[at], at + 8 * (data[at + 1] + 1)
        elif following == _FRAGMENT and len(data) >= at + 8:
            bits = data[at + 2] << 8 | data[at + 3]
            fragment = (int.from_bytes(data[at + 4 : at + 8], "big"), bits & 0xFFF8, bool(bits & 1))
            following, at = data[at], at + 8
        else:
            break
    if at > min(total, len(data)):
        raise Malformed(LAYER, "extension header", 40, "runs past the end")
    return Ip(6, at, following, data[8:24], data[24:40], data[at:total], total, fragment)


class Reassembly:
    """Datagrams that came in pieces."""

    def __init__(self) -> None:
        self._open: OrderedDict[tuple[bytes, bytes, int, int], tuple[dict[int, bytes], list[int]]] = OrderedDict()

    def add(self, ip: Ip) -> Ip | None:
        """Take a fragment; gives the whole datagram when it was the missing piece."""
        assert ip.fragment is not None
        identity, offset, more = ip.fragment
        key = (ip.source, ip.destination, ip.protocol, identity)
        pieces, end = self._open.get(key, ({}, []))
        if key not in self._open:
            while len(self._open) >= FRAGMENTED_MAX:
                self._open.popitem(last=False)
            self._open[key] = (pieces, end)
        if offset + len(ip.payload) > DATAGRAM_MAX or len(pieces) >= PIECES_MAX:
            del self._open[key]
            return None
        pieces.setdefault(offset, ip.payload)
        if not more:
            end[:] = [offset + len(ip.payload)]
        whole = bytearray()
        for start in sorted(pieces):
            if start != len(whole):
                return None
            whole += pieces[start]
        if not end or len(whole) != end[0]:
            return None
        del self._open[key]
        return Ip(ip.version, ip.header, ip.protocol, ip.source, ip.destination, bytes(whole), ip.header + len(whole))


@lru_cache(maxsize=4096)
def address(packed: bytes) -> str:
    """An address in text."""
    return str(ipaddress.ip_address(packed))


def end(packed: bytes, port: int) -> str:
    """An address with its port, if it has one."""
    text = address(packed)
    if not port:
        return text
    return f"[{text}]:{port}" if len(packed) == 16 else f"{text}:{port}"


def checksum(data: bytes) -> int:
    """RFC 1071: the ones' complement sum of 16-bit words, complemented."""
    if len(data) % 2:
        data += b"\0"
    total = sum(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def rebuild(header: bytes, version: int, protocol: int, payload: bytes) -> bytes:
    """The same packet with another payload: protocol, length and checksum of the header are set anew; IPv6 extensions go."""
    if version == 4:
        out = bytearray(header)
        out[2:4] = (len(header) + len(payload)).to_bytes(2, "big")
        out[6:8] = b"\x40\x00"  # no fragment any more
        out[9] = protocol
        out[10:12] = b"\0\0"
        out[10:12] = checksum(bytes(out)).to_bytes(2, "big")
        return bytes(out) + payload
    out = bytearray(header[:40])
    out[4:6] = len(payload).to_bytes(2, "big")
    out[6] = protocol
    return bytes(out) + payload


def brief(data: bytes) -> tuple[str, str, str]:
    """The user's packet for a person: source, destination, what it is. Raises ``Malformed``."""
    ip = parse(data)
    source, destination = address(ip.source), address(ip.destination)
    body = ip.payload
    if ip.fragment and ip.fragment[1]:
        return source, destination, f"fragment at {ip.fragment[1]} of protocol {ip.protocol}"
    if ip.protocol in {TCP, UDP} and len(body) >= 4:
        ports = body[0] << 8 | body[1], body[2] << 8 | body[3]
        what = f"{'TCP' if ip.protocol == TCP else 'UDP'} {ports[0]} > {ports[1]}"
        if ip.protocol == TCP and len(body) >= 14:
            flags = "".join(letter for bit, letter in ((2, "S"), (16, "."), (1, "F"), (4, "R"), (8, "P")) if body[13] & bit)
            what += f" [{flags}]"
        return source, destination, what
    if ip.protocol in {ICMP, ICMP6} and body:
        names = {0: "echo reply", 3: "unreachable", 8: "echo request", 11: "time exceeded"}
        if ip.protocol == ICMP6:
            names = {
                1: "unreachable",
                2: "packet too big",
                128: "echo request",
                129: "echo reply",
                133: "router solicitation",
                134: "router advertisement",
                135: "neighbour solicitation",
                136: "neighbour advertisement",
            }
        return source, destination, f"ICMP {names.get(body[0], f'type {body[0]}')}"
    return source, destination, f"protocol {ip.protocol}"
