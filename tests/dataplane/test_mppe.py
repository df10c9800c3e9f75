"""MPPE in the pipeline, against peers that read RFC 3078 as written and as Linux does."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import Any

import pytest
from tests.dataplane.world import START_IN, START_OUT, World, ip4, ip4_out, receiver, sender, world
from tests.oracle import ip, l2tp, mppe

from headrace.dataplane.native import lib
from headrace.dataplane.tables import SessionConfig
from headrace.model import MppeKeys, MppePolicy

BITS = (40, 56, 128)


def wrap(w: World, sealed: bytes, **fields: Any) -> bytes:
    """An MPPE frame from the peer as a whole packet."""
    return w.theirs.seal(w.frame_in(l2tp.ppp(0xFD, sealed)), **fields)


def wire(w: World, peer: mppe.Sender, packet: bytes, protocol: int = 0x21) -> bytes:
    return wrap(w, peer.seal(protocol.to_bytes(2) + packet))


def frames_out(w: World, packets: list[bytes], session: int | None = None) -> list[bytes]:
    """What follows the MPPE protocol field in the packets that we send."""
    out = w.encap(packets, session=session)
    assert [status for status, _ in out] == ["ok"] * len(packets)
    frames = [l2tp.parse_data(w.open_esp(packet)).frame for _, packet in out]
    assert all(frame.startswith(b"\xff\x03\x00\xfd") for frame in frames)
    return [frame[4:] for frame in frames]


# --- stateless ---


@pytest.mark.parametrize("bits", BITS)
def test_stateless_both_ways(bits: int) -> None:
    with world() as w:
        w.open_mppe(bits=bits)
        peer, far = sender(bits=bits), receiver(bits=bits)
        for _ in range(3):
            packets = [ip4(n * 3) for n in range(50)]
            assert w.decap([wire(w, peer, packet) for packet in packets]) == [("ok", packet) for packet in packets]
            assert all(int(flags) & lib.HR_FLAG_MPPE for flags in w.batch.desc["flags"][:50])
            packets = [ip4_out(n * 3) for n in range(50)]
            assert [far.open(frame) for frame in frames_out(w, packets)] == [b"\x00\x21" + packet for packet in packets]


def test_counts_wrap() -> None:
    with world(window=4096) as w:
        w.open_mppe()
        peer, far = sender(), receiver()
        for _ in range(10):
            assert {status for status, _ in w.decap([wire(w, peer, ip4(0)) for _ in range(500)])} == {"ok"}
            assert {far.open(frame) for frame in frames_out(w, [ip4_out(0)] * 500)} == {b"\x00\x21" + ip4_out(0)}
        assert peer.count == far.count == 5000 % 4096


def test_packets_lost_before_a_stateless_one() -> None:
    with world() as w:
        w.open_mppe()
        peer = sender()

        def lose(n: int) -> None:
            for _ in range(n):
                wire(w, peer, ip4())

        for missing in (0, 1, 255, 700, 2000, 4094, 3):
            lose(missing)
            assert w.decap1(wire(w, peer, ip4(missing % 99))) == ("ok", ip4(missing % 99)), missing


def test_counts_behind() -> None:
    with world() as w:
        w.open_mppe()
        peer = sender()
        packets = [wire(w, peer, ip4(n)) for n in range(40)]
        assert [
            s for s, _ in w.decap([packets[1], packets[0], packets[2], packets[30], packets[29], packets[3], packets[31]])
        ] == [
            "ok",
            "drop_mppe_stale",
            "ok",
            "ok",
            "drop_mppe_stale",
            "drop_mppe_stale",
            "ok",
        ]


def test_counts_behind_by_half_of_the_circle_are_told_by_esp() -> None:
    """An old packet whose count looks ahead must not drag the keys away."""
    with world(window=4096) as w:
        w.open_mppe()
        peer = sender()
        old = wire(w, peer, ip4())
        for _ in range(3000):
            wire(w, peer, ip4())
        assert w.decap1(wire(w, peer, ip4()))[0] == "ok"
        assert w.decap1(old)[0] == "drop_mppe_stale"
        assert w.decap1(wire(w, peer, ip4()))[0] == "ok"


def test_a_peer_that_skips_counts_all_the_time_gets_no_more_than_its_share() -> None:
    with world() as w:
        w.open_mppe()
        key = mppe.Key(START_IN, 128)
        count, got = 0, []
        for n in range(8):
            key.change(2000)
            count = (count + 1999) % 4096
            sealed = (0x9000 | count).to_bytes(2) + mppe.rc4(key.current).update(b"\x00\x21" + ip4())
            count = (count + 1) % 4096
            got.append(w.decap1(wrap(w, sealed, seq=2100 * (n + 1)))[0])
            if got[-1] != "ok":
                break
        assert got == ["ok"] * 5 + ["drop_mppe_lost"]
        w.now += 10**9
        assert w.decap1(wrap(w, sealed, seq=2100 * 20))[0] == "ok"


def test_short_frames_and_impossible_bits() -> None:
    with world() as w:
        w.open_mppe()
        good = sender().seal(b"\x00\x21" + ip4())
        for size in range(3):
            assert w.decap1(wrap(w, good[:size]))[0] == "drop_mppe_header"
        for bits in (0x8000, 0x0000, 0x9000 | 0x2000, 0x9000 | 0x4000, 0xF000, 0x6000):
            assert w.decap1(wrap(w, bits.to_bytes(2) + good[2:]))[0] == "drop_mppe_header"
        assert w.decap1(wrap(w, (0x1000).to_bytes(2) + good[2:]))[0] == "drop_mppe_header", "stateless without A"
        assert w.decap1(wrap(w, good)) == ("ok", ip4())


def test_compressed_protocol_fields_inside_and_outside() -> None:
    with world(send_pfc=True, send_acfc=True) as w:
        w.open_mppe()
        peer, far = sender(), receiver()
        frame = l2tp.ppp(0xFD, peer.seal(b"\x21" + ip4()), acfc=True, pfc=True)
        assert w.decap1(w.theirs.seal(w.frame_in(frame))) == ("ok", ip4())
        ((_, packet),) = w.encap([ip4_out()])
        frame = w.unwrap(packet)
        assert frame[:1] == b"\xfd"
        assert far.open(frame[1:]) == b"\x21" + ip4_out()


def test_ipv6_is_encrypted_too() -> None:
    with world() as w:
        w.open_mppe()
        six = ip.ip6(b"hello")
        assert w.decap1(wire(w, sender(), six, 0x57)) == ("ok", six)
        out = ip.ip6(b"hello", "fd00::1", "2001:db8:9::2")
        assert receiver().open(frames_out(w, [out])[0]) == b"\x00\x57" + out


# --- policy ---


def test_clear_text_where_encryption_is_required() -> None:
    with world(mppe_policy=MppePolicy.REQUIRED) as w:
        assert w.decap1(w.wire(ip4()))[0] == "drop_mppe_cleartext"
        assert w.encap([ip4_out()])[0][0] == "drop_mppe_not_open"
        assert w.decap1(wire(w, sender(), ip4()))[0] == "drop_mppe_not_open"
        w.open_mppe()
        assert w.decap1(w.wire(ip4()))[0] == "drop_mppe_cleartext"
        assert w.decap1(wire(w, sender(), ip4()))[0] == "ok"
        assert frames_out(w, [ip4_out()])
        w.plane.close_mppe(w.session, outbound=True)
        assert w.encap([ip4_out()])[0][0] == "drop_mppe_not_open"
        lcp = w.theirs.seal(w.frame_in(b"\xff\x03\xc0\x21\x09\x01\x00\x08abcd"))
        assert w.decap1(lcp)[0] == "exc_ppp", "control is never encrypted"


def test_clear_text_after_encryption_began() -> None:
    with world(mppe_policy=MppePolicy.WHEN_OPEN) as w:
        assert w.decap1(w.wire(ip4()))[0] == "ok"
        assert w.unwrap(w.encap([ip4_out()])[0][1]) == l2tp.ppp(0x21, ip4_out())
        w.open_mppe(outbound=False)
        assert w.decap1(w.wire(ip4()))[0] == "drop_mppe_cleartext"
        assert w.unwrap(w.encap([ip4_out()])[0][1]) == l2tp.ppp(0x21, ip4_out())
        w.open_mppe(inbound=False)
        assert frames_out(w, [ip4_out()])


def test_never() -> None:
    with world(mppe_policy=MppePolicy.NEVER) as w:
        w.open_mppe()
        assert w.decap1(wire(w, sender(), ip4()))[0] == "drop_mppe_not_open"
        assert w.decap1(w.wire(ip4()))[0] == "ok"
        assert w.unwrap(w.encap([ip4_out()])[0][1]) == l2tp.ppp(0x21, ip4_out())


def test_garbage_goes_up_so_that_it_can_be_counted() -> None:
    with world() as w:
        w.open_mppe()
        wrong = mppe.Sender(mppe.Key(bytes(16), 128), stateless=True)
        got = {w.decap1(wire(w, wrong, ip4(), 0x21))[0] for _ in range(60)}
        assert got <= {"exc_ppp", "drop_ip_malformed"}
        assert "exc_ppp" in got
        for _ in range(20):
            if w.decap1(wire(w, wrong, ip4()))[0] == "exc_ppp":
                assert int(w.batch.desc["flags"][0]) & lib.HR_FLAG_MPPE
                assert int(w.batch.desc["ppp_proto"][0]) == int.from_bytes(w.batch.packet(0)[:2])


# --- stateful ---


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("habit", ["rfc", "linux"])
def test_stateful_both_ways(bits: int, habit: str) -> None:
    with world(window=4096) as w:
        w.open_mppe(bits=bits, stateless=False)
        peer, far = sender(bits=bits, stateless=False, habit=habit), receiver(bits=bits, stateless=False, habit=habit)
        for _ in range(3):
            packets = [ip4(n % 50) for n in range(500)]
            assert w.decap([wire(w, peer, packet) for packet in packets]) == [("ok", packet) for packet in packets]
            packets = [ip4_out(n % 50) for n in range(500)]
            assert [far.open(frame) for frame in frames_out(w, packets)] == [b"\x00\x21" + packet for packet in packets]
        assert w.plane.events() == []


@pytest.mark.parametrize("habit", ["rfc", "linux"])
@pytest.mark.parametrize("lost", [1, 3, 100, 255, 256, 257, 600, 1999])
def test_a_loss_is_repaired_by_one_reset(habit: str, lost: int) -> None:
    with world(window=4096) as w:
        w.open_mppe(stateless=False)
        peer = sender(stateless=False, habit=habit)
        for _ in range(2):
            for n in range(10):
                assert w.decap1(wire(w, peer, ip4(n)))[0] == "ok"
            for _ in range(lost):
                wire(w, peer, ip4())
            assert w.decap1(wire(w, peer, ip4()))[0] in {"drop_mppe_lost", "ok"}
            while peer.count & 0xFF == 0xFF:
                w.decap1(wire(w, peer, ip4()))
            events = w.plane.events()
            if events:
                assert [(event.what, event.session, event.cookie) for event in events] == [("exc_mppe_reset", w.session, 99)]
                assert w.decap1(wire(w, peer, ip4()))[0] == "drop_mppe_lost"
                assert w.plane.events() == [], "one in flight"
                peer.reset = True
            for n in range(300):
                assert w.decap1(wire(w, peer, ip4(n % 40))) == ("ok", ip4(n % 40))
            w.now += 10**9


@pytest.mark.parametrize("answers_lost", [1, 2, 5])
def test_lost_answers_of_linux_are_found_out(answers_lost: int) -> None:
    with world(window=4096) as w:
        w.open_mppe(stateless=False)
        peer = sender(stateless=False, habit="linux")
        assert w.decap1(wire(w, peer, ip4()))[0] == "ok"
        wire(w, peer, ip4())
        for _ in range(answers_lost):
            assert w.decap1(wire(w, peer, ip4()))[0] == "drop_mppe_lost"
            assert len(w.plane.events()) == 1
            peer.reset = True
            wire(w, peer, ip4())  # the answer, which does not arrive
            w.now += 10**9 + 1
        assert w.decap1(wire(w, peer, ip4()))[0] == "drop_mppe_lost"
        peer.reset = True
        for n in range(600):
            assert w.decap1(wire(w, peer, ip4(n % 30))) == ("ok", ip4(n % 30))


def test_a_peer_that_sets_a_on_its_first_packet() -> None:
    with world() as w:
        w.open_mppe(stateless=False)
        peer = sender(stateless=False)
        peer.first_flushed = True
        for n in range(300):
            assert w.decap1(wire(w, peer, ip4(n % 30))) == ("ok", ip4(n % 30))
        peer.reset = True  # nobody asked
        assert w.decap1(wire(w, peer, ip4()))[0] == "ok"


def test_late_packets_do_not_disturb_a_stream() -> None:
    with world() as w:
        w.open_mppe(stateless=False)
        peer = sender(stateless=False)
        packets = [wire(w, peer, ip4(n)) for n in range(20)]
        assert [s for s, _ in w.decap(packets[:10])] == ["ok"] * 10
        assert [s for s, _ in w.decap([packets[12], packets[10], packets[11]])] == ["drop_mppe_lost"] * 3
        peer.reset = True
        assert w.decap1(wire(w, peer, ip4(5))) == ("ok", ip4(5))
        assert w.decap1(packets[15])[0] == "drop_mppe_stale"
        assert w.decap1(wire(w, peer, ip4(6))) == ("ok", ip4(6))


@pytest.mark.parametrize("habit", ["rfc", "linux"])
@pytest.mark.parametrize("sent", [0, 10, 254, 255, 256, 300])
@pytest.mark.parametrize("lost", [1, 40, 255, 256, 511, 800])
def test_our_answer_to_a_reset_suits_everybody(habit: str, sent: int, lost: int) -> None:
    with world() as w:
        w.open_mppe(stateless=False)
        far = receiver(stateless=False, habit=habit)
        plain = b"\x00\x21" + ip4_out()
        for frame in frames_out(w, [ip4_out()] * sent) if sent else []:
            assert far.open(frame) == plain
        for first in range(0, lost, 400):
            frames_out(w, [ip4_out()] * min(400, lost - first))
        with suppress(mppe.Lost):  # unless a flag packet happens to be the next
            for frame in frames_out(w, [ip4_out()] * 3):
                far.open(frame)
        w.plane.flush_mppe(w.session)
        frames = frames_out(w, [ip4_out()] * 500)
        header = int.from_bytes(frames[0][:2])
        assert header & mppe.FLUSHED
        assert header & 0xFF == 0xFF, "a flag packet: everybody changes the key exactly once"
        if habit == "linux" and not far.waiting:  # it was not in need of one
            far.waiting = True
        assert {far.open(frame) for frame in frames} == {plain}


def test_unwanted_reset_requests_cost_one_round() -> None:
    with world() as w:
        w.open_mppe(stateless=False)
        far = receiver(stateless=False, habit="linux")
        plain = b"\x00\x21" + ip4_out()
        assert far.open(frames_out(w, [ip4_out()])[0]) == plain
        w.plane.flush_mppe(w.session)
        with pytest.raises(mppe.Lost):
            far.open(frames_out(w, [ip4_out()])[0])
        w.plane.flush_mppe(w.session)
        assert {far.open(frame) for frame in frames_out(w, [ip4_out()] * 50)} == {plain}


def test_flush_means_nothing_in_stateless_mode() -> None:
    with world() as w:
        w.open_mppe()
        far = receiver()
        w.plane.flush_mppe(w.session)
        assert [far.open(frame) for frame in frames_out(w, [ip4_out()] * 3)] == [b"\x00\x21" + ip4_out()] * 3


def test_stateful_directions_are_carried_on_elsewhere() -> None:
    with world(window=4096) as w, world(window=4096) as elsewhere:
        w.open_mppe(stateless=False)
        peer, far = sender(stateless=False, habit="linux"), receiver(stateless=False, habit="linux")
        plain = b"\x00\x21" + ip4_out()
        for frame in frames_out(w, [ip4_out()] * 300):
            assert far.open(frame) == plain
        w.decap([wire(w, peer, ip4()) for _ in range(300)])
        for outbound in (False, True):
            record = w.plane.export_mppe(w.session, outbound=outbound)
            assert record is not None
            elsewhere.plane.import_mppe(elsewhere.session, record.leap(100))
        # outbound: the far end sees a gap, asks, and gets a flag packet
        with pytest.raises(mppe.Lost):
            far.open(frames_out(elsewhere, [ip4_out()])[0])
        elsewhere.plane.flush_mppe(elsewhere.session)
        assert {far.open(frame) for frame in frames_out(elsewhere, [ip4_out()] * 20)} == {plain}
        # inbound: we ask, for where RC4 stood was not carried over
        assert elsewhere.decap1(wire(elsewhere, peer, ip4()))[0] == "drop_mppe_lost"
        assert [event.what for event in elsewhere.plane.events()] == ["exc_mppe_reset"]
        peer.reset = True
        assert [s for s, _ in elsewhere.decap([wire(elsewhere, peer, ip4()) for _ in range(20)])] == ["ok"] * 20


def test_mode_and_keys_can_be_set_again() -> None:
    with world() as w:
        for bits in BITS:
            for stateless in (True, False):
                w.open_mppe(bits=bits, stateless=stateless)
                peer, far = sender(bits=bits, stateless=stateless), receiver(bits=bits, stateless=stateless)
                assert [s for s, _ in w.decap([wire(w, peer, ip4()) for _ in range(5)])] == ["ok"] * 5
                assert {far.open(frame) for frame in frames_out(w, [ip4_out()] * 5)} == {b"\x00\x21" + ip4_out()}


def test_many_sessions_of_every_kind_in_one_batch() -> None:
    rng = random.Random(3)
    with world(window=4096) as w:
        peers: dict[int, mppe.Sender | None] = {w.session: None}
        fars: dict[int, mppe.Receiver | None] = {w.session: None}
        ids = {w.session: (1, 1)}
        for number in range(2, 8):
            index = w.plane.add_session(SessionConfig(w.peer, 1, number, 101, number, open4=True))
            bits, stateless = BITS[number % 3], bool(number & 1)
            habit = "linux" if number & 2 else "rfc"
            w.plane.set_mppe(index, MppeKeys(False, bits, stateless, START_IN))
            w.plane.set_mppe(index, MppeKeys(True, bits, stateless, START_OUT))
            peers[index] = sender(bits=bits, stateless=stateless, habit=habit)
            fars[index] = receiver(bits=bits, stateless=stateless, habit=habit)
            ids[index] = (1, number)
        for _ in range(4):
            order = [rng.choice(list(peers)) for _ in range(400)]
            packets, wires = [], []
            for index in order:
                packet = ip4(rng.randrange(300))
                peer = peers[index]
                frame = l2tp.ppp(0x21, packet) if peer is None else l2tp.ppp(0xFD, peer.seal(b"\x00\x21" + packet))
                packets.append(packet)
                wires.append(w.theirs.seal(l2tp.udp(l2tp.data(*ids[index], frame))))
            assert w.decap(wires) == [("ok", packet) for packet in packets]
            assert [int(n) for n in w.batch.desc["session"][:400]] == order
            out = [ip4_out(rng.randrange(300)) for _ in order]
            w.batch.load(out, lib.HR_KIND_IP)
            w.batch.desc["session"][:400] = order
            w.plane.encap(w.batch, w.now)
            assert w.batch.statuses() == ["ok"] * 400
            for index, plain, packet in zip(order, out, w.batch.packets(), strict=True):
                frame = l2tp.parse_data(w.open_esp(packet)).frame
                far = fars[index]
                assert (frame[2:] if far is None else far.open(frame[4:])) == b"\x00\x21" + plain
