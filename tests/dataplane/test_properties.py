"""Whole batches of anything, held to the oracle: every transform, form and mode; and input that hates us."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.dataplane.world import CBC, GCM, REMOTE, World, ip4, ip4_out, receiver, sender, world
from tests.oracle import esp, ip, l2tp

from headrace.dataplane.native import STATUS, lib
from headrace.model import Auth, Cipher

KINDS = (lib.HR_KIND_UDP4500, lib.HR_KIND_RAW4, lib.HR_KIND_RAW6)
MODES = [None, *((bits, stateless) for bits in (40, 56, 128) for stateless in (True, False))]
OUT = {"send_length": st.booleans(), "send_sequence": st.booleans(), "send_acfc": st.booleans(), "send_pfc": st.booleans()}
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def outer(kind: int, packet: bytes) -> bytes:
    return ip.ip4(packet, "198.51.100.7", "203.0.113.1", protocol=50) if kind == lib.HR_KIND_RAW4 else packet


@pytest.mark.parametrize("transform", esp.TRANSFORMS, ids=str)
@settings(relaxed, max_examples=4)
@given(st.data())
def test_every_transform_form_and_mode(transform: esp.Transform, data: st.DataObject) -> None:
    mode = data.draw(st.sampled_from(MODES))
    kind = data.draw(st.sampled_from(KINDS))
    udp_encap = data.draw(st.booleans())
    sizes = data.draw(st.lists(st.integers(0, 1400), min_size=1, max_size=12))
    acfc, pfc = data.draw(st.booleans()), data.draw(st.booleans())
    forms: dict[str, Any] = data.draw(st.fixed_dictionaries(OUT))
    numbers = data.draw(st.booleans())
    with world(transform, udp_encap=udp_encap, window=1024, **forms) as w:
        peer = far = None
        if mode is not None:
            w.open_mppe(bits=mode[0], stateless=mode[1])
            peer, far = sender(bits=mode[0], stateless=mode[1]), receiver(bits=mode[0], stateless=mode[1])

        wires = []
        for number, size in enumerate(sizes):
            plain = (b"\x21" if pfc else b"\x00\x21") + ip4(size)
            if peer is not None:
                plain = (b"\xfd" if pfc else b"\x00\xfd") + peer.seal(plain)
            frame = (b"" if acfc else b"\xff\x03") + plain
            wires.append(outer(kind, w.theirs.seal(w.frame_in(frame, ns=number if numbers else None, with_length=acfc))))
        assert w.decap(wires, kind) == [("ok", ip4(size)) for size in sizes]

        out = w.encap([ip4_out(size) for size in sizes])
        assert set(w.batch.kinds()) == {"send_udp4500" if udp_encap else "send_raw"}
        for number, ((status, packet), size) in enumerate(zip(out, sizes, strict=True)):
            assert status == "ok"
            parsed = l2tp.parse_data(w.open_esp(packet))
            assert parsed.ns == (number if forms["send_sequence"] else None)
            assert (parsed.length is not None) == forms["send_length"]
            frame = parsed.frame
            if not forms["send_acfc"]:
                assert frame[:2] == b"\xff\x03"
                frame = frame[2:]
            short = forms["send_pfc"]
            if far is not None:
                assert frame.startswith(b"\xfd" if short else b"\x00\xfd")
                frame = far.open(frame[1 if short else 2 :])
            assert frame == (b"\x21" if short else b"\x00\x21") + ip4_out(size)


# --- the replay window against a set of numbers ---


@settings(relaxed, max_examples=200)
@given(
    window=st.sampled_from([32, 64, 96, 128, 480, 1024, 4096]),
    start=st.sampled_from([0, 1, 63, 64, 2**32 - 500, 2**33 - 40]),
    moves=st.lists(st.tuples(st.sampled_from("+-"), st.integers(0, 5000)), min_size=1, max_size=80),
)
def test_replay_window_is_a_set(window: int, start: int, moves: list[tuple[str, int]]) -> None:
    with world(esp.Transform(Cipher.AES_GCM16, 20, Auth.NONE, esn=True), window=window, seq_in=start) as w:
        payload = w.frame_in(l2tp.ppp(0x21, ip4(0)))
        top, seen, numbers, expected = start, set[int](), [], []
        for sign, distance in moves:
            seq = max(1, top + distance % 300 if sign == "+" else top - distance)
            inside = seq > top or (top - seq < window and seq > start)
            numbers.append(seq)
            expected.append("ok" if inside and seq not in seen else "drop_esp_replay")
            seen.add(seq)
            top = max(top, seq)
            # a number so far behind that its lower half is taken for the next round fails at the ICV instead
            if not inside and seq >> 32 != top >> 32:
                expected[-1] = "either"
        got = [status for status, _ in w.decap([w.theirs.seal(payload, seq=seq) for seq in numbers])]
        for status, wanted in zip(got, expected, strict=True):
            assert status == wanted or (wanted != "ok" and status in {"drop_esp_replay", "drop_esp_auth"}), (
                numbers,
                got,
                expected,
            )


# --- hostile input ---

FINAL = set(STATUS) - {lib.HR_PENDING}


def sound(w: World, n: int) -> None:
    """Every packet has a status and lies within its slot."""
    desc = w.batch.desc[:n]
    for index in range(n):
        entry = desc[index]
        assert int(entry["status"]) in FINAL
        first, last = int(entry["off"]), int(entry["off"]) + int(entry["len"])
        assert index * w.batch.slot <= first <= last <= (index + 1) * w.batch.slot
        assert first - int(entry["room_head"]) >= index * w.batch.slot
        assert last + int(entry["room_tail"]) <= (index + 1) * w.batch.slot


@settings(relaxed, max_examples=200)
@given(packets=st.lists(st.binary(max_size=200), max_size=40), kind=st.sampled_from((*KINDS, lib.HR_KIND_UDP1701)))
def test_random_octets_from_the_wire(packets: list[bytes], kind: int) -> None:
    with world() as w:
        got = w.decap(packets, kind)
        sound(w, len(packets))
        assert not {"ok", "exc_ppp", "exc_l2tp"} & {status for status, _ in got}


@settings(relaxed, max_examples=200)
@given(payloads=st.lists(st.binary(max_size=120), max_size=40), mppe=st.booleans())
def test_random_octets_from_an_authenticated_peer(payloads: list[bytes], mppe: bool) -> None:
    with world() as w:
        if mppe:
            w.open_mppe()
        w.decap([w.theirs.seal(payload) for payload in payloads])
        sound(w, len(payloads))
        w.decap([w.theirs.seal(l2tp.udp(payload)) for payload in payloads])
        sound(w, len(payloads))
        w.decap([w.theirs.seal(w.frame_in(payload)) for payload in payloads])
        sound(w, len(payloads))
        w.decap([w.theirs.seal(w.frame_in(b"\x00\x21" + payload)) for payload in payloads])
        sound(w, len(payloads))


@pytest.mark.parametrize("seed", range(6))
def test_mutations_of_good_packets_inside_esp(seed: int) -> None:
    """Everything but the ICV is the peer's to choose."""
    rng = random.Random(seed)
    with world(GCM, window=4096, mss4=1200, mss6=1200) as w:
        w.open_mppe(stateless=bool(seed & 1), outbound=False)
        peer = sender(stateless=bool(seed & 1))
        for _ in range(4):
            packets = []
            for _ in range(500):
                makers: tuple[Callable[[], bytes], ...] = (
                    lambda: w.frame_in(l2tp.ppp(0xFD, peer.seal(b"\x00\x21" + ip4(rng.randrange(80))))),
                    lambda: w.frame_in(
                        l2tp.ppp(0x21, ip4(30)), ns=rng.randrange(65536), with_length=True, offset=rng.randrange(9)
                    ),
                    lambda: w.frame_in(l2tp.ppp(0x57, ip.ip6(ip.tcp_syn("::1", "::2", b"\x02\x04\xff\xff"), next_header=6))),
                    lambda: l2tp.udp(l2tp.control(body=b"\x80\x08\0\0\0\0\0\x06")),
                )
                inner = rng.choice(makers)()
                mutated = bytearray(inner)
                for _ in range(rng.randrange(4)):
                    mutated[rng.randrange(len(mutated))] = rng.randrange(256)
                cut = rng.randrange(len(mutated) + 1) if rng.random() < 0.2 else len(mutated)
                packets.append(
                    w.theirs.seal(bytes(mutated[:cut]), next_header=17 if rng.random() < 0.98 else rng.randrange(256))
                )
            w.decap(packets)
            sound(w, 500)
            w.now += 10**9


