"""Authentication by signature and X.509 certificate (RFC 2409 section 5.1, RFC 4754, RFC 2408 section 3.9, 3.10).

An RSA signature is a private-key operation over the bare HASH, with PKCS #1 padding but no DigestInfo. An ECDSA signature is r | s in
fixed width, and the HASH is made with the hash of its curve whatever was negotiated.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    NoDigestInfo,
    Prehashed,
    decode_dss_signature,
    encode_dss_signature,
)
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import load_der_pkcs7_certificates
from cryptography.x509.oid import NameOID

from headrace.errors import Slug
from headrace.ike.auth import check_identity
from headrace.ike.config import CertificateRefused, CertificateVerifier, LocalCertificate, PrivateKey, PublicKey
from headrace.ike.constants import AuthMethod, CertEncoding, IdType, NotifyType, PayloadType
from headrace.ike.keymat import skeyid_signature
from headrace.ike.limits import MAX_CERTIFICATE_OCTETS, MAX_CERTIFICATE_REQUESTS_SENT, MAX_CERTIFICATES
from headrace.ike.message import Chain
from headrace.ike.payloads import Certificate, CertificateRequest, Identification, Signature
from headrace.ike.proposal import IkeHash
from headrace.ike.refusal import Refuse
from headrace.model import printable

_CURVES: Final = {
    "secp256r1": (AuthMethod.ECDSA_256, IkeHash.SHA256, 32),
    "secp384r1": (AuthMethod.ECDSA_384, IkeHash.SHA384, 48),
    "secp521r1": (AuthMethod.ECDSA_521, IkeHash.SHA512, 66),
}
_PREHASHED: Final = {
    IkeHash.SHA256: ec.ECDSA(Prehashed(hashes.SHA256())),
    IkeHash.SHA384: ec.ECDSA(Prehashed(hashes.SHA384())),
    IkeHash.SHA512: ec.ECDSA(Prehashed(hashes.SHA512())),
}
_NOTIFY_OF: Final = {
    Slug.CERT_UNKNOWN_CA: NotifyType.INVALID_CERT_AUTHORITY,
    Slug.CERT_MALFORMED: NotifyType.INVALID_CERT_ENCODING,
}

NAMES_SHOWN: Final = 3
"""Authorities that a message for a person names."""


def method_of(key: PrivateKey) -> AuthMethod | None:
    """The authentication method that a key serves, ``None`` for a curve that RFC 4754 does not have."""
    if isinstance(key, rsa.RSAPrivateKey):
        return AuthMethod.RSA_SIGNATURE
    return _CURVES[key.curve.name][0] if key.curve.name in _CURVES else None


class CertAuthenticator:
    """Both sides have a certificate that the other's authorities vouch for."""

    name = "cert"

    __slots__ = ("_local", "_names", "_verifier", "method")

    def __init__(
        self, method: AuthMethod, local: LocalCertificate, verifier: CertificateVerifier, names: Sequence[str] = ()
    ) -> None:
        self.method = method
        self._local = local
        self._verifier = verifier
        self._names = names

    def digest(self, negotiated: IkeHash) -> IkeHash:
        """The negotiated hash, with ECDSA that of the curve."""
        return next((digest for method, digest, _ in _CURVES.values() if method is self.method), negotiated)

    def skeyid(self, negotiated: IkeHash, nonces: bytes, shared: bytes) -> bytes:
        """prf(Ni_b | Nr_b, g^xy)."""
        return skeyid_signature(negotiated, nonces, shared)

    def identity(self) -> Identification:
        """The subject of our certificate."""
        subject = x509.load_der_x509_certificate(self._local.chain[0]).subject.public_bytes()
        return Identification(IdType.DER_ASN1_DN, 0, 0, subject)

    def prove(self, value: bytes) -> list[tuple[int, bytes]]:
        """Our certificates, then the signature over the HASH."""
        certificates = [Certificate(CertEncoding.X509_SIGNATURE, der).emit() for der in self._local.chain]
        return [
            *((PayloadType.CERTIFICATE, body) for body in certificates),
            (PayloadType.SIGNATURE, sign(self._local.key, value)),
        ]

    def requests(self) -> list[tuple[int, bytes]]:
        """One request for each CA that we trust; Windows sends no certificate without one. Too many become one for any CA."""
        authorities = list(self._verifier.authorities())
        if not 0 < len(authorities) <= MAX_CERTIFICATE_REQUESTS_SENT:
            authorities = [b""]
        bodies = (CertificateRequest(CertEncoding.X509_SIGNATURE, name).emit() for name in authorities)
        return [(PayloadType.CERTIFICATE_REQUEST, body) for body in bodies]

    def verify(self, chain: Chain, identity: Identification, value: bytes) -> str:
        """Judge certificates, identity and signature, in this order. Raises ``Refuse`` or ``Malformed``."""
        signature = chain.one(PayloadType.SIGNATURE, Signature).data
        certificates = collect(chain)
        if not certificates:
            detail = (
                f"the peer sent no certificate: it has none, or none of an authority that we asked for ({self._asked_for()})"
            )
            raise Refuse(NotifyType.INVALID_CERTIFICATE, Slug.CERT_NONE, detail)
        try:
            key = self._verifier.verify(certificates, self._names)
        except CertificateRefused as error:
            raise Refuse(_NOTIFY_OF.get(error.slug, NotifyType.INVALID_CERTIFICATE), error.slug, error.detail) from error
        check_identity(identity)
        with _reading("names of the certificate"):
            certificate = x509.load_der_x509_certificate(certificates[0])
            check_named(identity, certificate)
            shown = subject_text(certificate) if identity.type == IdType.DER_ASN1_DN else str(identity)
        verify(key, self.method, signature, value)
        return shown

    def _asked_for(self) -> str:
        names = [printable(x509.Name.from_bytes(der).rfc4514_string().encode()) for der in self._verifier.authorities()]
        shown = [f"'{name}'" for name in names[:NAMES_SHOWN]]
        more = len(names) - len(shown)
        return ", ".join([*shown, *([f"and {more} more"] if more else [])]) or "any"


