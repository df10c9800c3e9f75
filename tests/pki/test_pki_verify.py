"""The verdict on certificates: N181 to N185, N187 to N190, N192 to N195 of the negative cases, and what is good.

A verdict is a key or ``CertificateRefused`` with the right slug; nothing else comes out whatever goes in.
"""

from __future__ import annotations

import ipaddress
import random
import socket
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID
from tests.pki.kit import (
    DAY,
    NOW,
    Made,
    authority,
    crl,
    dn,
    ec_key,
    make,
    resign,
    root,
    rsa_key,
    split,
    tlv,
    usage,
    verifier,
    with_tbs,
)

from headrace.errors import ConfigError, Slug
from headrace.ike.config import CertificateRefused, CertificateVerifier
from headrace.pki.path import MAX_SIGNATURES
from headrace.pki.verify import ChainVerifier

ROOT = root()
CLIENT = make(
    ROOT, name="laptop", purposes=("client", "intermediate"), usage=usage("digital_signature"), names=("laptop.example",)
)


def refused(judge: ChainVerifier, *chain: Made | bytes, names: tuple[str, ...] = ()) -> CertificateRefused:
    with pytest.raises(CertificateRefused) as caught:
        judge.verify([item if isinstance(item, bytes) else item.der for item in chain], names)
    assert caught.value.detail.isprintable()
    return caught.value


def accepted(judge: ChainVerifier, *chain: Made, names: tuple[str, ...] = ()) -> None:
    key = judge.verify([item.der for item in chain], names)
    spki = PublicFormat.SubjectPublicKeyInfo
    assert key.public_bytes(Encoding.DER, spki) == chain[0].key.public_key().public_bytes(Encoding.DER, spki)


# What is good


def test_it_is_what_ike_asks_for() -> None:
    judge: CertificateVerifier = verifier(ROOT, root("other"), root("root", key=ec_key(101)))
    assert judge.authorities() == [dn("root").public_bytes(), dn("other").public_bytes()]


def test_a_certificate_under_a_root_and_under_intermediates() -> None:
    accepted(verifier(ROOT), CLIENT)
    one = authority(ROOT, "one")
    two = authority(one, "two")
    leaf = make(two, name="deep")
    accepted(verifier(ROOT), leaf, one, two)
    accepted(verifier(ROOT), leaf, two, two, CLIENT, one)
    assert refused(verifier(ROOT), leaf, one).slug is Slug.CERT_UNKNOWN_CA


@pytest.mark.parametrize("key", [rsa_key(), rsa_key(3072), ec_key(), ec.generate_private_key(ec.SECP384R1())])
def test_keys_that_are_taken(key: Any) -> None:
    accepted(verifier(ROOT), make(ROOT, key=key))


def test_rsa_issuers_with_and_without_pss() -> None:
    ca = root("rsa root", key=rsa_key(3072))
    accepted(verifier(ca), make(ca, key=rsa_key()))
    accepted(verifier(ca), make(ca, key=rsa_key(), pss=True))


def test_a_real_chain_of_another_program() -> None:
    """A CA and certificates made by strongSwan's pki tool."""
    folder = Path(__file__).parent.parent / "vectors" / "pki"
    ca, client, server = (
        x509.load_pem_x509_certificate((folder / f"strongswan-{n}.pem").read_bytes()) for n in ("ca", "client", "server")
    )
    at = client.not_valid_before_utc + DAY
    for purpose, leaf, name in (("client", client, "192.0.2.2"), ("gateway", server, "server.lab")):
        judge = ChainVerifier([ca], clock=lambda: at, purpose=purpose, note=lambda _text: None)
        judge.verify([leaf.public_bytes(Encoding.DER)], [name])


def test_two_roots_of_one_name_and_a_renewed_key() -> None:
    old, new = root("same"), root("same", key=ec_key(101))
    for ca in (old, new):
        accepted(verifier(old, new), make(ca, name="x"))


def test_an_intermediate_that_expired_is_no_harm_beside_one_that_has_not() -> None:
    dead = authority(ROOT, "sub", end=NOW - DAY)
    alive = authority(ROOT, "sub")
    accepted(verifier(ROOT), make(alive, name="x"), dead, alive)


def test_a_broken_helper_is_no_harm() -> None:
    key = verifier(ROOT).verify([CLIENT.der, b"", b"\x30\x03abc", CLIENT.der[:-9]], [])
    assert isinstance(key, ec.EllipticCurvePublicKey)


def test_no_certificate_says_who_was_asked_for() -> None:
    failure = refused(verifier(ROOT))
    assert failure.slug is Slug.CERT_NONE
    assert "CN=root" in failure.detail


def test_a_bad_configuration_is_told() -> None:
    with pytest.raises(ConfigError, match="policies soft and strict"):
        verifier(ROOT, crl_policy="maybe")
    with pytest.raises(ConfigError, match="purposes are client and gateway"):
        verifier(ROOT, purpose="any")


