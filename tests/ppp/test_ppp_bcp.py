"""BCP in both roles, and what tshark makes of the negotiations of every network protocol."""

from __future__ import annotations

from ipaddress import IPv6Network
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import dissect
from tests.ppp.harness import REMOTE, Pair, Script, Store, client_config, codes, options_of, server_config

from headrace.bridge import pdu
from headrace.ipx.packet import BROADCAST, Address, Packet
from headrace.ppp.config import AuthAccept, BridgeConfig, IpxConfig
from headrace.ppp.events import BridgeDown, BridgeUp, Carried, Ipv4Up, Ipv6Up, IpxUp, LinkDown, Settled
from headrace.ppp.frame import Code, Proto
from headrace.ppp.option import Option

MAC = bytes.fromhex("020000000009")


def script(**config: object) -> Script:
    made = Script(server_config(**{"bridge": BridgeConfig(), **config}))
    made.authenticate()
    return made


def test_both_ends_bridge() -> None:
    made = Pair(server_config(bridge=BridgeConfig(MAC)), client_config(bridge=BridgeConfig())).until(BridgeUp, Settled)
    assert made.client.one(BridgeUp) == BridgeUp(MAC, 1394, tagged=True)
    assert made.server.one(BridgeUp) == BridgeUp(b"", 1394, tagged=True)
    frame = bytes(12) + b"\x08\x00" + bytes(1380)
    assert made.client.link.carry(Proto.BRIDGED, pdu.wrap(frame))
    assert not made.client.link.carry(Proto.BRIDGED, pdu.wrap(frame + bytes(5)))
    made.run(1)
    assert pdu.unwrap(made.server.one(Carried).information) == frame


def test_what_is_asked_for() -> None:
    assert options_of(script().asked(Proto.BCP)) == {3: b"\1", 8: b"\1", 7: b"\0"}


@pytest.mark.parametrize(
    ("option", "code", "data"),
    [
        (Option(1, b"\0\1"), 4, None),
        (Option(2, b"\0\1"), 4, None),
        (Option(3, b"\1"), 2, None),
        (Option(3, b"\2"), 4, None),
        (Option(3, b"\x0b"), 4, None),
        (Option(4, b"\1"), 3, b"\2"),
        (Option(4, b"\2"), 2, None),
        (Option(5, bytes(4)), 4, None),
        (Option(6, MAC), 2, None),
        (Option(6, bytes(6)), 4, None),
        (Option(6, b"\xff" * 6), 4, None),
        (Option(7, b"\0"), 2, None),
        (Option(7, b"\1"), 3, b"\0"),
        (Option(7, b"\1\0"), 3, b"\0"),
        (Option(8, b"\1"), 2, None),
        (Option(8, b"\2"), 2, None),
        (Option(8, b"\3"), 3, b"\2"),
        (Option(9), 4, None),
        (Option(10), 4, None),
        (Option(11, b"x"), 4, None),
    ],
)
def test_each_option_of_the_peer(option: Option, code: int, data: bytes | None) -> None:
    ((_, answer),) = script().say(Proto.BCP, Code.CONFIGURE_REQUEST, 7, (option,))
    assert answer.code == code
    assert options_of(answer)[option.type] == (option.data if data is None else data)


@given(st.sampled_from([1, 2, 3, 4, 6, 8, 9, 10]), st.integers(0, 20))
@settings(deadline=None)
def test_options_of_every_wrong_length_are_rejected(number: int, length: int) -> None:
    if length != {1: 2, 2: 2, 3: 1, 4: 1, 6: 6, 8: 1, 9: 0, 10: 0}[number]:
        ((_, answer),) = script().say(Proto.BCP, Code.CONFIGURE_REQUEST, 7, (Option(number, b"\2" * length),))
        assert answer.code == Code.CONFIGURE_REJECT


def test_an_option_that_is_refused_is_asked_for_no_more() -> None:
    s = script()
    for code, option in ((Code.CONFIGURE_NAK, Option(8, b"\2")), (Code.CONFIGURE_REJECT, Option(7, b"\0"))):
        request = s.asked(Proto.BCP)
        s.say(Proto.BCP, code, request.identifier, (option,))
    assert options_of(s.asked(Proto.BCP)) == {3: b"\1"}


def test_a_peer_that_changes_its_mind_keeps_ipv4() -> None:
    s = script()
    s.negotiate(Proto.IPCP, (Option(3, REMOTE.packed),))
    s.negotiate(Proto.BCP, (Option(3, b"\1"),))
    assert s.end.one(BridgeUp).tagged is False
    assert codes(s.say(Proto.BCP, Code.TERMINATE_REQUEST, 3), Proto.BCP) == [Code.TERMINATE_ACK]
    assert s.end.has(BridgeDown)
    s.wait(10)
    assert s.end.down is None
    s.link.withdraw(Proto.IPCP, s.now)
    s.link.withdraw(Proto.LCP, s.now)  # no network protocol: nothing happens
    s.wait(20)
    assert s.end.has(LinkDown), "nothing is left"


@pytest.mark.skipif(dissect.NONE, reason="tshark is not installed")
def test_tshark_reads_every_negotiation_and_packet(tmp_path: Path) -> None:
    store = Store(grant=AuthAccept("alice", address=REMOTE, prefix6=IPv6Network("2001:db8::/64")))
    ipx = IpxConfig(0xC0FFEE, b"\2\0\0\0\0\1", b"\2\0\0\0\0\2", "HEADRACE")
    made = Pair(
        server_config(ipv6=True, ipx=ipx, bridge=BridgeConfig(MAC)),
        client_config(ipv6=True, ipx=IpxConfig(), bridge=BridgeConfig(), identification="headrace test"),
        store,
    )
    made.until(Ipv4Up, Ipv6Up, IpxUp, BridgeUp)
    server, client = made.server.link, made.client.link
    server.time_remaining(600, "lunch")
    source = Address(0xC0FFEE, made.client.one(IpxUp).local, 0x4000)
    assert client.carry(Proto.IPX, Packet(Address(0, BROADCAST, 0x4000), source, b"hello").emit())
    arp = BROADCAST + MAC + b"\x08\x06" + bytes.fromhex("0001080006040001") + MAC + bytes(4) + bytes(10)
    assert client.carry(Proto.BRIDGED, pdu.wrap(arp.ljust(60, b"\0")))
    made.run(1)
    frames = [
        b"\xff\x03" + frame.protocol.to_bytes(2, "big") + frame.information
        for end in (made.server, made.client)
        for frame in end.sent
    ]
    rows = dissect.dissect(
        dissect.capture(tmp_path / "ppp.pcap", dissect.PPP, frames), "bcp_bpdu.mac_type", "ipx.dst.net", "arp.opcode"
    )
    seen = {name for protocols, *_ in rows for name in protocols.split(":")}
    assert {"lcp", "chap", "ipcp", "ipv6cp", "bcp_ncp", "bcp_bpdu", "ipx", "arp"} <= seen
    assert [row[1:] for row in rows if "bcp_bpdu" in row[0]] == [["1", "", "1"]]
