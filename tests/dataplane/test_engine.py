"""The workers between sockets and TUNs that a test holds the other end of; nothing here needs privileges."""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from itertools import pairwise

import pytest
from tests.dataplane.engine_rig import (
    LEFT4,
    LEFT6,
    RIGHT4,
    RIGHT6,
    VNET,
    FakeTun,
    Plane,
    Side,
    connect,
    ip_packet,
    isakmp,
    large_segment,
    loopback_listener,
    natt_sender,
    rig,
    tcp_packet,
    tcp_parts,
    transport_right,
    udp_packet,
    wait_for,
)

from headrace.dataplane.engine import NONE, Engine, EngineError, Outgoing
from headrace.errors import LocalError
from headrace.model import Endpoint
from headrace.shell.sockets import ListenError

ACK, PSH, FIN, SYN, CWR = 0x10, 0x08, 0x01, 0x02, 0x80


# --- life --------------------------------------------------------------------------------------------------------------------


def test_workers_start_stop_and_start_again() -> None:
    with rig(workers=2, start=False) as (left, right):
        assert left.engine.alive == 0
        for _ in range(3):
            left.engine.start()
            right.engine.start()
            assert left.engine.alive == 2
            with pytest.raises(EngineError):
                left.engine.start()
            left.tun.put(udp_packet(b"ping"))
            assert right.tun.packet() == udp_packet(b"ping")
            left.engine.stop()
            left.engine.stop()
            right.engine.stop()
            assert left.engine.alive == 0


def test_a_stopped_engine_sends_nothing_and_a_closed_one_says_so() -> None:
    with rig(start=False) as (left, _):
        with pytest.raises(LocalError, match="cannot be sent"):
            left.engine.send([Outgoing.ppp(left.session, b"\xc0\x21\x09")])
        left.engine.close()
        left.engine.close()
        with pytest.raises(LocalError, match="closed"):
            left.engine.poll_exceptions()
        assert left.engine.alive == 0


@pytest.mark.parametrize(
    ("workers", "queues", "options"),
    [(0, 1, {}), (65, 1, {}), (2, 1, {}), (1, 1, {"batch": 0}), (1, 1, {"batch": 513}), (1, 1, {"exception_slots": 1 << 21})],
)
def test_what_does_not_fit_together_is_refused(workers: int, queues: int, options: dict[str, int]) -> None:
    plane, tun = Plane(), FakeTun(queues=queues)
    listener = loopback_listener()
    with pytest.raises((LocalError, EngineError)):
        Engine(plane, [listener], tun, workers=workers, **options)  # type: ignore[arg-type]
    listener.close()
    tun.close()
    plane.close()


def test_a_worker_that_cannot_be_pinned_does_not_start() -> None:
    with rig(start=False, cpus=(1023,)) as (left, _):
        with pytest.raises(EngineError, match="cannot be started"):
            left.engine.start()
        assert left.engine.alive == 0


# --- user data -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vnet", [0, 1, 3])
def test_packets_go_both_ways(vnet: int) -> None:
    with rig(vnet=vnet) as (left, right):
        for size in (0, 1, 2, 700, 1371, 1372):
            there, back = udp_packet(os.urandom(size)), udp_packet(os.urandom(size), RIGHT4, LEFT4)
            left.tun.put(there)
            assert right.tun.packet() == there
            right.tun.put(back)
            assert left.tun.packet() == back
        six = udp_packet(b"six", LEFT6, RIGHT6)
        left.tun.put(six)
        assert right.tun.packet() == six
        assert not left.plane.dropped()
        assert not right.plane.dropped()
        names = ("tx_packets", "rx_packets", "tun_packets_in", "tun_packets_out")
        wait_for(lambda: [left.engine.stats()[name] for name in names] == [7, 6, 7, 6])
        wait_for(lambda: left.engine.stats()["tx_bytes"] == right.engine.stats()["rx_bytes"] > 700)


