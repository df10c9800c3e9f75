"""The same walks with every network protocol on: nothing is raised, nothing loops, and LCP that starts anew takes all of them along."""

from __future__ import annotations

from ipaddress import IPv6Network

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ppp.harness import REMOTE, Script, Store, client_config, server_config

from headrace.ppp.config import AuthAccept, BridgeConfig, IpxConfig, LinkConfig, MultilinkConfig
from headrace.ppp.events import (
    BridgeDown,
    BridgeUp,
    Ipv4Down,
    Ipv4Up,
    Ipv6Down,
    Ipv6Up,
    IpxDown,
    IpxUp,
    LinkDown,
    MultilinkLeft,
    MultilinkOffered,
    Settled,
)
from headrace.ppp.frame import Code, Frame, Packet, Proto
from headrace.ppp.option import Option, emit_options

NETWORKS = (Proto.IPV6CP, Proto.IPXCP, Proto.BCP, Proto.IPCP, Proto.LCP, Proto.MULTILINK, Proto.IPX, Proto.BRIDGED, Proto.IPV6)
UP, DOWN = (Ipv4Up, Ipv6Up, IpxUp, BridgeUp), (Ipv4Down, Ipv6Down, IpxDown, BridgeDown)


def everything(*, server: bool, multilink: bool = False) -> LinkConfig:
    common = {
        "ipv6": True,
        "bridge": BridgeConfig(),
        "ipx": IpxConfig(0xC0FFEE if server else 0, bytes.fromhex("020000000001") if server else bytes(6), b"\2" + bytes(5)),
        "multilink": MultilinkConfig(b"\1me") if multilink else None,
    }
    return server_config(**common) if server else client_config(credentials=None, **common)


def store() -> Store:
    return Store(grant=AuthAccept("alice", address=REMOTE, prefix6=IPv6Network("2001:db8::/64")))


options = st.lists(st.builds(Option, st.integers(0, 20), st.binary(max_size=9)), max_size=5).map(emit_options)
packets = st.builds(Packet, st.integers(0, 9), st.integers(0, 9), st.one_of(options, st.binary(max_size=30))).map(Packet.emit)
frames = st.builds(Frame, st.sampled_from(NETWORKS), st.one_of(packets, st.binary(max_size=50))).map(Frame.emit)


@pytest.mark.parametrize(("server", "multilink"), [(True, False), (True, True), (False, False), (False, True)])
@settings(max_examples=50, deadline=None)
@given(walk=st.lists(st.one_of(frames, st.floats(0.0, 20.0)), max_size=50), lead=st.booleans())
def test_random_walks_with_every_network(server: bool, multilink: bool, walk: list[bytes | float], lead: bool) -> None:
    script = Script(everything(server=server, multilink=multilink), store())
    extra = (Option(17, b"\x05\xdc"), Option(19, b"\1you")) if multilink else ()
    if server:
        (challenge,) = [packet for number, packet in script.lcp(*extra) if number == Proto.CHAP]
        script.say(Proto.CHAP, 2, challenge.identifier, script.respond(challenge))
    else:
        script.lcp(*extra)
    if script.end.has(MultilinkOffered):
        (script.link.lead if lead else script.link.follow)(script.now)
        script.end.drain()
    for step in walk:
        if isinstance(step, float):
            script.wait(step)
        else:
            script.raw(step)
            assert len(script.end.drain()) <= 16
    for up, down in zip(UP, DOWN, strict=True):
        assert 0 <= len(script.end.all(up)) - len(script.end.all(down)) <= 1
    assert len(script.end.all(LinkDown)) <= 1


def test_lcp_that_starts_anew_takes_every_network_along_and_brings_it_back() -> None:
    script = Script(everything(server=True, multilink=True), store())
    for turn in range(3):
        number = 10 * turn + 1
        multilink = (Option(17, b"\x05\xdc"), Option(19, b"\1you"))
        heard = script.negotiate(Proto.LCP, (Option(5, bytes([turn + 1]) * 4), *multilink), identifier=number)
        (challenge,) = [packet for protocol, packet in heard if protocol == Proto.CHAP]
        script.say(Proto.CHAP, 2, challenge.identifier, script.respond(challenge))
        assert len(script.end.all(MultilinkOffered)) == turn + 1
        script.link.lead(script.now)
        script.negotiate(Proto.IPCP, (Option(3, REMOTE.packed),), number)
        script.negotiate(Proto.IPV6CP, (Option(1, b"\1" * 8),), number)
        script.negotiate(Proto.IPXCP, (Option(2, b"\2\2\2\2\2\2"),), number)
        script.negotiate(Proto.BCP, (Option(3, b"\1"),), number)
        assert [len(script.end.all(kind)) for kind in UP] == [turn + 1] * 4
        assert len(script.end.all(Settled)) == turn + 1
        assert [len(script.end.all(kind)) for kind in DOWN] == [turn] * 4
        assert len(script.end.all(MultilinkLeft)) == turn
        script.wait(5)
    script.say(Proto.LCP, Code.TERMINATE_REQUEST, 99)
    assert [len(script.end.all(kind)) for kind in DOWN] == [3] * 4
    assert len(script.end.all(MultilinkLeft)) == 3