# The negative cases


def test_n181_time() -> None:
    late = make(ROOT, name="late", end=NOW - 3 * DAY - timedelta(hours=4))
    failure = refused(verifier(ROOT), late)
    assert failure.slug is Slug.CERT_EXPIRED
    assert "'CN=late'" in failure.detail
    assert "3 d 4 h ago" in failure.detail
    early = make(ROOT, name="early", start=NOW + timedelta(minutes=90))
    failure = refused(verifier(ROOT), early)
    assert failure.slug is Slug.CERT_NOT_YET_VALID
    assert "in 1 h 30 min" in failure.detail
    issuer = authority(ROOT, "old issuer", end=NOW - timedelta(minutes=5))
    failure = refused(verifier(ROOT), make(issuer), issuer)
    assert (failure.slug, "'CN=old issuer'" in failure.detail, "5 min ago" in failure.detail) == (Slug.CERT_EXPIRED, True, True)
    old_root = root("old root", end=NOW - DAY)
    assert refused(verifier(old_root), make(old_root)).slug is Slug.CERT_EXPIRED
    assert refused(verifier(ROOT, now=CLIENT.cert.not_valid_after_utc + timedelta(seconds=1)), CLIENT).slug is Slug.CERT_EXPIRED
    accepted(verifier(ROOT, now=CLIENT.cert.not_valid_after_utc), CLIENT)
    accepted(verifier(ROOT, now=CLIENT.cert.not_valid_before_utc), CLIENT)


def test_n182_strangers() -> None:
    stranger = root("stranger", key=ec_key(50))
    failure = refused(verifier(ROOT), make(stranger, name="x"))
    assert failure.slug is Slug.CERT_UNKNOWN_CA
    assert "CN=stranger" in failure.detail
    failure = refused(verifier(ROOT), make(stranger, name="x"), stranger)
    assert failure.slug is Slug.CERT_UNKNOWN_CA
    assert "self-signed" in failure.detail
    assert refused(verifier(ROOT), make(None, name="self")).slug is Slug.CERT_UNKNOWN_CA
    impostor = root("root", key=ec_key(51))
    failure = refused(verifier(ROOT), make(impostor, name="x"), impostor)
    assert failure.slug is Slug.CERT_UNKNOWN_CA
    assert refused(verifier(), CLIENT, ROOT).slug is Slug.CERT_UNKNOWN_CA
    assert refused(verifier(ROOT), ROOT).slug is Slug.CERT_USAGE


def test_n183_issuers_that_may_not() -> None:
    for sub in (
        authority(ROOT, "no ca", ca=None, usage=None),
        authority(ROOT, "ca false", ca=False),
        authority(ROOT, "no cert sign", usage=usage("crl_sign", "digital_signature")),
        authority(ROOT, "wrong purpose", purposes=("server",)),
    ):
        failure = refused(verifier(ROOT), make(sub, name="x"), sub)
        assert failure.slug is Slug.CERT_USAGE
        assert sub.cert.subject.rfc4514_string() in failure.detail
    assert refused(verifier(ROOT), make(CLIENT, name="x"), CLIENT).slug is Slug.CERT_USAGE
    short = root("short", path_length=0)
    sub = authority(short)
    accepted(verifier(short), make(short, name="x"))
    failure = refused(verifier(short), make(sub, name="x"), sub)
    assert "path length" in failure.detail
    one = authority(ROOT, "one", path_length=1)
    two, three = authority(one, "two"), None
    accepted(verifier(ROOT), make(two, name="x"), one, two)
    three = authority(two, "three")
    assert refused(verifier(ROOT), make(three, name="x"), one, two, three).slug is Slug.CERT_USAGE
    weak_root = root("weak root", usage=usage("crl_sign"))
    assert refused(verifier(weak_root), make(weak_root)).slug is Slug.CERT_USAGE


def version_1(made: Made, issuer: Made) -> Made:
    """The same without version and extensions."""
    tbs, algorithm, _ = split(made.der)
    elements = split(tbs)
    der = resign(tlv(0x30, *elements[1:7]), algorithm, issuer.key)
    return Made(x509.load_der_x509_certificate(der), made.key)


def test_version_1_is_taken_as_a_root_and_not_as_an_intermediate() -> None:
    old = version_1(ROOT, ROOT)
    accepted(verifier(old), CLIENT)
    sub = version_1(authority(ROOT, "v1"), ROOT)
    failure = refused(verifier(ROOT), make(sub, name="x"), sub)
    assert failure.slug is Slug.CERT_USAGE
    assert "version 1" in failure.detail
    accepted(verifier(ROOT), version_1(make(ROOT, name="old leaf"), ROOT))