def test_a_checksum_that_was_left_to_the_device_is_completed() -> None:
    with rig() as (left, right):
        packet = tcp_packet(b"odd length", partial=True)
        left.tun.put(packet, VNET.pack(1, 0, 40, 0, 20, 16))
        assert right.tun.packet() == tcp_packet(b"odd length")


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("options", [b"", b"\x01\x01\x08\x0a" + bytes(8)])
@pytest.mark.parametrize("payload", [1361, 2720, 5000, 30011, 64000])
def test_a_large_segment_is_cut_and_joined_again(six: bool, options: bytes, payload: int) -> None:
    data = os.urandom(payload)
    size = 1400 - (60 if six else 40) - len(options)
    flags = ACK | PSH | FIN
    header, packet = large_segment(data, size, six=six, seq=0xFFFFF000, flags=flags, options=options)
    with rig(right_vnet=0) as (left, right):  # cut, and seen as packets
        left.tun.put(packet, header)
        at = 0
        parts = []
        while at < payload:
            piece = right.tun.packet()
            assert len(piece) <= 1400
            assert transport_right(piece)
            parts.append(tcp_parts(piece))
            assert parts[-1][0] == (0xFFFFF000 + at) & 0xFFFFFFFF
            at += len(parts[-1][2])
        assert b"".join(part[2] for part in parts) == data
        assert [part[1] for part in parts] == [ACK] * (len(parts) - 1) + [flags]
        assert left.engine.stats()["tun_gso_reads"] == 1
        wait_for(lambda: left.engine.stats()["socket_gso_writes"] >= 1)
    header, packet = large_segment(data, size, six=six, seq=0xFFFFF000, flags=ACK | PSH, options=options)
    with rig() as (left, right):  # and joined
        left.tun.put(packet, header)
        got = b""
        while len(got) < payload:
            front, piece = right.tun.get()
            if len(piece) > 1400:
                assert VNET.unpack(front) == VNET.unpack(header)
            seq, _, more = tcp_parts(piece)
            assert seq == (0xFFFFF000 + len(got)) & 0xFFFFFFFF
            got += more
        assert got == data
        wait_for(lambda: right.engine.stats()["tun_gso_writes"] >= 1)


def test_a_large_udp_segment_is_cut_and_joined() -> None:
    data = os.urandom(10_000)
    whole = udp_packet(data)
    partial = whole[:26] + b"\0\0" + whole[28:]
    with rig() as (left, right):
        left.tun.put(partial, VNET.pack(1, 5, 28, 1200, 20, 6))
        front, joined = right.tun.get()
        assert VNET.unpack(front) == (1, 5, 28, 1200, 20, 6)
        assert joined[28:] == data
    with rig(right_vnet=1) as (left, right):  # this kernel does not take UDP segments
        left.tun.put(partial, VNET.pack(1, 5, 28, 1200, 20, 6))
        pieces = [right.tun.packet() for _ in range(9)]
        assert all(transport_right(piece) for piece in pieces)
        assert b"".join(piece[28:] for piece in pieces) == data


def _joined(packets: list[bytes]) -> list[tuple[int, int, bytes]]:
    """What the far TUN gets for packets that arrive in one batch: (segment size, flags, payload)."""
    with rig(start=False, vnet=0, right_vnet=3) as (left, right):
        for packet in packets:  # they wait for the worker, which then has them in one batch
            left.tun.put(packet)
        left.engine.start()
        wait_for(lambda: left.engine.stats()["tx_packets"] == len(packets))
        right.engine.start()
        got: list[tuple[int, int, bytes]] = []
        while len(got) < len(packets):
            try:
                front, packet = right.tun.get(0.2)
            except AssertionError:
                break
            if VNET.unpack(front)[0] == 0:
                assert transport_right(packet) or packet[20:40] in {p[20:40] for p in packets}
            _, flags, payload = tcp_parts(packet)
            got.append((VNET.unpack(front)[3], flags, payload))
        return got


