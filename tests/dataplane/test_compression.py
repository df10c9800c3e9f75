"""Compression in the pipeline: MPPC alone and under MPPE, Deflate, TCP/IP headers; losses, resets, bombs."""

from __future__ import annotations

import random
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dataplane.world import START_IN, START_OUT, World, ip4, ip4_out, sender, world
from tests.kernels.test_vj import tcp
from tests.oracle import ip, l2tp, mppe

from headrace.dataplane._native import ffi, lib
from headrace.dataplane.batch import Batch
from headrace.dataplane.native import DataPlaneError
from headrace.dataplane.tables import DataPlane, PeerConfig, SessionConfig
from headrace.model import Compression, Compressor, Endpoint, MppeKeys, MppePolicy, VjSlots

if TYPE_CHECKING:
    from collections.abc import Iterator

FLUSHED, FRONT, COMPRESSED, ENCRYPTED = 0x8000, 0x4000, 0x2000, 0x1000
MPPC = Compressor(Compression.MPPC)
DEFLATE = Compressor(Compression.DEFLATE)
SILENT = ip.ip4(b"\x00" * 1200)
NOISE = ip.ip4(random.Random(1).randbytes(1200))
RESET_REQUEST, RESET_ACK = 14, 15
END = b"\x00\x00\xff\xff"


def text_in(n: int) -> bytes:
    return ip.ip4(b"all work and no play makes Jack a dull boy " * 10 + bytes([n]))


def text_out(n: int) -> bytes:
    return ip.ip4(b"it was a dark and stormy night in the tunnel " * 10 + bytes([n]), "192.0.2.7", "10.9.0.2")


class FarMppc:
    """The peer's MPPC, both directions; the coding itself has tests of its own against a slow reader."""

    def __init__(self) -> None:
        self.link: Any = ffi.gc(lib.hr_mppc_new(), lib.hr_mppc_free)
        self.links = ffi.new("struct hr_mppc *[]", [self.link])
        self.batch = Batch(1, slot=20000)

    def compress(self, frame: bytes) -> tuple[int, bytes]:
        self.batch.load([frame], lib.HR_KIND_PPP, session=0)
        assert lib.hr_mppc_compress_batch(self.links, 1, self.batch.pointer) == 0
        return int(self.batch.desc["seq"][0]), self.batch.packet(0)

    def expand(self, bits: int, octets: bytes) -> bytes:
        self.batch.load([octets], lib.HR_KIND_PPP, session=0)
        self.batch.desc["seq"][0] = bits
        assert lib.hr_mppc_expand_batch(self.links, 1, self.batch.pointer) == 0
        assert self.batch.statuses() == ["ok"]
        return self.batch.packet(0)