@pytest.mark.parametrize(
    ("purpose", "purposes", "good"),
    [
        ("gateway", (), True),
        ("gateway", ("server",), True),
        ("gateway", ("ike",), True),
        ("gateway", ("intermediate", "email"), True),
        ("gateway", ("client",), False),
        ("gateway", ("email",), False),
        ("gateway", ("any",), False),
        ("client", (), True),
        ("client", ("client",), True),
        ("client", ("ike",), True),
        ("client", ("1.3.6.1.5.5.7.3.5",), True),
        ("client", ("server",), False),
        ("client", ("any",), False),
    ],
)
def test_n184_purposes(purpose: str, purposes: tuple[str, ...], good: bool) -> None:
    leaf = make(ROOT, purposes=purposes)
    if good:
        accepted(verifier(ROOT, purpose=purpose), leaf)
        return
    failure = refused(verifier(ROOT, purpose=purpose), leaf)
    assert failure.slug is Slug.CERT_USAGE
    assert ("serverAuth" if purpose == "gateway" else "clientAuth") in failure.detail
    if purposes == ("any",):
        accepted(verifier(ROOT, purpose=purpose, allow_any_purpose=True), leaf)


def test_a_machine_must_be_able_to_sign_and_be_no_authority() -> None:
    assert "digitalSignature" in refused(verifier(ROOT), make(ROOT, usage=usage("key_encipherment"))).detail
    accepted(verifier(ROOT), make(ROOT, usage=usage("content_commitment")))
    assert "CA:TRUE" in refused(verifier(ROOT), make(ROOT, ca=True)).detail


@pytest.mark.parametrize(
    ("held", "dialled", "good"),
    [
        (("vpn.example.com",), "vpn.example.com", True),
        (("vpn.example.com.",), "vpn.example.com", True),
        (("vpn.example.com",), "vpn.example.com.", True),
        (("VPN.Example.COM",), "vpn.example.com", True),
        (("xn--bcher-kva.example",), "b\u00fccher.example", True),
        (("192.0.2.1",), "192.0.2.1", True),
        (("2001:db8::1",), "2001:0db8:0::1", True),
        (("other.example.com", "192.0.2.1"), "192.0.2.1", True),
        (("other.example.com",), "vpn.example.com", False),
        (("example.com",), "vpn.example.com", False),
        (("vpn.example.com",), "example.com", False),
        (("*.example.com",), "vpn.example.com", False),
        (("vpn.example.com\0.evil.example",), "vpn.example.com", False),
        (("vpn.example.com",), "192.0.2.1", False),
        ((), "vpn.example.com", False),
        (("192.0.2.2",), "192.0.2.1", False),
        (("vpn.example.com",), "\u2024" * 300, False),
    ],
)
def test_n185_names(held: tuple[str, ...], dialled: str, good: bool) -> None:
    leaf = make(ROOT, name="vpn.example.com", names=held)
    if good:
        accepted(verifier(ROOT), leaf, names=(dialled,))
        accepted(verifier(ROOT), leaf, names=("nobody.example", dialled))
    else:
        assert refused(verifier(ROOT), leaf, names=(dialled,)).slug is Slug.CERT_NAME


def test_an_address_written_as_a_host_name_is_no_address() -> None:
    leaf = make(ROOT, general_names=(x509.DNSName("192.0.2.1"),))
    assert refused(verifier(ROOT), leaf, names=("192.0.2.1",)).slug is Slug.CERT_NAME


POINT = x509.UniformResourceIdentifier("http://crl.example/a")


def distribution(uri: str) -> tuple[x509.ExtensionType, bool]:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(uri)], None, None, None)
    return x509.CRLDistributionPoints([point]), False


def scope(**fields: Any) -> tuple[x509.ExtensionType, bool]:
    every: dict[str, Any] = {
        "full_name": None,
        "relative_name": None,
        "only_contains_user_certs": False,
        "only_contains_ca_certs": False,
        "only_some_reasons": None,
        "indirect_crl": False,
        "only_contains_attribute_certs": False,
    }
    return x509.IssuingDistributionPoint(**{**every, **fields}), True


LEAF = make(ROOT, name="leaf", extra=(distribution("http://crl.example/a"),))


