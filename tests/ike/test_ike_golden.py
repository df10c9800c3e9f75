"""Our keys, hashes and decryption against recorded exchanges of strongSwan, keys included."""

from __future__ import annotations

import ipaddress
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from tests.ike.harness import Verifier, ec_key

from headrace.esp.proposal import EspProposal
from headrace.ike import auth_cert, natt, vendor
from headrace.ike.auth import Authenticator
from headrace.ike.auth_psk import PskAuthenticator
from headrace.ike.channel import Channel
from headrace.ike.config import LocalCertificate
from headrace.ike.constants import AuthMethod, Encapsulation, Exchange, PayloadType
from headrace.ike.context import Received
from headrace.ike.keymat import ZERO_OCTET, HashInput, Phase1Keys, child_keymat, skeyid_psk, skeyid_signature
from headrace.ike.message import Header, emit_chain, parse_chain
from headrace.ike.payloads import (
    Delete,
    Identification,
    KeyExchange,
    NatDetection,
    NatOriginalAddress,
    Nonce,
    Notify,
    SecurityAssociation,
    VendorId,
)
from headrace.ike.phase1_offer import choose, read_all
from headrace.ike.phase2_offer import read_all as read_all_esp
from headrace.ike.proposal import IkeHash, IkeProposal
from headrace.model import Endpoint

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "ike" / "strongswan.json").read_text())
CASES = list(VECTORS)


@dataclass
class Recorded:
    """One recorded exchange, read with our own code."""

    vector: dict[str, Any]
    received: list[Received]
    channel: Channel
    hashes: HashInput
    nonces: tuple[bytes, bytes]
    sa_i: SecurityAssociation


def endpoint(text: str) -> Endpoint:
    address, _, port = text.partition(":")
    return Endpoint.of(address, int(port))


def load(case: str) -> Recorded:
    vector = VECTORS[case]
    received = [
        Received(Header.parse(data), data, endpoint(m["to"]), endpoint(m["from"]))
        for m in vector["messages"]
        for data in (bytes.fromhex(m["data"]),)
    ]
    chains = [parse_chain(r.header.next_payload, r.body, padded=False) for r in received[:4]]
    publics = [chain.one(PayloadType.KEY_EXCHANGE, KeyExchange).data for chain in chains[2:4]]
    ni, nr = (chain.one(PayloadType.NONCE, Nonce).data for chain in chains[2:4])
    shared = bytes.fromhex(vector["shared"])
    cookie_i, cookie_r = received[1].header.cookies
    skeyid = (
        skeyid_psk(IkeHash.SHA256, vector["psk"].encode(), ni + nr)
        if vector["psk"]
        else skeyid_signature(IkeHash.SHA256, ni + nr, shared)
    )
    proposal = IkeProposal.parse("aes256-sha256-modp2048")
    keys = Phase1Keys.derive(proposal, skeyid, shared, cookie_i + cookie_r, b"".join(publics))
    hashes = HashInput(skeyid, publics[0], publics[1], cookie_i, cookie_r, chains[0].body(PayloadType.SA))
    return Recorded(
        vector,
        received,
        Channel(keys, cookie_i, cookie_r),
        hashes,
        (ni, nr),
        chains[0].one(PayloadType.SA, SecurityAssociation),
    )


@pytest.mark.parametrize("case", CASES)
def test_keys(case: str) -> None:
    recorded = load(case)
    keys, vector = recorded.channel.keys, recorded.vector
    assert keys.skeyid.hex() == vector["skeyid"]
    assert (keys.d.hex(), keys.a.hex(), keys.e.hex()) == (vector["skeyid_d"], vector["skeyid_a"], vector["skeyid_e"])
    assert keys.cipher_key.hex() == vector["cipher_key"]
    assert keys.first_iv.hex() == vector["first_iv"]


@pytest.mark.parametrize("case", CASES)
def test_messages_in_clear_are_emitted_as_they_were_read(case: str) -> None:
    for received in load(case).received[:4]:
        chain = parse_chain(received.header.next_payload, received.body, padded=False)
        assert emit_chain([(raw.type, raw.body) for raw in chain.items]) == received.body
        for raw in chain.items:
            payload = raw.decode()
            assert payload is not None and payload.emit() == raw.body


@pytest.mark.parametrize("case", CASES)
def test_proposals_and_vendor_ids(case: str) -> None:
    recorded = load(case)
    labels = [offer.label for offer in read_all(recorded.sa_i)]
    assert labels == ["AES-256, SHA-256, MODP-2048", "AES-128, SHA-1, MODP-1024", "3DES, SHA-1, MODP-1024"]
    method = AuthMethod.PSK if recorded.vector["psk"] else AuthMethod.RSA_SIGNATURE
    choice = choose(recorded.sa_i, [IkeProposal.parse("aes256-sha256-modp2048")], [method])
    answer = parse_chain(recorded.received[1].header.next_payload, recorded.received[1].body, padded=False)
    theirs = answer.one(PayloadType.SA, SecurityAssociation)
    assert choice.answer.proposals[0].transforms == theirs.proposals[0].transforms
    first = parse_chain(recorded.received[0].header.next_payload, recorded.received[0].body, padded=False)
    ids = [item.data for item in first.all(PayloadType.VENDOR_ID, VendorId)]
    assert vendor.has_dpd(ids)
    assert vendor.fragmentation(ids) == vendor.FRAGMENTATION_MAIN
    assert natt.best(ids) == natt.VARIANTS[0]


