"""Whatever a peer sends in EAP, plain or inside of a tunnel: nothing is raised, nobody gets in, and it ends."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ppp.eap_kit import EapStore, eap_client, eap_server, pair, server_tls
from tests.ppp.harness import Script
from tests.sim import Simulation, Weather

from headrace.errors import PeerError
from headrace.ppp.config import AuthMethod
from headrace.ppp.eap import EapPacket, emit_nak, parse_nak
from headrace.ppp.events import Authenticated, Ipv4Up
from headrace.ppp.frame import Frame, Proto
from headrace.ppp.option import Option
from headrace.ppp.peap import parse_inner, parse_result

M = AuthMethod
METHODS = (M.EAP_TLS, M.PEAP, M.EAP_MSCHAP_V2, M.EAP_MD5)
TLS = server_tls()

kinds = st.sampled_from([1, 2, 3, 4, 13, 25, 26, 33, 254, 255])
data = st.one_of(
    st.binary(max_size=60),
    st.builds(
        bytes.__add__,
        st.sampled_from([b"\x00", b"\x20", b"\x40", b"\x80\x00\x00\x00\x09", b"\xc0\x00\x01\x00\x00"]),
        st.binary(max_size=40),
    ),
    st.builds(
        bytes.__add__, st.sampled_from([b"\x00\x16\x03\x01\x00\x05", b"\x00\x15\x03\x03\x00\x02"]), st.binary(max_size=20)
    ),
    st.builds(
        lambda op, body: bytes((op, 1)) + (4 + len(body)).to_bytes(2, "big") + body, st.integers(0, 8), st.binary(max_size=70)
    ),
)
steps = st.lists(st.tuples(st.integers(1, 4), kinds, data, st.booleans()), max_size=25)


def walk(script: Script, moves: list[tuple[int, int, bytes, bool]], code: int) -> None:
    identifier = 0
    for kind_of, number, body, fits in moves:
        packet = EapPacket(kind_of if not fits else code, identifier if fits else 77, number, body)
        script.raw(Frame(Proto.EAP, packet.emit()).emit())
        for protocol, heard in script.hear():
            if protocol == Proto.EAP:
                identifier = heard.identifier
        if code == 1:
            identifier = (identifier + 1) & 0xFF
    assert not script.end.has(Authenticated)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60, deadline=None)
@given(moves=steps)
def test_server(method: AuthMethod, moves: list[tuple[int, int, bytes, bool]]) -> None:
    script = Script(eap_server(method, tls=TLS), EapStore())
    (first,) = [packet for number, packet in script.lcp() if number == Proto.EAP]
    script.raw(Frame(Proto.EAP, EapPacket(2, first.identifier, 1, b"alice").emit()).emit())
    script.hear()
    walk(script, moves, 2)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60, deadline=None)
@given(moves=steps)
def test_client(method: AuthMethod, moves: list[tuple[int, int, bytes, bool]]) -> None:
    if method is M.EAP_MD5:
        return  # whoever asks it is believed: it has no proof of the server
    script = Script(eap_client(method))
    script.lcp(Option(3, b"\xc2\x27"))
    walk(script, moves, 1)


@settings(max_examples=300, deadline=None)
@given(octets=st.binary(max_size=80))
def test_parsers_read_or_say_why_not(octets: bytes) -> None:
    for parse in (
        EapPacket.parse,
        parse_result,
        lambda data: parse_inner(data, 1, 1),
        lambda data: parse_nak(EapPacket(2, 1, 254, data)),
    ):
        try:
            parse(octets)
        except PeerError:
            continue


@given(st.builds(EapPacket, st.integers(1, 2), st.integers(0, 255), st.integers(1, 255), st.binary(max_size=1400)))
def test_packets_read_back(packet: EapPacket) -> None:
    assert EapPacket.parse(packet.emit()) == packet
    assert EapPacket.parse(packet.emit() + b"padding") == packet


@given(st.sampled_from([4, 21, 254]), st.lists(st.integers(4, 253), unique=True, max_size=10))
def test_naks_read_back(refused: int, wanted: list[int]) -> None:
    assert parse_nak(emit_nak(9, refused, tuple(wanted))) == tuple(wanted)


@pytest.mark.parametrize("method", [M.EAP_TLS, M.PEAP, M.EAP_MSCHAP_V2])
@pytest.mark.parametrize("seed", range(4))
def test_octets_that_change_on_the_way_let_nobody_in_wrongly(method: AuthMethod, seed: int) -> None:
    """One octet of each third EAP frame differs: it ends in one of the two ways, and never with different keys."""
    both = pair(eap_server(method), eap_client(method), seed=seed)
    count = 0

    def spoil(_now: float, _to_right: bool, frame: bytes) -> bytes:
        nonlocal count
        if frame[:2] != b"\xc2\x27":
            return frame
        count += 1
        place = 7 + (count * 31 + seed) % max(len(frame) - 7, 1)
        return frame if count % 3 or place >= len(frame) else frame[:place] + bytes((frame[place] ^ 0x10,)) + frame[place + 1 :]

    both.sim = Simulation(both.server.adapter(), both.client.adapter(), Weather(), seed=seed, tap=spoil)
    both.run(120)
    assert both.server.has(Ipv4Up) == both.client.has(Ipv4Up)
    if not both.server.has(Ipv4Up):
        assert both.server.down is not None
        assert both.client.down is not None


@pytest.mark.parametrize("method", [M.EAP_TLS, M.PEAP, M.EAP_MSCHAP_V2])
def test_success_that_is_lost_is_seen_in_what_follows(method: AuthMethod) -> None:
    both = pair(eap_server(method), eap_client(method))

    def swallow(_now: float, _to_right: bool, frame: bytes) -> bytes | None:
        return None if frame[:3] == b"\xc2\x27\x03" else frame

    both.sim = Simulation(both.server.adapter(), both.client.adapter(), Weather(), seed=1, tap=swallow)
    both.until(Ipv4Up)
    assert both.client.one(Authenticated).method is method