_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises for octets that are no proper certificate."""


@contextmanager
def _reading(what: str) -> Iterator[None]:
    """Read what a peer sent: what cannot be read raises ``Refuse``; the library's warnings about odd encodings are no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except _UNREADABLE as error:
            raise Refuse(NotifyType.INVALID_CERT_ENCODING, Slug.CERT_MALFORMED, f"{what} cannot be read") from error


def collect(chain: Chain) -> list[bytes]:
    """The certificates of a message in order, DER, PKCS #7 unwrapped. Raises ``Refuse`` if they are too many, too long or unreadable."""
    found: list[bytes] = []
    octets = 0
    for item in chain.all(PayloadType.CERTIFICATE, Certificate):
        octets += len(item.data)
        if octets > MAX_CERTIFICATE_OCTETS:
            raise Refuse(
                NotifyType.INVALID_CERTIFICATE,
                Slug.CERT_MALFORMED,
                f"more than {MAX_CERTIFICATE_OCTETS} octets of certificates",
            )
        if item.encoding in {CertEncoding.X509_SIGNATURE, CertEncoding.X509_KEY_EXCHANGE}:
            with _reading("a certificate"):
                x509.load_der_x509_certificate(item.data)
            found.append(item.data)
        elif item.encoding == CertEncoding.PKCS7:
            with _reading("PKCS #7"):
                found += _unwrap(item.data)
        # Revocation lists and the like may stand beside certificates; the verifier has its own.
        if len(found) > MAX_CERTIFICATES:
            raise Refuse(NotifyType.INVALID_CERTIFICATE, Slug.CERT_MALFORMED, f"more than {MAX_CERTIFICATES} certificates")
    if not found and any(raw.type == PayloadType.CERTIFICATE for raw in chain.items):
        raise Refuse(
            NotifyType.CERT_TYPE_UNSUPPORTED, Slug.CERT_MALFORMED, "certificates in no encoding that is understood here"
        )
    return found


