"""Multilink across sessions of one user: the second session follows the first, fragments of both come together, spoofed ones do not enter.

And the other things that sessions carry beside forwarded IP: IPX between two clients, IPv6 links, protocols of an embedding program.
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Network

import pytest
from tests.oracle import ip
from tests.stack.harness import INNER, Side, World, failures

from headrace.errors import Slug
from headrace.ipx.packet import Address, Packet
from headrace.ipx.router import RouterConfig
from headrace.model import Encryption, Failure, FilterAction, FilterRule, SessionLimits
from headrace.ppp import events as ppp_events
from headrace.ppp.config import AuthAccept, BridgeConfig, IpxConfig, LinkConfig, MultilinkConfig
from headrace.ppp.frame import Frame, Proto
from headrace.ppp.multilink import Fragment, Sender, Terms
from headrace.stack import events
from headrace.stack.ethernet import IPX, EthernetConfig
from headrace.stack.lac import Lac
from headrace.stack.ladder import Ip6Config, Session

MACHINE = MultilinkConfig(b"\1one machine")


class Follower(Lac):
    """The second link of a client that has two: its network protocols are on the first."""

    def _bundle(self, session: Session, terms: Terms, now: float) -> None:
        session.link.follow(now)
        self._touch("ppp", session.record.handle)


def world(*, second: bytes = MACHINE.discriminator, user: str = "alice", **link: object) -> tuple[World, Side, Side, Side]:
    made = World()
    gateway = made.gateway(
        link=replace(LinkConfig(server=True, local_address=INNER, multilink=MultilinkConfig(b"\1gateway"), mru=200), **link),  # type: ignore[arg-type]
        users={"alice": "wonderland", "bob": "wonderland"},
    )
    one = made.client(link=LinkConfig(server=False, multilink=MACHINE, mru=200))
    two = made.client("192.0.2.3", user=user, link=LinkConfig(server=False, multilink=MultilinkConfig(second), mru=200))
    made.dial(one)
    assert made.run(30, until=lambda: bool(gateway.of(events.SessionUp)) and bool(one.of(events.SessionUp)))
    if (second, user) == (MACHINE.discriminator, "alice"):
        two.ladder.__class__ = Follower
    made.dial(two)
    assert made.run(30, until=lambda: len(gateway.of(events.SessionUp)) == 2)
    made.run(2)
    return made, gateway, one, two


def session_of(side: Side) -> Session:
    (session,) = side.ladder._sessions.values()
    return session


def send(made: World, pieces: list[tuple[Side, bytes]]) -> None:
    for side, piece in pieces:
        session = session_of(side)
        session.link.fragment(piece)
        side.ladder._touch("ppp", session.record.handle)
        side.ladder._settle(made.now)
        made.pump(side)
    made.run(3)


def carried(gateway: Side) -> list[bytes]:
    return [e.information for e in gateway.events if isinstance(e, events.Carried) and e.protocol == Proto.IPV4]


def dropped(side: Side) -> list[str]:
    return [e.reason for e in side.events if isinstance(e, events.Dropped)]


def test_fragments_of_two_sessions_are_one_link() -> None:
    made, gateway, one, two = world()
    first, second = gateway.ladder.sessions()
    assert (first.bundle, second.bundle) == (0, first.handle)
    assert second.remote_address == first.remote_address
    packet = ip.ip4(bytes(900), str(first.remote_address), "192.0.2.77")
    cut = Sender(Terms(1500, 1500)).cut(Frame(Proto.IPV4, packet).emit(), [200, 200])
    assert len(cut) >= 5
    send(made, [((one, two)[link], piece) for link, piece in cut])
    assert carried(gateway) == [packet]
    assert "mp_lost" not in dropped(gateway)


def test_what_is_not_the_sessions_own_does_not_enter_in_pieces_either() -> None:
    made, gateway, one, two = world()
    own = gateway.ladder.sessions()[0].remote_address
    sender = Sender(Terms(1500, 1500))
    for packet in (
        ip.ip4(bytes(300), "10.99.0.99", "192.0.2.77"),
        ip.ip4(bytes(300), str(own), "127.0.0.1"),
        ip.ip4(bytes(300), str(own), "192.0.2.1"),
        b"\x45",
        b"",
        ip.ip6(bytes(300), "2001:db8::1"),
    ):
        send(made, [((one, two)[n], piece) for n, piece in sender.cut(Frame(Proto.IPV4, packet).emit(), [200, 200])])
    assert carried(gateway) == []
    assert dropped(gateway).count("mp_spoofed_source") == 6


def test_a_lost_fragment_costs_its_frame_and_a_short_one_nothing() -> None:
    made, gateway, one, two = world()
    own = str(gateway.ladder.sessions()[0].remote_address)
    sender = Sender(Terms(1500, 1500))
    frames = [Frame(Proto.IPV4, ip.ip4(bytes([n]) * 500, own, "192.0.2.77")).emit() for n in range(3)]
    cut = [[((one, two)[link], piece) for link, piece in sender.cut(frame, [200, 200])] for frame in frames]
    send(made, cut[0] + cut[1][1:] + cut[2])
    assert len(carried(gateway)) == 2
    send(made, [(one, b"\xc0")])
    assert {"mp_lost", "mp_short"} <= set(dropped(gateway))


def test_control_goes_to_the_session_that_leads_and_its_end_is_the_bundles() -> None:
    made, gateway, _, two = world()
    ended = Fragment(0, True, True, Frame(Proto.IPCP, bytes((9, 1, 0, 4))).emit()).emit(short=False)
    send(made, [(two, ended)])
    head, member = gateway.ladder.sessions()
    assert member.bundle == head.handle
    gateway.ladder.disconnect(head.handle, Failure(Slug.ADMIN), made.now)
    made.pump(gateway)
    assert made.run(60, until=lambda: gateway.ladder.sessions() == [])
    assert gateway.ladder._bundles == {}


@pytest.mark.parametrize(("second", "user"), [(b"\1another machine", "alice"), (MACHINE.discriminator, "bob")])
def test_another_machine_or_user_is_no_part_of_it(second: bytes, user: str) -> None:
    _, gateway, _, _ = world(second=second, user=user)
    assert [session.bundle for session in gateway.ladder.sessions()] == [0, 0]
    assert len({session.remote_address for session in gateway.ladder.sessions()}) == 2


def test_no_multilink_where_encryption_is_required() -> None:
    _, gateway, *_ = world(encryption=Encryption.REQUIRED_128, second=b"\1x")
    assert all(session.bundle is None for session in gateway.ladder._sessions.values())


def test_limits_that_fragments_would_pass_by_end_the_attempt() -> None:
    made = World()
    gateway = made.gateway(link=LinkConfig(server=True, local_address=INNER, multilink=MultilinkConfig(b"\1gateway")))
    judge = gateway.judge
    assert judge is not None

    def limited(request: ppp_events.AuthRequest) -> AuthAccept:
        result = judge(request)
        assert isinstance(result, AuthAccept)
        return replace(result, limits=SessionLimits(rate_up=8000, session_time=900))

    gateway.judge = limited
    client = made.client(link=LinkConfig(server=False, multilink=MACHINE))
    made.dial(client)
    assert made.run(60, until=lambda: bool(failures(gateway)))
    assert "multilink would pass by" in failures(gateway)[0].detail
    plain = made.client("192.0.2.9", link=LinkConfig(server=False))
    made.dial(plain)
    assert made.run(60, until=lambda: bool(plain.of(events.TimeRemaining)))
    (told,) = plain.of(events.TimeRemaining)
    assert isinstance(told, events.TimeRemaining)
    assert told.seconds == 900


def test_what_we_send_ourselves_is_cut_over_both() -> None:
    made, gateway, one, two = world()
    head = gateway.ladder.sessions()[0]
    assert not gateway.ladder.carry(head.handle, Proto.IPX, bytes(900), made.now)
    got: list[tuple[str, bytes]] = []
    for name, side in (("one", one), ("two", two)):
        link = session_of(side).link
        emit = link.emit

        def listen(event: ppp_events.PppEvent, name: str = name, emit: object = emit) -> None:
            if isinstance(event, ppp_events.Carried):
                got.append((name, event.information))
            else:
                emit(event)  # type: ignore[operator]

        link.emit = listen  # type: ignore[method-assign]
    assert gateway.ladder.carry(head.handle, Proto.IPV4, bytes(900), made.now)
    made.pump(gateway)
    made.run(3)
    assert {name for name, _ in got} == {"one", "two"}
    whole = b"".join(Fragment.parse(data, short=False).data for _, data in sorted(got, key=lambda item: item[1][1:4]))
    assert whole == b"\x00\x21" + bytes(900)


def test_two_clients_see_each_other_over_ipx_and_one_node_is_one_clients() -> None:
    made = World()
    ethernet = EthernetConfig(ipx=RouterConfig(0xC0FFEE, b"\2\0\0\0\0\1", 0xCAB1))
    gateway = made.gateway(
        link=LinkConfig(server=True, local_address=INNER, ipx=IpxConfig(0xC0FFEE, b"\2\0\0\0\0\1", name="GW")),
        users={"alice": "wonderland", "bob": "wonderland"},
        ethernet=ethernet,
    )
    clients = [
        made.client(f"192.0.2.{n}", user=user, link=LinkConfig(server=False, ipx=IpxConfig(node=node)))
        for n, user, node in ((2, "alice", bytes(6)), (3, "bob", bytes(6)))
    ]
    for client in clients:
        made.dial(client)
    assert made.run(60, until=lambda: all(s.ipx for s in gateway.ladder.sessions()) and len(gateway.ladder.sessions()) == 2)
    made.run(3)
    nodes = [bytes.fromhex(session.ipx.split(".")[1]) for session in gateway.ladder.sessions()]
    assert len(set(nodes)) == 2
    packet = Packet(Address(0xC0FFEE, nodes[1], 0x4000), Address(0xC0FFEE, nodes[0], 0x4000), b"hello")
    one, two = clients
    assert one.ladder.carry(session_of(one).record.handle, Proto.IPX, packet.emit(), made.now)
    made.pump(one)
    made.run(2)
    got = [Packet.parse(e.information) for e in two.events if isinstance(e, events.Carried)]
    assert [(p.payload, p.hops, p.source.node) for p in got] == [(b"hello", 1, nodes[0])]
    twin = made.client("192.0.2.4", user="bob", link=LinkConfig(server=False, ipx=IpxConfig(node=nodes[0])))
    made.dial(twin)
    assert made.run(60, until=lambda: "ipx_node_taken" in dropped(gateway))
    assert made.run(30, until=lambda: bool(twin.of(events.SessionUp)))
    gateway.ladder.tap_frame(IPX, bytes(10), made.now)
    made.pump(gateway)
    one.ladder.carry(
        session_of(one).record.handle, Proto.IPX, replace(packet, destination=Address(0xCAB1, nodes[1], 1)).emit(), made.now
    )
    made.pump(one)
    made.run(2)
    assert gateway.taps[-1][1][:6] == nodes[1]


def test_the_link_of_a_session_gets_its_addresses() -> None:
    made = World()
    prefix = IPv6Network("2001:db8:0:8::/63")
    gateway = made.gateway(
        link=LinkConfig(server=True, local_address=INNER, ipv6=True), ip6=Ip6Config(b"\0\4" + bytes(16), (), 64)
    )
    judge = gateway.judge
    assert judge is not None

    def with_prefix(request: ppp_events.AuthRequest) -> AuthAccept:
        result = judge(request)
        assert isinstance(result, AuthAccept)
        return replace(result, prefix6=prefix)

    gateway.judge = with_prefix
    client = made.client(link=LinkConfig(server=False, ipv6=True))
    made.dial(client)
    assert made.run(30, until=lambda: bool(client.of(events.Ip6Learned)) and bool(gateway.of(events.SessionUp)))
    (record,) = client.ladder.sessions()
    assert record.addresses6[0] in IPv6Network("2001:db8:0:8::/64")
    assert record.router6 is not None
    (ours,) = gateway.ladder.sessions()
    entry = gateway.tables.sessions[ours.index]
    assert (entry.open6, entry.own6, entry.mss6) == (True, prefix, ours.mtu - 60)
    assert isinstance(ours.remote_address, IPv4Address)
    made.run(400)
    assert gateway.ladder.sessions() == [ours]


def test_who_has_filters_does_not_get_to_the_ethernet_where_there_are_none() -> None:
    made = World()
    gateway = made.gateway(
        link=LinkConfig(server=True, local_address=INNER, bridge=BridgeConfig()), ethernet=EthernetConfig(bridge=True)
    )
    judge = gateway.judge
    assert judge is not None

    def filtered(request: ppp_events.AuthRequest) -> AuthAccept:
        result = judge(request)
        assert isinstance(result, AuthAccept)
        return replace(result, limits=SessionLimits(filters=(FilterRule(FilterAction.DENY),)))

    gateway.judge = filtered
    client = made.client(link=LinkConfig(server=False, bridge=BridgeConfig()))
    made.dial(client)
    assert made.run(60, until=lambda: "bridge_filtered" in dropped(gateway))
    made.run(20)
    (session,) = gateway.ladder.sessions()
    assert session.up
    assert not session.bridged


def test_a_registered_protocol_reaches_the_program_and_comes_back() -> None:
    made = World()
    gateway = made.gateway(link=LinkConfig(server=True, local_address=INNER, foreign=frozenset({0x4021})))
    client = made.client(link=LinkConfig(server=False, foreign=frozenset({0x4021, 0x4023})))
    made.dial(client)
    assert made.run(30, until=lambda: bool(client.of(events.SessionUp)) and bool(gateway.of(events.SessionUp)))
    (ours,), (theirs,) = gateway.ladder.sessions(), client.ladder.sessions()
    for protocol in (0x4021, 0x4023):
        assert client.ladder.carry(theirs.handle, protocol, b"question", made.now)
    made.pump(client)
    made.run(2)
    assert gateway.of(events.Carried) == [events.Carried(ours, 0x4021, b"question")]
    assert client.of(events.ProtocolRejected) == [events.ProtocolRejected(theirs, 0x4023)]
    assert gateway.ladder.carry(ours.handle, 0x4021, b"answer", made.now)
    assert not gateway.ladder.carry(ours.handle, 0x4023, b"answer", made.now)
    assert not gateway.ladder.carry(ours.handle, 0x4021, bytes(1600), made.now)
    assert not gateway.ladder.carry(999, 0x4021, b"nobody", made.now)
    made.pump(gateway)
    made.run(2)
    assert client.of(events.Carried) == [events.Carried(theirs, 0x4021, b"answer")]
