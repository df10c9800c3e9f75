"""Frames, packets and options on the wire; every parser gives a value or ``Malformed``, and a value comes back as it went."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.ppp.harness import Script, server_config

from headrace.ppp.chap import Value
from headrace.ppp.frame import Frame, Packet, Proto, protocol_name
from headrace.ppp.option import KINDS, Option, describe, emit_options, fitting, parse_options
from headrace.wire import Malformed

octets = st.binary(max_size=300)
option_lists = st.lists(st.builds(Option, st.integers(0, 255), st.binary(max_size=253)), max_size=8).map(tuple)


@given(octets)
def test_frame_parses_or_is_malformed(data: bytes) -> None:
    try:
        frame = Frame.parse(data)
    except Malformed as error:
        assert (error.layer, error.field) == ("ppp", "short")  # noqa: PT017 -- half of the property
        return
    assert 0 <= frame.protocol <= 0xFFFF
    assert data.endswith(frame.information)


@given(st.integers(0, 0x7F).map(lambda high: high << 9), st.integers(0, 0x7F), octets)
def test_frame_comes_back(high: int, low: int, information: bytes) -> None:
    frame = Frame(high | low << 1 | 1, information)
    assert Frame.parse(frame.emit()) == frame
    assert Frame.parse(b"\xff\x03" + frame.emit()) == frame
    if frame.protocol < 0x100:
        assert Frame.parse(bytes((frame.protocol,)) + information) == frame


@given(st.builds(Packet, st.integers(0, 255), st.integers(0, 255), octets), octets)
def test_packet_comes_back_and_padding_does_not(packet: Packet, padding: bytes) -> None:
    assert Packet.parse(packet.emit() + padding, "test") == packet


@given(octets)
def test_packet_parses_or_is_malformed(data: bytes) -> None:
    try:
        packet = Packet.parse(data, "test")
    except Malformed as error:
        assert error.field == "length"  # noqa: PT017 -- half of the property
        return
    assert data.startswith(packet.emit())
    assert str(packet).isprintable()


@given(option_lists)
def test_options_come_back(options: tuple[Option, ...]) -> None:
    assert parse_options(emit_options(options), "test") == options
    for protocol in KINDS:
        assert describe(protocol, options).isprintable()


@given(octets)
def test_options_parse_or_are_malformed(data: bytes) -> None:
    try:
        options = parse_options(data, "test")
    except Malformed as error:
        assert error.field == "option"  # noqa: PT017 -- half of the property
        return
    assert emit_options(options) == data


@given(option_lists, st.integers(-10, 400))
def test_fitting(options: tuple[Option, ...], limit: int) -> None:
    taken = fitting(options, limit)
    assert options[: len(taken)] == taken
    assert not taken or len(emit_options(taken)) <= limit


@given(octets)
def test_chap_value_parses_or_is_malformed(data: bytes) -> None:
    try:
        value = Value.parse(data)
    except Malformed as error:
        assert error.field == "size"  # noqa: PT017 -- half of the property
        return
    assert value.emit() == data
    assert not value.value or value.value.hex() not in repr(value)


def test_names() -> None:
    assert protocol_name(0x8021) == "IPCP (8021)"
    assert protocol_name(0x4001) == "4001"
    assert str(Frame(Proto.LCP, b"abc")) == "LCP (c021) 3 octets"
    assert str(Packet(1, 2, b"abc")) == "Configure-Request id 2, 3 octets"
    assert str(Packet(77, 2)) == "Code-77 id 2, 0 octets"


def test_options_for_a_person() -> None:
    options = (
        Option(1, b"\x05\x78"),
        Option(2, bytes(4)),
        Option(3, b"\xc2\x23\x81"),
        Option(7),
        Option(200, b"\1"),
        Option(1, b"\1"),
    )
    assert describe(Proto.LCP, options) == "<mru 1400> <accm 00000000> <auth c22381> <pfc> <200 01> <1 01>"
    assert describe(Proto.IPCP, (Option(3, b"\n\0\0\1"), Option(129, bytes(4)))) == "<address 10.0.0.1> <dns1 0.0.0.0>"
    assert describe(0x1234, (Option(3, b"x"),)) == "<3 78>"


def test_n121_short_frames_and_senseless_protocols() -> None:
    script = Script(server_config(auth_methods=()))
    script.lcp()
    for frame in (b"", b"\x80", b"\xc0", b"\xff\x03", b"\xff\x03\xc0"):
        script.raw(frame)
    assert script.hear() == []
    assert script.drops() == ["ppp_short"] * 5
    for frame in (b"\x01", b"\x8121", b"\xff\xff", b"\xff\xff" + bytes(50), b"\x40\x02x", b"\xfe\xffx"):
        script.raw(frame)
        assert len(script.hear()) == 1, frame
        script.raw(frame)
        assert script.hear() == []
        script.now += 1.0
    assert not script.end.down


@pytest.mark.parametrize(
    "information",
    [
        b"",
        b"\x01",
        b"\x01\x01\x00",
        b"\x01\x01\x00\x03",
        b"\x01\x01\x00\x00",
        b"\x01\x01\x00\x05",
        b"\x01\x01\xff\xff" + bytes(1000),
        b"\x01\x01\x00\x06\x01\x00",
        b"\x01\x01\x00\x06\x01\x01",
        b"\x01\x01\x00\x08\x01\x06\x05\x78",
        b"\x01\x01\x00\x05\x01",
        b"\x03\x01\x00\x06\x01\x00",
        b"\x04\x01\x00\x06\x01\xff",
    ],
)
def test_n122_lengths_that_do_not_fit(information: bytes) -> None:
    script = Script(server_config(auth_methods=()))
    script.hear()
    before = script.link._lcp.state
    script.raw(Frame(Proto.LCP, information).emit())
    assert script.hear() == []
    assert script.link._lcp.state is before
    assert script.drops() in (["lcp_length"], ["lcp_option"])
    script.lcp()
    assert script.link._lcp.opened


def test_both_forms_of_a_frame_are_taken() -> None:
    script = Script(server_config(auth_methods=()))
    script.hear()
    request = Packet(1, 1, Option(5, b"\1\2\3\4").emit()).emit()
    script.raw(b"\xff\x03\xc0\x21" + request)
    script.raw(b"\xc0\x21" + request)
    assert [packet.code for _, packet in script.hear()] == [2, 2]
