"""The wire: what is emitted is read back, what is not right raises Malformed and nothing else."""

from __future__ import annotations

import contextlib
import ipaddress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.ike import attributes, payloads
from headrace.ike.attributes import Attribute, Life, emit_attributes, parse_attributes, read_life, value_label
from headrace.ike.constants import Phase1Attribute, notify_name
from headrace.ike.message import MAX_PAYLOADS, Header, TooManyPayloads, emit_chain, emit_message, parse_chain
from headrace.ike.payloads import (
    PAYLOADS,
    BadProposal,
    Certificate,
    CertificateRequest,
    Delete,
    Fragment,
    Hash,
    Identification,
    KeyExchange,
    NatDetection,
    NatOriginalAddress,
    Nonce,
    Notify,
    Proposal,
    SecurityAssociation,
    Signature,
    Transform,
    UnsupportedDoi,
    UnsupportedSituation,
    VendorId,
)
from headrace.wire import Malformed

octets = st.binary(max_size=40)
u8, u16, u32 = (st.integers(0, 2**bits - 1) for bits in (8, 16, 32))
addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
transforms = st.builds(Transform, u8, u8, octets)
proposals = st.builds(Proposal, u8, u8, st.binary(max_size=16), st.lists(transforms, min_size=1, max_size=4).map(tuple))
deletes = st.integers(1, 16).flatmap(
    lambda size: st.builds(
        Delete, u8, st.just(size), st.lists(st.binary(min_size=size, max_size=size), max_size=5).map(tuple), u32
    )
)
VALUES = {
    SecurityAssociation: st.builds(SecurityAssociation, st.lists(proposals, min_size=1, max_size=4).map(tuple)),
    KeyExchange: st.builds(KeyExchange, octets),
    Identification: st.builds(Identification, u8, u8, u16, octets),
    Certificate: st.builds(Certificate, u8, octets),
    CertificateRequest: st.builds(CertificateRequest, u8, octets),
    Hash: st.builds(Hash, octets),
    Signature: st.builds(Signature, octets),
    Nonce: st.builds(Nonce, octets),
    Notify: st.builds(Notify, u16, u8, octets, octets, u32),
    Delete: deletes,
    VendorId: st.builds(VendorId, octets),
    NatDetection: st.builds(NatDetection, octets),
    NatOriginalAddress: st.builds(NatOriginalAddress, addresses),
    Fragment: st.builds(Fragment, u16, u8, st.booleans(), octets),
}


def test_every_payload_of_the_table_is_tested() -> None:
    assert {row.kind for row in PAYLOADS} == set(VALUES)
    assert len({row.number for row in PAYLOADS}) == len(PAYLOADS)


