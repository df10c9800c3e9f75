"""RSA signatures that prove nothing, and identities that no certificate names: each is refused as such, on both sides.

RFC 2409 section 5.1 signs the bare HASH, without DigestInfo. The public vectors have one, so here it is a part of what is signed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cryptography_vectors
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa, utils
from tests.ike.harness import Pair, Verifier, cert_config, config, der, issue, machine, rsa_key

from headrace.errors import Slug
from headrace.ike import auth_cert, events
from headrace.ike.constants import AuthMethod, CertEncoding, IdType, PayloadType
from headrace.ike.payloads import Certificate, Identification
from headrace.ike.refusal import Refuse

DIGEST_INFO = {
    "SHA1": bytes.fromhex("3021300906052b0e03021a05000414"),
    "SHA224": bytes.fromhex("302d300d06096086480165030402040500041c"),
    "SHA256": bytes.fromhex("3031300d060960864801650304020105000420"),
    "SHA384": bytes.fromhex("3041300d060960864801650304020205000430"),
    "SHA512": bytes.fromhex("3051300d060960864801650304020305000440"),
}
"""RFC 8017 section 9.2, note 1."""

Prove = Callable[[rsa.RSAPrivateKey, bytes], bytes]


def vectors(name: str) -> Iterator[tuple[rsa.RSAPublicKey, bytes, bytes, bool]]:
    """Key, signature, what it should be over, and whether it is good, of a file of NIST's."""
    modulus = exponent = 0
    algorithm, message, signature = "", b"", b""
    path = Path(cryptography_vectors.__file__).parent / "asymmetric" / "RSA" / name
    for line in path.read_text("ascii").splitlines():
        match line.replace(" ", "").split("=", 1):
            case ["n", value]:
                modulus = int(value, 16)
            case ["e", value]:
                exponent = int(value, 16)
            case ["SHAAlg", value]:
                algorithm = value
            case ["Msg", value]:
                message = bytes.fromhex(value)
            case ["S", value]:
                signature = bytes.fromhex(value)
            case ["Result", value]:
                key = rsa.RSAPublicNumbers(exponent, modulus).public_key()
                value_signed = DIGEST_INFO[algorithm] + hashlib.new(algorithm, message).digest()
                yield key, signature, value_signed, value.startswith("P")


@pytest.mark.parametrize("name", ["FIPS_186-2/SigVer15_186-3.rsp", "SigVer15EMTest.txt"])
def test_n191_public_vectors(name: str) -> None:
    good = bad = 0
    for key, signature, signed, passes in vectors(name):
        if passes:
            auth_cert.verify(key, AuthMethod.RSA_SIGNATURE, signature, signed)
            good += 1
        else:
            with pytest.raises(Refuse):
                auth_cert.verify(key, AuthMethod.RSA_SIGNATURE, signature, signed)
            bad += 1
    assert bad > 10
    assert good > 0 or name == "SigVer15EMTest.txt"