@pytest.mark.parametrize(
    ("lists", "doubt"),
    [
        ([crl(ROOT)], None),
        ([crl(ROOT, extra=[scope(only_contains_user_certs=True)])], None),
        ([crl(ROOT, extra=[scope(full_name=[POINT])])], None),
        ([crl(ROOT, end=NOW - timedelta(hours=1)), crl(ROOT)], None),
        ([], "no revocation list of 'CN=root'"),
        ([crl(root("stranger", key=ec_key(50)))], "no revocation list of 'CN=root'"),
        ([crl(ROOT, key=ec_key(50))], "was not signed by its key"),
        ([crl(ROOT, end=NOW - timedelta(hours=1))], "expired 1 h 0 min ago"),
        ([crl(ROOT, start=NOW + timedelta(hours=1), end=NOW + DAY)], "becomes valid in 1 h 0 min"),
        (
            [crl(ROOT, extra=[scope(full_name=[x509.UniformResourceIdentifier("http://crl.example/b")])])],
            "another distribution point",
        ),
        ([crl(ROOT, extra=[scope(only_contains_ca_certs=True)])], "authorities only"),
        ([crl(ROOT, extra=[scope(indirect_crl=True)])], "says nothing"),
        ([crl(ROOT, extra=[scope(only_some_reasons=frozenset([x509.ReasonFlags.key_compromise]))])], "says nothing"),
        ([crl(ROOT, extra=[(x509.DeltaCRLIndicator(1), True)])], "delta"),
        (
            [crl(ROOT, extra=[(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)])],
            "critical extensions that are unknown here: 1.2.3.4",
        ),
    ],
)
def test_n187_revocation_lists(lists: list[x509.CertificateRevocationList], doubt: str | None) -> None:
    notes: list[str] = []
    accepted(verifier(ROOT, crls=lists, notes=notes), LEAF)
    strict = verifier(ROOT, crls=lists, crl_policy="strict")
    if doubt is None:
        assert notes == []
        accepted(strict, LEAF)
        return
    assert len(notes) == 1
    assert doubt in notes[0]
    failure = refused(strict, LEAF)
    assert failure.slug is Slug.CERT_CRL
    assert doubt in failure.detail


@pytest.mark.parametrize("policy", ["soft", "strict"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"end": NOW - timedelta(hours=1)},
        {"reason": x509.ReasonFlags.key_compromise},
        {"reason": x509.ReasonFlags.certificate_hold},
        {"extra": [scope(full_name=[x509.UniformResourceIdentifier("http://crl.example/b")])]},
        {"extra": [(x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\5\0"), True)]},
    ],
)
def test_who_is_revoked_is_refused_always(policy: str, options: dict[str, Any]) -> None:
    judge = verifier(ROOT, crls=[crl(ROOT), crl(ROOT, [LEAF], **options)], crl_policy=policy)
    failure = refused(judge, LEAF)
    assert failure.slug is Slug.CERT_REVOKED
    assert "2026-02-27" in failure.detail
    accepted(judge, CLIENT)


def test_a_forged_list_revokes_nobody_and_a_removed_entry_neither() -> None:
    accepted(verifier(ROOT, crls=[crl(ROOT, [LEAF], key=ec_key(50))]), LEAF)
    accepted(verifier(ROOT, crls=[crl(ROOT, [LEAF], reason=x509.ReasonFlags.remove_from_crl)]), LEAF)
    accepted(verifier(ROOT, crls=[crl(ROOT, [LEAF], extra=[scope(indirect_crl=True)])]), LEAF)


def test_lists_that_are_odd() -> None:
    endless = make_crl_without_end(ROOT)
    assert "does not say how long" in refused(verifier(ROOT, crls=[endless], crl_policy="strict"), LEAF).detail
    users = crl(ROOT, extra=[scope(only_contains_user_certs=True)])
    sub = authority(ROOT, "sub")
    failure = refused(verifier(ROOT, crls=[users, crl(sub)], crl_policy="strict"), make(sub, name="x"), sub)
    assert "end certificates only" in failure.detail
    relative = x509.RelativeDistinguishedName([x509.NameAttribute(NameOID.COMMON_NAME, "part")])
    named = crl(ROOT, extra=[scope(relative_name=relative)])
    assert "cannot be compared" in refused(verifier(ROOT, crls=[named], crl_policy="strict"), LEAF).detail
    broken = x509.load_der_x509_crl(with_junk_extension(crl(ROOT).public_bytes(Encoding.DER)))
    with pytest.raises(ConfigError, match="revocation list cannot be read"):
        verifier(ROOT, crls=[broken])


def make_crl_without_end(issuer: Made) -> x509.CertificateRevocationList:
    """A list without nextUpdate, which the library does not make."""
    tbs, algorithm, _ = split(crl(issuer).public_bytes(Encoding.DER))
    elements = split(tbs)
    del elements[4]
    return x509.load_der_x509_crl(resign(tlv(0x30, *elements), algorithm, issuer.key))


def with_junk_extension(der: bytes) -> bytes:
    tbs, algorithm, _ = split(der)
    junk = tlv(0xA0, tlv(0x30, tlv(0x30, bytes.fromhex("0603551d1c"), b"\x01\x01\xff", tlv(0x04, b"\xff\xff"))))
    return resign(tlv(0x30, *split(tbs), junk), algorithm, ROOT.key)


def test_a_root_that_cannot_be_read_is_told() -> None:
    bad = x509.load_der_x509_certificate(BAD_DER["extension of junk"])
    with pytest.raises(ConfigError, match="trusted root cannot be read"):
        ChainVerifier([bad], clock=lambda: NOW, purpose="client")


def test_a_revoked_intermediate_and_one_that_may_not_sign_lists() -> None:
    sub = authority(ROOT, "sub")
    leaf = make(sub, name="x")
    assert refused(verifier(ROOT, crls=[crl(ROOT, [sub])]), leaf, sub).slug is Slug.CERT_REVOKED
    accepted(verifier(ROOT, crls=[crl(ROOT), crl(sub)], crl_policy="strict"), leaf, sub)
    mute = authority(ROOT, "mute", usage=usage("key_cert_sign"))
    leaf = make(mute, name="x")
    failure = refused(verifier(ROOT, crls=[crl(ROOT), crl(mute)], crl_policy="strict"), leaf, mute)
    assert "cRLSign" in failure.detail


def constrained(permitted: list[x509.GeneralName] | None = None, excluded: list[x509.GeneralName] | None = None) -> Made:
    return authority(ROOT, "narrow", extra=((x509.NameConstraints(permitted, excluded), True),))


COMPANY = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme  Corp")])
ACME = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "acme corp"), x509.NameAttribute(NameOID.COMMON_NAME, "x")])
NET = x509.IPAddress(ipaddress.ip_network("192.0.2.0/24"))


