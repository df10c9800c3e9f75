"""Which names in a user's certificate may be an account. That the certificate is genuine has been seen to before."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.x509.oid import NameOID

_UPN: Final = x509.ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")
_UTF8_STRING: Final = 0x0C
_NAMES_MAX: Final = 8
"""Names of one certificate that are looked for; honest ones have one or two."""


class NameKind(StrEnum):
    """Where in a certificate a user's name stands."""

    UPN = "upn"
    """Windows' user principal name, an otherName in the subject alternative name."""
    EMAIL = "email"
    """An rfc822Name in the subject alternative name."""
    CN = "cn"
    """The common name of the subject."""


def certificate_names(der: bytes, kinds: Sequence[NameKind]) -> tuple[str, ...]:
    """The names of these kinds in the order of ``kinds``, each once. None for a certificate that cannot be read."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # serial numbers out of fashion: no matter here
            certificate = x509.load_der_x509_certificate(der)
            found = [name for kind in kinds for name in _of_kind(certificate, kind)]
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType):
        return ()
    good = (name for name in found if name and name.isprintable() and name == name.strip())
    return tuple(dict.fromkeys(good))[:_NAMES_MAX]


def _of_kind(certificate: x509.Certificate, kind: NameKind) -> list[str]:
    if kind is NameKind.CN:
        return [str(item.value) for item in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    if kind is NameKind.EMAIL:
        return list(names.get_values_for_type(x509.RFC822Name))
    return [_utf8(name.value) for name in names.get_values_for_type(x509.OtherName) if name.type_id == _UPN]


def _utf8(der: bytes) -> str:
    """A DER UTF8String, or nothing."""
    if len(der) < 2 or der[0] != _UTF8_STRING:
        return ""
    size, start = der[1], 2
    if size & 0x80:
        octets = size & 0x7F
        if octets not in {1, 2} or len(der) < 2 + octets:
            return ""
        size, start = int.from_bytes(der[2 : 2 + octets], "big"), 2 + octets
    return der[start:].decode("utf-8", "replace") if len(der) == start + size else ""
