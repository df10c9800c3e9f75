"""IPV6CP in both roles, beside IPv4 and without it, and what a link does when one of its network protocols goes missing."""

from __future__ import annotations

from ipaddress import IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ppp.harness import DNS, REMOTE, WINS, Pair, Script, Store, client_config, codes, options_of, server_config

from headrace.errors import Slug
from headrace.model import Encryption
from headrace.ppp.config import AuthAccept
from headrace.ppp.events import Carried, Dropped, Ipv4Up, Ipv6Down, Ipv6Up, LinkDown, Settled
from headrace.ppp.frame import Code, Frame, Packet, Proto
from headrace.ppp.ipv6cp import NONE, draw
from headrace.ppp.network import Grant
from headrace.ppp.option import Option

PREFIX = IPv6Network("2001:db8:7::/64")
IDENTIFIER = bytes.fromhex("0000000000000001")


def store() -> Store:
    return Store(grant=AuthAccept("alice", address=REMOTE, dns=DNS, wins=WINS, prefix6=PREFIX))


def pair(**client: object) -> Pair:
    return Pair(server_config(ipv6=True, interface_id=IDENTIFIER), client_config(**{"ipv6": True, **client}), store())


def script(**config: object) -> Script:
    """Opposite a client that has proven itself; the link has sent its first requests."""
    made = Script(server_config(**{"ipv6": True, "interface_id": IDENTIFIER, **config}), store())
    made.authenticate()
    return made


def ask(s: Script, identifier: bytes, number: int = 1) -> list[tuple[int, Packet]]:
    return s.say(Proto.IPV6CP, Code.CONFIGURE_REQUEST, number, (Option(1, identifier),))


def test_both_ends_name_themselves_and_the_server_knows_the_prefix() -> None:
    made = pair().until(Ipv4Up, Ipv6Up, Settled)
    server, client = made.server.one(Ipv6Up), made.client.one(Ipv6Up)
    assert str(server.local) == "fe80::1"
    assert server.prefix == PREFIX
    assert (client.local, client.remote) == (server.remote, server.local)
    assert client.prefix is None
    assert client.local.packed[8] & 2 == 0, "a drawn identifier does not claim to be worldwide"


def test_packets_pass_while_it_is_open_and_only_then() -> None:
    made = pair().until(Ipv6Up)
    assert made.client.link.carry(Proto.IPV6, b"`hello")
    assert not made.client.link.carry(Proto.IPX, b"x")
    assert not made.client.link.carry(Proto.IPV6, bytes(1401))
    made.run(1)
    assert made.server.all(Carried) == [Carried(Proto.IPV6, b"`hello")]
    made.server.receive(Frame(Proto.IPX, b"x").emit(), made.sim.now)
    made.server.drain()
    assert made.server.all(Dropped)[-1].reason == "ppp_not_open"


def test_a_client_that_does_not_want_it_has_ipv4_alone() -> None:
    made = pair(ipv6=False).until(Ipv4Up, Settled)
    made.run(40)
    assert not made.server.has(Ipv6Up)
    assert not made.server.has(LinkDown)


def test_n150_identifier_zero_and_ours_are_naked_with_another() -> None:
    s = script()
    for number, wanted in enumerate((NONE, IDENTIFIER), 1):
        ((_, answer),) = ask(s, wanted, number)
        assert answer.code == Code.CONFIGURE_NAK
        suggested = options_of(answer)[1]
        assert suggested not in {NONE, IDENTIFIER}
    ((_, answer),) = ask(s, suggested, 3)
    assert answer.code == Code.CONFIGURE_ACK


def test_a_request_without_identifier_is_asked_for_one_and_then_taken() -> None:
    s = script()
    heard = [s.say(Proto.IPV6CP, Code.CONFIGURE_REQUEST, number)[0][1] for number in range(1, 8)]
    assert [packet.code for packet in heard] == [Code.CONFIGURE_NAK] * 5 + [Code.CONFIGURE_ACK] * 2
    request = s.asked(Proto.IPV6CP)
    s.say(Proto.IPV6CP, Code.CONFIGURE_ACK, request.identifier, request.data)
    assert s.end.one(Ipv6Up).remote is None


def test_compression_and_unknown_options_are_rejected_and_every_wrong_length_too() -> None:
    s = script()
    for option in (Option(2, b"\x00\x4f"), Option(9, b""), *(Option(1, bytes(n)) for n in (0, 1, 7, 9, 253))):
        ((_, answer),) = s.say(Proto.IPV6CP, Code.CONFIGURE_REQUEST, 1, (option, Option(1, b"\1" * 8)))
        assert answer.code == Code.CONFIGURE_REJECT
        assert options_of(answer)[option.type] == option.data


def test_an_identifier_that_the_peer_has_too_is_drawn_again() -> None:
    s = script(interface_id=b"")
    first = options_of(s.asked(Proto.IPV6CP))[1]
    ((_, nak),) = ask(s, first)
    assert nak.code == Code.CONFIGURE_NAK
    for suggestion in (b"\5" * 8, NONE):
        request = s.asked(Proto.IPV6CP)
        ((_, again),) = s.say(Proto.IPV6CP, Code.CONFIGURE_NAK, request.identifier, (Option(1, suggestion),))
        assert options_of(again)[1] not in {first, NONE}
        assert suggestion == NONE or options_of(again)[1] == suggestion