def test_what_may_be_joined_and_what_may_not() -> None:
    a, b = b"a" * 500, b"b" * 500

    def two(**second: object) -> list[tuple[int, int, bytes]]:
        more = {"seq": 501, **second}
        return _joined([tcp_packet(a, seq=1, ident=1), tcp_packet(b, ident=2, **more)])  # type: ignore[arg-type]

    apart = [(0, ACK, a), (0, ACK, b)]
    assert two() == [(500, ACK, a + b)]
    assert two(flags=ACK | PSH) == [(500, ACK | PSH, a + b)]
    assert two(seq=502) == apart
    assert two(seq=500) == apart
    assert two(tos=3) == apart
    assert two(df=0) == apart
    assert two(ports=(1000, 81)) == apart
    assert two(flags=ACK | FIN) == [(0, ACK, a), (0, ACK | FIN, b)]
    assert two(flags=ACK | CWR) == [(0, ACK, a), (0, ACK | CWR, b)]
    assert two(options=b"\x01\x01\x01\x00") == apart
    assert _joined([tcp_packet(a, flags=ACK | PSH), tcp_packet(b, seq=501)]) == [(0, ACK | PSH, a), (0, ACK, b)]
    assert _joined([tcp_packet(a), tcp_packet(b"b" * 499, seq=501), tcp_packet(b"c", seq=1000)]) == [
        (500, ACK, a + b"b" * 499),
        (0, ACK, b"c"),
    ]
    assert _joined([tcp_packet(a[:499]), tcp_packet(b, seq=500)]) == [(0, ACK, a[:499]), (0, ACK, b)]
    # without don't-fragment the identification must be what cutting would make
    assert _joined([tcp_packet(a, df=0, ident=7), tcp_packet(b, seq=501, df=0, ident=8)]) == [(500, ACK, a + b)]
    assert _joined([tcp_packet(a, df=0, ident=7), tcp_packet(b, seq=501, df=0, ident=9)]) == apart


def test_a_packet_with_a_wrong_checksum_is_handed_over_as_it_is() -> None:
    good, bad = tcp_packet(b"a" * 100), bytearray(tcp_packet(b"b" * 100, seq=101))
    bad[-1] ^= 1
    assert _joined([good, bytes(bad), tcp_packet(b"c" * 100, seq=201)]) == [
        (0, ACK, b"a" * 100),
        (0, ACK, b"b" * 99 + b"c"),
        (0, ACK, b"c" * 100),
    ]
    first = bytearray(good)
    first[-1] ^= 1
    assert len(_joined([bytes(first), tcp_packet(b"b" * 100, seq=101)])) == 2


def test_flows_are_joined_side_by_side_and_nothing_overtakes_within_one() -> None:
    packets = []
    for number in range(6):
        packets += [tcp_packet(bytes([number]) * 100, seq=1 + 100 * number, ports=(port, 80)) for port in (1000, 1001, 1002)]
    packets.insert(9, tcp_packet(b"", seq=301, ports=(1001, 80)))  # an acknowledgement in the middle of the second flow
    got = _joined(packets)
    data = [payload for _, _, payload in got]
    assert data.count(b"".join(bytes([n]) * 100 for n in range(6))) == 2
    assert (
        data.index(b"\0" * 100 + b"\1" * 100 + b"\2" * 100)
        < data.index(b"")
        < data.index(b"\3" * 100 + b"\4" * 100 + b"\5" * 100)
    )


def test_n083_too_big_for_the_session_is_answered_or_cut() -> None:
    with rig(mru=1000) as (left, right):
        left.tun.put(udp_packet(bytes(1200)))
        answer = left.tun.packet()
        assert (answer[9], answer[20], answer[21]) == (1, 3, 4)  # ICMP, unreachable, fragmentation needed
        assert struct.unpack("!H", answer[26:28])[0] == 1000
        assert answer[12:20] == RIGHT4.packed + LEFT4.packed
        assert right.tun.quiet()
        left.tun.put(udp_packet(bytes(range(200)) * 6, df=0))
        pieces = [right.tun.packet(), right.tun.packet()]
        assert b"".join(piece[20:] for piece in pieces) == udp_packet(bytes(range(200)) * 6)[20:]
        left.tun.put(udp_packet(bytes(1200), LEFT6, RIGHT6))
        answer = left.tun.packet()
        assert (answer[6], answer[40], struct.unpack("!I", answer[44:48])[0]) == (58, 2, 1280)
        wait_for(lambda: left.engine.stats()["icmp"] == 2)


def test_a_large_segment_that_is_too_big_is_answered_once() -> None:
    with rig(mru=1000) as (left, _):
        header, packet = large_segment(bytes(30_000), 1360)
        left.tun.put(packet, header)
        wait_for(lambda: left.plane.dropped() == {"drop_too_big": 22})
        assert left.tun.packet()[20:22] == b"\3\4"
        assert left.tun.quiet()