@pytest.mark.parametrize("kind", list(VALUES), ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_what_is_emitted_is_read_back(kind: Any, data: Any) -> None:
    value = data.draw(VALUES[kind])
    assert kind.parse(value.emit()) == value
    assert str(value)


@pytest.mark.parametrize("row", PAYLOADS, ids=lambda row: row.name)
@given(body=st.binary(max_size=200))
def test_any_body_is_read_or_malformed(row: Any, body: bytes) -> None:
    try:
        value = row.kind.parse(body)
    except Malformed:
        return
    assert str(value)
    if row.kind is not NatOriginalAddress and row.kind is not Fragment:
        assert row.kind.parse(value.emit()) == value


@given(first=u8, body=st.binary(max_size=300), padded=st.booleans())
def test_any_chain_is_read_or_malformed(first: Any, body: bytes, padded: bool) -> None:
    try:
        chain = parse_chain(first, body, padded=padded)
    except Malformed:
        return
    assert chain.octets <= len(body)
    assert emit_chain([(raw.type, raw.body) for raw in chain.items])[4:] == b"" if not chain.items else True
    for raw in chain.items:
        with contextlib.suppress(Malformed):
            raw.decode()


@given(st.builds(Header, st.binary(min_size=8, max_size=8), st.binary(min_size=8, max_size=8), u8, u8, u8, u32, u32, u8))
def test_header(header: Header) -> None:
    assert Header.parse(header.emit()) == header


@given(st.lists(st.tuples(st.sampled_from([row.number for row in PAYLOADS if not row.most]), octets), min_size=1, max_size=20))
def test_chain(items: Any) -> None:
    message = emit_message(Header(b"i" * 8, b"r" * 8, 0, 2), items)
    header = Header.parse(message)
    assert header.length == len(message)
    chain = parse_chain(header.next_payload, message[28:], padded=False)
    assert [(raw.type, raw.body) for raw in chain.items] == items
    padded = parse_chain(header.next_payload, message[28:] + b"\5\6\7", padded=True)
    assert padded.items == chain.items and padded.octets == chain.octets == len(message) - 28


@given(st.lists(st.builds(Attribute, st.integers(0, 0x7FFF), octets, st.just(False)), max_size=8))
def test_attributes(items: Any) -> None:
    assert list(parse_attributes(emit_attributes(items))) == items


@given(st.integers(0, 0x7FFF), st.integers(0, 2**32 - 1))
def test_attribute_of_a_number(kind: Any, value: Any) -> None:
    (attribute,) = parse_attributes(emit_attributes([Attribute.of(kind, value)]))
    assert (attribute.type, attribute.value, attribute.short) == (kind, value, value < 65536)


@pytest.mark.parametrize("data", ["80", "800b", "000c0004", "000c00040000", "000c"])
def test_attributes_that_end_too_early(data: str) -> None:
    with pytest.raises(Malformed):
        parse_attributes(bytes.fromhex(data))


def test_too_many_attributes() -> None:
    with pytest.raises(Malformed, match="more than 32"):
        parse_attributes(bytes.fromhex("80010007") * 33)


def test_windows_sends_the_life_duration_in_the_long_form() -> None:
    found = parse_attributes(bytes.fromhex("800b0001000c000400007080"))
    assert read_life(found, Phase1Attribute.LIFE_TYPE, Phase1Attribute.LIFE_DURATION) == Life(28800, None)


@pytest.mark.parametrize(
    ("items", "life"),
    [
        ([(12, 100)], Life()),
        ([(11, 1), (12, 100)], Life(100, None)),
        ([(11, 1), (12, 100), (11, 2), (12, 5)], Life(100, 5)),
        ([(11, 1), (12, 100), (11, 1), (12, 50)], Life(50, None)),
        ([(11, 1), (12, 100), (12, 50)], Life(100, None)),
        ([(11, 3), (12, 100)], Life()),
        ([(11, 2), (12, 7), (11, 2), (12, 9)], Life(None, 7)),
    ],
)
def test_lives(items: Any, life: Any) -> None:
    assert read_life([Attribute.of(*item) for item in items], 11, 12) == life


def test_life_of_eight_octets() -> None:
    found = [Attribute.of(11, 1), Attribute(12, b"\xff" * 8, short=False)]
    assert read_life(found, 11, 12).seconds == 2**64 - 1
    assert str(found[1]).startswith("12=")
    assert str(Attribute(12, b"\xff" * 9, short=False)) == "12=" + "ff" * 9


def test_labels() -> None:
    assert value_label(attributes.PHASE1, 3, 3) == "RSA signature"
    assert value_label(attributes.PHASE1, 3, 77) == "authentication 77"
    assert value_label(attributes.PHASE2, 99, 1) == "attribute 99 = 1"
    assert notify_name(14) == "NO-PROPOSAL-CHOSEN"
    assert notify_name(9999) == "notify 9999"


GOOD_SA = SecurityAssociation((Proposal(1, 1, b"", (Transform(1, 1, b"\x80\x01\x00\x07"), Transform(2, 1, b""))),)).emit()


def test_sa_of_another_doi_or_situation() -> None:
    with pytest.raises(UnsupportedDoi):
        SecurityAssociation.parse(b"\0\0\0\2" + GOOD_SA[4:])
    with pytest.raises(UnsupportedSituation):
        SecurityAssociation.parse(GOOD_SA[:4] + b"\0\0\0\3" + GOOD_SA[8:])


@pytest.mark.parametrize(
    "change",
    [
        lambda b: b[:8],  # no proposal
        lambda b: b[:15] + b"\0" + b[16:],  # no transforms
        lambda b: b[:15] + b"\3" + b[16:],  # more than follow
        lambda b: b[:15] + b"\1" + b[16:],  # fewer than follow
        lambda b: b[:8] + b"\2" + b[9:],  # another proposal is announced
        lambda b: b[:8] + b"\5" + b[9:],  # a payload that has no place here
        lambda b: b[:10] + b"\0\7" + b[12:],  # shorter than its header
        lambda b: b[:10] + b"\xff\xff" + b[12:],
        lambda b: b[:14] + b"\xff" + b[15:],  # SPI past the end
        lambda b: b + b"\0",
    ],
)
def test_sa_with_bad_inside(change: Any) -> None:
    with pytest.raises(BadProposal):
        SecurityAssociation.parse(change(GOOD_SA))


def test_sa_with_too_many_transforms() -> None:
    many = tuple(Transform(i % 256, 1, b"") for i in range(255))
    with pytest.raises(BadProposal):
        SecurityAssociation.parse(SecurityAssociation((Proposal(1, 1, b"", many), Proposal(2, 1, b"", many))).emit())
    with pytest.raises(BadProposal):
        SecurityAssociation.parse(SecurityAssociation(tuple(Proposal(1, 1, b"", many[:1]) for _ in range(65))).emit())


def test_too_many_payloads() -> None:
    with pytest.raises(TooManyPayloads):
        parse_chain(13, bytes.fromhex("0d000004") * 10_000, padded=False)
    with pytest.raises(TooManyPayloads):
        parse_chain(7, bytes.fromhex("07000004") * 300, padded=False)
    chain = emit_chain([(13, b"")] * MAX_PAYLOADS)
    assert len(parse_chain(13, chain, padded=False).items) == MAX_PAYLOADS
    chain = emit_chain([(7, b"\4")] * 200 + [(10, b"")])
    assert len(parse_chain(7, chain, padded=False).items) == 201


@pytest.mark.parametrize("kind", [2, 3, 22, 127])
def test_types_without_meaning(kind: Any) -> None:
    with pytest.raises(Malformed):
        parse_chain(kind, emit_chain([(kind, b"")]), padded=False)


@pytest.mark.parametrize("kind", [14, 15, 128, 129, 133, 255])
def test_private_types_are_kept_and_skipped(kind: Any) -> None:
    (raw,) = parse_chain(kind, emit_chain([(kind, b"xyz")]), padded=False).items
    assert raw.decode() is None and raw.row is None


def test_missing_payloads() -> None:
    chain = parse_chain(13, emit_chain([(13, b"v")]), padded=False)
    assert chain.maybe(10, Nonce) is None
    with pytest.raises(Malformed, match="NONCE"):
        chain.one(10, Nonce)
    with pytest.raises(Malformed, match="HASH"):
        chain.body(8)


def test_identities_for_a_person() -> None:
    assert str(Identification.of_address(ipaddress.ip_address("192.0.2.1"), 17, 1701)) == "192.0.2.1 17/1701"
    assert str(Identification.of_address(ipaddress.ip_address("2001:db8::1"))) == "2001:db8::1"
    assert str(Identification(2, 0, 0, b"a\n\x1bb\xe2\x80\xaec")) == "a\\n\\x1bb\\u202ec"
    assert str(Identification(11, 0, 0, b"\1\2")) == "ID type 11: 0102"
    assert Identification(1, 0, 0, b"123").address is None


def test_forms_for_a_person() -> None:
    assert str(SecurityAssociation.parse(GOOD_SA)) == "SA with 1 proposals, 2 transforms"
    assert str(Notify(24578, 1)) == "INITIAL-CONTACT"
    assert str(Delete(3, 4, (b"1234",))) == "delete 1 SPIs of protocol 3"
    assert str(Fragment(1, 2, last=True, data=b"x")) == "fragment 2 of message 1, the last"
    assert payloads.ROWS[20].section.startswith("RFC 3947")
