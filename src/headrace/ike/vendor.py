"""Vendor ids: what a peer can do, and who it may be (RFC 2408 section 3.16). Unknown ones and their order never matter."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

RFC_3947: Final = bytes.fromhex("4a131c81070358455c5728f20e95452f")
NAT_T_03: Final = bytes.fromhex("7d9419a65310ca6f2c179d9215529d56")
NAT_T_02N: Final = bytes.fromhex("90cb80913ebb696e086381b5ec427b1f")
NAT_T_02: Final = bytes.fromhex("cd60464335df21f87cfdb2fc68b6a448")
DPD: Final = bytes.fromhex("afcad71368a1f1c96b8696fc77570100")
FRAGMENTATION: Final = bytes.fromhex("4048b7d56ebce88525e7de7f00d6c2d3")
FRAGMENTATION_MAIN: Final = FRAGMENTATION + bytes.fromhex("80000000")
"""Cisco's longer form: main and aggressive mode."""
MS_NT5: Final = bytes.fromhex("1e2b516905991c7d7c96fcbfb587e461")
"""Four octets of version follow; lists of what they mean contradict each other, so nothing depends on them."""
MS_INITIAL_CONTACT: Final = bytes.fromhex("26244d38eddb61b3172a36e3d0cfb819")

_DPD_PREFIX: Final = DPD[:14]
"""The last two octets are the version 1.0."""
_NAMES: Final = (
    (MS_NT5, "Windows"),
    (bytes.fromhex("882fe56d6fd20dbc2251613b2ebe5beb"), "strongSwan"),
    (bytes.fromhex("7003cbc1097dbe9c2600ba6983bc8b35"), "racoon"),
    (bytes.fromhex("4df37928e9fc4fd1b3262170d515c662"), "Apple"),
    (bytes.fromhex("4f45"), "Openswan"),
    (bytes.fromhex("12f5f28c457168a9702d9fe274cc"), "Cisco Unity"),
)


_FEATURES: Final = (
    (RFC_3947, "NAT-T RFC 3947"),
    (NAT_T_03, "NAT-T draft 03"),
    (NAT_T_02N, "NAT-T draft 02"),
    (NAT_T_02, "NAT-T draft 02"),
    (_DPD_PREFIX, "DPD"),
    (FRAGMENTATION, "fragmentation"),
    (MS_INITIAL_CONTACT, "Windows initial contact"),
    (bytes.fromhex("09002689dfd6b712"), "XAUTH"),
)


def name_of(item: bytes) -> str:
    """One vendor id in words, or its octets."""
    for prefix, name in (*_FEATURES, *_NAMES):
        if item.startswith(prefix):
            return describe([item]) or name if prefix == MS_NT5 else name
    return item[:16].hex()


def has_dpd(ids: Iterable[bytes]) -> bool:
    """Whether the peer answers R-U-THERE (RFC 3706 section 5.1)."""
    return any(item.startswith(_DPD_PREFIX) for item in ids)


def fragmentation(ids: Iterable[bytes]) -> bytes | None:
    """The form in which the peer says that it takes fragments, ``None`` if it does not."""
    return next((item for item in ids if item.startswith(FRAGMENTATION)), None)


def describe(ids: Iterable[bytes]) -> str:
    """Who the peer may be: ``Windows (MS NT5 9)``; empty if nothing says."""
    known = tuple(ids)
    for prefix, name in _NAMES:
        for item in known:
            if item.startswith(prefix):
                version = int.from_bytes(item[len(MS_NT5) :], "big")
                return f"Windows (MS NT5 {version})" if prefix == MS_NT5 else name
    return ""