def test_answers_to_a_flood_of_packets_that_are_too_big_are_bounded() -> None:
    with rig(mru=1000) as (left, _):
        for _ in range(300):
            left.tun.put(udp_packet(bytes(1200)))
            if not left.tun.quiet(0):
                left.tun.packet()
        wait_for(lambda: left.plane.dropped().get("drop_too_big") == 300)
        assert left.engine.stats()["icmp"] <= 200


def test_a_device_with_a_larger_mtu_than_agreed_loses_its_large_packets() -> None:
    with rig(mtu=1400) as (left, right):
        left.tun.put(udp_packet(bytes(1400)))
        assert left.tun.packet()[20:22] == b"\3\4"
        header, packet = large_segment(bytes(5000), 1460)
        left.tun.put(packet, header)
        wait_for(lambda: left.plane.dropped() == {"drop_too_big": 2})
        left.tun.put(udp_packet(b"small"))
        assert right.tun.packet() == udp_packet(b"small")


# --- what is no packet -------------------------------------------------------------------------------------------------------------


def _counts_once(counter: str, octets: list[bytes], *, vnet: int = 3) -> None:
    with rig(vnet=vnet) as (left, right):
        for number, data in enumerate(octets, 1):
            left.tun.put_raw(data)
            wait_for(lambda: left.plane.dropped().get(counter) == number)  # noqa: B023
        assert left.plane.dropped() == {counter: len(octets)}
        left.tun.put(udp_packet(b"still here"))
        assert right.tun.packet() == udp_packet(b"still here")


def _not_packets() -> list[bytes]:
    good = udp_packet(b"x" * 40)
    six = udp_packet(b"x" * 40, LEFT6, RIGHT6)
    return [
        b"",
        b"\x45",
        good[:19],
        bytes([0x05]) + good[1:],
        bytes([0x75]) + good[1:],
        bytes([0x44]) + good[1:],
        bytes([0x4F]) + good[1:30],
        good[:2] + struct.pack("!H", len(good) + 1) + good[4:],
        good[:2] + struct.pack("!H", 19) + good[4:],
        good[:2] + b"\xff\xff" + good[4:],
        six[:39],
        six[:4] + struct.pack("!H", len(six) - 39) + six[6:],
    ]


@pytest.mark.parametrize("vnet", [0, 3])
def test_n084_tun_reads_that_are_no_packets(vnet: int) -> None:
    front = bytes(VNET.size) if vnet else b""
    shorter = [bytes(length) for length in range(len(front))]  # not even a whole header
    _counts_once("drop_tun_malformed", [front + data for data in _not_packets()] + shorter, vnet=vnet)


def test_n085_virtio_headers_that_lie() -> None:
    _, packet = large_segment(bytes(3000), 1360)
    length = len(packet)
    good = (1, 1, 40, 1360, 20, 16)

    def header(**change: int) -> bytes:
        names = ("flags", "type", "hdr_len", "size", "start", "offset")
        return VNET.pack(*(change.get(name, value) for name, value in zip(names, good, strict=True)))

    bad = [
        header(size=0),
        header(size=1),
        header(size=46),  # 66 segments
        header(hdr_len=length + 1),
        header(hdr_len=65535),
        header(start=length),
        header(start=length + 1),
        header(start=65535),
        header(start=0),
        header(start=19),
        header(offset=65535),
        header(offset=6),
        header(flags=0),
        header(type=2),
        header(type=3),  # fragmentation offload is not asked for
        header(type=4),
        header(type=5),
        header(type=0x7F),
    ]
    reads = [front + packet for front in bad]
    fragment = bytearray(packet)
    fragment[6] = 0x20
    short = bytearray(packet)
    short[32] = 0x40  # TCP header of 16 octets
    long = bytearray(packet[:44])
    long[2:4] = struct.pack("!H", 44)
    long[32] = 0xF0
    reads += [
        header() + bytes(fragment),
        header() + bytes(short),
        header() + bytes(long),
        header() + packet[:2] + b"\0\x28" + packet[4:40],
    ]
    small = udp_packet(b"x" * 30)
    reads += [
        VNET.pack(1, 0, 0, 0, start, offset) + small for start, offset in ((57, 0), (58, 0), (65535, 65535), (20, 37), (56, 1))
    ]
    reads += [VNET.pack(0, 0, 59, 0, 0, 0) + small]
    _counts_once("drop_gso_malformed", reads)


