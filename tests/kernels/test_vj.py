"""Van Jacobson's TCP/IP header compression (RFC 1144): its forms, round trips, losses, hostile input."""

from __future__ import annotations

import random
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.oracle.ip import checksum

from headrace.dataplane._native import ffi, lib
from headrace.dataplane.batch import Batch

IP, COMPRESSED, UNCOMPRESSED = 0x21, 0x2D, 0x2F
FIN, SYN, RST, PSH, ACK, URG, ECE = 1, 2, 4, 8, 16, 32, 64
C, I, P, S, A, W, U = 0x40, 0x20, 0x10, 8, 4, 2, 1  # noqa: E741 (the RFC's letters)


def tcp(
    *,
    seq: int = 1000,
    ack: int = 2000,
    flags: int = ACK,
    window: int = 8192,
    urgent: int = 0,
    ident: int = 1,
    data: bytes = b"",
    port: int = 4000,
    options: bytes = b"",
    ip_options: bytes = b"",
    ttl: int = 64,
    tos: int = 0,
    fragment: int = 0x4000,
) -> bytes:
    """An IPv4 packet with TCP and right checksums."""
    source, destination = bytes([10, 0, 0, 1]), bytes([10, 0, 0, 2])
    offset = (20 + len(options)) // 4
    segment = (
        struct.pack("!HHIIBBHHH", port, 80, seq % 2**32, ack % 2**32, offset << 4, flags, window, 0, urgent) + options + data
    )
    pseudo = source + destination + struct.pack("!HH", 6, len(segment))
    segment = segment[:16] + struct.pack("!H", checksum(pseudo + segment)) + segment[18:]
    header = 20 + len(ip_options)
    head = struct.pack(
        "!BBHHHBBH4s4s", 0x40 | header // 4, tos, header + len(segment), ident % 65536, fragment, ttl, 6, 0, source, destination
    )
    head += ip_options
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return head + segment


class Pair:
    """Both directions of a link."""

    def __init__(self, slots: int = 16, *, omit: bool = False) -> None:
        self.pair: Any = ffi.gc(lib.hr_vj_new(slots, omit), lib.hr_vj_free)
        self.batch = Batch(64)

    def compress(self, *packets: bytes) -> list[tuple[int, bytes]]:
        self.batch.load(list(packets), lib.HR_KIND_IP)
        assert lib.hr_vj_compress_batch(self.pair, self.batch.pointer) == 0
        forms = [int(form) for form in self.batch.desc["ppp_proto"][: len(packets)]]
        return list(zip(forms, self.batch.packets(), strict=True))

    def expand(self, *frames: tuple[int, bytes]) -> list[tuple[str, bytes]]:
        self.batch.load([octets for _, octets in frames], lib.HR_KIND_IP)
        for index, (form, _) in enumerate(frames):
            self.batch.desc["ppp_proto"][index] = form
        assert lib.hr_vj_expand_batch(self.pair, self.batch.pointer) == 0
        return list(zip(self.batch.statuses(), self.batch.packets(), strict=True))


@pytest.fixture
def pair() -> Pair:
    return Pair()


def test_sizes_are_checked() -> None:
    assert lib.hr_vj_new(0, 0) == ffi.NULL
    assert lib.hr_vj_new(17, 0) == ffi.NULL


def test_first_packet_goes_whole_with_its_slot(pair: Pair) -> None:
    packet = tcp(data=b"hello")
    ((form, octets),) = pair.compress(packet)
    assert form == UNCOMPRESSED
    assert octets == packet[:9] + b"\x00" + packet[10:]
    assert pair.expand((form, octets)) == [("ok", packet)]


# Section 3.2.2 and its figures: each change by itself. What comes between mask and data is checked octet by octet.
@pytest.mark.parametrize(
    ("first", "second", "wire"),
    [
        # bulk data: the sequence moves by the data of the packet before, the id by one
        ({"data": b"x" * 100}, {"seq": 1100, "ident": 2, "data": b"y"}, bytes([C | S | A | W | U])),
        # typing, echoed: both move by it
        ({"data": b"x" * 9}, {"seq": 1009, "ack": 2009, "ident": 2, "data": b"y"}, bytes([C | S | W | U])),
        ({}, {"ack": 2100, "ident": 2}, bytes([C | A, 100])),
        ({}, {"ack": 2256, "ident": 2}, bytes([C | A, 0, 1, 0])),
        ({}, {"window": 8193, "ident": 2}, bytes([C | W, 1])),
        ({}, {"window": 8191, "ident": 2}, bytes([C | W, 0, 0xFF, 0xFF])),
        ({}, {"seq": 1003, "ident": 2}, bytes([C | S, 3])),
        ({}, {"ack": 2001, "ident": 301}, bytes([C | I | A, 1, 0, 1, 44])),
        ({}, {"ack": 2001, "ident": 1}, bytes([C | I | A, 1, 0, 0, 0])),
        ({}, {"ack": 2001, "ident": 2, "flags": ACK | PSH, "data": b"z"}, bytes([C | P | A, 1])),
        ({}, {"urgent": 7, "flags": ACK | URG, "ident": 2, "data": b"z"}, bytes([C | U, 7])),
        ({}, {"ident": 2, "data": b"data behind an ack"}, bytes([C])),
        ({}, {"seq": 1001, "ack": 2002, "window": 8195, "ident": 2}, bytes([C | S | A | W, 3, 2, 1])),
    ],
)
def test_differences(pair: Pair, first: dict[str, Any], second: dict[str, Any], wire: bytes) -> None:
    before, packet = tcp(**first), tcp(**second)
    frames = pair.compress(before, packet)
    form, octets = frames[1]
    data = second.get("data", b"")
    assert (form, octets) == (COMPRESSED, wire[:1] + b"\x00" + packet[36:38] + wire[1:] + data)
    assert pair.expand(*frames) == [("ok", before), ("ok", packet)]


