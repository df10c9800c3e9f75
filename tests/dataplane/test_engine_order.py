"""Several workers: order within a session, whoever reads its packets; and sessions that talk to each other directly."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Any

import pytest
from tests.dataplane.engine_rig import (
    LEFT4,
    LEFT6,
    RIGHT4,
    RIGHT6,
    FakeTun,
    Plane,
    Side,
    checksum,
    loopback_listener,
    rig,
    transport_right,
    udp_packet,
    wait_for,
)

from headrace.dataplane.engine import Engine
from headrace.dataplane.queues import PacketQueue
from headrace.dataplane.tables import SessionConfig
from headrace.errors import LocalError
from headrace.model import MppeKeys


def _number(packet: bytes) -> int:
    return int.from_bytes(packet[-4:], "big")


@pytest.mark.parametrize("workers", [2, 3])
def test_packets_of_one_session_keep_their_order_whichever_worker_reads_them(workers: int) -> None:
    with rig(workers=workers, vnet=0) as (left, right):
        for plane, session, outbound in (
            (left.plane, left.session, True),
            (left.plane, left.session, False),
            (right.plane, right.session, True),
            (right.plane, right.session, False),
        ):
            server = (plane is right.plane) == outbound
            plane.set_mppe(session, MppeKeys(outbound, 128, True, bytes([7 if server else 9]) * 16))
        count = 600
        got: list[int] = []
        for number in range(count):
            # Every packet to another queue than the one before; each is on its way before the next is put.
            source, target = (RIGHT4, LEFT4) if number % 2 else (RIGHT6, LEFT6)
            right.tun.put(udp_packet(number.to_bytes(4, "big"), source, target), queue=number % workers)
            if number % 50 == 49:
                got += [_number(left.tun.packet()) for _ in range(number + 1 - len(got))]
        assert sorted(got) == list(range(count))
        assert right.engine.stats()["handed_over"] > 0
        assert "drop_mppe_stale" not in left.plane.dropped()
        assert left.plane.dropped() == {}
        assert right.plane.dropped() == {}


def test_one_worker_hands_nothing_over() -> None:
    with rig(workers=1, vnet=0) as (left, right):
        right.tun.put(udp_packet(b"abcd", RIGHT4, LEFT4))
        left.tun.packet()
        assert right.engine.stats()["handed_over"] == 0


# --- sessions among themselves ---------------------------------------------------------------------------------------------------

OTHER4 = IPv4Address("10.9.0.3")


@contextlib.contextmanager
def _three(*, direct: bool, workers: int = 1) -> Iterator[tuple[Side, Side, Side]]:
    """A gateway with two clients, ``left`` and ``other``."""
    with (
        rig(vnet=0, workers=workers, start=False, **({"direct": True} if direct else {})) as (left, right),
        contextlib.ExitStack() as stack,
    ):
        plane = Plane()
        stack.callback(plane.close)
        tun = FakeTun(vnet=0)
        stack.callback(tun.close)
        listener = loopback_listener()
        stack.callback(listener.close)
        other = Side(plane, tun, listener, stack.enter_context(Engine(plane, [listener], tun)))
        other.peer = plane.peer_at("127.0.0.1", right.listener.natt_port)
        peer = right.plane.peer_at("127.0.0.1", listener.natt_port)
        for spi, sender, sender_peer, taker, taker_peer in (
            (0x4004, other.plane, other.peer, right.plane, peer),
            (0x3003, right.plane, peer, other.plane, other.peer),
        ):
            taker.sa(taker_peer, spi, outbound=False)
            sender.sa(sender_peer, spi, outbound=True)
        other.session = plane.session(other.peer, local=17, remote=19, gateway=False)
        right.plane.add_session(
            SessionConfig(
                peer,
                local_tunnel=19,
                local_session=19,
                remote_tunnel=17,
                remote_session=17,
                lns=True,
                send_acfc=True,
                send_pfc=True,
                open4=True,
                send_mru=1400,
                own4=OTHER4,
            )
        )
        for side in (left, right, other):
            side.engine.start()
        yield left, right, other


@pytest.mark.parametrize("workers", [1, 2])
def test_clients_reach_each_other_without_the_host(workers: int) -> None:
    with _three(direct=True, workers=workers) as (left, right, other):
        sent = udp_packet(b"to the other", LEFT4, OTHER4)
        left.tun.put(sent)
        got = other.tun.packet()
        assert got[8] == sent[8] - 1, "one hop less"
        assert transport_right(got)
        assert got[20:] == sent[20:]
        other.tun.put(udp_packet(b"and back", OTHER4, LEFT4))
        assert left.tun.packet()[28:] == b"and back"
        assert right.tun.quiet()
        assert right.engine.stats()["direct"] == 2


def test_without_leave_the_host_sees_what_clients_say_to_each_other() -> None:
    with _three(direct=False) as (left, right, other):
        left.tun.put(udp_packet(b"to the other", LEFT4, OTHER4))
        assert right.tun.packet()[28:] == b"to the other"
        assert other.tun.quiet()
        assert right.engine.stats()["direct"] == 0


def test_direct_packets_at_their_last_hop_are_the_hosts_to_refuse() -> None:
    with _three(direct=True) as (left, right, other):
        packet = bytearray(udp_packet(b"tired", LEFT4, OTHER4))
        packet[8], packet[10:12] = 1, bytes(2)
        packet[10:12] = checksum(bytes(packet[:20])).to_bytes(2, "big")
        left.tun.put(bytes(packet))
        assert right.tun.packet()[28:] == b"tired"
        assert other.tun.quiet()


def test_n080_a_stolen_source_does_not_reach_another_session_directly() -> None:
    with _three(direct=True) as (left, right, other):
        left.tun.put(udp_packet(b"forged", RIGHT4, OTHER4))
        wait_for(lambda: right.plane.dropped().get("drop_spoofed_source") == 1)
        assert other.tun.quiet()


# --- traffic class ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tos", "expected"), [("copy", 0xB9), ("ecn", 0x01), ("none", 0)])
def test_outer_header_shows_the_inner_traffic_class(tos: str, expected: int) -> None:
    with rig(vnet=0, start=False, tos=tos) as (left, _):
        catcher = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        with catcher:
            catcher.bind(("127.0.0.1", 0))
            catcher.settimeout(5)
            catcher.setsockopt(socket.IPPROTO_IP, 13, 1)  # IP_RECVTOS
            peer = left.plane.peer_at("127.0.0.1", catcher.getsockname()[1])
            left.plane.sa(peer, 0x5005, outbound=True)
            left.plane.add_session(
                SessionConfig(
                    peer,
                    local_tunnel=3,
                    local_session=3,
                    remote_tunnel=3,
                    remote_session=3,
                    open4=True,
                    send_mru=1400,
                    own4=OTHER4,
                )
            )
            left.engine.start()
            left.tun.put(udp_packet(b"marked", LEFT4, OTHER4, tos=0xB9))
            _, control, _, _ = catcher.recvmsg(2048, 64)
            assert {data[0] for level, kind, data in control if (level, kind) == (0, 1)} == {expected}


def test_an_unknown_way_with_the_traffic_class_is_refused() -> None:
    with pytest.raises(LocalError, match="none of"), rig(tos="some"):
        pass


# --- a program in place of the TUN ---------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _queued(workers: int = 1) -> Iterator[tuple[PacketQueue, Any, Any]]:
    with rig(vnet=0, start=False) as (left, right), PacketQueue(workers=workers) as queue:
        engine = Engine(left.plane, [left.listener], queue, workers=workers)
        with engine:
            engine.start()
            right.engine.start()
            yield queue, left, right


@pytest.mark.parametrize("workers", [1, 2])
def test_a_program_sends_and_receives_in_place_of_the_tun(workers: int) -> None:
    with _queued(workers) as (queue, _, right):
        packets = [udp_packet(number.to_bytes(4, "big")) for number in range(50)]
        assert queue.send(packets) == 50
        assert [_number(right.tun.packet()) for _ in packets] == list(range(50))
        right.tun.put(udp_packet(b"answer", RIGHT4, LEFT4))
        assert queue.receive(timeout=5) == [udp_packet(b"answer", RIGHT4, LEFT4)]
        assert queue.receive() == []


def test_a_program_may_be_called_with_what_arrives() -> None:
    got: list[bytes] = []
    with _queued() as (queue, _, right):
        queue.deliver(got.extend)
        with pytest.raises(LocalError, match="already"):
            queue.deliver(got.extend)
        right.tun.put(udp_packet(b"called", RIGHT4, LEFT4))
        wait_for(lambda: len(got) == 1)
    assert got[0][28:] == b"called"


def test_what_is_no_packet_is_refused_and_a_full_queue_says_how_much_it_took() -> None:
    with PacketQueue(depth=1 << 14) as queue:
        with pytest.raises(LocalError, match="no IP packet"):
            queue.send([b"short"])
        with pytest.raises(LocalError, match="no IP packet"):
            queue.send([bytes(1401)])
        assert 0 < queue.send([udp_packet(bytes(1000))] * 1000) < 1000
    with pytest.raises(LocalError):
        PacketQueue(workers=0)
