"""IPXCP in both roles: networks, nodes, names, and options in every wrong length."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ppp.harness import REMOTE, Pair, Script, client_config, codes, options_of, server_config

from headrace.ppp.config import IpxConfig
from headrace.ppp.events import Carried, Ipv4Up, IpxDown, IpxUp, Settled
from headrace.ppp.frame import Code, Packet, Proto
from headrace.ppp.option import Option

OURS, GIVEN = bytes.fromhex("020000000001"), bytes.fromhex("020000000042")
SERVER = IpxConfig(0x00C0FFEE, OURS, assign=GIVEN, name="HEADRACE")


def script(**config: object) -> Script:
    made = Script(server_config(**{"ipx": SERVER, **config}))
    made.authenticate()
    return made


def ask(s: Script, *options: Option) -> Packet:
    ((_, answer),) = s.say(Proto.IPXCP, Code.CONFIGURE_REQUEST, 7, options)
    return answer


def test_a_client_gets_network_and_node() -> None:
    made = Pair(server_config(ipx=SERVER), client_config(ipx=IpxConfig())).until(Ipv4Up, IpxUp, Settled)
    server, client = made.server.one(IpxUp), made.client.one(IpxUp)
    assert (server.network, server.local, server.remote) == (0x00C0FFEE, OURS, GIVEN)
    assert (client.network, client.local, client.remote, client.name) == (0x00C0FFEE, GIVEN, OURS, "HEADRACE")
    assert made.client.link.carry(Proto.IPX, b"\xff\xff")
    made.run(1)
    assert made.server.one(Carried).protocol == Proto.IPX


def test_a_client_may_bring_its_own_node() -> None:
    own = bytes.fromhex("00a024112233")
    made = Pair(server_config(ipx=SERVER), client_config(ipx=IpxConfig(node=own))).until(IpxUp)
    assert made.server.one(IpxUp).remote == own


def test_what_a_server_asks_for() -> None:
    assert options_of(script().asked(Proto.IPXCP)) == {1: b"\x00\xc0\xff\xee", 2: OURS, 5: b"HEADRACE", 6: b""}


@pytest.mark.parametrize(
    ("option", "code", "data"),
    [
        (Option(1, b"\0\0\0\0"), Code.CONFIGURE_NAK, b"\x00\xc0\xff\xee"),
        (Option(1, b"\0\0\0\1"), Code.CONFIGURE_NAK, b"\x00\xc0\xff\xee"),
        (Option(1, b"\xff\0\0\0"), Code.CONFIGURE_NAK, b"\x00\xc0\xff\xee"),
        (Option(1, b"\x00\xc0\xff\xee"), Code.CONFIGURE_ACK, None),
        (Option(2, bytes(6)), Code.CONFIGURE_NAK, GIVEN),
        (Option(2, OURS), Code.CONFIGURE_NAK, GIVEN),
        (Option(2, b"\xff" * 6), Code.CONFIGURE_NAK, GIVEN),
        (Option(2, b"\x01" + bytes(5)), Code.CONFIGURE_NAK, GIVEN),
        (Option(2, b"\x00\x11\x22\x33\x44\x55"), Code.CONFIGURE_ACK, None),
        (Option(3, b"\x00\x02"), Code.CONFIGURE_REJECT, b"\x00\x02"),
        (Option(4, b"\x00\x00"), Code.CONFIGURE_ACK, None),
        (Option(4, b"\x00\x02"), Code.CONFIGURE_ACK, None),
        (Option(4, b"\x00\x04"), Code.CONFIGURE_NAK, b"\x00\x02"),
        (Option(4, b"\x00\x02\x00"), Code.CONFIGURE_NAK, b"\x00\x02"),
        (Option(5, b"CLIENT\x07"), Code.CONFIGURE_ACK, None),
        (Option(6), Code.CONFIGURE_ACK, None),
        (Option(7, b"?"), Code.CONFIGURE_REJECT, b"?"),
    ],
)
def test_each_option_of_the_peer(option: Option, code: Code, data: bytes | None) -> None:
    answer = ask(script(), option)
    assert answer.code == code
    assert options_of(answer)[option.type] == (option.data if data is None else data)


@given(st.sampled_from([(1, 4), (2, 6), (3, None), (4, None), (5, None), (6, 0)]), st.integers(0, 60))
@settings(deadline=None)
def test_options_of_every_wrong_length_are_rejected(kind: tuple[int, int | None], length: int) -> None:
    number, right = kind
    if right is None:
        low, high = {3: (2, 253), 4: (2, 253), 5: (1, 47)}[number]
        wrong = not low <= length <= high
    else:
        wrong = length != right
    if wrong:
        answer = ask(script(), Option(number, b"\2" * length))
        assert answer.code == Code.CONFIGURE_REJECT


def test_n126_a_peer_that_insists_on_its_network_loses_ipx_alone() -> None:
    s = script()
    s.negotiate(Proto.IPCP, (Option(3, REMOTE.packed),))
    heard = [ask(s, Option(1, b"\xff\0\0\0")).code for _ in range(12)]
    assert heard[:5] == [Code.CONFIGURE_NAK] * 5
    assert heard[5] == Code.CONFIGURE_REJECT
    for _ in range(30):
        s.say(Proto.IPXCP, Code.CONFIGURE_REQUEST, 7, (Option(1, b"\xff\0\0\0"),))
    s.wait(60)
    assert s.end.down is None
    assert not s.end.has(IpxUp)


def test_a_peer_that_rejects_all_has_the_node_that_it_was_given() -> None:
    s = script()
    request = s.asked(Proto.IPXCP)
    s.say(Proto.IPXCP, Code.CONFIGURE_REJECT, request.identifier, request.data)
    s.negotiate(Proto.IPXCP, ())
    assert s.end.one(IpxUp).remote == GIVEN
    heard = s.say(Proto.IPXCP, Code.TERMINATE_REQUEST, 3)
    assert codes(heard, Proto.IPXCP) == [Code.TERMINATE_ACK]
    assert s.end.has(IpxDown)


def test_the_higher_network_counts_for_clients() -> None:
    made = Pair(server_config(ipx=SERVER), client_config(ipx=IpxConfig(network=5))).until(IpxUp)
    assert made.client.one(IpxUp).network == 0x00C0FFEE