def test_at_most_64_segments_come_out_of_one_read() -> None:
    with rig(right_vnet=0) as (left, right):
        header, packet = large_segment(bytes(6400), 100)
        left.tun.put(packet, header)
        assert [len(right.tun.packet()) for _ in range(64)] == [140] * 64
        header, packet = large_segment(bytes(6401), 100)
        left.tun.put(packet, header)
        wait_for(lambda: left.plane.dropped() == {"drop_gso_malformed": 1})


def test_hostile_datagrams_of_all_sizes() -> None:
    with rig() as (left, right), natt_sender() as sender:
        to = ("127.0.0.1", right.listener.natt_port)
        sizes = [*range(1, 300), 1400, 1471, 1472, 1473, 9000, 65507]
        before = right.engine.stats()["rx_packets"]
        for size in sizes:
            sender.sendto(os.urandom(size), to)
        sender.sendto(b"", to)
        sender.sendto(b"\xff", to)
        wait_for(lambda: right.engine.stats()["rx_packets"] - before >= len(sizes) + 2)
        counters = right.plane.packets()
        assert sum(counters.values()) == len(sizes) + 2
        assert counters["keepalive"] >= 1
        left.tun.put(udp_packet(b"still here"))
        assert right.tun.packet() == udp_packet(b"still here")


def test_forged_esp_in_one_receive_offload_run_leaves_its_neighbours_alone() -> None:
    """Random packets of one size from the peer's own address end in the same GRO runs as good ones."""
    with rig(start=False, vnet=0) as (left, right):
        left.engine.start()
        for number in range(40):
            left.tun.put(udp_packet(struct.pack("!I", number) * 100))
        wait_for(lambda: left.engine.stats()["tx_packets"] == 40)
        assert left.listener.natt is not None
        for _ in range(40):
            left.listener.natt.sendto(
                struct.pack("!II", 0x2002, 0x7000) + os.urandom(476), ("127.0.0.1", right.listener.natt_port)
            )
        right.engine.start()
        assert [right.tun.packet()[28:32] for _ in range(40)] == [struct.pack("!I", n) for n in range(40)]
        wait_for(lambda: right.plane.dropped() == {"drop_esp_auth": 40})


# --- exceptions ---------------------------------------------------------------------------------------------------------------------


def test_ike_comes_up_without_its_marker() -> None:
    with rig() as (_, right), natt_sender() as sender:
        sender.sendto(isakmp(b"hello"), ("127.0.0.1", right.listener.natt_port))
        (item,) = right.exceptions(1)
        assert (item.status, item.listener, item.peer, item.session) == ("exc_ike", 0, NONE, NONE)
        assert item.data == isakmp(b"hello")[4:]
        assert item.remote == Endpoint.of("127.0.0.1", sender.getsockname()[1])
        assert not select.select([right.engine.event_fd], [], [], 0)[0]
        assert right.engine.poll_exceptions() == []
        assert right.engine.stats()["exceptions"] == 1


def test_large_ike_messages_come_up_whole_and_absurd_ones_do_not() -> None:
    with rig(exception_slots=1) as (_, right), natt_sender() as sender:
        for size in (1400, 9000, 30000):
            sender.sendto(isakmp(bytes(size)), ("127.0.0.1", right.listener.natt_port))
        assert [len(item.data) for item in right.exceptions(3)] == [1428, 9028, 30028]
        sender.sendto(isakmp(bytes(65000)), ("127.0.0.1", right.listener.natt_port))
        wait_for(lambda: right.plane.dropped().get("drop_exception_ring") == 1)


def test_control_packets_go_down_and_come_up_on_the_other_side() -> None:
    control = bytes.fromhex("c802000c0009000000000000")
    lcp = b"\xc0\x21\x09\x01\x00\x08\x00\x00\x00\x00"
    with rig() as (left, right):
        sent = left.engine.send(
            [Outgoing.l2tp(left.peer, control), Outgoing.ppp(left.session, lcp), Outgoing.ip(NONE, udp_packet(b"data"))]
        )
        assert sent == ["ok"] * 3
        first, second = right.exceptions(2)
        assert (first.status, first.data, first.peer) == ("exc_l2tp", control, right.peer)
        assert (first.local_port, first.remote_port) == (1701, 1701)
        assert (second.status, second.session, second.ppp_proto, second.mppe) == ("exc_ppp", right.session, 0xC021, False)
        assert second.data == lcp
        assert right.tun.packet() == udp_packet(b"data")
        assert left.engine.stats()["tx_packets"] == 3


