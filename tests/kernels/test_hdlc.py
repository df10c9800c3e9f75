"""HDLC-like framing at every level against a plain loop: FCS, stuffing, maps, hostile lines, guard pages."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernels.native import Islands
from tests.kernels.streams import PlainBatch

from headrace.dataplane._native import ffi, lib

FLAG, ESCAPE = 0x7E, 0x7D
pytestmark = pytest.mark.usefixtures("level")


def fcs16(data: bytes) -> int:
    """RFC 1662 appendix C.2, bit by bit, complemented."""
    fcs = 0xFFFF
    for octet in data:
        fcs ^= octet
        for _ in range(8):
            fcs = (fcs >> 1) ^ (0x8408 if fcs & 1 else 0)
    return fcs ^ 0xFFFF


def stuffed(data: bytes, accm: int) -> bytes:
    out = bytearray()
    for octet in data:
        if octet in {FLAG, ESCAPE} or (octet < 32 and accm >> octet & 1):
            out += bytes([ESCAPE, octet ^ 0x20])
        else:
            out.append(octet)
    return bytes(out)


def framed(data: bytes, accm: int) -> bytes:
    return stuffed(data + fcs16(data).to_bytes(2, "little"), accm) + bytes([FLAG])


def deframed(line: bytes, accm: int, room: int) -> tuple[list[bytes], dict[str, int]]:
    """The good frames of a line, octet by octet."""
    good, stats = [], dict.fromkeys(("good", "bad_fcs", "runts", "aborts", "too_long"), 0)
    frame, escaped, lost = bytearray(), False, False
    for octet in line:
        if octet == FLAG:
            if lost:
                pass
            elif escaped:
                stats["aborts"] += 1
            elif len(frame) < 4:
                stats["runts"] += bool(frame)
            elif fcs16(bytes(frame[:-2])).to_bytes(2, "little") != frame[-2:]:
                stats["bad_fcs"] += 1
            else:
                stats["good"] += 1
                good.append(bytes(frame[:-2]))
            frame, escaped, lost = bytearray(), False, False
        elif not lost and len(frame) == room + 2:
            stats["too_long"] += 1
            lost = True
        elif lost:
            continue
        elif escaped:
            frame.append(octet ^ 0x20)
            escaped = False
        elif octet == ESCAPE:
            escaped = True
        elif not (octet < 32 and accm >> octet & 1):
            frame.append(octet)
    return good, stats


class Line:
    def __init__(self, max_frame: int = 1504, send: int = 0xFFFFFFFF, receive: int = 0xFFFFFFFF) -> None:
        handle = lib.hr_hdlc_new(max_frame)
        assert handle != ffi.NULL
        self.handle = ffi.gc(handle, lib.hr_hdlc_free)
        self.max_frame = max_frame
        lib.hr_hdlc_maps(self.handle, send, receive)

    def encode(self, islands: Islands, frames: list[bytes], *, flag: bool = False, back: bool = False) -> bytes:
        batch = PlainBatch(islands, frames, back=back)
        room = sum(2 * len(f) + 6 for f in frames) + 80
        out = ffi.new("uint8_t[]", room)
        written = lib.hr_hdlc_encode_batch(self.handle, batch.batch, flag, out, room)
        assert 0 <= written <= room
        assert [batch.octets(i) for i in range(len(frames))] == frames
        batch.check_surroundings()
        return bytes(ffi.buffer(out, written))

    def decode(self, line: bytes, slots: int = 8) -> list[bytes]:
        size = self.max_frame
        arena = ffi.new("uint8_t[]", slots * size)
        desc = ffi.new("struct hr_desc[]", slots)
        batch = ffi.new("struct hr_batch *", {"arena": arena, "arena_len": slots * size, "desc": desc})
        frames, at = [], 0
        while True:
            for i in range(slots):
                desc[i].off, desc[i].len = i * size, size
            batch.n = slots
            used = lib.hr_hdlc_decode_batch(self.handle, line[at:], len(line) - at, batch)
            assert 0 <= used <= len(line) - at
            at += used
            for d in desc[0 : batch.n]:
                assert (d.kind, d.status) == (lib.HR_KIND_PPP, lib.HR_OK)
                frames.append(bytes(ffi.buffer(arena + d.off, d.len)))
            if at == len(line):
                return frames
            assert batch.n == slots

    def stats(self) -> dict[str, int]:
        stats = ffi.new("struct hr_hdlc_stats *")
        lib.hr_hdlc_stats(self.handle, stats)
        return {name: getattr(stats, name) for name in ("good", "bad_fcs", "runts", "aborts", "too_long")}


def random_octets(rng: random.Random, length: int) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:
        return rng.randbytes(length)
    if kind == 1:
        return bytes(rng.choice([FLAG, ESCAPE, 0x5D, 0x5E, 0x20, 0x11, 1]) for _ in range(length))
    if kind == 2:
        return bytes([rng.choice([FLAG, ESCAPE, 0x41, 3])]) * length
    return bytes(ESCAPE if rng.random() < 0.9 else rng.randrange(256) for _ in range(length))


def test_the_check_value() -> None:
    """The FCS of "123456789" is 906e, sent lower octet first (the residue over both is f0b8)."""
    assert fcs16(b"123456789") == 0x906E
    assert Line(send=0).encode(Islands(1), [b"123456789"]) == b"123456789\x6e\x90\x7e"


@pytest.mark.parametrize("back", [False, True], ids=["front", "back"])
def test_every_length(back: bool, islands: Islands) -> None:
    rng = random.Random(1)
    for accm in (0, 0xFFFFFFFF, 0x000A0000, rng.getrandbits(32)):
        line = Line(2100, accm, accm)
        frames = [random_octets(rng, n) for n in [*range(2, 200), *range(200, 2049, 61)]]
        octets = line.encode(islands, frames, back=back)
        assert octets == b"".join(framed(f, accm) for f in frames)
        assert line.decode(octets) == frames
        assert line.stats() == {"good": len(frames), "bad_fcs": 0, "runts": 0, "aborts": 0, "too_long": 0}


def test_a_flag_in_front_after_idle_time(islands: Islands) -> None:
    line = Line()
    frame = b"\xff\x03\xc0\x21" + bytes(10)
    octets = line.encode(islands, [frame, frame], flag=True)
    assert octets == bytes([FLAG]) + 2 * framed(frame, 0xFFFFFFFF)
    assert line.decode(octets) == [frame, frame]


def test_a_line_in_pieces(islands: Islands) -> None:
    rng = random.Random(2)
    frames = [random_octets(rng, rng.randrange(4, 300)) for _ in range(60)]
    octets = Line().encode(islands, frames)
    for size in (1, 2, 3, 63, 64, 65, 1000):
        line = Line()
        got = [f for at in range(0, len(octets), size) for f in line.decode(octets[at : at + size], slots=2)]
        assert got == frames


def test_control_characters_that_the_line_put_in() -> None:
    frame = b"\xff\x03\x00\x21" + bytes(range(64))
    sent = framed(frame, 0xFFFFFFFF)
    noisy = b"".join(bytes([octet, 0x11, 0x13, 0x00]) if octet != ESCAPE else bytes([octet]) for octet in sent)
    assert Line(receive=0xFFFFFFFF).decode(noisy) == [frame]
    assert Line(receive=0).decode(noisy) == []
    xonxoff = b"".join(bytes([octet, 0x11]) if octet != ESCAPE else bytes([octet]) for octet in sent)
    assert Line(receive=0x000A0000).decode(xonxoff) == [frame]


def test_damage_is_counted_and_hurts_no_neighbour() -> None:
    frame = b"\xff\x03\xc0\x21\x01\x02\x00\x04"
    good = framed(frame, 0xFFFFFFFF)
    bad = framed(frame, 0xFFFFFFFF).replace(b"\xff", b"\xfe", 1)
    line = Line(max_frame=100)
    octets = (
        good + bad + b"\x01\x40\x7e" + b"ab\x7e" + good[:-1] + b"\x7d\x7e" + bytes(200) + b"x" * 300 + b"\x7e\x7e\x7e" + good
    )
    assert line.decode(octets) == [frame, frame]
    assert line.stats() == {"good": 2, "bad_fcs": 1, "runts": 2, "aborts": 1, "too_long": 1}


def test_the_longest_frame() -> None:
    line = Line(max_frame=50)
    fits, too_long = bytes(range(33, 83)), bytes(range(33, 84))
    assert line.decode(framed(fits, 0) + framed(too_long, 0) + framed(fits, 0)) == [fits, fits]
    assert line.stats()["too_long"] == 1


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_octets(data: st.DataObject) -> None:
    """Whatever the line brings, in whatever pieces: the same frames and counts as octet by octet, nothing else."""
    rng = random.Random(data.draw(st.integers(0, 2**32)))
    accm, room = rng.choice([0, 0xFFFFFFFF, rng.getrandbits(32)]), rng.choice([8, 20, 100, 1504])
    parts = []
    for _ in range(rng.randrange(8)):
        whole = framed(random_octets(rng, rng.randrange(2, 150)), rng.choice([0, accm]))
        parts.append(rng.choice([whole, whole, whole[:-1], random_octets(rng, rng.randrange(150)), b"\x7e", b"\x7d\x7e"]))
    octets = b"".join(parts)
    line = Line(room, receive=accm)
    got, at = [], 0
    while at < len(octets):
        size = rng.choice([1, 7, 64, 200, 2000])
        got += line.decode(octets[at : at + size], slots=3)
        at += size
    expect, stats = deframed(octets, accm, room)
    assert got == expect
    assert line.stats() == stats


def test_arguments(islands: Islands) -> None:
    assert lib.hr_hdlc_new(7) == ffi.NULL
    assert lib.hr_hdlc_new(65536) == ffi.NULL
    lib.hr_hdlc_free(ffi.NULL)
    line = Line(max_frame=64)
    batch = PlainBatch(islands, [b"x" * 64] * 3)
    out: Any = ffi.new("uint8_t[]", 300)
    assert lib.hr_hdlc_encode_batch(line.handle, batch.batch, 0, out, 100) == lib.HR_E_FULL
    exact = sum(len(framed(b"x" * 64, 0xFFFFFFFF)) for _ in range(3))
    assert lib.hr_hdlc_encode_batch(line.handle, batch.batch, 0, out, exact) == exact
    assert bytes(out[exact:300]) == bytes(300 - exact)
    assert lib.hr_hdlc_encode_batch(ffi.NULL, batch.batch, 0, out, 300) == lib.HR_E_ARGUMENT
    batch.desc[1].off = batch.batch.arena_len - 63
    assert lib.hr_hdlc_encode_batch(line.handle, batch.batch, 0, out, 300) == lib.HR_E_DESCRIPTOR
    assert lib.hr_hdlc_decode_batch(line.handle, b"", 0, batch.batch) == lib.HR_E_DESCRIPTOR
    assert batch.batch.bad_index == 1
    batch.desc[1].off, batch.desc[1].len = 0, 63
    assert lib.hr_hdlc_decode_batch(line.handle, b"", 0, batch.batch) == lib.HR_E_DESCRIPTOR
