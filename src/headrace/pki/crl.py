"""Revocation lists (RFC 5280 sections 5 and 6.3): what is revoked, and whether a list says enough to call the rest good.

Lists come from the configuration only. Nothing is fetched: an address in a peer's certificate is the peer's wish.
"""

from __future__ import annotations

import warnings
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from headrace.errors import ConfigError, Slug
from headrace.ike.config import CertificateRefused
from headrace.pki.certificate import UNREADABLE, text_of
from headrace.pki.path import span

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from headrace.pki.certificate import Parsed


class Policy(StrEnum):
    """What becomes of a certificate of which no list says that it is good."""

    SOFT = "soft"
    """It is taken, with a notice."""
    STRICT = "strict"


class Revocation:
    """All lists that are known."""

    def __init__(self, crls: Sequence[x509.CertificateRevocationList]) -> None:
        """Raises ``ConfigError`` for a list whose parts cannot be read."""
        self._lists = [_List(crl) for crl in crls]

    def check(self, certificate: Parsed, issuer: Parsed, now: datetime) -> str | None:
        """Look a certificate up. ``None`` if a list says that it is good, else why nobody does.

        Only to be asked about a path that has been validated: the issuer's key is believed. Raises ``CertificateRefused``,
        ``cert-revoked``, if any list of the issuer's has it, even one that is out of date.
        """
        reasons = []
        good = False
        for crl in self._lists:
            if crl.crl.issuer != certificate.issuer:
                continue
            reason = crl.signed_by(issuer)
            if reason is None:
                crl.refuse_revoked(certificate)
                reason = crl.unusable(certificate, now)
            if reason is None:
                good = True
            else:
                reasons.append(reason)
        if good:
            return None
        return "; ".join(reasons) or f"there is no revocation list of '{text_of(certificate.issuer)}'"


class _List:
    """One list, its extensions read once, its signature verified once for each key."""

    def __init__(self, crl: x509.CertificateRevocationList) -> None:
        self.crl = crl
        self._verdicts: dict[bytes, bool] = {}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                extensions = {extension.oid: extension for extension in crl.extensions}
                self.issuer = text_of(crl.issuer)
                self.last_update, self.next_update = crl.last_update_utc, crl.next_update_utc
        except UNREADABLE as error:
            raise ConfigError(f"a revocation list cannot be read: {error}") from error
        point = extensions.pop(x509.IssuingDistributionPoint.oid, None)
        self._scope = point.value if point is not None and isinstance(point.value, x509.IssuingDistributionPoint) else None
        self._delta = x509.DeltaCRLIndicator.oid in extensions
        self._unknown = [oid.dotted_string for oid, extension in extensions.items() if extension.critical and not self._delta]

    def signed_by(self, issuer: Parsed) -> str | None:
        """``None`` if the issuer's key made this list, else what is wrong."""
        if issuer.key_usage is not None and not issuer.key_usage.crl_sign:
            return f"{issuer} may not sign revocation lists (key usage without cRLSign)"
        try:
            key = issuer.cert.public_key()
            which = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
            if which not in self._verdicts:
                self._verdicts[which] = self.crl.is_signature_valid(key)  # type: ignore[arg-type]
        except (InvalidSignature, *UNREADABLE):
            return f"the revocation list of '{self.issuer}' has a signature that cannot be verified"
        return None if self._verdicts[which] else f"the revocation list of '{self.issuer}' was not signed by its key"

    def refuse_revoked(self, certificate: Parsed) -> None:
        """Raise ``CertificateRefused`` if the certificate is in the list. One for several issuers does not say whose serial it means."""
        if self._scope is not None and self._scope.indirect_crl:
            return
        entry = self.crl.get_revoked_certificate_by_serial_number(certificate.serial)
        if entry is None:
            return
        try:
            reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
        except (x509.ExtensionNotFound, *UNREADABLE):
            reason = x509.ReasonFlags.unspecified
        if reason is x509.ReasonFlags.remove_from_crl:
            return
        detail = f"{certificate} was revoked on {entry.revocation_date_utc:%Y-%m-%d %H:%M} UTC ({reason.value})"
        raise CertificateRefused(Slug.CERT_REVOKED, detail)

    def unusable(self, certificate: Parsed, now: datetime) -> str | None:
        """``None`` if the list covers the certificate and is current, so that not being in it means being good."""
        name = f"the revocation list of '{self.issuer}'"
        if self._unknown:
            return f"{name} has critical extensions that are unknown here: {', '.join(self._unknown)}"
        if self._delta:
            return f"{name} is only a delta"
        if self.next_update is None:
            return f"{name} does not say how long it is valid"
        if now > self.next_update:
            return f"{name} expired {span(now - self.next_update)} ago"
        if now < self.last_update:
            return f"{name} becomes valid in {span(self.last_update - now)}"
        return None if self._scope is None else self._out_of_scope(self._scope, certificate, name)

    @staticmethod
    def _out_of_scope(scope: x509.IssuingDistributionPoint, certificate: Parsed, name: str) -> str | None:
        """Whether the list is for other certificates (RFC 5280 section 5.2.5)."""
        if scope.indirect_crl or scope.only_contains_attribute_certs or scope.only_some_reasons:
            return f"{name} is of a kind that says nothing of this certificate"
        if scope.only_contains_ca_certs and not certificate.ca:
            return f"{name} is for authorities only"
        if scope.only_contains_user_certs and certificate.ca:
            return f"{name} is for end certificates only"
        if scope.full_name and not set(scope.full_name) & set(certificate.distribution_points):
            return f"{name} is for another distribution point"
        if scope.relative_name is not None:
            return f"{name} names its distribution point in a way that cannot be compared"
        return None
