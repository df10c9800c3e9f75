"""The wire, against pyrad, RFC examples and hostile octets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyrad import packet as pyrad_packet
from pyrad.dictionary import Dictionary

from headrace.radius.names import Attr, Code, Ms
from headrace.radius.packet import (
    Attribute,
    Packet,
    hide,
    hide_salted,
    microsoft,
    reveal,
    reveal_salted,
    sign_access,
    sign_computed,
    split,
)
from headrace.wire import Malformed

SECRET = b"testing123"

attributes = st.lists(
    st.one_of(
        st.builds(Attribute, st.integers(1, 25), st.binary(max_size=253)),
        st.builds(Attribute, st.integers(0, 255), st.binary(max_size=247), st.sampled_from([311, 9, 14988])),
    ),
    max_size=12,
).map(tuple)


@given(st.integers(0, 255), st.integers(0, 255), st.binary(min_size=16, max_size=16), attributes)
def test_what_is_emitted_is_parsed(code: int, identifier: int, authenticator: bytes, told: tuple[Attribute, ...]) -> None:
    packet = Packet(code, identifier, authenticator, told)
    assert Packet.parse(packet.emit() + b"padding") == packet


@given(st.binary(max_size=200))
def test_n171_any_octets_are_a_packet_or_malformed(data: bytes) -> None:
    for octets in (data, bytes((2, 1)) + len(data).to_bytes(2, "big") + bytes(16) + data):
        try:
            packet = Packet.parse(octets)
        except Malformed:
            continue
        assert Packet.parse(packet.emit()).attributes == packet.attributes


@pytest.mark.parametrize(
    "body",
    [
        b"\x01\x00",
        b"\x01\x01",
        b"\x01",
        b"\x01\x05ab",
        b"\x1a\x02",
        b"\x1a\x05\0\0\1",
        b"\x1a\x09\0\0\x01\x37\x07\x00\x00",
        b"\x1a\x09\0\0\x01\x37\x07\x01\x00",
        b"\x1a\x09\0\0\x01\x37\x07\x04\x00",
        b"\x1a\x07\0\0\x01\x37\x07",
    ],
)
def test_n171_attributes_that_are_not_whole(body: bytes) -> None:
    with pytest.raises(Malformed, match="attribute"):
        Packet.parse(bytes((2, 1)) + (20 + len(body)).to_bytes(2, "big") + bytes(16) + body)


def test_vendors_with_another_layout_are_left_as_they_are() -> None:
    body = b"\x1a\x0a\x00\x00\x01\xad\x00\x00\x00\x01"  # USR
    packet = Packet.parse(bytes((2, 1)) + (20 + len(body)).to_bytes(2, "big") + bytes(16) + body)
    assert packet.attributes == (Attribute(26, body[2:]),)


def test_password_hidden_as_in_rfc_2865_section_7_1() -> None:
    authenticator = bytes.fromhex("0f403f9473978057bd83d5cb98f4227a")
    hidden = bytes.fromhex("0dbe708d93d413ce3196e43f782a0aee")
    assert hide(b"arctangent", authenticator, b"xyzzy5461") == hidden
    assert reveal(hidden, authenticator, b"xyzzy5461").rstrip(b"\0") == b"arctangent"


def test_pyrad_takes_our_access_request() -> None:
    told = (
        Attribute(Attr.USER_NAME, b"alice"),
        Attribute(Attr.USER_PASSWORD, b"a password of more than sixteen", hidden=True),
        microsoft(Ms.CHAP_CHALLENGE, bytes(16)),
    )
    data = sign_access(Packet(Code.ACCESS_REQUEST, 7, bytes(range(16)), told), SECRET)
    theirs = pyrad_packet.AuthPacket(packet=data, secret=SECRET, dict=Dictionary())
    assert theirs.verify_message_authenticator()
    assert theirs.PwDecrypt(theirs[Attr.USER_PASSWORD][0]) == "a password of more than sixteen"
    assert data[20] == Attr.MESSAGE_AUTHENTICATOR, "first, so that nothing can be put in front of it"


def test_pyrad_takes_our_accounting_request() -> None:
    data = sign_computed(Packet(Code.ACCOUNTING_REQUEST, 7, bytes(16), (Attribute(Attr.USER_NAME, b"alice"),)), SECRET)
    theirs = pyrad_packet.AcctPacket(packet=data, secret=SECRET, dict=Dictionary())
    assert theirs.VerifyAcctRequest()
    assert theirs.verify_message_authenticator()


@given(st.binary(max_size=128), st.binary(min_size=16, max_size=16))
def test_hidden_password_comes_back(password: bytes, authenticator: bytes) -> None:
    assert reveal(hide(password, authenticator, SECRET), authenticator, SECRET).rstrip(b"\0") == password.rstrip(b"\0")


def test_password_that_is_too_long_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="129"):
        hide(bytes(129), bytes(16), SECRET)


@given(st.binary(max_size=64))
def test_salted_key_comes_back(key: bytes) -> None:
    hidden = hide_salted(key, bytes(range(16)), SECRET, b"\x80\x01")
    assert reveal_salted(hidden, bytes(range(16)), SECRET) == key


@pytest.mark.parametrize("size", [0, 1, 2, 16, 17, 19, 35])
def test_n173_salted_values_of_wrong_sizes(size: int) -> None:
    with pytest.raises(ValueError, match="octets"):
        reveal_salted(b"\x80" * size, bytes(16), SECRET)


def test_n173_salt_bit_and_inner_length() -> None:
    with pytest.raises(ValueError, match="first bit"):
        reveal_salted(hide_salted(bytes(16), bytes(16), SECRET, b"\x7f\x01"), bytes(16), SECRET)
    whole = hide_salted(bytes(16), bytes(16), SECRET, b"\x80\x01")
    longer = whole[:2] + bytes((whole[2] ^ 16 ^ 200,)) + whole[3:]
    with pytest.raises(ValueError, match="past the end"):
        reveal_salted(longer, bytes(16), SECRET)


def test_long_eap_message_is_split() -> None:
    message = bytes(range(256)) * 3
    parts = split(Attr.EAP_MESSAGE, message)
    assert [len(part.value) for part in parts] == [253, 253, 253, 9]
    assert Packet(1, 1, bytes(16), tuple(parts)).joined(Attr.EAP_MESSAGE) == message
    with pytest.raises(ValueError, match="RADIUS packet"):
        Packet(1, 1, bytes(16), tuple(split(Attr.EAP_MESSAGE, bytes(5000)))).emit()


def test_secrets_do_not_show() -> None:
    from headrace.radius.client import Server

    assert "s3cret" not in repr(Server("a", b"s3cret"))
    assert "s3cret" not in repr(Attribute(Attr.USER_PASSWORD, b"s3cret", hidden=True))
