"""Certificates and signatures: what cannot be read is refused, what is not signed so is refused."""

from __future__ import annotations

import random
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from tests.ike.harness import CLIENT, SERVER, Verifier, authority, der, ec_key, issue, machine, rsa_key

from headrace.errors import Slug
from headrace.ike import auth_cert
from headrace.ike.auth import is_der_sequence
from headrace.ike.auth_cert import CertAuthenticator, check_named, collect, method_of, sign, verify
from headrace.ike.constants import AuthMethod, PayloadType
from headrace.ike.message import emit_chain, parse_chain
from headrace.ike.payloads import Certificate, CertificateRequest, Identification
from headrace.ike.proposal import IkeHash
from headrace.ike.refusal import Refuse

VALUE = bytes(range(20))


def chain_of(*certificates: Certificate) -> Any:
    return parse_chain(
        PayloadType.CERTIFICATE, emit_chain([(PayloadType.CERTIFICATE, item.emit()) for item in certificates]), padded=False
    )


@pytest.mark.parametrize(
    ("key", "method", "octets"),
    [
        (rsa_key(1), AuthMethod.RSA_SIGNATURE, 256),
        (ec_key(1), AuthMethod.ECDSA_256, 64),
        (ec_key(1, ec.SECP384R1), AuthMethod.ECDSA_384, 96),
        (ec_key(1, ec.SECP521R1), AuthMethod.ECDSA_521, 132),
    ],
)
def test_signatures(key: Any, method: AuthMethod, octets: int) -> None:
    assert method_of(key) is method
    value = VALUE if octets == 256 else bytes({64: 32, 96: 48, 132: 64}[octets])
    signature = sign(key, value)
    assert len(signature) == octets
    verify(key.public_key(), method, signature, value)
    for wrong in (signature[:-1] + bytes([signature[-1] ^ 1]), signature[:-1], b"", signature + b"0", bytes(octets)):
        with pytest.raises(Refuse) as refused:
            verify(key.public_key(), method, wrong, value)
        assert refused.value.failure.slug is Slug.SIG_BAD
    for other in AuthMethod:
        if other is not method:
            with pytest.raises(Refuse):
                verify(key.public_key(), other, signature, value)


def test_rsa_signature_has_no_digest_info() -> None:
    from cryptography.hazmat.primitives.asymmetric import padding

    key = rsa_key(1).public_key()
    assert key.recover_data_from_signature(sign(rsa_key(1), VALUE), padding.PKCS1v15(), None) == VALUE


def test_curve_without_method() -> None:
    assert method_of(ec.generate_private_key(ec.SECP256K1())) is None


def test_requests() -> Any:
    own = machine("client")
    (request,) = CertAuthenticator(AuthMethod.RSA_SIGNATURE, own, Verifier()).requests()
    assert CertificateRequest.parse(request[1]).data == authority()[0].subject.public_bytes()

    class Many(Verifier):
        def authorities(self) -> Any:
            return [b"name"] * 17

    class None_(Verifier):
        def authorities(self) -> Any:
            return []

    for verifier in (Many(), None_()):
        (request,) = CertAuthenticator(AuthMethod.RSA_SIGNATURE, own, verifier).requests()
        assert CertificateRequest.parse(request[1]) == CertificateRequest(4, b"")


def test_ecdsa_hashes_with_the_hash_of_its_curve() -> None:
    own = machine("client", ec_key(1))
    for method, digest in (
        (AuthMethod.ECDSA_256, IkeHash.SHA256),
        (AuthMethod.ECDSA_384, IkeHash.SHA384),
        (AuthMethod.RSA_SIGNATURE, IkeHash.MD5),
    ):
        assert CertAuthenticator(method, own, Verifier()).digest(IkeHash.MD5) is digest


def test_end_certificate_of_a_pkcs7_comes_first() -> None:
    ca, _ = authority()
    end = issue("client", ec_key(1))
    for order in ([ca, end], [end, ca]):
        wrapped = pkcs7.serialize_certificates(order, Encoding.DER)
        assert collect(chain_of(Certificate(1, wrapped)))[0] == der(end)


def test_other_encodings_beside_certificates_are_ignored() -> None:
    end = der(issue("client", ec_key(1)))
    assert collect(chain_of(Certificate(7, b"a CRL"), Certificate(4, end), Certificate(5, end))) == [end, end]


@pytest.mark.parametrize("seed", range(4))
def test_broken_certificates_raise_refuse_and_nothing_else(seed: int) -> None:
    dice = random.Random(seed)
    ca, _ = authority()
    end = issue("client", rsa_key(2), names=[x509.DNSName("a.example"), x509.IPAddress(SERVER)])
    wrapped = pkcs7.serialize_certificates([ca, end], Encoding.DER)
    identities = [Identification(9, 0, 0, b"x"), Identification(2, 0, 0, b"a.example"), Identification(1, 0, 0, CLIENT.packed)]
    slugs = set()
    for _ in range(1500):
        encoding, good = dice.choice(((1, wrapped), (4, der(end))))
        octets = bytearray(good)
        for _ in range(dice.choice((1, 1, 2, 5))):
            octets[dice.randrange(len(octets)) if dice.random() < 0.5 else dice.randrange(60)] = dice.randrange(256)
        try:
            for found in collect(chain_of(Certificate(encoding, bytes(octets)))):
                with auth_cert._reading("names"):
                    check_named(dice.choice(identities), x509.load_der_x509_certificate(found))
        except Refuse as refused:
            slugs.add(refused.failure.slug)
    assert slugs == {Slug.CERT_MALFORMED, Slug.IKE_ID}


@pytest.mark.parametrize(
    ("data", "good"),
    [
        (b"", False),
        (b"\x30", False),
        (b"\x30\x00", True),
        (b"\x31\x00", False),
        (b"\x30\x01", False),
        (b"\x30\x81\x80" + bytes(128), True),
        (b"\x30\x81\x80" + bytes(127), False),
        (b"\x30\x80" + bytes(10), False),
        (b"\x30\x82\x00\x01a", False),
        (b"\x30\x84\x00\x00\x00\x01a", False),
        (b"\x30\x82", False),
    ],
)
def test_der_sequences(data: bytes, good: bool) -> None:
    assert is_der_sequence(data) is good