@pytest.mark.parametrize(
    ("permitted", "excluded", "wishes", "good"),
    [
        ([x509.DNSName("example.com")], None, {"names": ("vpn.example.com", "example.com")}, True),
        ([x509.DNSName("example.com")], None, {"names": ("badexample.com",)}, False),
        ([x509.DNSName(".example.com")], None, {"names": ("vpn.example.com",)}, True),
        ([x509.DNSName(".example.com")], None, {"names": ("example.com",)}, False),
        (None, [x509.DNSName("Secret.Example.com")], {"names": ("a.secret.example.COM.",)}, False),
        ([x509.DNSName("example.com")], None, {"names": ("192.0.2.1",)}, True),
        ([NET], None, {"names": ("192.0.2.1",)}, True),
        ([NET], None, {"names": ("192.0.3.1",)}, False),
        ([NET], None, {"names": ("2001:db8::1",)}, False),
        (None, [NET], {"names": ("192.0.2.255",)}, False),
        ([x509.DirectoryName(COMPANY)], None, {"subject": ACME}, True),
        ([x509.DirectoryName(COMPANY)], None, {"subject": dn("x")}, False),
        (None, [x509.DirectoryName(COMPANY)], {"subject": ACME}, False),
        (None, [x509.DirectoryName(COMPANY)], {"general_names": (x509.DirectoryName(ACME),)}, False),
        ([x509.RFC822Name("example.com")], None, {"names": ("a@example.com",)}, True),
        ([x509.RFC822Name("example.com")], None, {"names": ("a@sub.example.com",)}, False),
        ([x509.RFC822Name(".example.com")], None, {"names": ("a@sub.example.com",)}, True),
        ([x509.RFC822Name("a@example.com")], None, {"names": ("b@example.com",)}, False),
        (
            None,
            [x509.RFC822Name("example.com")],
            {"subject": x509.Name([x509.NameAttribute(NameOID.EMAIL_ADDRESS, "x@example.com")])},
            False,
        ),
        (
            [x509.UniformResourceIdentifier("example.com")],
            None,
            {"general_names": (x509.UniformResourceIdentifier("https://example.com/x"),)},
            True,
        ),
        (
            [x509.UniformResourceIdentifier(".example.com")],
            None,
            {"general_names": (x509.UniformResourceIdentifier("https://192.0.2.1/x"),)},
            False,
        ),
        (
            [x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\5\0")],
            None,
            {"general_names": (x509.OtherName(x509.ObjectIdentifier("1.2.3"), b"\5\0"),)},
            False,
        ),
    ],
)
def test_n188_name_constraints(
    permitted: list[x509.GeneralName] | None, excluded: list[x509.GeneralName] | None, wishes: dict[str, Any], good: bool
) -> None:
    ca = constrained(permitted, excluded)
    leaf = make(ca, **wishes)
    if good:
        accepted(verifier(ROOT), leaf, ca)
    else:
        assert refused(verifier(ROOT), leaf, ca).slug is Slug.CERT_NAME


def test_constraints_add_up_and_hold_for_authorities_too() -> None:
    outer = authority(ROOT, "outer", extra=((x509.NameConstraints([x509.DNSName("example.com")], None), True),))
    inner = authority(outer, "inner", extra=((x509.NameConstraints([x509.DNSName("a.example.com")], None), True),))
    accepted(verifier(ROOT), make(inner, names=("x.a.example.com",)), inner, outer)
    assert refused(verifier(ROOT), make(inner, names=("x.example.com",)), inner, outer).slug is Slug.CERT_NAME
    no_directory = authority(ROOT, "nd", extra=((x509.NameConstraints(None, [x509.DirectoryName(dn("inner"))]), True),))
    bad = authority(no_directory, "inner")
    assert refused(verifier(ROOT), make(bad, name="x"), bad, no_directory).slug is Slug.CERT_NAME


def test_unknown_critical_extensions() -> None:
    strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4.5"), b"\5\0")
    accepted(verifier(ROOT), make(ROOT, extra=((strange, False),)))
    failure = refused(verifier(ROOT), make(ROOT, extra=((strange, True),)))
    assert failure.slug is Slug.CERT_USAGE
    assert "1.2.3.4.5" in failure.detail
    ca = authority(ROOT, extra=((strange, True),))
    assert refused(verifier(ROOT), make(ca, name="x"), ca).slug is Slug.CERT_USAGE
    demanding = authority(ROOT, extra=((x509.PolicyConstraints(0, None), True),))
    assert refused(verifier(ROOT), make(demanding, name="x"), demanding).slug is Slug.CERT_USAGE
    policies = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("1.2.3"), None)])
    accepted(verifier(ROOT), make(ROOT, extra=((policies, True),)))