@pytest.mark.parametrize(("case", "forced"), [("psk", False), ("psk-natt", True), ("cert", False)])
def test_nat_detection(case: str, forced: bool) -> None:
    recorded = load(case)
    for received in recorded.received[2:4]:
        chain = parse_chain(received.header.next_payload, received.body, padded=False)
        bodies = [item.data for item in chain.all(PayloadType.NAT_D, NatDetection)]
        verdict = natt.detect(bodies, IkeHash.SHA256, recorded.channel.cookies, received.local, received.remote)
        assert verdict.remote == forced, "strongSwan falsifies its own address"
        assert not verdict.local


def authenticator(recorded: Recorded) -> Authenticator:
    if recorded.vector["psk"]:
        return PskAuthenticator(recorded.vector["psk"].encode(), ipaddress.ip_address("192.0.2.2"))
    ca = x509.load_der_x509_certificate(bytes.fromhex(recorded.vector["ca"]))
    return auth_cert.CertAuthenticator(AuthMethod.RSA_SIGNATURE, LocalCertificate(ec_key(0), (b"",)), Verifier(ca))


@pytest.mark.parametrize("case", CASES)
def test_both_proofs(case: str) -> None:
    recorded = load(case)
    channel, hashes = recorded.channel, recorded.hashes
    five = channel.open(recorded.received[4], channel.last_block)
    body = five.chain.body(PayloadType.IDENTIFICATION)
    value = hashes.hash_i(IkeHash.SHA256, body)
    assert value.hex() == recorded.vector["hash_i"]
    auth = authenticator(recorded)
    shown = auth.verify(five.chain, five.chain.one(PayloadType.IDENTIFICATION, Identification), value)
    assert shown == ("192.0.2.2" if recorded.vector["psk"] else shown)
    six = channel.open(recorded.received[5], five.next_iv)
    value = hashes.hash_r(IkeHash.SHA256, six.chain.body(PayloadType.IDENTIFICATION))
    assert value.hex() == recorded.vector["hash_r"]
    auth.verify(six.chain, six.chain.one(PayloadType.IDENTIFICATION, Identification), value)


@pytest.mark.parametrize("case", CASES)
def test_quick_mode_and_its_keys(case: str) -> None:
    recorded = load(case)
    channel = recorded.channel
    channel.last_block = recorded.received[5].data[-16:]
    quick: dict[tuple[Endpoint, bytes], Received] = {}
    for received in recorded.received:
        if received.header.exchange == Exchange.QUICK:
            quick.setdefault((received.remote, received.data), received)
    q1, q2, q3 = quick.values()
    message_id = q1.header.message_id
    one = channel.open_hashed(q1, channel.iv(message_id))
    assert one.chain.items[0].body.hex() == recorded.vector["hash_1"]
    ni = one.chain.one(PayloadType.NONCE, Nonce).data
    two = channel.open_hashed(q2, one.next_iv, ni)
    assert two.chain.items[0].body.hex() == recorded.vector["hash_2"]
    nr = two.chain.one(PayloadType.NONCE, Nonce).data
    three = channel.open(q3, two.next_iv)
    value = channel.keys.hash_a(ZERO_OCTET, message_id.to_bytes(4, "big"), ni, nr)
    assert value.hex() == recorded.vector["hash_3"]
    channel.check_hash(three, value)
    (answer,) = read_all_esp(two.chain.one(PayloadType.SA, SecurityAssociation))
    assert answer.proposal == EspProposal.parse("aes256-sha256")
    assert answer.mode == (Encapsulation.UDP_TRANSPORT if case == "psk-natt" else Encapsulation.TRANSPORT)
    assert len(one.chain.all(PayloadType.NAT_OA, NatOriginalAddress)) == (2 if case == "psk-natt" else 0)
    for offer in (read_all_esp(one.chain.one(PayloadType.SA, SecurityAssociation))[0], answer):
        material = child_keymat(channel.keys, offer.spi, ni + nr, 64)
        (esp,) = [item for item in recorded.vector["esp"] if int(item["spi"], 16) == int.from_bytes(offer.spi, "big")]
        assert (material[:32].hex(), material[32:].hex()) == (esp["enc_key"], esp["auth_key"])


@pytest.mark.parametrize("case", CASES)
def test_informational_deletes(case: str) -> None:
    recorded = load(case)
    channel = recorded.channel
    channel.last_block = recorded.received[5].data[-16:]
    seen = []
    for received in recorded.received:
        if received.header.exchange == Exchange.INFORMATIONAL:
            opened = channel.open_hashed(received, channel.iv(received.header.message_id))
            seen += [payload for raw in opened.chain.items if isinstance(payload := raw.decode(), (Delete, Notify))]
    assert [(item.protocol, item.spi_octets) for item in seen if isinstance(item, Delete)] == [(3, 4), (1, 16)]
    assert isinstance(seen[1], Delete)
    assert seen[1].spis == (channel.cookies,)