@pytest.mark.parametrize(
    "second",
    [
        {},  # a repetition, or a window probe: the receiver may have lost its place
        {"seq": 999},
        {"seq": 1000 + 65536},
        {"ack": 1999},
        {"tos": 4},
        {"ttl": 63},
        {"fragment": 0},
        {"options": b"\x01\x01\x01\x01"},
        {"ip_options": b"\x01\x01\x01\x00"},
        {"urgent": 3},
        {"flags": ACK | ECE},
        {"seq": 1001, "window": 8193, "urgent": 1, "flags": ACK | URG},  # S, W and U: these bits have another meaning
        {"seq": 1001, "ack": 2001, "window": 8193, "urgent": 1, "flags": ACK | URG},
    ],
)
def test_what_the_short_form_cannot_say_goes_whole(pair: Pair, second: dict[str, Any]) -> None:
    before, packet = tcp(), tcp(**second)
    frames = pair.compress(before, packet)
    assert [form for form, _ in frames] == [UNCOMPRESSED, UNCOMPRESSED]
    assert pair.expand(*frames) == [("ok", before), ("ok", packet)]


@pytest.mark.parametrize(
    "packet",
    [
        tcp(flags=SYN),
        tcp(flags=SYN | ACK),
        tcp(flags=FIN | ACK),
        tcp(flags=RST | ACK),
        tcp(flags=0),
        tcp(fragment=0x2000),
        tcp(fragment=0x0001),
        tcp()[:39],
        tcp() + b"\x00",
        b"\x60" + tcp()[1:],
        b"",
        b"\x45",
        tcp()[:9] + b"\x11" + tcp()[10:],
        tcp()[:32] + b"\x40" + tcp()[33:],
        tcp()[:32] + b"\xf0" + tcp()[33:],
    ],
)
def test_what_is_no_plain_tcp_is_left_alone(pair: Pair, packet: bytes) -> None:
    assert pair.compress(packet) == [(IP, packet)]


def test_slots_are_reused_oldest_first() -> None:
    pair = Pair(slots=3)
    packets = [tcp(port=port) for port in (1, 2, 3)]
    assert [octets[9] for _, octets in pair.compress(*packets)] == [0, 1, 2]
    assert pair.compress(tcp(port=1, ack=2001, ident=2))[0][0] == COMPRESSED
    form, octets = pair.compress(tcp(port=9))[0]
    assert (form, octets[9]) == (UNCOMPRESSED, 1)
    assert pair.compress(tcp(port=2, ack=2001))[0] == (
        UNCOMPRESSED,
        tcp(port=2, ack=2001)[:9] + b"\x02" + tcp(port=2, ack=2001)[10:],
    )


def test_slot_is_left_out_only_if_the_peer_takes_that() -> None:
    pair = Pair(omit=True)
    packets = [tcp(), tcp(ack=2001, ident=2), tcp(port=5), tcp(ack=2002, ident=3), tcp(ack=2003, ident=4)]
    frames = pair.compress(*packets)
    assert [octets[0] & C for form, octets in frames if form == COMPRESSED] == [0, C, 0]
    assert pair.expand(*frames) == [("ok", packet) for packet in packets]


def test_lost_packet_is_noticed_by_the_checksum_and_the_next_whole_one_heals(pair: Pair) -> None:
    packets = [tcp(seq=1000 + 100 * n, ident=n, data=bytes([n]) * 100) for n in range(5)]
    frames = pair.compress(*packets)
    assert pair.expand(frames[0], frames[2], frames[3]) == [
        ("ok", packets[0]),
        ("drop_vj_lost", frames[2][1]),
        ("drop_vj_lost", frames[3][1]),
    ]
    again = pair.compress(packets[1])  # TCP repeats what is missing: backwards, so it goes whole
    assert again[0][0] == UNCOMPRESSED
    assert pair.expand(*again) == [("ok", packets[1])]
    behind = pair.compress(packets[2])
    assert behind[0][0] == COMPRESSED
    assert pair.expand(*behind) == [("ok", packets[2])]


def test_after_an_error_packets_without_a_slot_are_tossed() -> None:
    pair = Pair(omit=True)
    frames = pair.compress(tcp(), tcp(ack=2001, ident=2), tcp(ack=2002, ident=3))
    assert pair.expand(frames[0], (COMPRESSED, b"\x40\x11"), frames[1])[1:] == [
        ("drop_vj_malformed", b"\x40\x11"),
        ("drop_vj_lost", frames[1][1]),
    ]