def integer(value: int) -> bytes:
    return tlv(0x02, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def rsa_spki(n: int, e: int) -> bytes:
    return tlv(0x30, bytes.fromhex("300d06092a864886f70d0101010500"), tlv(0x03, b"\0", tlv(0x30, integer(n), integer(e))))


def explicit_curve() -> bytes:
    """P-256 with its parameters written out."""
    p = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
    b = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
    n = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    point = ec_key().public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    field_id = tlv(0x30, bytes.fromhex("06072a8648ce3d0101"), integer(p))
    curve = tlv(0x30, tlv(0x04, (p - 3).to_bytes(32, "big")), tlv(0x04, b.to_bytes(32, "big")))
    parameters = tlv(0x30, integer(1), field_id, curve, tlv(0x04, point), integer(n), integer(1))
    return tlv(0x30, tlv(0x30, bytes.fromhex("06072a8648ce3d0201"), parameters), tlv(0x03, b"\0", point))


MODULUS = rsa_key().public_key().public_numbers().n
SPKIS = {
    "rsa 512": rsa_spki((1 << 511) | 1, 65537),
    "rsa 1023": rsa_spki((1 << 1022) | 1, 65537),
    "rsa 16385": rsa_spki((1 << 16384) | 1, 65537),
    **{f"e={e}": rsa_spki(MODULUS, e) for e in (0, 1, 2, 3, 65536, (1 << 65) | 1)},
    "even modulus": rsa_spki(MODULUS - 1, 65537),
    "explicit curve": explicit_curve(),
    "secp256k1": ec.generate_private_key(ec.SECP256K1())
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "ed25519": ed25519.Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
    "dsa": dsa.DSAPublicNumbers(y=4, parameter_numbers=dsa.DSAParameterNumbers(p=(1 << 2047) | 9, q=(1 << 255) | 95, g=2))
    .public_key()
    .public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
}


@pytest.mark.parametrize("name", SPKIS)
def test_n189_keys_that_are_not_taken(name: str) -> None:
    judge = verifier(ROOT)
    start = time.process_time()
    failure = refused(judge, with_tbs(CLIENT.der, 6, SPKIS[name], ROOT.key))
    assert failure.slug in {Slug.CERT_WEAK, Slug.CERT_MALFORMED}
    sub = authority(ROOT)
    weak_ca = with_tbs(sub.der, 6, SPKIS[name], ROOT.key)
    assert refused(judge, make(sub, name="x"), weak_ca).slug in {Slug.CERT_WEAK, Slug.CERT_UNKNOWN_CA, Slug.CERT_MALFORMED}
    assert time.process_time() - start < 5, "far from hanging"


def test_old_clients_may_be_let_in_by_name() -> None:
    small = make(ROOT, key=rsa_key(1024))
    assert "1024 bits" in refused(verifier(ROOT), small).detail
    accepted(verifier(ROOT, min_rsa_bits=1024), small)


# A certificate signed with SHA-1 and one with MD5, which this library will no longer make: their algorithm is put in by hand.
SHA1_ECDSA = bytes.fromhex("300906072a8648ce3d0401")
SHA1_RSA = bytes.fromhex("300d06092a864886f70d0101050500")
MD5_RSA = bytes.fromhex("300d06092a864886f70d0101040500")


def by_old_hash(algorithm: bytes, digest: hashes.HashAlgorithm | None) -> bytes:
    from cryptography.hazmat.primitives.asymmetric import padding

    tbs = split(CLIENT.der)[0]
    elements = split(tbs)
    elements[2] = algorithm
    elements[3] = dn("rsa root").public_bytes()
    body = tlv(0x30, *elements)
    signature = rsa_key(3072).sign(body, padding.PKCS1v15(), digest) if digest else bytes(384)
    return tlv(0x30, body, algorithm, tlv(0x03, b"\0", signature))


def test_n190_weak_signatures() -> None:
    old = root("rsa root", key=rsa_key(3072))
    for algorithm, digest, word in ((SHA1_RSA, hashes.SHA1(), "SHA1"), (MD5_RSA, None, "MD5"), (SHA1_ECDSA, None, "SHA1")):
        failure = refused(verifier(old), by_old_hash(algorithm, digest))
        assert failure.slug is Slug.CERT_WEAK
        assert word in failure.detail
    verifier(old, allow_sha1=True).verify([by_old_hash(SHA1_RSA, hashes.SHA1())], [])
    assert refused(verifier(old, allow_sha1=True), by_old_hash(MD5_RSA, None)).slug is Slug.CERT_WEAK


def test_sha1_where_it_is_allowed_is_still_verified() -> None:
    judge = verifier(root("rsa root", key=rsa_key(3072)), allow_sha1=True)
    good = by_old_hash(SHA1_RSA, hashes.SHA1())
    tbs, _, signature = split(good)
    changed = bytearray(tbs)
    changed[-1] ^= 1
    for bad in (
        tlv(0x30, bytes(changed), SHA1_RSA, signature),
        tlv(0x30, tbs, SHA1_ECDSA, signature),
        tlv(0x30, tbs, SHA1_RSA[:-2] + b"\5\0\5\0", signature),
        good[:-1] + bytes([good[-1] ^ 1]),
    ):
        assert refused(judge, bad).slug in {Slug.CERT_UNKNOWN_CA, Slug.CERT_MALFORMED}
    assert refused(verifier(root("rsa root"), allow_sha1=True), good).slug is Slug.CERT_UNKNOWN_CA
    ca = root("ec root")
    elements = split(split(make(ca, name="x").der)[0])
    elements[2] = SHA1_ECDSA
    body = tlv(0x30, *elements)
    signed = tlv(0x30, body, SHA1_ECDSA, tlv(0x03, b"\0", ca.key.sign(body, ec.ECDSA(hashes.SHA1()))))
    verifier(ca, allow_sha1=True).verify([signed], [])
    assert refused(verifier(ca), signed).slug is Slug.CERT_WEAK


def test_n192_algorithms_that_differ() -> None:
    tbs, _, signature = split(CLIENT.der)
    for outer in ("300a06082a8648ce3d040303", "300d06092a864886f70d01010b0500", "300c06082a8648ce3d0403020500"):
        assert refused(verifier(ROOT), tlv(0x30, tbs, bytes.fromhex(outer), signature)).slug in {
            Slug.CERT_UNKNOWN_CA,
            Slug.CERT_MALFORMED,
            Slug.CERT_WEAK,
        }
    inner = with_tbs(CLIENT.der, 2, bytes.fromhex("300a06082a8648ce3d040303"), ROOT.key)
    assert refused(verifier(ROOT), inner).slug is Slug.CERT_UNKNOWN_CA


def validity(*times: bytes) -> bytes:
    return tlv(0x30, *times)


def extensions(*items: bytes) -> bytes:
    return tlv(0xA3, tlv(0x30, *items))


BASIC = bytes.fromhex("0603551d13")
BAD_DER = {
    "empty": b"",
    "one octet": b"\x30",
    "indefinite length": b"\x30\x80" + CLIENT.der[4:] + b"\0\0",
    "length of 2^31": b"\x30\x84\x80\0\0\0" + CLIENT.der[4:],
    "length not minimal": b"\x30\x83\0" + CLIENT.der[2:],
    "trailing octets": CLIENT.der + b"\0",
    "cut": CLIENT.der[:-1],
    "nested": b"\x30\x82\xff\xff" * 10_000,
    "too large": tlv(0x30, bytes(70_000)),
    "time 99991332": with_tbs(CLIENT.der, 4, validity(tlv(0x17, b"200101000000Z"), tlv(0x18, b"99991332000000Z")), ROOT.key),
    "time without Z": with_tbs(CLIENT.der, 4, validity(tlv(0x17, b"200101000000Z"), tlv(0x17, b"3001010000")), ROOT.key),
    "time with fraction": with_tbs(
        CLIENT.der, 4, validity(tlv(0x17, b"200101000000Z"), tlv(0x18, b"20500101000000.5Z")), ROOT.key
    ),
    "boolean of 1": with_tbs(CLIENT.der, 7, extensions(tlv(0x30, BASIC, b"\x01\x01\x01", tlv(0x04, b"\x30\0"))), ROOT.key),
    "default written out": with_tbs(CLIENT.der, 7, extensions(tlv(0x30, BASIC, b"\x01\x01\0", tlv(0x04, b"\x30\0"))), ROOT.key),
    "extension twice": with_tbs(CLIENT.der, 7, extensions(*[tlv(0x30, BASIC, tlv(0x04, b"\x30\0"))] * 2), ROOT.key),
    "extension of junk": with_tbs(CLIENT.der, 7, extensions(tlv(0x30, BASIC, tlv(0x04, b"\xff\xff"))), ROOT.key),
    "integer with a leading zero": with_tbs(CLIENT.der, 1, tlv(0x02, b"\0\0\1"), ROOT.key),
    "version 2 of five": with_tbs(CLIENT.der, 0, tlv(0xA0, integer(5)), ROOT.key),
    "no subject": with_tbs(CLIENT.der, 5, None, ROOT.key),
}


@pytest.mark.parametrize("name", BAD_DER)
def test_n193_bad_der(name: str) -> None:
    judge = verifier(ROOT)
    failure = refused(judge, BAD_DER[name])
    assert failure.slug is Slug.CERT_MALFORMED
    accepted(judge, CLIENT)


def test_deep_extensions_do_not_recurse() -> None:
    nested = b"\5\0"
    for _ in range(10_000):
        nested = tlv(0x30, nested)[:60_000]
    odd = with_tbs(CLIENT.der, 7, extensions(tlv(0x30, bytes.fromhex("06032a0304"), tlv(0x04, nested))), ROOT.key)
    verifier(ROOT).verify([odd], [])


def test_n194_long_and_looping_chains() -> None:
    chain = [ROOT]
    for n in range(20):
        chain.append(authority(chain[-1], f"level {n}"))
    leaf = make(chain[-1], name="x")
    failure = refused(verifier(ROOT), leaf, *chain[1:])
    assert failure.slug is Slug.CERT_UNKNOWN_CA
    assert "8 steps" in failure.detail
    accepted(verifier(ROOT), make(chain[6], name="x"), *chain[1:7])
    assert refused(verifier(ROOT), make(chain[7], name="x"), *chain[1:8]).slug is Slug.CERT_UNKNOWN_CA
    a, b = Made(root("a").cert, ec_key(60)), Made(root("b").cert, ec_key(61))
    one = authority(Made(a.cert, ec_key(60)), "b", key=ec_key(61))
    two = authority(Made(b.cert, ec_key(61)), "a", key=ec_key(60))
    assert refused(verifier(ROOT), make(two, name="x"), one, two).slug is Slug.CERT_UNKNOWN_CA
    # A hundred that all have issued each other: more paths than the universe has time for.
    key = ec_key(62)
    crossed = [Made(make(Made(root("x").cert, key), name="x", key=key, ca=True, serial=n + 1).cert, key) for n in range(100)]
    start = time.process_time()
    failure = refused(verifier(ROOT), make(crossed[0], name="end"), *crossed)
    assert f"{MAX_SIGNATURES} signatures" in failure.detail
    assert time.process_time() - start < 5, "far from hanging"


def test_the_number_of_certificates_is_bounded() -> None:
    assert refused(verifier(ROOT), *[CLIENT] * 129).slug is Slug.CERT_MALFORMED


def test_n195_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_args: object, **_named: object) -> None:
        raise AssertionError("something opened a socket")

    monkeypatch.setattr(socket, "socket", never)
    monkeypatch.setattr(socket, "getaddrinfo", never)
    for uri in ("http://10.0.0.1/x", "file:///etc/passwd", "ldap://10.0.0.1/x", "http://[", "\u0000"):
        access = x509.AccessDescription(
            AuthorityInformationAccessOID.CA_ISSUERS, x509.UniformResourceIdentifier._init_without_validation(uri)
        )
        aia = (x509.AuthorityInformationAccess([access]), False)
        leaf = make(ROOT, extra=(aia, (distribution("http://10.0.0.1/crl"))))
        accepted(verifier(ROOT), leaf)
        assert refused(verifier(root("other", key=ec_key(50))), leaf).slug is Slug.CERT_UNKNOWN_CA