def _unwrap(data: bytes) -> list[bytes]:
    """The order inside is that of a set, so the end certificate is looked for: the one that issued no other."""
    certificates = load_der_pkcs7_certificates(data)
    issuers = {certificate.issuer for certificate in certificates if certificate.issuer != certificate.subject}
    certificates.sort(key=lambda certificate: certificate.subject in issuers or certificate.subject == certificate.issuer)
    return [certificate.public_bytes(Encoding.DER) for certificate in certificates]


def check_named(identity: Identification, certificate: x509.Certificate) -> None:
    """Raises ``Refuse`` unless the certificate names the identity: as its subject, or in its subjectAltName."""
    if identity.type == IdType.DER_ASN1_DN:
        named = certificate.subject.public_bytes() == identity.data
    else:
        named = _in_alternative_names(identity, certificate)
    if not named:
        shown = printable(identity.data) if identity.type != IdType.DER_ASN1_DN else "another distinguished name"
        detail = f"the peer calls itself {shown}, its certificate is for {subject_text(certificate)}"
        raise Refuse(NotifyType.INVALID_ID_INFORMATION, Slug.IKE_ID, detail)


def _in_alternative_names(identity: Identification, certificate: x509.Certificate) -> bool:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return identity.type == IdType.FQDN and any(_fold(str(item.value)) == identity.data.lower() for item in common)
    if identity.address is not None:
        return identity.address in names.get_values_for_type(x509.IPAddress)
    if identity.type == IdType.FQDN:
        return identity.data.lower() in {_fold(name) for name in names.get_values_for_type(x509.DNSName)}
    if identity.type == IdType.USER_FQDN:
        return identity.data.lower() in {_fold(name) for name in names.get_values_for_type(x509.RFC822Name)}
    return False


def _fold(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass").lower()


def subject_text(certificate: x509.Certificate) -> str:
    """A certificate's subject for a person."""
    return printable(certificate.subject.rfc4514_string().encode())


def sign(key: PrivateKey, value: bytes) -> bytes:
    """The signature over a HASH."""
    if isinstance(key, rsa.RSAPrivateKey):
        return key.sign(value, padding.PKCS1v15(), NoDigestInfo())
    _, digest, octets = _CURVES[key.curve.name]
    r, s = decode_dss_signature(key.sign(value, _PREHASHED[digest]))
    return r.to_bytes(octets, "big") + s.to_bytes(octets, "big")


def verify(key: PublicKey, method: AuthMethod, signature: bytes, value: bytes) -> None:
    """Raises ``Refuse`` unless the signature over a HASH is right and the key is one of the method."""
    try:
        if isinstance(key, rsa.RSAPublicKey) and method is AuthMethod.RSA_SIGNATURE:
            key.verify(signature, value, padding.PKCS1v15(), NoDigestInfo())  # type: ignore[arg-type]  # the stub lags behind
            return
        if isinstance(key, ec.EllipticCurvePublicKey) and _CURVES.get(key.curve.name, (None,))[0] is method:
            _, digest, octets = _CURVES[key.curve.name]
            if len(signature) != 2 * octets:
                raise InvalidSignature  # noqa: TRY301 - one way out for every wrong signature
            r, s = (int.from_bytes(half, "big") for half in (signature[:octets], signature[octets:]))
            key.verify(encode_dss_signature(r, s), value, _PREHASHED[digest])
            return
    except (InvalidSignature, ValueError) as error:
        detail = "the certificate is good, but the signature is not by its key"
        raise Refuse(NotifyType.AUTHENTICATION_FAILED, Slug.SIG_BAD, detail) from error
    raise Refuse(NotifyType.INVALID_CERTIFICATE, Slug.SIG_BAD, f"the certificate's key does not fit the method {method.name}")