def raw(key: rsa.RSAPrivateKey, block: bytes) -> bytes:
    """The bare RSA operation."""
    numbers = key.private_numbers()
    n = numbers.public_numbers.n
    return pow(int.from_bytes(block, "big") % n, numbers.d, n).to_bytes(key.key_size // 8, "big")


def block_of(key: rsa.RSAPrivateKey, value: bytes, *, behind: bytes = b"", pad: int | None = None) -> bytes:
    """EMSA-PKCS1-v1_5 around a value, with octets behind it, or with a padding of another length."""
    octets = key.key_size // 8
    length = octets - 3 - len(value) - len(behind) if pad is None else pad
    block = b"\0\1" + b"\xff" * length + b"\0" + value + behind
    return block.ljust(octets, b"\0")


CROOKED: dict[str, Prove] = {
    "octets behind the hash": lambda key, value: raw(key, block_of(key, value, behind=bytes(20))),
    "short padding": lambda key, value: raw(key, block_of(key, value, pad=8)),
    "no padding": lambda key, value: raw(key, value.rjust(key.key_size // 8, b"\0")),
    "another hash": lambda key, value: raw(key, block_of(key, bytes(len(value)))),
    "no hash": lambda key, _: raw(key, block_of(key, b"")),
    "half a hash": lambda key, value: raw(key, block_of(key, value[: len(value) // 2])),
    "with DigestInfo": lambda key, value: key.sign(value, padding.PKCS1v15(), utils.Prehashed(hashes.SHA1())),
    "the modulus": lambda key, _: key.public_key().public_numbers().n.to_bytes(key.key_size // 8, "big"),
    "all zero": lambda key, _: bytes(key.key_size // 8),
    "one": lambda key, _: (1).to_bytes(key.key_size // 8, "big"),
    "one octet longer": lambda key, value: b"\0" + auth_cert.sign(key, value),
    "one octet shorter": lambda key, value: auth_cert.sign(key, value)[:-1],
    "PSS": lambda key, value: key.sign(
        value,
        padding.PSS(padding.MGF1(hashes.SHA1()), 20),
        utils.Prehashed(hashes.SHA1()),
    ),
    "another key": lambda _, value: auth_cert.sign(rsa_key(99), value),
    "another exchange": lambda key, value: auth_cert.sign(key, hashlib.sha1(value, usedforsecurity=False).digest()),
    "nothing": lambda *_: b"",
}


def exchange(prove: Callable[[bytes], list[tuple[int, bytes]]], identity: Identification | None = None) -> Pair:
    """Main mode with a client of our own whose proof (and identity) is another."""
    own = machine("client")

    class Crooked(auth_cert.CertAuthenticator):
        def prove(self, value: bytes) -> list[tuple[int, bytes]]:
            return prove(value)

        def identity(self) -> Identification:
            return identity or super().identity()

    client = config(psk=None, certificate=own, verifier=Verifier(), fragmentation=False)
    pair = Pair(client, cert_config("server"))
    pair.dial()
    pending = pair.client.ike._peers[pair.handle].pending
    assert pending is not None
    setattr(pending, "_methods", lambda: {AuthMethod.RSA_SIGNATURE: Crooked(AuthMethod.RSA_SIGNATURE, own, Verifier())})  # noqa: B010
    return pair.run(3)


def with_certificate(certificate: bytes, signature: bytes) -> list[tuple[int, bytes]]:
    return [
        (PayloadType.CERTIFICATE, Certificate(CertEncoding.X509_SIGNATURE, certificate).emit()),
        (PayloadType.SIGNATURE, signature),
    ]


def assert_refused(pair: Pair, ours: Slug, theirs: Slug) -> str:
    """The gateway says one thing, and tells the client enough for the other. Returns the gateway's detail."""
    assert not pair.server.all(events.PeerUp)
    assert pair.server.slugs() == [ours]
    assert pair.client.slugs() == [theirs]
    return pair.server.failures()[0].detail


@pytest.mark.parametrize("fault", CROOKED)
def test_n191_n197_signatures_that_prove_nothing(fault: str) -> None:
    key, own = rsa_key(hash("client")), machine("client")
    pair = exchange(lambda value: with_certificate(own.chain[0], CROOKED[fault](key, value)))
    assert_refused(pair, Slug.SIG_BAD, Slug.OUR_AUTH_REFUSED)


def test_n197_another_certificate_of_the_same_authority() -> None:
    key = rsa_key(hash("client"))
    other = issue("client", rsa_key(98))
    pair = exchange(lambda value: with_certificate(der(other), auth_cert.sign(key, value)))
    assert_refused(pair, Slug.SIG_BAD, Slug.OUR_AUTH_REFUSED)


@pytest.mark.parametrize(
    "identity",
    [
        Identification(IdType.DER_ASN1_DN, 0, 0, x509.Name.from_rfc4514_string("CN=gateway").public_bytes()),
        Identification(IdType.FQDN, 0, 0, b"somebody.example"),
        Identification(IdType.USER_FQDN, 0, 0, b"root@example"),
        Identification(IdType.IPV4_ADDR, 0, 0, bytes([10, 0, 0, 1])),
    ],
    ids=["name", "host", "mail", "address"],
)
def test_n186_identity_that_the_certificate_does_not_name(identity: Identification) -> None:
    key, own = rsa_key(hash("client")), machine("client")
    pair = exchange(lambda value: with_certificate(own.chain[0], auth_cert.sign(key, value)), identity)
    detail = assert_refused(pair, Slug.IKE_ID, Slug.IKE_ID)
    assert "CN=client" in detail


def test_n198_no_certificate_comes() -> None:
    key: Any = rsa_key(hash("client"))
    pair = exchange(lambda value: [(PayloadType.SIGNATURE, auth_cert.sign(key, value))])
    detail = assert_refused(pair, Slug.CERT_NONE, Slug.OUR_CERT_REFUSED)
    assert "CN=Test CA" in detail, "says which authority was asked for"
