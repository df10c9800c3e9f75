"""Captures to look at: real ones, and made ones."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable
from pathlib import Path

from headrace.inspect.dissect import Dissector
from headrace.inspect.keys import Keys, read_directory
from headrace.inspect.ladder import Conversation, Ladders
from headrace.inspect.packet import Packet
from headrace.inspect.pcap import CaptureReader

VECTORS = Path(__file__).parents[1] / "vectors" / "inspect"
REAL = ("psk-natt", "mppe128", "mppe-refused", "cert")


def real(name: str) -> bytes:
    return (VECTORS / f"{name}.pcap").read_bytes()


def keys_of(name: str, *, psk: bytes = b"", password: str = "") -> Keys:
    keys = Keys(psk=psk, password=password)
    read_directory(VECTORS / name, keys)
    assert not keys.problems
    return keys


def dissect(data: bytes, keys: Keys | None = None, *, clear: bool = False) -> list[Packet]:
    dissector = Dissector(keys, clear=clear)
    return [dissector.feed(captured) for captured in CaptureReader(io.BytesIO(data))]


def ladder(packets: Iterable[Packet]) -> list[Conversation]:
    ladders = Ladders()
    for packet in packets:
        ladders.feed(packet)
    return ladders.finish()


def records(data: bytes) -> list[bytes]:
    """The packets of a little-endian pcap."""
    return [captured.data for captured in CaptureReader(io.BytesIO(data))]


def pcap(packets: Iterable[bytes], link: int = 1, order: str = "<", magic: int = 0xA1B2C3D4) -> bytes:
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 262144, link)
    for number, data in enumerate(packets):
        out += struct.pack(order + "IIII", 1_700_000_000 + number, 5, len(data), len(data)) + data
    return out
