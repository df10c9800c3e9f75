"""MPPC (RFC 2118): its coding bit by bit, round trips, hostile streams."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.kernels.native import Islands
from tests.kernels.streams import PlainBatch

from headrace.dataplane._native import ffi, lib

FLUSHED, FRONT, COMPRESSED = 0x8000, 0x4000, 0x2000
HISTORY = 8192


def bits_of_literal(octet: int) -> str:
    return f"0{octet:07b}" if octet < 0x80 else f"10{octet & 0x7F:07b}"


def bits_of_copy(distance: int, length: int) -> str:
    if distance < 64:
        bits = f"1111{distance:06b}"
    elif distance < 320:
        bits = f"1110{distance - 64:08b}"
    else:
        bits = f"110{distance - 320:013b}"
    if length == 3:
        return bits + "0"
    k = length.bit_length() - 1
    return bits + "1" * (k - 1) + "0" + f"{length - (1 << k):0{k}b}"


def packed(bits: str) -> bytes:
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[i : i + 8], 2) for i in range(0, len(bits), 8))


class Malformed(Exception):
    pass


class SlowReceiver:
    """The coding read bit by bit; knows which octets of the history exist."""

    def __init__(self) -> None:
        self.history: list[int | None] = [None] * HISTORY
        self.at = 0

    def flush(self) -> None:
        self.__init__()  # type: ignore[misc]

    def expand(self, header: int, data: bytes) -> bytes:
        if header & FLUSHED:
            self.flush()
        if not header & COMPRESSED:
            return data
        if header & FRONT:
            self.at = 0
        bits = "".join(f"{octet:08b}" for octet in data)
        begin, i = self.at, 0

        def take(count: int) -> int:
            nonlocal i
            if i + count > len(bits):
                raise Malformed
            value = int(bits[i : i + count] or "0", 2)
            i += count
            return value

        def give(octet: int) -> None:
            if self.at == HISTORY:
                raise Malformed
            self.history[self.at] = octet
            self.at += 1

        while len(bits) - i >= 8:
            if bits[i] == "0":
                give(take(8))
            elif bits[i + 1] == "0":
                give(take(9) & 0x7F | 0x80)
            else:
                if bits.startswith("1111", i):
                    take(4)
                    distance = take(6)
                elif bits.startswith("1110", i):
                    take(4)
                    distance = take(8) + 64
                else:
                    take(3)
                    distance = take(13) + 320
                ones = 0
                while take(1):
                    ones += 1
                if ones > 11:
                    raise Malformed
                length = 3 if ones == 0 else (2 << ones) + take(ones + 1)
                if distance == 0 or distance > HISTORY or self.at + length > HISTORY:
                    raise Malformed
                for _ in range(length):
                    octet = self.history[(self.at - distance) % HISTORY]
                    if octet is None:
                        raise Malformed
                    give(octet)
        if "1" in bits[i:]:
            raise Malformed
        return bytes(octet for octet in self.history[begin : self.at] if octet is not None)


class Link:
    def __init__(self, islands: Islands) -> None:
        self.islands = islands
        self.handle = ffi.gc(lib.hr_mppc_new(), lib.hr_mppc_free)
        self.array = ffi.new("struct hr_mppc *[]", [self.handle])

    def compress(self, frames: list[bytes], *, back: bool = False) -> list[tuple[int, bytes]]:
        batch = PlainBatch(self.islands, frames, back=back)
        assert lib.hr_mppc_compress_batch(self.array, 1, batch.batch) == 0
        batch.check_surroundings()
        assert all(batch.desc[i].status == lib.HR_OK for i in range(len(frames)))
        assert all(batch.desc[i].len + batch.desc[i].room_tail == len(f) for i, f in enumerate(frames))
        return [(int(batch.desc[i].seq), batch.octets(i)) for i in range(len(frames))]

    def expand(self, packets: list[tuple[int, bytes]], room: int = 0, *, back: bool = False) -> list[tuple[int, bytes]]:
        """(status, frame) of each packet; `room` octets behind each."""
        batch = PlainBatch(self.islands, [octets for _, octets in packets], back=back, room_tail=room)
        for i, (header, _) in enumerate(packets):
            batch.desc[i].seq = header
        assert lib.hr_mppc_expand_batch(self.array, 1, batch.batch) == 0
        return [(int(batch.desc[i].status), batch.octets(i)) for i in range(len(packets))]


@pytest.fixture
def link() -> Link:
    return Link(small())


_kept: list[Islands] = []


def small() -> Islands:
    if not _kept:
        _kept.append(Islands(16, pages=3))
    return _kept[0]


def test_the_examples_of_the_coding() -> None:
    """RFC 2118 section 4: what a distance or a length looks like."""
    assert bits_of_copy(128, 15) == "1110" + "01000000" + "110" + "111"
    assert bits_of_copy(1024, 120) == "110" + "0001011000000" + "111110" + "111000"
    assert bits_of_copy(5, 3) == "1111000101" + "0"
    assert bits_of_copy(64, 4) == "1110" + "00000000" + "10" + "00"
    assert bits_of_copy(320, 4096) == "110" + "0" * 13 + "1" * 11 + "0" + "0" * 12
    assert bits_of_literal(0x7F) == "01111111"
    assert bits_of_literal(0x80) == "100000000"


def test_compressed_octets(link: Link) -> None:
    """Octets that follow from the coding alone: literals, then one copy back over all of them."""
    text = b"for whom the bell tolls, "
    want = packed("".join(map(bits_of_literal, text)) + bits_of_copy(len(text), len(text)))
    assert link.compress([text + text]) == [(FLUSHED | COMPRESSED, want)]
    again = packed(bits_of_copy(2 * len(text), 2 * len(text)))
    ((header, octets),) = link.compress([text + text])
    assert header == COMPRESSED
    assert len(octets) <= len(again)
    assert link.expand([(FLUSHED | COMPRESSED, want), (header, octets)], 100) == [(lib.HR_OK, text + text)] * 2


def test_runs_overlap(link: Link) -> None:
    want = packed(bits_of_literal(0xAA) + bits_of_copy(1, 999))
    assert link.compress([b"\xaa" * 1000]) == [(FLUSHED | COMPRESSED, want)]
    assert link.expand([(FLUSHED | COMPRESSED, want)], 1000) == [(lib.HR_OK, b"\xaa" * 1000)]


@pytest.mark.parametrize("length", [3, 4, 7, 8, 15, 16, 63, 64, 120, 127, 128, 1000, 4095, 4096, 8000])
@pytest.mark.parametrize("distance", [1, 2, 63, 64, 65, 319, 320, 321, 1024])
def test_every_kind_of_copy(distance: int, length: int, link: Link) -> None:
    rng = random.Random(distance)
    octets = bytes(rng.randrange(256) for _ in range(distance))
    if distance + length > HISTORY:
        length = HISTORY - distance
    data = packed("".join(map(bits_of_literal, octets)) + bits_of_copy(distance, length))
    frame = (octets * (length // distance + 2))[: distance + length]
    assert link.expand([(FLUSHED | COMPRESSED, data)], 8192) == [(lib.HR_OK, frame)]


def text_like(rng: random.Random, length: int) -> bytes:
    words = [rng.randbytes(rng.randrange(2, 9)) for _ in range(rng.randrange(2, 40))]
    out = b""
    while len(out) < length:
        out += rng.choice(words) if rng.random() < 0.9 else rng.randbytes(3)
    return out[:length]


def test_a_long_session_both_ways(link: Link) -> None:
    rng = random.Random(1)
    slow = SlowReceiver()
    saved = fronts = raw = 0
    for _ in range(150):
        frames = [
            rng.randbytes(rng.randrange(1, 700)) if rng.random() < 0.1 else text_like(rng, rng.randrange(1, 1500))
            for _ in range(rng.randrange(1, 12))
        ]
        packets = link.compress(frames)
        assert [slow.expand(header, octets) for header, octets in packets] == frames
        assert link.expand(packets, 1500) == [(lib.HR_OK, f) for f in frames]
        saved += sum(map(len, frames)) - sum(len(octets) for _, octets in packets)
        fronts += sum(bool(header & FRONT) for header, _ in packets)
        raw += sum(not header & COMPRESSED for header, _ in packets)
    assert saved > 100_000
    assert fronts > 10
    assert raw > 10


def test_what_does_not_shrink_goes_as_it_is_and_flushes(link: Link) -> None:
    rng = random.Random(2)
    noise = rng.randbytes(500)
    (first, second, third) = link.compress([b"abcabcabc" * 9, noise, b"abcabcabc" * 9])
    assert first[0] == FLUSHED | COMPRESSED
    assert second == (0, noise)
    assert third == first
    assert link.compress([b""])[0] == (0, b"")


def test_a_reset_flushes(link: Link) -> None:
    (first,) = link.compress([b"abcd" * 50])
    (second,) = link.compress([b"abcd" * 50])
    assert second[0] == COMPRESSED
    lib.hr_mppc_reset_sender(link.handle)
    assert link.compress([b"abcd" * 50]) == [first]


@pytest.mark.parametrize("back", [False, True], ids=["front", "back"])
def test_every_length_between_guard_pages(back: bool) -> None:
    link = Link(small())
    rng = random.Random(3)
    for length in [*range(140), *range(140, 1600, 97), 4096, 8191, 8192]:
        frame = text_like(rng, length)
        packets = link.compress([frame], back=back)
        slot = len(frame) - len(packets[0][1])
        assert link.expand(packets, slot, back=back) == [(lib.HR_OK, frame)]


def test_frames_longer_than_the_history_stay_as_they_are(link: Link) -> None:
    assert link.compress([b"a" * 8193]) == [(FLUSHED, b"a" * 8193)]
    assert link.compress([b"a" * 100])[0][0] == FLUSHED | COMPRESSED


def status_of(link: Link, data: bytes, header: int = FLUSHED | COMPRESSED, room: int = 9000) -> int:
    return link.expand([(header, data)], room)[0][0]


HOSTILE = {
    "distance 0": bits_of_literal(65) * 5 + "1111" + "000000" + "0",
    "before the history": bits_of_literal(65) * 5 + bits_of_copy(6, 3),
    "far before the history": bits_of_literal(65) * 5 + bits_of_copy(8191, 3),
    "before an empty history": bits_of_copy(1, 3),
    "beyond all distances": bits_of_literal(65) * 5 + "110" + "1" * 13 + "0",
    "length above 8,191": bits_of_literal(65) + "1111000001" + "1" * 12 + "0" + "0" * 13,
    "ones for ever": bits_of_literal(65) + "1111000001" + "1" * 200,
    "history overrun": bits_of_literal(65) + bits_of_copy(1, 8191) + bits_of_copy(1, 3),
    "copy overruns": bits_of_literal(65) * 2 + bits_of_copy(1, 8191),
    "cut after 10": bits_of_literal(65) + "10000000",
    "cut in a distance": bits_of_literal(65) * 3 + "11110000",
    "cut in a long distance": bits_of_literal(65) * 3 + "1100000000000000",
    "cut in a length": bits_of_literal(65) * 4 + "1111000001" + "1110" + "10",
    "ones behind the end": bits_of_literal(65) * 3 + bits_of_literal(0x81) + "0000001",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_n162_hostile_streams(name: str, link: Link) -> None:
    bits = HOSTILE[name]
    data = bytes(int(bits[i : i + 8].ljust(8, "0"), 2) for i in range(0, len(bits), 8))
    with pytest.raises(Malformed):
        SlowReceiver().expand(FLUSHED | COMPRESSED, data)
    assert status_of(link, data) == lib.HR_DROP_MPPC_MALFORMED
    good = packed("".join(map(bits_of_literal, b"abc")))
    assert status_of(link, good, COMPRESSED) == lib.HR_DROP_MPPC_LOST
    assert status_of(link, b"abc", 0) == lib.HR_DROP_MPPC_LOST
    assert link.expand([(FLUSHED | COMPRESSED, good)], 100) == [(lib.HR_OK, b"abc")]


def test_before_the_first_flush_all_is_lost(link: Link) -> None:
    assert status_of(link, packed(bits_of_literal(65)), COMPRESSED) == lib.HR_DROP_MPPC_LOST
    assert status_of(link, b"x", FLUSHED) == lib.HR_OK
    assert status_of(link, packed(bits_of_literal(65)), COMPRESSED) == lib.HR_OK
    lib.hr_mppc_lose_receiver(link.handle)
    assert status_of(link, packed(bits_of_literal(65)), COMPRESSED) == lib.HR_DROP_MPPC_LOST


def test_output_stops_at_the_room(link: Link) -> None:
    data = packed(bits_of_literal(65) + bits_of_copy(1, 1499))
    assert status_of(link, data, room=1500 - len(data)) == lib.HR_OK
    assert status_of(link, data, room=1499 - len(data)) == lib.HR_DROP_ROOM
    assert status_of(link, packed(bits_of_literal(65)), COMPRESSED) == lib.HR_DROP_MPPC_LOST


def test_old_octets_behind_the_front_can_be_copied(link: Link) -> None:
    """A peer may refer across the front to what the round before has left, but not to what never was."""
    slow = SlowReceiver()
    text = bytes(range(33, 123))
    first = (FLUSHED | COMPRESSED, packed("".join(map(bits_of_literal, text))))
    back = (COMPRESSED | FRONT, packed(bits_of_literal(65) + bits_of_copy(HISTORY - 9, 20)))
    want = [slow.expand(*first), slow.expand(*back)]
    assert want[1] == b"A" + text[10:30]
    assert [frame for _, frame in link.expand([first, back], 200)] == want
    wild = packed(bits_of_literal(65) + bits_of_copy(HISTORY - 80, 20))
    assert status_of(link, wild, COMPRESSED | FRONT) == lib.HR_DROP_MPPC_MALFORMED


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=300),
            st.builds(lambda a, n: (a * n)[:2000], st.binary(min_size=1, max_size=20), st.integers(1, 400)),
        ),
        max_size=8,
    )
)
def test_any_frames_come_back(frames: list[bytes]) -> None:
    link, slow = Link(small()), SlowReceiver()
    packets = link.compress(frames)
    assert [slow.expand(header, octets) for header, octets in packets] == frames
    assert link.expand(packets, 2000) == [(lib.HR_OK, f) for f in frames]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([0x2000, 0x6000, 0xA000, 0xE000, 0x0000, 0x8000]), st.binary(max_size=120)), max_size=6)
)
def test_any_octets_are_expanded_as_by_the_book_or_refused(packets: list[tuple[int, bytes]]) -> None:
    link, slow, waiting = Link(small()), SlowReceiver(), True
    for header, octets in packets:
        ((status, frame),) = link.expand([(header, octets)], 10000 - len(octets))
        if header & FLUSHED:
            waiting = False
        if waiting:
            assert status == lib.HR_DROP_MPPC_LOST
            continue
        try:
            assert (status, frame) == (lib.HR_OK, slow.expand(header, octets))
        except Malformed:
            waiting = True
            assert status == lib.HR_DROP_MPPC_MALFORMED


def test_arguments(link: Link) -> None:
    batch: Any = PlainBatch(small(), [bytes(8)])
    batch.desc[0].session = 1
    assert lib.hr_mppc_compress_batch(link.array, 1, batch.batch) == lib.HR_E_ARGUMENT
    batch.desc[0].session = 0
    batch.desc[0].off = batch.batch.arena_len - 7
    assert lib.hr_mppc_expand_batch(link.array, 1, batch.batch) == lib.HR_E_DESCRIPTOR
    lib.hr_mppc_free(ffi.NULL)
