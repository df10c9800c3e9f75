"""Captures as streams: every form is read, and nothing that a file claims is believed."""

from __future__ import annotations

import gzip
import io
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.inspect.kit import REAL, pcap, real

from headrace.inspect.pcap import BLOCK_MAX, PACKET_MAX, Captured, CaptureReader, NotACapture
from headrace.inspect.pcapng import LINK_PPP, LINK_RAW, PcapngWriter

PACKETS = [b"a" * 60, b"", b"b" * 1500]


def read(data: bytes) -> tuple[list[Captured], str]:
    reader = CaptureReader(io.BytesIO(data))
    return list(reader), reader.problem


def pcapng(packets: list[bytes]) -> bytes:
    stream = io.BytesIO()
    writer = PcapngWriter(stream, "test")
    for number, data in enumerate(packets):
        writer.write(LINK_PPP if number % 2 else LINK_RAW, 1_700_000_000.25 + number, data, "a comment" if number else "")
    return stream.getvalue()


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "fraction"), [(0xA1B2C3D4, 5e-6), (0xA1B23C4D, 5e-9)])
def test_pcap_in_both_orders_and_both_clocks(order: str, magic: int, fraction: float) -> None:
    found, problem = read(pcap(PACKETS, link=101, order=order, magic=magic))
    assert problem == ""
    assert [one.data for one in found] == PACKETS
    assert [one.number for one in found] == [1, 2, 3]
    assert {one.link for one in found} == {101}
    assert found[0].time == pytest.approx(1_700_000_000 + fraction, abs=1e-9)


def test_pcapng_of_our_own_writer() -> None:
    found, problem = read(pcapng(PACKETS))
    assert problem == ""
    assert [(one.link, one.data) for one in found] == [(LINK_RAW, PACKETS[0]), (LINK_PPP, PACKETS[1]), (LINK_RAW, PACKETS[2])]
    assert found[1].time == pytest.approx(1_700_000_001.25)


def test_pcapng_with_blocks_of_every_kind() -> None:
    def block(kind: int, body: bytes) -> bytes:
        body += bytes(-len(body) % 4)
        return struct.pack(">II", kind, 12 + len(body)) + body + struct.pack(">I", 12 + len(body))

    section = block(0x0A0D0D0A, struct.pack(">IHHq", 0x1A2B3C4D, 1, 0, -1))
    options = struct.pack(">HHB3xHHq", 9, 1, 0x80 | 10, 14, 8, 100) + bytes(4)  # 2^-10 s, 100 s later
    interface = block(1, struct.pack(">HHI", 1, 0, 64) + options)
    packets = (
        block(6, struct.pack(">IIIII", 0, 0, 2048, 4, 9) + b"abcd")
        + block(3, struct.pack(">I", 3) + b"xyz")
        + block(2, struct.pack(">HHIIII", 0, 0, 0, 1024, 2, 2) + b"pq")
    )
    found, problem = read(section + interface + block(0x0BAD, b"skipped") + packets)
    assert problem == ""
    assert [(one.data, one.length, one.time) for one in found] == [(b"abcd", 9, 102.0), (b"xyz", 3, 0.0), (b"pq", 2, 101.0)]


@pytest.mark.parametrize("name", REAL)
def test_gzip_around_a_real_capture(name: str) -> None:
    assert read(gzip.compress(real(name))) == read(real(name))


@pytest.mark.parametrize(
    "data", [b"", b"abc", b"GIF89a  ", bytes(64), b"\x1f\x8b", b"\x1f\x8b\x08\x00broken", gzip.compress(b"x")]
)
def test_no_capture(data: bytes) -> None:
    with pytest.raises(NotACapture):
        CaptureReader(io.BytesIO(data))


@pytest.mark.parametrize("make", [pcap, pcapng])
def test_file_that_ends_anywhere_gives_what_is_whole(make: object) -> None:
    whole = make(PACKETS)  # type: ignore[operator]
    full, _ = read(whole)
    for size in range(8, len(whole)):
        found, problem = read(whole[:size])
        assert found == full[: len(found)]
        assert problem or size == len(pcap([])) or len(found) < len(full)


def test_lengths_are_not_believed() -> None:
    huge = pcap([])[:24] + struct.pack("<IIII", 0, 0, PACKET_MAX + 1, 1)
    found, problem = read(huge + bytes(100))
    assert not found
    assert "packet 1 claims" in problem
    begin = pcapng([])
    for length in (0, 8, 13, BLOCK_MAX + 4, 0xFFFFFFFC):
        found, problem = read(begin + struct.pack("<II", 0x0BAD, length) + bytes(64))
        assert not found
        assert "claims" in problem or "ends" in problem


def test_packet_of_an_interface_that_is_not_there() -> None:
    found, problem = read(pcapng([]) + struct.pack("<II", 6, 32) + struct.pack("<IIIII", 7, 0, 0, 0, 0) + struct.pack("<I", 32))
    assert not found
    assert "interface 7" in problem


@settings(max_examples=200)
@given(st.binary(max_size=400), st.sampled_from([pcap([]), pcapng([]), pcap([], order=">")]))
def test_any_octets_behind_a_header(tail: bytes, head: bytes) -> None:
    for one in read(head + tail)[0]:
        assert len(one.data) <= PACKET_MAX


def test_packets_are_read_one_at_a_time() -> None:
    class Endless(io.RawIOBase):
        """A capture without an end: only a stream can be read so."""

        def __init__(self) -> None:
            self.rest = pcap([])
            self.taken = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            while len(self.rest) < len(buffer):
                self.rest += pcap([b"x" * 1000])[24:]
            buffer[:] = self.rest[: len(buffer)]
            self.rest = self.rest[len(buffer) :]
            self.taken += len(buffer)
            return len(buffer)

    stream = Endless()
    packets = iter(CaptureReader(stream))  # type: ignore[arg-type]
    for _ in range(10):
        next(packets)
    assert stream.taken <= 24 + 10 * 1016
