"""The learning bridge and the frames it is fed with: to whom, how much, and what is never passed on."""

from __future__ import annotations

import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.bridge import pdu
from headrace.bridge.switch import FLOOD_RATE, SESSION_STATIONS_MAX, STATIONS_MAX, TAP, Switch
from headrace.wire import Malformed

EVERYBODY = b"\xff" * 6


def mac(number: int) -> bytes:
    return b"\x02" + number.to_bytes(5, "big")


def frame(to: bytes, source: bytes, size: int = 60, kind: bytes = b"\x08\x00") -> bytes:
    return (to + source + kind).ljust(size, b"\0")


def switch(*sessions: int) -> Switch:
    made = Switch()
    made.attach(TAP, 1500, 0.0)
    for session in sessions:
        made.attach(session, 1394, 0.0)
    return made


def say(made: Switch, port: int, sent: bytes, now: float = 1.0) -> list[int]:
    made.receive(port, sent, now)
    return [to for to, data in made.poll_frames() if data == sent]


def test_it_learns_where_stations_are() -> None:
    made = switch(1, 2, 3)
    assert say(made, 1, frame(mac(9), mac(1))) == [TAP, 2, 3]
    assert say(made, 2, frame(mac(1), mac(2))) == [1]
    assert say(made, 1, frame(mac(2), mac(1))) == [2]
    assert say(made, TAP, frame(EVERYBODY, mac(5))) == [1, 2, 3]
    assert say(made, 1, frame(mac(1), mac(8))) == []
    assert made.poll_drops() == ["bridge_local"]
    assert say(made, 2, frame(mac(1), mac(2)), now=302) == [TAP, 1, 3], "forgotten after five minutes of silence"
    made.detach(2)
    assert say(made, 3, frame(mac(2), mac(3)), now=303) == [TAP, 1]


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"", "bridge_short"),
        (bytes(13), "bridge_short"),
        (frame(EVERYBODY, b"\x01" + bytes(5)), "bridge_source"),
        (frame(EVERYBODY, bytes(6)), "bridge_source"),
        (frame(bytes.fromhex("0180c2000000"), mac(1)), "bridge_reserved"),
        (frame(bytes.fromhex("0180c200000e"), mac(1)), "bridge_reserved"),
    ],
)
def test_what_is_never_passed_on(sent: bytes, reason: str) -> None:
    made = switch(1, 2)
    assert say(made, 1, sent) == []
    assert made.poll_drops() == [reason]
    made.receive(7, frame(EVERYBODY, mac(1)), 1.0)
    assert made.poll_drops() == ["bridge_port"]


def test_size_and_tags_are_the_ports() -> None:
    made = switch(1)
    made.attach(2, 1394, 0.0, tagged=False)
    assert say(made, TAP, frame(EVERYBODY, mac(1), 1394)) == [1, 2]
    assert say(made, TAP, frame(EVERYBODY, mac(1), 1395)) == []
    assert say(made, TAP, frame(EVERYBODY, mac(1), kind=b"\x81\x00")) == [1]
    assert made.poll_drops() == ["bridge_too_big", "bridge_too_big", "bridge_tagged"]


def test_a_loop_ends_in_the_rate_and_a_station_cannot_be_stolen_at_once() -> None:
    made = switch(1, 2)
    copies, going = 0, [(1, frame(EVERYBODY, mac(1)))]
    while going and copies < 100_000:  # ports 1 and 2 are joined elsewhere: what leaves one comes in at the other
        port, sent = going.pop()
        made.receive(port, sent, 1.0)
        for to, data in made.poll_frames():
            if to != TAP:
                copies += 1
                going.append((3 - to, data))
    assert copies <= 2 * FLOOD_RATE
    made = switch(1, 2)
    assert say(made, 1, frame(EVERYBODY, mac(1)))
    assert say(made, 2, frame(EVERYBODY, mac(1)), now=1.5) == []
    assert made.poll_drops() == ["bridge_moving"]
    assert say(made, 2, frame(EVERYBODY, mac(1)), now=2.1) == [TAP, 1], "it really moved"


def test_stations_are_bounded() -> None:
    made = switch(1, 2)
    for number in range(3 * SESSION_STATIONS_MAX):
        say(made, 1, frame(mac(1), mac(1000 + number)))
    assert made.stations == SESSION_STATIONS_MAX
    assert set(made.poll_drops()) <= {"bridge_stations", "bridge_rate", "bridge_local"}
    for number in range(2 * STATIONS_MAX):
        made.receive(TAP, frame(mac(1), mac(10_000 + number)), 2.0 + number / 100)
        made.poll_frames()
    assert made.stations == STATIONS_MAX
    made.detach(TAP)
    assert made.stations == 0


def test_frames_with_check_sequence_and_pads() -> None:
    plain = frame(EVERYBODY, mac(1))
    check = zlib.crc32(plain).to_bytes(4, "little")
    assert pdu.unwrap(pdu.wrap(plain)) == plain
    assert pdu.unwrap(b"\x80\x01" + plain + check) == plain
    assert pdu.unwrap(b"\x83\x01" + plain + check + bytes(3)) == plain
    assert pdu.unwrap(b"\x0f\x01" + plain + bytes(15)) == plain


@pytest.mark.parametrize(
    ("information", "field"),
    [
        (b"", "short"),
        (b"\0", "short"),
        (b"\0\1" + bytes(13), "short"),
        (b"\x0f\1" + bytes(14), "short"),
        (b"\0\2" + bytes(60), "mac_type"),
        (b"\x20\1" + bytes(60), "flags"),
        (b"\x10\1" + bytes(60), "flags"),
        (b"\x40\1" + bytes(60), "flags"),
        (b"\x80\1" + bytes(60) + b"FAIL", "fcs"),
    ],
)
def test_what_was_not_negotiated_is_no_frame(information: bytes, field: str) -> None:
    with pytest.raises(Malformed) as caught:
        pdu.unwrap(information)
    assert caught.value.field == field


@given(st.binary(max_size=80))
@settings(deadline=None)
def test_no_octets_do_more_than_be_refused(octets: bytes) -> None:
    made = switch(1)
    made.receive(1, octets, 1.0)
    with suppress(Malformed):
        assert len(pdu.unwrap(octets)) >= 14