def test_control_packets_that_cannot_go_say_why() -> None:
    with rig() as (left, _):
        statuses = left.engine.send(
            [Outgoing.ppp(12345, b"\xc0\x21"), Outgoing.ip(NONE, b"\x45"), Outgoing.ppp(left.session, b"\xc0\x21x")]
        )
        assert statuses[2] == "ok"
        assert all(status.startswith("drop_") for status in statuses[:2])
        with pytest.raises(LocalError, match="longer"):
            left.engine.send([Outgoing.ppp(left.session, bytes(70000))])
        assert left.engine.send([]) == []
        assert left.engine.send([Outgoing.ppp(left.session, b"\xc0\x21x")] * 1030) == ["ok"] * 1030


def test_a_moved_peer_is_told_once_by_the_same_way() -> None:
    plane_l, plane_r = Plane(), Plane()
    tun_l, tun_r, one, two, there = FakeTun(), FakeTun(), loopback_listener(), loopback_listener(), loopback_listener()
    with Engine(plane_l, [one, two], tun_l) as e_l, Engine(plane_r, [there], tun_r) as e_r:
        left, right = Side(plane_l, tun_l, one, e_l), Side(plane_r, tun_r, there, e_r)
        left.peer = plane_l.peer_at("127.0.0.1", there.natt_port, listener=1)  # sends from the second socket
        right.peer = plane_r.peer_at("127.0.0.1", one.natt_port, follow=True)  # is believed to be at the first
        plane_r.sa(right.peer, 0x2002, outbound=False)
        plane_l.sa(left.peer, 0x2002, outbound=True)
        plane_l.session(left.peer, local=7, remote=9, gateway=False)
        plane_r.session(right.peer, local=9, remote=7, gateway=True)
        e_l.start()
        e_r.start()
        for _ in range(3):
            tun_l.put(udp_packet(b"from elsewhere"))
            tun_r.packet()
        (event,) = right.exceptions(1)
        assert (event.status, event.peer, event.data) == ("exc_moved", right.peer, b"")
        assert event.remote == Endpoint.of("127.0.0.1", two.natt_port)
        assert e_r.poll_exceptions() == []
    for thing in (tun_l, tun_r, one, two, there, plane_l, plane_r):
        thing.close()


def test_a_flood_of_one_origin_leaves_room_for_the_others() -> None:
    with rig(exception_slots=1) as (left, right), natt_sender() as flooder, natt_sender("127.0.0.2") as other:
        to = ("127.0.0.1", right.listener.natt_port)
        for number in range(4000):
            flooder.sendto(isakmp(bytes(400)), to)
            if number % 64 == 0:
                wait_for(lambda: right.engine.stats()["rx_packets"] > number - 64)  # noqa: B023
        wait_for(lambda: right.plane.dropped().get("drop_exception_ring", 0) > 1000)
        other.sendto(isakmp(b"me too"), to)
        left.engine.send([Outgoing.ppp(left.session, b"\xc0\x21\x09\x01\x00\x04")])
        wait_for(lambda: right.plane.packets().get("exc_ppp") == 1)
        kept = 4002 - right.plane.dropped()["drop_exception_ring"]
        items = right.exceptions(kept)
        assert len(items) == kept < 1000
        assert [item.data for item in items if item.data.endswith(b"me too")] == [isakmp(b"me too")[4:]]
        assert sum(item.status == "exc_ppp" for item in items) == 1
        # what had no room is gone, and there is room again
        flooder.sendto(isakmp(b"again"), to)
        assert right.exceptions(1)[0].data == isakmp(b"again")[4:]


def test_arrival_order_is_kept_between_ike_and_l2tp() -> None:
    with rig() as (left, right):
        assert left.listener.natt is not None
        for number in range(50):
            left.listener.natt.sendto(isakmp(bytes([number])), ("127.0.0.1", right.listener.natt_port))
            left.engine.send([Outgoing.ppp(left.session, b"\xc0\x21" + bytes([number]))])
        items = right.exceptions(100)
        assert [item.data[-1] for item in items] == [n for n in range(50) for _ in range(2)]