@settings(relaxed, max_examples=200)
@given(
    packets=st.lists(st.binary(max_size=150), max_size=40),
    kind=st.sampled_from((lib.HR_KIND_IP, lib.HR_KIND_PPP, lib.HR_KIND_L2TP)),
    session=st.sampled_from([0, 1, 5, 0x7FFFFFFF, 0xFFFFFFFF]),
    head=st.integers(0, 128),
    tail=st.integers(0, 96),
)
def test_random_octets_to_be_sent(packets: list[bytes], kind: int, session: int, head: int, tail: int) -> None:
    with world(mss4=1000, mss6=1000, default_route=True) as w:
        w.batch.load(packets, kind, session=session, peer=session)
        w.batch.desc["room_head"][: len(packets)] = head
        w.batch.desc["room_tail"][: len(packets)] = tail
        before = w.batch.arena.copy()
        w.plane.encap(w.batch, w.now)
        sound(w, len(packets))
        for index, packet in enumerate(packets):
            start = index * w.batch.slot + lib.HR_HEADROOM
            low, high = start - head, start + len(packet) + tail
            stop = (index + 1) * w.batch.slot
            assert (w.batch.arena[index * w.batch.slot : low] == before[index * w.batch.slot : low]).all()
            assert (w.batch.arena[high:stop] == before[high:stop]).all()


@settings(relaxed, max_examples=100)
@given(st.data())
def test_neighbours_of_bad_packets_are_untouched(data: st.DataObject) -> None:
    transform = data.draw(st.sampled_from([CBC, GCM]))
    sizes = data.draw(st.lists(st.integers(0, 300), min_size=2, max_size=30))
    with world(transform, window=1024) as w:
        good = [w.wire(ip4(size)) for size in sizes]
        bad = data.draw(st.sets(st.integers(0, len(good) - 1)))
        packets = []
        for index, packet in enumerate(good):
            if index in bad:
                how = data.draw(st.sampled_from(["flip", "cut", "junk", "empty", "double"]))
                at = data.draw(st.integers(4, len(packet) - 1))
                junk = data.draw(st.binary(max_size=64))
                packets.append(
                    {
                        "flip": packet[:at] + bytes([packet[at] ^ 1]) + packet[at + 1 :],
                        "cut": packet[:at],
                        "junk": junk,
                        "empty": b"",
                        "double": good[max(index - 1, 0)],
                    }[how]
                )
            else:
                packets.append(packet)
        got = w.decap(packets, remote=REMOTE)
        for index, size in enumerate(sizes):
            if index not in bad and not (index + 1 in bad and packets[index + 1] == good[index]):
                assert got[index] == ("ok", ip4(size))