# Fuzzing: any octets in place of a certificate give a verdict.


@pytest.mark.parametrize("seed", range(12))
def test_mutated_certificates_are_judged_and_never_taken(seed: int) -> None:
    dice = random.Random(seed)
    judge = verifier(ROOT, crls=[crl(ROOT)])
    sub = authority(ROOT)
    leaf = make(sub, name="x", names=("a.example",))
    for _ in range(150):
        out = bytearray(leaf.der)
        for _ in range(dice.randint(1, 4)):
            place = dice.randrange(len(out))
            match dice.randrange(4):
                case 0:
                    out[place] ^= 1 << dice.randrange(8)
                case 1:
                    out[place] = dice.choice((0, 0x30, 0x80, 0x7F, 0xFF))
                case 2:
                    del out[place : place + dice.randint(1, 9)]
                case _:
                    out[place:place] = dice.randbytes(dice.randint(1, 9))
            if not out:
                break
        if bytes(out) == leaf.der:
            continue
        refused(judge, bytes(out), sub)
        judge.verify([leaf.der, bytes(out), sub.der], [])


def test_rsa_numbers_are_what_they_seem() -> None:
    assert isinstance(rsa_key().public_key(), rsa.RSAPublicKey)
    assert MODULUS.bit_length() == 2048