@pytest.mark.parametrize(
    "frame",
    [
        (COMPRESSED, b""),
        (COMPRESSED, b"\x00"),
        (COMPRESSED, b"\x80\x00"),
        (COMPRESSED, b"\x40"),
        (COMPRESSED, b"\x40\x10"),
        (COMPRESSED, b"\x40\xff\x00\x00"),
        (COMPRESSED, b"\x40\x05\x00\x00"),
        (UNCOMPRESSED, b""),
        (UNCOMPRESSED, tcp()[:9] + b"\x10" + tcp()[10:]),
        (UNCOMPRESSED, tcp()[:9] + b"\x00" + tcp()[10:39]),
        (UNCOMPRESSED, tcp()[:8] + b"\x3f\x00" + tcp()[10:]),  # the header's checksum
        (UNCOMPRESSED, tcp(fragment=0x2000)[:9] + b"\x00" + tcp(fragment=0x2000)[10:]),
        (0x2B, tcp()),
    ],
)
def test_impossible_frames(pair: Pair, frame: tuple[int, bytes]) -> None:
    ((status, octets),) = pair.expand(frame)
    assert status in {"drop_vj_malformed", "drop_vj_lost"}
    assert octets == frame[1]


def test_padding_behind_a_whole_packet_changes_nothing(pair: Pair) -> None:
    packet = tcp(data=b"x")
    ((status, octets),) = pair.expand((UNCOMPRESSED, packet[:9] + b"\x00" + packet[10:] + b"pad"))
    assert (status, octets) == ("ok", packet + b"pad")  # the IP stage cuts it


STEP = st.fixed_dictionaries(
    {
        "port": st.integers(1, 20),
        "seq": st.sampled_from([0, 0, 1, 100, 255, 256, 65535, 65536, -1]),
        "ack": st.sampled_from([0, 0, 1, 100, 255, 256, 65535, 65536, -1]),
        "window": st.sampled_from([0, 0, 1, 65535]),
        "ident": st.sampled_from([1, 1, 1, 0, 2, 256, 65535]),
        "flags": st.sampled_from([ACK, ACK, ACK | PSH, ACK | URG, ACK | FIN, SYN, ACK | ECE]),
        "urgent": st.sampled_from([0, 0, 1, 255, 256]),
        "data": st.binary(max_size=40),
        "options": st.sampled_from([b"", b"", b"\x01\x01\x08\x0a12345678"]),
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEP, min_size=1, max_size=60), st.integers(1, 16), st.booleans())
def test_round_trip(steps: list[dict[str, Any]], slots: int, omit: bool) -> None:
    pair = Pair(slots, omit=omit)
    state: dict[int, dict[str, int]] = {}
    packets = []
    for step in steps:
        now = state.setdefault(step["port"], {"seq": 0, "ack": 0, "window": 1000, "ident": 0})
        for name in now:
            now[name] = (now[name] + step[name]) % (2**16 if name in {"window", "ident"} else 2**32)
        packets.append(tcp(**{**step, **now}))
    frames = pair.compress(*packets)
    assert sum(len(octets) for _, octets in frames) <= sum(map(len, packets))
    assert pair.expand(*frames) == [("ok", packet) for packet in packets]


@pytest.mark.parametrize("seed", range(6))
def test_nothing_wrong_is_ever_delivered(seed: int) -> None:
    """Loss, reordering, repetition and flipped bits: what comes out is a packet that went in, or is not TCP's any more."""
    chance = random.Random(seed)
    pair = Pair(4, omit=chance.random() < 0.5)
    state = {port: [0, 0] for port in range(1, 7)}
    sent: set[bytes] = set()
    for _ in range(40):
        packets = []
        for _ in range(20):
            port = chance.randrange(1, 7)
            state[port][0] += 50
            state[port][1] += 1
            packets.append(tcp(port=port, seq=state[port][0], ident=state[port][1], data=chance.randbytes(50)))
        sent.update(packets)
        frames = [frame for frame in pair.compress(*packets) if chance.random() < 0.9]
        if chance.random() < 0.5:
            chance.shuffle(frames)
        frames = [flipped(chance, frame) if chance.random() < 0.1 else frame for frame in frames]
        for status, octets in pair.expand(*frames):
            if status == "ok" and octets not in sent:
                # only a frame that came whole is believed without its checksum, and the receiving TCP looks at that
                assert not tcp_sum_good(octets)


def flipped(chance: random.Random, frame: tuple[int, bytes]) -> tuple[int, bytes]:
    form, octets = frame
    at = chance.randrange(len(octets) * 8)
    changed = bytearray(octets)
    changed[at // 8] ^= 1 << at % 8
    return form, bytes(changed)


def tcp_sum_good(packet: bytes) -> bool:
    segment = packet[(packet[0] & 15) * 4 :]
    return checksum(packet[12:20] + struct.pack("!HH", 6, len(segment)) + segment) == 0