def test_a_peer_that_rejects_our_identifier_gets_a_request_without() -> None:
    s = script()
    request = s.asked(Proto.IPV6CP)
    ((_, again),) = s.say(Proto.IPV6CP, Code.CONFIGURE_REJECT, request.identifier, request.data)
    assert (again.code, again.data) == (Code.CONFIGURE_REQUEST, b"")


def test_n126_a_peer_that_never_agrees_loses_ipv6_and_keeps_ipv4() -> None:
    s = script()
    s.negotiate(Proto.IPCP, (Option(3, REMOTE.packed),))
    assert s.end.has(Ipv4Up)
    for _ in range(40):
        request = s.asked(Proto.IPV6CP)
        s.say(Proto.IPV6CP, Code.CONFIGURE_NAK, request.identifier, (Option(1, b"\5" * 8),))
    s.wait(60)
    assert s.end.down is None
    assert not s.end.has(Ipv6Up)
    for number in range(60):
        s.say(Proto.IPV6CP, Code.CONFIGURE_REQUEST, number, (Option(77, b"?"),))
    assert s.end.down is None


def test_a_protocol_reject_of_ipv4_leaves_ipv6_and_of_both_nothing() -> None:
    s = script()
    s.negotiate(Proto.IPV6CP, (Option(1, b"\1" * 8),))
    assert not s.end.has(Settled)
    s.say(Proto.LCP, Code.PROTOCOL_REJECT, 1, b"\x80\x21" + bytes(4))
    assert s.end.down is None
    assert s.end.has(Settled)
    s.say(Proto.LCP, Code.PROTOCOL_REJECT, 2, b"\x80\x57" + bytes(4))
    s.wait(20)
    assert s.end.why is Slug.IPCP_REFUSED
    assert "Protocol-Reject" in s.end.one(LinkDown).failure.detail


def test_a_peer_that_never_answers_ipv4_is_let_be_where_ipv6_is_up() -> None:
    s = script()
    s.negotiate(Proto.IPV6CP, (Option(1, b"\1" * 8),))
    s.wait(28)
    s.say(Proto.LCP, Code.ECHO_REQUEST, 1, s.magic)
    s.wait(5)
    assert s.end.has(Settled)
    assert s.end.down is None


def test_a_peer_that_changes_its_mind_after_opening() -> None:
    s = script()
    s.negotiate(Proto.IPCP, (Option(3, REMOTE.packed),))
    s.negotiate(Proto.IPV6CP, (Option(1, b"\1" * 8),))
    heard = s.say(Proto.IPV6CP, Code.TERMINATE_REQUEST, 9)
    assert codes(heard, Proto.IPV6CP) == [Code.TERMINATE_ACK]
    assert s.end.has(Ipv6Down)
    s.wait(10)
    assert s.end.down is None
    s.negotiate(Proto.IPV6CP, (Option(1, b"\2" * 8),), identifier=10)
    assert [str(up.remote) for up in s.end.all(Ipv6Up)] == ["fe80::101:101:101:101", "fe80::202:202:202:202"]


def test_user_data_in_clear_is_not_taken_where_encryption_is_required() -> None:
    s = script()
    s.negotiate(Proto.IPV6CP, (Option(1, b"\1" * 8),))
    s.link._grant = Grant(Encryption.REQUIRED)
    s.raw(Frame(Proto.IPV6, b"`").emit())
    s.hear()
    assert s.drops()[-1] == "mppe_cleartext"
    s.link.receive(Frame(Proto.IPV6, b"`").emit(), s.now, encrypted=True)
    s.hear()
    assert s.end.has(Carried)


def test_nobody_without_a_prefix_gets_it() -> None:
    s = Script(server_config(ipv6=True))
    s.authenticate()
    heard = ask(s, b"\1" * 8)
    assert [(number, packet.code) for number, packet in heard] == [(Proto.LCP, Code.PROTOCOL_REJECT)]


@given(st.lists(st.binary(min_size=8, max_size=8), min_size=1, max_size=5))
@settings(deadline=None)
def test_a_drawn_identifier_is_never_zero_taken_or_worldwide(octets: list[bytes]) -> None:
    source = iter([*octets, b"\x10" * 8, b"\x11" * 8])
    drawn = draw(lambda _: next(source), octets[0])
    assert drawn not in {NONE, octets[0]}
    assert drawn[0] & 2 == 0


@pytest.mark.parametrize("seed", range(4))
def test_two_clients_of_one_link_never_share_an_identifier(seed: int) -> None:
    made = Pair(server_config(ipv6=True), client_config(ipv6=True), store(), seed=seed + 1).until(Ipv6Up)
    assert made.client.one(Ipv6Up).local != made.server.one(Ipv6Up).local