class FarDeflate:
    """The peer's Deflate by Python's own zlib, read and written as RFC 1979 says."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        self.inflate = zlib.decompressobj(-15)
        self.sent = self.received = 0

    def seal(self, frame: bytes) -> bytes:
        """What follows 00fd."""
        data = self.deflate.compress(frame.removeprefix(b"\0")) + self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.sent += 1
        return (self.sent - 1).to_bytes(2) + data.removesuffix(END)

    def open(self, octets: bytes) -> bytes:
        assert int.from_bytes(octets[:2]) == self.received
        self.received += 1
        return b"\0" + self.inflate.decompress(octets[2:] + END)


def wrap(w: World, octets: bytes) -> bytes:
    return w.theirs.seal(w.frame_in(l2tp.ppp(0xFD, octets)))


def frames_out(w: World, packets: list[bytes], kind: int = lib.HR_KIND_IP) -> list[bytes]:
    """The PPP frames behind address and control of what we send."""
    out = w.encap(packets, kind)
    assert [status for status, _ in out] == ["ok"] * len(packets)
    frames = [w.unwrap(packet) for _, packet in out]
    assert all(frame.startswith(b"\xff\x03") for frame in frames)
    return [frame[2:] for frame in frames]


@pytest.fixture
def w() -> Iterator[World]:
    with world() as made:
        yield made


def compress(w: World, compressor: Compressor) -> None:
    for outbound in (False, True):
        w.plane.set_compression(w.session, compressor, outbound=outbound)


def mppc_in(far: FarMppc, count: int, packet: bytes) -> bytes:
    bits, octets = far.compress(b"\x00\x21" + packet)
    return (bits | count).to_bytes(2) + octets


# --- MPPC alone ---


def test_mppc_alone_both_ways(w: World) -> None:
    compress(w, MPPC)
    far = FarMppc()
    packets = [text_in(n) for n in range(60)]  # more than once around the history
    received = w.decap([wrap(w, mppc_in(far, n, packet)) for n, packet in enumerate(packets)])
    assert received == [("ok", packet) for packet in packets]
    assert not any(int(flags) & lib.HR_FLAG_MPPE for flags in w.batch.desc["flags"][:60])
    packets = [text_out(n) for n in range(60)]
    frames = frames_out(w, packets)
    assert all(len(frame) < 120 for frame in frames[1:] if not int.from_bytes(frame[2:4]) & FRONT)
    assert [int.from_bytes(frame[2:4]) & 0xFFF for frame in frames] == list(range(60))
    assert int.from_bytes(frames[0][2:4]) & FLUSHED
    opened = [far.expand(int.from_bytes(frame[2:4]) & 0xF000, frame[4:]) for frame in frames]
    assert opened == [b"\x00\x21" + packet for packet in packets]


def test_mppc_sends_noise_as_it_is_and_begins_anew_behind_it(w: World) -> None:
    compress(w, MPPC)
    noise = ip.ip4(random.Random(1).randbytes(1200), "192.0.2.7", "10.9.0.2")
    frames = frames_out(w, [text_out(0), noise, text_out(1), text_out(2)])
    bits = [int.from_bytes(frame[2:4]) & 0xF000 for frame in frames]
    assert bits == [FLUSHED | COMPRESSED, 0, FLUSHED | COMPRESSED, COMPRESSED]
    assert frames[1] == b"\x00\xfd\x00\x01\x00\x21" + noise
    far = FarMppc()
    assert [far.expand(b, frame[4:])[2:] for b, frame in zip(bits, frames, strict=True)] == [
        text_out(0),
        noise,
        text_out(1),
        text_out(2),
    ]


def test_packets_beside_mppc_pass(w: World) -> None:
    compress(w, MPPC)
    assert w.decap1(w.wire(ip4())) == ("ok", ip4())


def test_mppc_loss_asks_for_a_reset_and_waits_for_the_flush(w: World) -> None:
    compress(w, MPPC)
    far = FarMppc()
    sealed = [mppc_in(far, n, text_in(n)) for n in range(4)]
    assert w.decap1(wrap(w, sealed[0]))[0] == "ok"
    assert w.decap1(wrap(w, sealed[2]))[0] == "drop_mppe_lost"
    assert w.decap1(wrap(w, sealed[3]))[0] == "drop_mppe_lost"
    assert [event.what for event in w.plane.events()] == ["exc_mppe_reset"]
    lib.hr_mppc_reset_sender(far.link)
    assert w.decap1(wrap(w, mppc_in(far, 9, text_in(9)))) == ("ok", text_in(9))
    assert w.decap1(wrap(w, mppc_in(far, 10, text_in(10)))) == ("ok", text_in(10))


def test_our_answer_to_a_reset_is_a_flush(w: World) -> None:
    compress(w, MPPC)
    frames_out(w, [text_out(0), text_out(1)])
    w.plane.flush_mppe(w.session)
    (frame,) = frames_out(w, [text_out(2)])
    assert int.from_bytes(frame[2:4]) == FLUSHED | COMPRESSED | 2
    assert FarMppc().expand(FLUSHED | COMPRESSED, frame[4:])[2:] == text_out(2)


@pytest.mark.parametrize("octets", [b"\xff\xff\xff", b"\xf0\x00", b"\xc0\x00\x00", b"\x00\xf0"])
def test_n162_malformed_mppc(w: World, octets: bytes) -> None:
    compress(w, MPPC)
    assert w.decap1(wrap(w, b"\xa0\x00" + octets))[0] == "drop_mppc_malformed"
    assert [event.what for event in w.plane.events()] == ["exc_mppe_reset"]
    assert w.decap1(wrap(w, mppc_in(FarMppc(), 1, text_in(1)))) == ("ok", text_in(1))  # A heals


def test_mppc_bombs_stop_at_what_a_peer_may_send(w: World) -> None:
    w.update(recv_mru=1500)
    compress(w, MPPC)
    far = FarMppc()
    longest = ip.ip4(bytes(1480))
    assert len(longest) == 1500
    assert w.decap1(wrap(w, mppc_in(far, 0, longest))) == ("ok", longest)
    bits, octets = far.compress(b"\x00\x21" + bytes(5000))
    assert len(octets) < 20
    assert w.decap1(wrap(w, (bits | 1).to_bytes(2) + octets))[0] == "drop_mppc_malformed"


@pytest.mark.parametrize("spare", [0, 4 * 1800])
def test_expanded_frames_use_the_spare_room_of_the_batch(w: World, spare: int) -> None:
    compress(w, MPPC)
    far = FarMppc()
    raw = bytearray(3 * 240 + 4 * 1800)
    descs = ffi.new("struct hr_desc[3]")
    for n in range(3):
        lib.hr_mppc_reset_sender(far.link)
        packet = wrap(w, mppc_in(far, n, SILENT))
        raw[n * 240 : n * 240 + len(packet)] = packet
        descs[n].off, descs[n].len, descs[n].kind = n * 240, len(packet), lib.HR_KIND_UDP4500
        descs[n].room_tail = 240 - len(packet)
    arena = ffi.from_buffer("uint8_t[]", raw, require_writable=True)
    batch = ffi.new("struct hr_batch *", {"arena": arena, "arena_len": len(raw), "desc": descs, "n": 3})
    batch.spare_off, batch.spare_len = 3 * 240, spare
    assert lib.hr_decap(w.plane.handle, batch, 1) == 0
    for n in range(3):
        assert descs[n].status == (lib.HR_OK if spare else lib.HR_DROP_ROOM)
        if spare:
            at = descs[n].off
            assert at >= 3 * 240
            assert bytes(raw[at : at + descs[n].len]) == SILENT
    batch.n = 0
    batch.spare_off = len(raw)
    assert lib.hr_decap(w.plane.handle, batch, 1) == (lib.HR_E_ARGUMENT if spare else 0)


# --- MPPC under MPPE ---


def both(w: World, *, stateless: bool, bits: int = 128) -> None:
    w.plane.set_mppe(w.session, MppeKeys(False, bits, stateless, START_IN, mppc=True))
    w.plane.set_mppe(w.session, MppeKeys(True, bits, stateless, START_OUT, mppc=True))


class FarBoth:
    """A peer with MPPC under MPPE, by the RFC."""

    def __init__(self, *, stateless: bool, bits: int = 128) -> None:
        self.stateless = stateless
        self.mppc = FarMppc()
        self.send = sender(bits=bits, stateless=stateless)
        self.key = mppe.Key(START_OUT, bits)
        self.stream: Any = None

    def seal(self, frame: bytes) -> bytes:
        flag = self.send.count & 0xFF == 0xFF
        if self.stateless or self.send.reset or flag:
            lib.hr_mppc_reset_sender(self.mppc.link)
        bits, octets = self.mppc.compress(frame)
        self.send.reset = bool(bits & FLUSHED)
        sealed = self.send.seal(octets)
        return (int.from_bytes(sealed[:2]) | bits).to_bytes(2) + sealed[2:]

    def open(self, octets: bytes) -> bytes:
        header = int.from_bytes(octets[:2])
        assert header & ENCRYPTED
        if self.stateless or header & 0xFF == 0xFF:
            self.key.change()
        if self.stateless or header & FLUSHED:
            self.stream = mppe.rc4(self.key.current)
        return self.mppc.expand(header & 0xE000, bytes(self.stream.update(octets[2:])))


@pytest.mark.parametrize("bits", [40, 56, 128])
@pytest.mark.parametrize("stateless", [True, False])
def test_mppc_under_mppe_both_ways(w: World, stateless: bool, bits: int) -> None:
    both(w, stateless=stateless, bits=bits)
    far = FarBoth(stateless=stateless, bits=bits)
    chance = random.Random(3)
    for _ in range(4):  # past a flag packet
        packets = [NOISE if chance.random() < 0.1 else text_in(n) for n in range(80)]
        received = w.decap([wrap(w, far.seal(b"\x00\x21" + packet)) for packet in packets])
        assert received == [("ok", packet) for packet in packets]
        assert all(int(flags) & lib.HR_FLAG_MPPE for flags in w.batch.desc["flags"][:80])
        noise = ip.ip4(chance.randbytes(900), "192.0.2.7", "10.9.0.2")
        packets = [noise if chance.random() < 0.1 else text_out(n) for n in range(80)]
        frames = frames_out(w, packets)
        assert min(len(frame) for frame in frames) < (150 if stateless else 100)
        assert [far.open(frame[2:]) for frame in frames] == [b"\x00\x21" + packet for packet in packets]


def test_loss_under_stateful_mppe_with_mppc(w: World) -> None:
    both(w, stateless=False)
    far = FarBoth(stateless=False)
    sealed = [far.seal(b"\x00\x21" + text_in(n)) for n in range(5)]
    assert [w.decap1(wrap(w, sealed[n]))[0] for n in (0, 1, 3, 4)] == ["ok", "ok", "drop_mppe_lost", "drop_mppe_lost"]
    assert [event.what for event in w.plane.events()] == ["exc_mppe_reset"]
    far.send.reset = True
    assert w.decap1(wrap(w, far.seal(b"\x00\x21" + text_in(7)))) == ("ok", text_in(7))
    assert w.decap1(wrap(w, far.seal(b"\x00\x21" + text_in(8)))) == ("ok", text_in(8))


def test_loss_under_stateless_mppe_with_mppc_costs_nothing_else(w: World) -> None:
    both(w, stateless=True)
    far = FarBoth(stateless=True)
    sealed = [far.seal(b"\x00\x21" + text_in(n)) for n in range(5)]
    assert [w.decap1(wrap(w, sealed[n])) for n in (0, 3, 4)] == [("ok", text_in(n)) for n in (0, 3, 4)]
    assert w.plane.events() == []


def test_mppc_bits_without_mppc(w: World) -> None:
    w.open_mppe()
    assert w.decap1(wrap(w, b"\xb0\x00" + bytes(40)))[0] == "drop_mppe_header"


def test_clear_and_merely_compressed_packets_where_mppe_is_up(w: World) -> None:
    both(w, stateless=True)
    assert w.decap1(w.wire(ip4()))[0] == "drop_mppe_cleartext"
    assert w.decap1(wrap(w, mppc_in(FarMppc(), 0, text_in(0))))[0] == "drop_mppe_header"


@pytest.mark.parametrize("compressor", [MPPC, DEFLATE])
def test_compression_is_no_encryption(w: World, compressor: Compressor) -> None:
    """With the policy "required" nothing that is only compressed comes in or goes out."""
    w.update(mppe_policy=MppePolicy.REQUIRED)
    compress(w, compressor)
    octets = mppc_in(FarMppc(), 0, text_in(0)) if compressor is MPPC else FarDeflate().seal(b"\x00\x21" + text_in(0))
    assert w.decap1(wrap(w, octets))[0] == "drop_mppe_cleartext"
    assert w.decap1(w.wire(ip4()))[0] == "drop_mppe_cleartext"
    assert w.encap([ip4_out()])[0][0] == "drop_mppe_not_open"


def test_encrypted_header_where_there_is_compression_alone(w: World) -> None:
    compress(w, MPPC)
    assert w.decap1(wrap(w, b"\x90\x00" + bytes(40)))[0] == "drop_mppe_header"


def test_export_and_import_of_mppe_with_mppc(w: World) -> None:
    both(w, stateless=False)
    frames_out(w, [text_out(n) for n in range(9)])
    record = w.plane.export_mppe(w.session, outbound=True)
    assert record is not None
    assert record.keys.mppc
    w.plane.import_mppe(w.session, record.leap(100))
    (frame,) = frames_out(w, [text_out(3)])
    assert int.from_bytes(frame[2:4]) & FLUSHED


# --- Deflate ---


@pytest.fixture
def d(w: World) -> World:
    compress(w, DEFLATE)
    return w


def test_deflate_both_ways(d: World) -> None:
    far = FarDeflate()
    packets = [text_in(n) for n in range(80)]
    assert d.decap([wrap(d, far.seal(b"\x00\x21" + packet)) for packet in packets]) == [("ok", packet) for packet in packets]
    packets = [text_out(n) for n in range(80)]
    frames = frames_out(d, packets)
    assert all(frame.startswith(b"\x00\xfd") for frame in frames)
    assert max(len(frame) for frame in frames[1:]) < 60
    assert [far.open(frame[2:]) for frame in frames] == [b"\x00\x21" + packet for packet in packets]


def test_deflate_leaves_noise_alone_but_not_out_of_the_history(d: World) -> None:
    noise = ip.ip4(random.Random(1).randbytes(1200), "192.0.2.7", "10.9.0.2")
    frames = frames_out(d, [text_out(0), noise, text_out(1), noise])
    assert [frame[:2] for frame in frames] == [b"\x00\xfd", b"\x00\x21", b"\x00\xfd", b"\x00\xfd"]
    assert frames[1][2:] == noise
    assert [int.from_bytes(frames[n][2:4]) for n in (0, 2, 3)] == [0, 2, 3]


def test_deflate_takes_frames_in_their_own_form_into_the_history(d: World) -> None:
    far = FarDeflate()
    first = far.seal(b"\x00\x21" + text_in(0))
    far.seal(b"\x00\x21" + NOISE)  # and sends it as it is
    behind = far.seal(b"\x00\x21" + NOISE)  # a copy of that
    assert len(behind) < 100
    wires = [wrap(d, first), d.wire(NOISE), wrap(d, behind)]
    assert d.decap(wires) == [("ok", text_in(0)), ("ok", NOISE), ("ok", NOISE)]


def test_n163_deflate_gap_reset_and_recovery(d: World) -> None:
    far = FarDeflate()
    sealed = [far.seal(b"\x00\x21" + text_in(n)) for n in range(4)]
    assert [d.decap1(wrap(d, sealed[n]))[0] for n in (0, 2, 3)] == ["ok", "drop_deflate_lost", "drop_deflate_lost"]
    assert [event.what for event in d.plane.events()] == ["exc_mppe_reset"]
    assert d.decap1(d.wire(ip4())) == ("ok", ip4())  # what stands by itself passes
    request = b"\x80\xfd" + bytes([RESET_REQUEST, 7, 0, 4])
    assert frames_out(d, [request], lib.HR_KIND_PPP) == [request]
    far.reset()
    again = far.seal(b"\x00\x21" + text_in(9))
    stranger = d.theirs.seal(d.frame_in(l2tp.ppp(0x80FD, bytes([RESET_ACK, 8, 0, 4]))))
    assert d.decap1(stranger)[0] == "exc_ppp"
    assert d.decap1(wrap(d, again))[0] == "drop_deflate_lost"
    ack = d.frame_in(l2tp.ppp(0x80FD, bytes([RESET_ACK, 7, 0, 4])))
    received = d.decap([d.theirs.seal(ack), wrap(d, again)])  # in one batch: the order decides
    assert [status for status, _ in received] == ["exc_ppp", "ok"]
    assert received[1][1] == text_in(9)
    assert d.decap1(d.theirs.seal(ack))[0] == "exc_ppp"  # replayed: resets nothing
    assert d.decap1(wrap(d, far.seal(b"\x00\x21" + text_in(10)))) == ("ok", text_in(10))


def test_our_reset_ack_resets_our_deflate_where_it_passes(d: World) -> None:
    far = FarDeflate()
    frames_out(d, [text_out(0), text_out(1)])
    ack = b"\x80\xfd" + bytes([RESET_ACK, 3, 0, 4])
    assert frames_out(d, [ack], lib.HR_KIND_PPP) == [ack]
    (frame,) = frames_out(d, [text_out(2)])
    assert far.open(frame[2:]) == b"\x00\x21" + text_out(2)


def test_n163_deflate_bombs_and_nonsense(d: World) -> None:
    far = FarDeflate()
    bomb = far.seal(b"\x00\x21" + bytes(60000))
    assert len(bomb) < 100
    assert d.decap1(wrap(d, bomb))[0] == "drop_deflate_malformed"
    for octets in (b"\x00\x00\xff", b"\x00\x00\x07", b"\x00\x00\x01\x05\x00\x00\x00", b"\x00\x00\x03\x00"):
        compress(d, DEFLATE)
        assert d.decap1(wrap(d, octets))[0] == "drop_deflate_malformed", octets
    assert d.decap1(wrap(d, b"\x00\x00"))[0] == "drop_mppe_header"


def test_deflate_windows(w: World) -> None:
    for window in range(9, 16):
        compress(w, Compressor(Compression.DEFLATE, window=window))
        far = FarDeflate()
        frames = frames_out(w, [text_out(n) for n in range(3)])
        assert [far.open(frame[2:])[2:] for frame in frames] == [text_out(n) for n in range(3)]
    for window in (8, 16, 300):
        with pytest.raises(DataPlaneError):
            compress(w, Compressor(Compression.DEFLATE, window=window))


def test_closed_compression_is_closed(d: World) -> None:
    d.plane.close_mppe(d.session, outbound=False)
    assert d.decap1(wrap(d, FarDeflate().seal(b"\x00\x21" + text_in(0))))[0] == "drop_mppe_not_open"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.binary(max_size=300), max_size=20), st.sampled_from([MPPC, DEFLATE]), st.integers(0, 2**32))
def test_anything_at_all_into_expansion(frames: list[bytes], compressor: Compressor, seed: int) -> None:
    """Every frame ends with a status, none grows beyond the bound, and a flush or reset is always believed afterwards."""
    chance = random.Random(seed)
    with world() as made:
        compress(made, compressor)
        far: Any = FarMppc() if compressor is MPPC else FarDeflate()
        for n, octets in enumerate(frames):
            head = chance.choice([0, 0xA000, 0x2000, 0x6000, 0xE000, 0x8000]) | n if compressor is MPPC else n
            good = mppc_in(far, n, text_in(n)) if compressor is MPPC else far.seal(b"\x00\x21" + text_in(n))
            tampered = bytearray(good)
            tampered[chance.randrange(len(good))] ^= 1 << chance.randrange(8)
            octets_in = chance.choice([head.to_bytes(2) + octets, good, bytes(tampered)])
            ((status, out),) = made.decap([wrap(made, octets_in)])
            assert status in {
                "ok",
                "exc_ppp",
                "drop_mppe_header",
                "drop_mppe_stale",
                "drop_mppe_lost",
                "drop_mppc_malformed",
                "drop_mppc_lost",
                "drop_deflate_malformed",
                "drop_deflate_lost",
                "drop_ppp_short",
                "drop_ppp_header",
                "drop_ip_malformed",
                "drop_spoofed_source",
                "drop_loop",
                "drop_ppp_not_open",
            }
            assert len(out) <= 2 + 1506


# --- TCP/IP headers ---


def tcp_in(n: int, size: int = 100) -> bytes:
    return tcp_packet("10.9.0.2", "192.0.2.7", n, size)


def tcp_packet(source: str, destination: str, n: int, size: int) -> bytes:
    packet = bytearray(tcp(seq=n * size, ident=n, data=bytes([n]) * size))
    fresh = ip.ip4(bytes(packet[20:]), source, destination, protocol=6)
    head = bytearray(fresh[:20])
    head[4:6] = n.to_bytes(2)
    head[10:12] = b"\0\0"
    head[10:12] = ip.checksum(bytes(head)).to_bytes(2)
    segment = bytearray(fresh[20:])
    segment[16:18] = b"\0\0"
    pseudo = bytes(head[12:20]) + b"\x00\x06" + len(segment).to_bytes(2)
    segment[16:18] = ip.checksum(pseudo + bytes(segment)).to_bytes(2)
    return bytes(head + segment)


@pytest.mark.parametrize("method", ["clear", "mppe", "mppc", "deflate"])
def test_headers_both_ways(w: World, method: str) -> None:
    """Our own sender against our own receiver: two worlds."""
    with world() as other:
        for made in (w, other):
            made.plane.set_vj(made.session, VjSlots(16, 16))
            if method == "mppe":
                made.plane.set_mppe(made.session, MppeKeys(True, 128, True, START_OUT))
                made.plane.set_mppe(made.session, MppeKeys(False, 128, True, START_OUT))
            elif method != "clear":
                compress(made, MPPC if method == "mppc" else DEFLATE)
        packets = [tcp_packet("10.9.0.2", "192.0.2.7", n, 100) for n in range(30)]
        w.update(own4=None)
        frames = frames_out(w, packets)
        assert sum(map(len, frames)) < sum(map(len, packets)) - 29 * 25
        wires = [other.theirs.seal(other.frame_in(b"\xff\x03" + frame)) for frame in frames]
        assert other.decap(wires) == [("ok", packet) for packet in packets]


def test_n151_compressed_headers_that_were_not_negotiated(w: World) -> None:
    for protocol in (0x2D, 0x2F):
        assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(protocol, tcp_in(1)))))[0] == "drop_ppp_header"
    w.plane.set_vj(w.session, VjSlots(0, 16))
    whole = tcp_in(1)[:9] + b"\x03" + tcp_in(1)[10:]
    assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x2F, whole)))) == ("ok", tcp_in(1))
    w.plane.set_vj(w.session, VjSlots())
    assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x2F, whole))))[0] == "drop_ppp_header"


def test_compressed_headers_obey_the_policy_and_the_source_check(w: World) -> None:
    w.plane.set_vj(w.session, VjSlots(16, 16))
    whole = tcp_in(1)[:9] + b"\x03" + tcp_in(1)[10:]
    w.update(mppe_policy=MppePolicy.REQUIRED)
    assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x2F, whole))))[0] == "drop_mppe_cleartext"
    w.update(mppe_policy=MppePolicy.WHEN_OPEN, open4=False)
    assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x2F, whole))))[0] == "drop_ppp_not_open"
    w.update(open4=True)
    strange = tcp_packet("10.9.0.99", "192.0.2.7", 1, 10)
    strange = strange[:9] + b"\x03" + strange[10:]
    assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x2F, strange))))[0] == "drop_spoofed_source"
    assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x2D, b"\x40\x0a\x00\x00"))))[0] == "drop_vj_lost"
    assert w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x2D, b"\xc0"))))[0] == "drop_vj_malformed"


def test_slots_out_of_range(w: World) -> None:
    for slots in (VjSlots(17, 1), VjSlots(1, 17), VjSlots(-1, 1)):
        with pytest.raises(DataPlaneError):
            w.plane.set_vj(w.session, slots)


# --- a line of its own ---


def on_line(plane: DataPlane) -> int:
    peer = plane.add_peer(PeerConfig(Endpoint.of("127.0.0.1", 1), clear=True))
    return plane.add_session(SessionConfig(peer, 1, 1, 1, 1, open4=True, default_route=True))


def test_line_both_ways() -> None:
    """A session without L2TP: frames out, frames in, control frames past them; and its compression and encryption."""
    with DataPlane(max_peers=1, max_sas=1, max_sessions=1, allow_clear_l2tp=True) as plane:
        session = on_line(plane)
        plane.set_mppe(session, MppeKeys(True, 128, False, START_IN, mppc=True))
        plane.set_mppe(session, MppeKeys(False, 128, False, START_IN, mppc=True))
        plane.set_vj(session, VjSlots(16, 16, omit_slot=True))
        lcp = b"\xc0\x21\x09\x01\x00\x08\x00\x00\x00\x00"
        packets = [tcp_packet("10.9.0.2", "192.0.2.7", n, 100) for n in range(5)]
        batch = Batch(8)
        batch.load([*packets, lcp], lib.HR_KIND_IP, session=session)
        batch.desc["kind"][5] = lib.HR_KIND_PPP
        plane.line_encap(batch, 5)
        assert batch.statuses() == ["ok"] * 6
        assert batch.kinds() == ["ppp"] * 6
        frames = batch.packets()
        assert frames[5] == b"\xff\x03" + lcp
        assert len(frames[4]) < 30
        batch.load(frames, lib.HR_KIND_PPP, session=session)
        plane.line_decap(batch, 6)
        assert list(zip(batch.statuses(), batch.packets(), strict=True)) == [
            *(("ok", packet) for packet in packets),
            ("exc_ppp", lcp),
        ]
        stats = plane.session_stats(session)
        assert (stats.rx_packets, stats.tx_packets, stats.last_tx_ns, stats.last_rx_ns) == (5, 5, 5, 6)
        batch.load([b"\xff\x03\x00\x21" + ip4(), b"", b"\xff\x03", b"\x00"], lib.HR_KIND_PPP, session=session)
        plane.line_decap(batch, 7)
        assert batch.statuses() == ["drop_mppe_cleartext", "drop_ppp_short", "drop_ppp_short", "drop_ppp_short"]
        batch.load([b"\x21" + ip4()], lib.HR_KIND_PPP, session=7)
        plane.line_decap(batch, 7)
        assert batch.statuses() == ["drop_l2tp_session"]
        batch.load([b"\x21" + ip4()], lib.HR_KIND_PPP, session=session)
        batch.desc["room_head"][0] = 1
        plane.line_decap(batch, 7)
        assert batch.statuses() == ["drop_room"]