def test_the_event_fd_stays_readable_until_everything_was_taken() -> None:
    with rig() as (_, right), natt_sender() as sender:
        for number in range(1200):
            sender.sendto(isakmp(struct.pack("!I", number)), ("127.0.0.1", right.listener.natt_port))
            if number % 50 == 0:
                wait_for(lambda: right.engine.stats()["rx_packets"] > number)  # noqa: B023
        wait_for(lambda: right.engine.stats()["exceptions"] == 1200)
        items = right.exceptions(1200)
        assert [item.data[-4:] for item in items] == [struct.pack("!I", n) for n in range(1200)]
        assert not select.select([right.engine.event_fd], [], [], 0)[0]


@pytest.mark.parametrize("allowed", [False, True])
def test_n077_clear_l2tp_is_for_those_who_allow_it(allowed: bool) -> None:
    sccrq = bytes.fromhex("c802001400000000000000000008000000000001")
    plane = Plane(allow_clear=allowed)
    listener = loopback_listener(clear_l2tp=True)
    with Engine(plane, [listener], None) as engine, natt_sender() as sender:
        engine.start()
        side = Side(plane, None, listener, engine)
        sender.sendto(sccrq, ("127.0.0.1", listener.l2tp_port))
        if allowed:
            (item,) = side.exceptions(1)
            assert (item.status, item.data) == ("exc_clear_l2tp", sccrq)
            peer = plane.peer_at("127.0.0.1", sender.getsockname()[1], encap=False, clear=True)
            assert engine.send([Outgoing.l2tp(peer, sccrq)]) == ["ok"]
            sender.settimeout(5)
            assert sender.recvfrom(2000) == (sccrq, ("127.0.0.1", listener.l2tp_port))
        else:
            for _ in range(200):
                sender.sendto(sccrq, ("127.0.0.1", listener.l2tp_port))
            wait_for(lambda: plane.packets() == {"drop_not_protected": 201})
            assert engine.poll_exceptions() == []
    listener.close()
    plane.close()


# --- trouble ------------------------------------------------------------------------------------------------------------------------


def test_n089_icmp_errors_of_earlier_packets_do_not_disturb() -> None:
    with rig() as (left, right):
        assert left.listener.natt is not None
        left.listener.natt.setsockopt(socket.IPPROTO_IP, 11, 1)  # IP_RECVERR: a closed port answers ECONNREFUSED
        with natt_sender() as closed:
            port = closed.getsockname()[1]
        nobody = left.plane.peer_at("127.0.0.1", port)
        left.plane.sa(nobody, 0x3003, outbound=True)
        for _ in range(200):
            left.engine.send([Outgoing.l2tp(nobody, bytes.fromhex("c802000c0009000000000000"))])
            left.tun.put(udp_packet(b"x"))
            assert right.tun.packet() == udp_packet(b"x")
        assert left.engine.alive == 1
        stats = left.engine.stats()
        assert stats["other_errno"] > 0
        assert stats["rounds"] < 20_000  # errors that wait do not make the worker spin


def test_n089_datagrams_that_do_not_fit_are_counted() -> None:
    with rig(mtu=65535, mru=65535, vnet=0) as (left, right):
        left.tun.put(ip_packet(LEFT4, RIGHT4, 17, bytes(65500)))  # more than a datagram holds, once it is wrapped up
        wait_for(lambda: left.engine.stats()["emsgsize"] == 1 or "drop_too_big" in left.plane.dropped())
        left.tun.put(udp_packet(b"x"))
        assert right.tun.packet() == udp_packet(b"x")


def test_a_tun_that_takes_nothing_costs_packets_not_the_worker() -> None:
    with rig(vnet=0) as (left, right):
        sent = 0
        while not right.plane.dropped().get("drop_tun_write"):
            left.tun.put(udp_packet(bytes(1300)))
            sent += 1
            assert sent < 20_000
        stats = right.engine.stats
        wait_for(lambda: stats()["tun_packets_out"] + right.plane.dropped()["drop_tun_write"] == sent)
        while not right.tun.quiet(0):
            right.tun.packet()
        left.tun.put(udp_packet(b"after"))
        assert right.tun.packet() == udp_packet(b"after")
        wait_for(lambda: right.engine.stats()["eagain"] > 0)


