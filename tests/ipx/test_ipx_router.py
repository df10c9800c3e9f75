"""The IPX router: two old machines see each other, what goes round ends, nobody speaks for another. tshark reads what it says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import dissect

from headrace.ipx import rip, sap
from headrace.ipx.ethernet import Frame, FrameType, unwrap, wrap
from headrace.ipx.packet import BROADCAST, PROPAGATED, RIP, RIP_SOCKET, SAP, SAP_SOCKET, Address, Packet
from headrace.ipx.router import BROADCAST_RATE, ETHERNET, IpxRouter, RouterConfig, Sending

INNER, CABLE, FAR = 0x00C0FFEE, 0x0000CAB1, 0x000000FA
OURS = bytes.fromhex("020000000001")
NODES = {port: bytes.fromhex(f"0200000000{16 + port:02x}") for port in (1, 2, 3)}
STATION, OTHER_ROUTER = bytes.fromhex("00a024000001"), bytes.fromhex("00a0240000ff")


def router(*, ethernet: int = CABLE) -> IpxRouter:
    made = IpxRouter(RouterConfig(INNER, OURS, ethernet), 0.0)
    for port, node in NODES.items():
        assert made.attach(port, node, 0.0)
    made.tick(0.0)
    made.poll_packets()
    return made


def packet(to: Address, source: Address, payload: bytes = b"hello", **fields: int) -> Packet:
    return Packet(to, source, payload, **fields)


def at(port: int, socket: int = 0x4000, network: int = INNER) -> Address:
    return Address(network, NODES[port], socket)


def say(made: IpxRouter, port: int, sent: Packet, now: float = 1.0, station: bytes = STATION) -> list[Sending]:
    made.receive(port, sent.emit(), now, station if port == ETHERNET else b"")
    return made.poll_packets()


def ask(
    made: IpxRouter, port: int, body: bytes, *, kind: int = RIP, node: bytes = BROADCAST, now: float = 1.0
) -> list[Sending]:
    socket = RIP_SOCKET if kind == RIP else SAP_SOCKET
    source = Address(0, STATION if port == ETHERNET else NODES[port], socket)
    return say(made, port, packet(Address(0, node, socket), source, body, type=kind), now)


def test_two_sessions_see_each_other_and_each_packet_is_a_hop_older() -> None:
    made = router()
    (sent,) = say(made, 1, packet(at(2), at(1)))
    assert (sent.port, sent.node) == (2, NODES[2])
    arrived = Packet.parse(sent.data)
    assert arrived == packet(at(2), at(1), hops=1)
    (answer,) = say(made, 2, packet(at(1, network=0), at(2, network=0)))
    assert Packet.parse(answer.data).source == at(2), "the network is filled in for one that does not know it"


def test_a_session_and_a_station_of_the_ethernet_see_each_other() -> None:
    made = router()
    station = Address(CABLE, STATION, 0x4001)
    (sent,) = say(made, 1, packet(station, at(1)))
    assert (sent.port, sent.node) == (ETHERNET, STATION)
    (answer,) = say(made, ETHERNET, packet(at(1), station))
    assert (answer.port, answer.node) == (1, NODES[1])


def test_broadcasts_of_a_network_reach_all_sessions_but_the_one_that_sent_it() -> None:
    made = router()
    sent = say(made, 1, packet(Address(0, BROADCAST, 0x869C), at(1)))
    assert [(s.port, s.node) for s in sent] == [(2, NODES[2]), (3, NODES[3])]
    sent = say(made, ETHERNET, packet(Address(INNER, BROADCAST, 0x869C), Address(CABLE, STATION, 1)))
    assert [s.port for s in sent] == [1, 2, 3]
    (directed,) = say(made, 1, packet(Address(CABLE, BROADCAST, 0x869C), at(1)))
    assert (directed.port, directed.node) == (ETHERNET, BROADCAST)
    assert say(made, ETHERNET, packet(Address(0, BROADCAST, 0x869C), Address(0, STATION, 1))) == []
    assert made.poll_drops() == ["ipx_broadcast"]


def test_ipx_loop_ends_after_fifteen_routers() -> None:
    made = router()
    assert len(say(made, 1, packet(at(2), at(1), hops=14))) == 1
    assert say(made, 1, packet(at(2), at(1), hops=15)) == []
    assert say(made, 1, packet(at(2), at(1), hops=255)) == []
    assert made.poll_drops() == ["ipx_hops"] * 2


def test_ipx_loop_of_two_routers_on_one_cable_ends() -> None:
    """Each believes that the other leads to the network that is asked for."""
    made, peer = router(), IpxRouter(RouterConfig(0x99, OTHER_ROUTER, CABLE), 0.0)
    for one, other in ((made, OTHER_ROUTER), (peer, OURS)):
        one.receive(ETHERNET, told(FAR, 2, node=other).emit(), 0.0, other)
        one.poll_packets()
    going = say(made, 1, packet(Address(FAR, STATION, 1), at(1)))
    assert [s.node for s in going] == [OTHER_ROUTER]
    peer.receive(ETHERNET, going[0].data, 1.0, OURS)
    assert peer.poll_packets() == []
    assert peer.poll_drops() == ["ipx_loop"]


def told(network: int, hops: int, ticks: int = 3, node: bytes = OTHER_ROUTER) -> Packet:
    body = rip.Message(rip.RESPONSE, (rip.Entry(network, hops, ticks),)).emit()
    return packet(Address(CABLE, BROADCAST, RIP_SOCKET), Address(CABLE, node, RIP_SOCKET), body, type=RIP)


def test_netbios_broadcasts_reach_every_network_once() -> None:
    made = router()
    sent = say(made, 1, packet(Address(0, BROADCAST, 0x455), at(1), bytes(32) + b"who?", type=PROPAGATED))
    assert [s.port for s in sent] == [2, 3, ETHERNET]
    onward = Packet.parse(sent[2].data)
    assert (onward.hops, onward.payload[:4], onward.destination.network) == (1, INNER.to_bytes(4, "big"), CABLE)
    back = replace(onward, destination=Address(0, BROADCAST, 0x455), source=Address(CABLE, STATION, 1))
    assert say(made, ETHERNET, back) == []
    again = replace(onward, payload=CABLE.to_bytes(4, "big") + onward.payload[4:])
    assert say(made, ETHERNET, again) == []
    full = packet(Address(0, BROADCAST, 0x455), at(1), bytes(32), type=PROPAGATED, hops=8)
    assert say(made, 1, full) == []
    assert say(made, 1, packet(Address(0, BROADCAST, 0x455), at(1), bytes(31), type=PROPAGATED)) == []
    assert made.poll_drops() == ["ipx_loop", "ipx_hops", "ipx_length"]


def test_a_session_speaks_for_its_own_node_alone() -> None:
    made = router()
    for source in (at(2), Address(INNER, STATION, 1), replace(at(1), network=CABLE), Address(INNER, BROADCAST, 1)):
        assert say(made, 1, packet(at(3), source)) == []
    assert made.poll_drops() == ["ipx_source"] * 4
    assert say(made, ETHERNET, packet(at(1), Address(CABLE, OURS, 1))) == []
    assert say(made, 9, packet(at(3), at(1))) == []
    assert say(made, 1, packet(at(1), at(1))) == []
    assert made.poll_drops() == ["ipx_loop", "ipx_port", "ipx_loop"]


def test_node_numbers_are_given_once() -> None:
    made = router()
    assert not made.attach(7, NODES[1], 0.0)
    assert not made.attach(7, OURS, 0.0)
    assert made.attach(1, NODES[1], 0.0)
    made.detach(1)
    assert made.attach(7, NODES[1], 0.0)
    assert say(made, 2, packet(at(1), at(2)))[0].port == 7
    made.detach(99)
    made.detach(ETHERNET)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ipx_length"),
        (bytes(29), "ipx_length"),
        (b"\xff\xff\x00\x1d" + bytes(26), "ipx_length"),
        (b"\xff\xff\x00\x1f" + bytes(26), "ipx_length"),
        (packet(Address(INNER, OURS, 0x9999), at(1)).emit(), "ipx_socket"),
        (packet(Address(INNER, STATION, 1), at(1)).emit(), "ipx_node"),
        (packet(Address(FAR, STATION, 1), at(1)).emit(), "ipx_no_route"),
        (packet(at(2, network=0), at(1), checksum=0x1234).emit(), "ipx_checksum"),
        (packet(Address(INNER, OURS, RIP_SOCKET), at(1), b"\0").emit(), "ipx_rip_length"),
        (packet(Address(INNER, OURS, RIP_SOCKET), at(1), b"\0\x01\0").emit(), "ipx_rip_length"),
        (packet(Address(INNER, OURS, RIP_SOCKET), at(1), b"\0\x07").emit(), "ipx_rip_operation"),
        (packet(Address(INNER, OURS, RIP_SOCKET), at(1), told(FAR, 1).payload).emit(), "ipx_rip_port"),
        (packet(Address(INNER, OURS, SAP_SOCKET), at(1), b"\0\x01").emit(), "ipx_sap_length"),
        (packet(Address(INNER, OURS, SAP_SOCKET), at(1), b"\0\x02" + bytes(63)).emit(), "ipx_sap_length"),
        (packet(Address(INNER, OURS, SAP_SOCKET), at(1), b"\0\x09").emit(), "ipx_sap_operation"),
    ],
)
def test_what_is_wrong_is_counted_and_not_answered(data: bytes, reason: str) -> None:
    made = router()
    made.receive(1, data, 1.0)
    assert made.poll_packets() == []
    assert made.poll_drops() == [reason]


def test_broadcasts_come_at_a_rate() -> None:
    made = router()
    sent = [len(say(made, 1, packet(Address(0, BROADCAST, 1), at(1)))) for _ in range(200)]
    assert sum(count > 0 for count in sent) == BROADCAST_RATE
    assert say(made, 2, packet(Address(0, BROADCAST, 1), at(2))) != [], "another port has its own"
    assert say(made, 1, packet(Address(0, BROADCAST, 1), at(1)), now=2.0) != []


def test_rip_answers_each_side_with_the_other() -> None:
    made = router()
    everything = rip.Message(rip.REQUEST, (rip.Entry(rip.ALL),)).emit()
    assert entries(ask(made, 1, everything)) == [rip.Entry(CABLE, 1, 2)]
    assert entries(ask(made, ETHERNET, everything)) == [rip.Entry(INNER, 1, 2)]
    one = rip.Message(rip.REQUEST, (rip.Entry(CABLE), rip.Entry(FAR))).emit()
    assert entries(ask(made, 1, one, node=OURS)) == [rip.Entry(CABLE, 1, 2)]
    assert ask(made, 1, rip.Message(rip.REQUEST, (rip.Entry(FAR),)).emit()) == []
    say(made, ETHERNET, told(FAR, 2), station=OTHER_ROUTER)
    assert entries(ask(made, 1, one)) == [rip.Entry(CABLE, 1, 2), rip.Entry(FAR, 3, 5)]
    assert entries(ask(made, ETHERNET, everything)) == [rip.Entry(INNER, 1, 2)], "split horizon"


def entries(sent: list[Sending]) -> list[rip.Entry]:
    return [entry for s in sent for entry in rip.Message.parse(Packet.parse(s.data).payload).entries]


def test_routes_are_learned_replaced_withdrawn_and_forgotten() -> None:
    made = router()

    def way() -> list[bytes]:
        return [s.node for s in say(made, 1, packet(Address(FAR, STATION, 1), at(1)))]

    say(made, ETHERNET, told(FAR, 4, 9), station=OTHER_ROUTER)
    assert way() == [OTHER_ROUTER]
    better = bytes.fromhex("00a0240000fe")
    say(made, ETHERNET, told(FAR, 5, 9), station=better)
    assert way() == [OTHER_ROUTER], "no better"
    say(made, ETHERNET, told(FAR, 2, 3), station=better)
    assert way() == [better]
    say(made, ETHERNET, told(FAR, 16), station=OTHER_ROUTER)
    assert way() == [better], "not its to withdraw"
    say(made, ETHERNET, told(FAR, 16), station=better)
    assert way() == []
    say(made, ETHERNET, told(FAR, 2), now=10, station=better)
    made.tick(120)
    made.poll_packets()
    assert way() == [better]
    made.tick(191)
    made.poll_packets()
    assert way() == []
    for ours in (0, INNER, CABLE, rip.ALL):
        say(made, ETHERNET, told(ours, 1), station=better)
    assert made._routes == {}
    for number in range(3000):
        say(made, ETHERNET, told(0x10000 + number, 1), station=better)
    assert len(made._routes) == 1024


def offer(name: bytes, port: int = 1, *, hops: int = 1, kind: int = 4, address: Address | None = None) -> bytes:
    where = address or at(port, 0x451)
    return sap.Message(sap.ALL_RESPONSE, services=(sap.Service(kind, name, where, hops),)).emit()


def services(sent: list[Sending]) -> list[sap.Service]:
    return [service for s in sent for service in sap.Message.parse(Packet.parse(s.data).payload).services]


def test_a_service_of_one_session_is_found_by_the_others_and_by_the_ethernet() -> None:
    made = router()
    assert ask(made, 1, offer(b"OLDSERVER"), kind=SAP) == []
    general, nearest = (sap.Message(op, wanted=4).emit() for op in (sap.ALL_REQUEST, sap.NEAREST_REQUEST))
    for port in (2, ETHERNET):
        (found,) = services(ask(made, port, general, kind=SAP))
        assert (found.name, found.address, found.hops) == (b"OLDSERVER", at(1, 0x451), 2)
    (answer,) = ask(made, 2, nearest, kind=SAP)
    assert sap.Message.parse(Packet.parse(answer.data).payload).operation == sap.NEAREST_RESPONSE
    assert ask(made, 1, general, kind=SAP) == [], "never back to where it was learned"
    assert ask(made, 2, sap.Message(sap.ALL_REQUEST, wanted=7).emit(), kind=SAP) == []
    made.tick(made.deadline() or 0)
    assert [s.name for s in services(made.poll_packets()[1:])] == [b"OLDSERVER"]
    ask(made, 1, offer(b"OLDSERVER", hops=16), kind=SAP)
    assert ask(made, 2, general, kind=SAP) == []
    ask(made, 1, offer(b"OLDSERVER"), kind=SAP)
    made.detach(1)
    assert ask(made, 2, general, kind=SAP) == []


def test_services_are_bounded_and_nobody_offers_anothers() -> None:
    made = router()
    ask(made, 1, offer(b"X", address=at(2)), kind=SAP)
    ask(made, 1, offer(b"X", address=Address(CABLE, NODES[1], 1)), kind=SAP)
    ask(made, 1, offer(b""), kind=SAP)
    assert made.poll_drops() == ["ipx_sap_foreign", "ipx_sap_foreign", "ipx_sap_name"]
    ask(made, 2, offer(b"N0", 2), kind=SAP)
    for number in range(40):
        ask(made, 1, offer(b"N%d" % number), kind=SAP)
    assert len(services(ask(made, 3, sap.Message(sap.ALL_REQUEST).emit(), kind=SAP))) == 17
    for number in range(2000):
        ask(made, ETHERNET, offer(b"E%d" % number, address=Address(CABLE, STATION, 1)), kind=SAP)
    assert len(made._offers) == 1024
    for _ in range(4):
        made.tick(made.deadline() or 0)
    assert len(made._offers) == 17, "the Ethernet's are forgotten"


@pytest.mark.parametrize("kind", list(FrameType))
def test_four_kinds_of_ethernet_frame(kind: FrameType) -> None:
    sent = Frame(STATION, OURS, packet(at(1), at(2), b"x" * 100).emit())
    assert unwrap(kind, wrap(kind, sent)) == sent
    short = unwrap(kind, wrap(kind, Frame(STATION, OURS, packet(at(1), at(2), b"").emit())))
    assert short is not None
    assert Packet.parse(short.packet).payload == b""
    for other in set(FrameType) - {kind}:
        assert unwrap(other, wrap(kind, sent)) is None
    for cut in range(14):
        assert unwrap(kind, wrap(kind, sent)[:cut]) is None


@given(st.binary(max_size=90), st.sampled_from([0, 1, 2]))
@settings(deadline=None)
def test_no_octets_make_it_raise(octets: bytes, port: int) -> None:
    made = router()
    head = packet(Address(0, BROADCAST, RIP_SOCKET), Address(0, NODES.get(port, STATION), 1)).emit()[:30]
    sap_head = head[:16] + b"\x04\x52" + head[18:]
    for data in (octets, *(h[:2] + (30 + len(octets)).to_bytes(2, "big") + h[4:] + octets for h in (head, sap_head))):
        made.receive(port, data, 1.0, STATION)
        for sending in made.poll_packets():
            Packet.parse(sending.data)
    for kind in FrameType:
        unwrap(kind, octets)


@pytest.mark.skipif(dissect.NONE, reason="tshark is not installed")
def test_tshark_reads_every_kind_of_packet(tmp_path: Path) -> None:
    made = router()
    ask(made, 1, offer(b"OLDSERVER"), kind=SAP)
    sent = say(made, 1, packet(Address(CABLE, STATION, 0x4001), at(1)))
    sent += ask(made, 1, rip.Message(rip.REQUEST, (rip.Entry(rip.ALL),)).emit())
    sent += ask(made, 2, sap.Message(sap.NEAREST_REQUEST, wanted=4).emit(), kind=SAP)
    made.tick(made.deadline() or 0)
    sent += made.poll_packets()
    frames = [wrap(kind, Frame(s.node, OURS, s.data)) for kind in FrameType for s in sent]
    rows = dissect.dissect(
        dissect.capture(tmp_path / "ipx.pcap", dissect.ETHERNET, frames),
        "ipx.src.net",
        "ipxrip.hops",
        "ipxsap.server.name",
    )
    assert len(rows) == 4 * len(sent) == 20
    assert all(network for _, network, *_ in rows)
    assert sum(hops == "1" for *_, hops, _ in rows) == 8
    assert sum("OLDSERVER" in name for *_, name in rows) == 8
    over_ppp = [b"\xff\x03\x00\x2b" + s.data for s in sent]
    rows = dissect.dissect(dissect.capture(tmp_path / "ppp.pcap", dissect.PPP, over_ppp), "ipx.hops")
    assert all("ppp:ipx" in protocols for protocols, *_ in rows)
