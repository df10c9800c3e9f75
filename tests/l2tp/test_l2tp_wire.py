"""Header, AVPs and messages: what is written is read, what is wrong is refused, and real messages come out as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.l2tp.kit import body, seeded

from headrace.l2tp import avp as wire
from headrace.l2tp.avp import (
    AVPS,
    AccmPair,
    Avp,
    AvpType,
    CallErrors,
    Cause,
    ErrorCode,
    HiddenLength,
    HiddenUnreadable,
    Kind,
    Result,
    Value,
    challenge_response,
    decode,
    encode,
    hide,
    reveal,
)
from headrace.l2tp.header import BadHeader, ControlHeader, Header, emit_control, parse_control, surplus
from headrace.l2tp.header import parse as parse_header
from headrace.l2tp.message import MESSAGES, Hiding, MessageType, UnknownMessage, emit, parse
from headrace.wire import Malformed

GOLDEN = json.loads((Path(__file__).parent.parent / "vectors" / "l2tp" / "xl2tpd.json").read_text())
MESSAGES_SEEN = [bytes.fromhex(item["data"]) for items in GOLDEN.values() for item in items]
SECRET = b"tunnel-secret"

u16 = st.integers(0, 0xFFFF)
u32 = st.integers(0, 0xFFFFFFFF)
VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.U16: u16,
    Kind.U32: u32,
    Kind.OCTETS: st.binary(max_size=300),
    Kind.TEXT: st.binary(max_size=300),
    Kind.RESULT: st.builds(Result, u16, u16, st.binary(max_size=50)),
    Kind.CAUSE: st.builds(Cause, u16, st.integers(0, 255), st.binary(max_size=50)),
    Kind.CALL_ERRORS: st.builds(CallErrors, u32, u32, u32, u32, u32, u32),
    Kind.ACCM: st.builds(AccmPair, u32, u32),
    Kind.EMPTY: st.just(b""),
}
avps = st.builds(
    Avp,
    u16,
    st.binary(max_size=wire.MAX_VALUE),
    st.booleans(),
    st.booleans(),
    u16,
    st.integers(0, 15),
)


# The header


@given(u16, u16, u16, u16, st.binary(max_size=200))
def test_a_control_message_is_read_as_written(tunnel: int, session: int, ns: int, nr: int, rest: bytes) -> None:
    header = ControlHeader(tunnel, session, ns, nr)
    assert parse_control(emit_control(header, rest)) == (header, rest)


@pytest.mark.parametrize(
    ("octets", "header", "payload"),
    [
        ("0002 0007 0008 ff03", Header(False, 2, 7, 8), "ff03"),
        ("4002 000a 0007 0008 ff03", Header(False, 2, 7, 8, length=10), "ff03"),
        ("4802 000d 0007 0008 0001 0000 21", Header(False, 2, 7, 8, length=13, ns=1, nr=0), "21"),
        ("0302 0007 0008 0002 aaaa ff", Header(False, 2, 7, 8, offset_size=2, priority=True), "ff"),
        ("0202 0007 0008 0000", Header(False, 2, 7, 8, offset_size=0), ""),
    ],
)
def test_data_headers_in_their_forms(octets: str, header: Header, payload: str) -> None:
    assert parse_header(bytes.fromhex(octets)) == (header, bytes.fromhex(payload))


def counter_of(data: bytes) -> str:
    with pytest.raises(BadHeader) as caught:
        parse_header(data)
    return caught.value.counter


def test_an_offset_past_the_end_is_refused() -> None:
    assert counter_of(bytes.fromhex("0202 0007 0008 ffff aabb")) == "l2tp_offset"
    assert counter_of(bytes.fromhex("0202 0007 0008 0001")) == "l2tp_offset"
    assert counter_of(bytes.fromhex("4202 000a 0007 0008 0001 aabbcc")) == "l2tp_offset"


def test_a_length_that_cuts_into_the_header_is_refused() -> None:
    assert counter_of(bytes.fromhex("4802 000b 0007 0008 0001 0000")) == "l2tp_length"


@given(st.binary(max_size=40))
def test_any_octets_make_a_header_or_a_counted_refusal(data: bytes) -> None:
    try:
        header, payload = parse_header(data)
    except BadHeader as error:
        counter = error.counter
    else:
        counter = "none"
        assert data.find(payload) >= 0
        assert str(header)
    assert counter in {"none", "l2tp_header", "l2tp_length", "l2tp_offset"}
    assert 0 <= surplus(data) <= len(data)


# AVPs


def test_the_table_has_every_type_once_and_no_unassigned() -> None:
    assert set(AVPS) == {member.value for member in AvpType}
    assert 20 not in AVPS
    assert all(row.number == number for number, row in AVPS.items())


def test_every_message_names_only_known_avps() -> None:
    for row in MESSAGES.values():
        assert {*row.must, *row.may} <= set(AVPS)
        assert not {*row.must} & {*row.may}
    assert {5, 13} & set(MESSAGES) == set()


@given(st.lists(avps, max_size=8))
def test_avps_are_read_as_written(items: list[Avp]) -> None:
    assert wire.parse(b"".join(wire.emit(item) for item in items)) == tuple(items)


@given(st.data(), st.sampled_from(sorted(AVPS)))
def test_values_are_read_as_written(data: st.DataObject, number: int) -> None:
    row = AVPS[number]
    value: Value = data.draw(VALUES[row.kind])
    octets = encode(value, row)
    if row.shortest <= len(octets) <= row.longest:
        assert decode(row, octets) == value


@given(st.sampled_from(sorted(AVPS)), st.binary(max_size=40))
def test_any_value_is_decoded_or_refused_with_a_code(number: int, octets: bytes) -> None:
    try:
        code = ErrorCode.NONE if str(decode(AVPS[number], octets)) else None
    except wire.BadValue as error:
        code = error.error
    assert code in {ErrorCode.NONE, ErrorCode.WRONG_LENGTH}


@given(st.binary(max_size=120))
def test_any_body_is_split_or_malformed(data: bytes) -> None:
    try:
        items = wire.parse(data)
    except Malformed:
        return
    assert b"".join(wire.emit(item) for item in items) == data


def test_a_value_too_long_to_send_is_our_own_mistake() -> None:
    assert len(wire.emit(Avp(7, bytes(1017)))) == 1023
    with pytest.raises(OverflowError):
        wire.emit(Avp(7, bytes(1018)))
    with pytest.raises(TypeError):
        encode(b"text", AVPS[AvpType.ASSIGNED_TUNNEL_ID])
    with pytest.raises(OverflowError):
        encode(65536, AVPS[AvpType.ASSIGNED_TUNNEL_ID])


def test_an_avp_never_shows_its_value() -> None:
    assert "s3cret" not in repr(Avp(11, b"s3cret"))
    assert "s3cret" not in repr(Hiding(b"s3cret", seeded()))


# Hiding and authentication


def test_challenge_response_vectors() -> None:
    challenge = bytes(range(16))
    assert challenge_response(2, SECRET, challenge).hex() == "6c0da2faf7a397aa3f88f55061ea9134"
    assert challenge_response(3, SECRET, challenge).hex() == "6a59c670d486acf7f96271695c6874f8"


def test_hiding_vector() -> None:
    clear = Avp(22, b"4155550123456789012345")
    vector = bytes(range(0x10, 0x20))
    hidden = hide(clear, SECRET, vector)
    assert hidden.value.hex() == "fbb4abffb8e40db381aab2e539f430d877c77366a19a6616"
    assert reveal((Avp(36, vector), hidden), SECRET)[1] == clear


@given(
    st.binary(min_size=1, max_size=1015), st.binary(min_size=1, max_size=40), st.binary(min_size=1, max_size=20), st.integers()
)
def test_what_is_hidden_is_revealed(value: bytes, secret: bytes, vector: bytes, seed: int) -> None:
    clear = Avp(31, value, mandatory=False)
    hidden = hide(clear, secret, vector, seeded(seed))
    assert len(hidden.value) % 16 == 0 or len(hidden.value) == wire.MAX_VALUE
    assert reveal((Avp(36, vector), hidden), secret)[1] == clear


def test_the_nearest_random_vector_counts() -> None:
    one, two = Avp(22, b"1"), Avp(21, b"2")
    items = (Avp(36, b"a" * 16), hide(one, SECRET, b"a" * 16), Avp(36, b"b" * 16), hide(two, SECRET, b"b" * 16))
    assert [item for item in reveal(items, SECRET) if item.number != 36] == [one, two]


def test_hidden_avps_that_nobody_can_read() -> None:
    hidden = hide(Avp(22, b"1"), SECRET, b"v")
    for items, secret in [((hidden,), SECRET), ((Avp(36, b""), hidden), SECRET), ((Avp(36, b"v"), hidden), None)]:
        with pytest.raises(HiddenUnreadable):
            reveal(items, secret)
    stranger = Avp(7000, b"x" * 20, hidden=True)
    assert reveal((stranger,), None) == (stranger,)


@pytest.mark.parametrize("size", [8, 16, 17, 32])
@pytest.mark.parametrize("length", [0xFFFF, 0, -1])
def test_impossible_hidden_lengths(size: int, length: int) -> None:
    """-1 stands for one more than there is."""
    number = size - 2 + 1 if length == -1 else length
    plain = number.to_bytes(2, "big") + bytes(size - 2)
    cipher = wire._keystream_xor(22, SECRET, b"v", plain, reveal=False)
    with pytest.raises(HiddenLength):
        reveal((Avp(36, b"v"), Avp(22, cipher, hidden=True)), SECRET)


@pytest.mark.parametrize("size", [0, 1])
def test_hidden_values_too_short_for_a_length(size: int) -> None:
    with pytest.raises(HiddenLength):
        reveal((Avp(36, b"v"), Avp(22, bytes(size), hidden=True)), SECRET)


# Messages


@pytest.mark.parametrize("data", sorted(set(MESSAGES_SEEN)), ids=lambda data: data[:20].hex())
def test_real_messages_are_known_whole_and_written_back_alike(data: bytes) -> None:
    header, rest = parse_control(data)
    items = wire.parse(rest)
    assert b"".join(wire.emit(item) for item in items) == rest
    assert all(item.spec is not None for item in items)
    assert emit_control(header, rest) == data
    if rest:
        message = parse(rest)
        assert message.problem is None
        assert all(message.spec.legal(number) for number in message.values)
        assert all(item.mandatory == AVPS[item.number].mandatory for item in items)
        assert emit(message.type, {AvpType(number): value for number, value in message.values.items()}) == rest


def test_a_message_is_emitted_hidden_and_read_again() -> None:
    values: dict[AvpType, Value] = {
        AvpType.ASSIGNED_SESSION_ID: 77,
        AvpType.CALL_SERIAL_NUMBER: 3,
        AvpType.CALLING_NUMBER: b"alice",
        AvpType.SUB_ADDRESS: b"",
    }
    octets = emit(MessageType.ICRQ, values, Hiding(SECRET, seeded()))
    assert b"alice" not in octets
    items = wire.parse(octets)
    assert [item.number for item in items][:2] == [0, 36]
    message = parse(octets, SECRET)
    assert {number: message.values[number] for number in values} == values
    assert message.problem is None
    with pytest.raises(HiddenUnreadable):
        parse(octets)


def test_our_own_mistakes_are_not_sent() -> None:
    with pytest.raises(ValueError, match="missing"):
        emit(MessageType.SLI, {})
    with pytest.raises(ValueError, match="misplaced"):
        emit(MessageType.HELLO, {AvpType.HOST_NAME: b"x"})


def test_unknown_and_vendor_avps() -> None:
    correlation = Avp(1, bytes(16), mandatory=False, vendor=311)
    good = body(6, correlation, Avp(20, b"", mandatory=False), Avp(1, b"", mandatory=False, reserved=1))
    assert parse(good).problem is None
    for bad in (Avp(20, b""), Avp(1, bytes(16), vendor=311), Avp(7, b"h", reserved=8)):
        problem = parse(body(6, bad)).problem
        assert problem is not None
        assert problem.error is ErrorCode.UNKNOWN_MANDATORY


def test_values_of_the_wrong_length_count_only_if_mandatory() -> None:
    problem = parse(body(6, Avp(9, b"\1"))).problem
    assert problem is not None
    assert problem.error is ErrorCode.WRONG_LENGTH
    assert parse(body(6, Avp(6, b"\1", mandatory=False))).problem is None


def test_of_two_alike_the_first_counts() -> None:
    assert parse(body(6, Avp(7, b"one"), Avp(7, b"two"))).octets(AvpType.HOST_NAME) == b"one"


@pytest.mark.parametrize(
    "octets", [b"", wire.emit(Avp(7, b"x")), wire.emit(Avp(0, b"\0\1\0")), wire.emit(Avp(0, b"\0\6", vendor=9))]
)
def test_what_does_not_begin_with_its_type_is_no_message(octets: bytes) -> None:
    with pytest.raises(UnknownMessage) as caught:
        parse(octets)
    assert caught.value.mandatory


@given(st.binary(max_size=200), st.one_of(st.none(), st.just(SECRET)))
def test_any_body_is_a_message_or_a_refusal_and_nothing_else(data: bytes, secret: bytes | None) -> None:
    for octets in (data, wire.emit(Avp(0, b"\0\1")) + data):
        try:
            message = parse(octets, secret)
        except (Malformed, HiddenUnreadable, HiddenLength, UnknownMessage):
            continue
        assert str(message)