def test_a_tun_that_is_gone_leaves_the_control_plane_alive() -> None:
    with rig() as (left, right):
        right.tun.far[0].close()
        left.tun.put(udp_packet(b"lost"))
        wait_for(lambda: right.plane.dropped().get("drop_tun_write") == 1)
        left.engine.send([Outgoing.ppp(left.session, b"\xc0\x21\x09\x01\x00\x04")])
        assert right.exceptions(1)[0].status == "exc_ppp"
        assert right.engine.alive == 1
        before = right.engine.stats()["rounds"]
        assert not select.select([right.engine.event_fd], [], [], 0.2)[0]
        assert right.engine.stats()["rounds"] - before < 200  # given up, not asked again and again
        right.tun.far[0] = right.tun.far[0].__class__()


def test_packets_for_a_socket_that_is_not_there_are_lost_with_a_reason() -> None:
    with rig() as (left, _):
        raw = left.plane.peer_at("127.0.0.1", 0, encap=False)  # no raw socket was opened
        left.plane.sa(raw, 0x3003, outbound=True)
        assert left.engine.send([Outgoing.l2tp(raw, bytes.fromhex("c802000c0009000000000000"))]) == ["drop_socket"]
        six = left.plane.peer_at("::1", 4500)
        left.plane.sa(six, 0x3004, outbound=True)
        assert left.engine.send([Outgoing.l2tp(six, bytes.fromhex("c802000c0009000000000000"))]) == ["drop_socket"]
        assert left.plane.dropped() == {"drop_socket": 2}


def test_several_workers_share_the_work_and_each_peer_stays_in_order() -> None:
    with rig(workers=3, vnet=0) as (left, right):
        for number in range(120):
            left.tun.put(udp_packet(struct.pack("!I", number)), queue=number % 3)
        got = sorted(right.tun.packet()[28:32] for _ in range(120))
        assert got == [struct.pack("!I", n) for n in range(120)]
        assert not right.plane.dropped()


def test_stop_under_load_and_concurrent_callers() -> None:
    with rig(workers=2, vnet=0) as (left, right):
        over = threading.Event()

        def push() -> None:
            while not over.is_set():
                try:
                    left.tun.far[0].send(udp_packet(bytes(1000)))
                except BlockingIOError:
                    over.wait(0.001)

        def talk() -> None:
            while not over.is_set():
                try:
                    left.engine.send([Outgoing.ppp(left.session, b"\xc0\x21\x09")])
                except LocalError:
                    over.wait(0.001)
                right.engine.poll_exceptions()
                right.engine.stats()
                over.wait(0.001)

        threads = [threading.Thread(target=target) for target in (push, talk, talk)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(20):
                left.engine.stop()
                right.engine.stop()
                left.engine.start()
                right.engine.start()
        finally:
            over.set()
            for thread in threads:
                thread.join()
        assert left.engine.alive == right.engine.alive == 2


def test_stats_only_grow() -> None:
    with rig() as (left, right):
        seen = [left.engine.stats()]
        for _ in range(5):
            left.tun.put(udp_packet(b"x"))
            right.tun.packet()
            seen.append(left.engine.stats())
        for before, after in pairwise(seen):
            assert all(after[name] >= count for name, count in before.items())


def test_a_listener_of_each_family() -> None:
    try:
        six = loopback_listener("::1")
    except ListenError as error:
        pytest.skip(f"no IPv6 loopback: {error}")
    four = loopback_listener()
    plane_l, plane_r, tun_l, tun_r = Plane(), Plane(), FakeTun(), FakeTun()
    other = loopback_listener("::1")
    with Engine(plane_l, [four, six], tun_l) as e_l, Engine(plane_r, [other], tun_r) as e_r:
        left, right = Side(plane_l, tun_l, six, e_l), Side(plane_r, tun_r, other, e_r)
        connect(left, right)
        e_l.start()
        e_r.start()
        # the left peer was made for listener 0, which is IPv4: nothing can leave
        tun_l.put(udp_packet(b"x"))
        wait_for(lambda: plane_l.dropped() == {"drop_socket": 1})
        tun_r.put(udp_packet(b"back", RIGHT4, LEFT4))
        assert tun_l.packet() == udp_packet(b"back", RIGHT4, LEFT4)
    for thing in (tun_l, tun_r, four, six, other, plane_l, plane_r):
        thing.close()
