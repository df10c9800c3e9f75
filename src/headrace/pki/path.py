"""Search for a path from a certificate to a trust anchor, bounded (RFC 4158 in the small), and its validation (RFC 5280 section 6.1).

The peer chooses what is searched, so what the search may cost is fixed: ``MAX_DEPTH`` certificates deep, ``MAX_SIGNATURES`` signatures.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from cryptography.exceptions import InvalidSignature

from headrace.errors import Slug
from headrace.ike.config import CertificateRefused
from headrace.pki.certificate import UNREADABLE, Parsed, check_signature_strength, public_key, text_of, verify_issued
from headrace.pki.names import Constraints

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

MAX_DEPTH: Final = 8
"""Certificates in a path, end and anchor included."""
MAX_SIGNATURES: Final = 64
"""Signatures that are verified for one verdict."""

SERVER_AUTH: Final = "1.3.6.1.5.5.7.3.1"
CLIENT_AUTH: Final = "1.3.6.1.5.5.7.3.2"
IPSEC_END_SYSTEM: Final = "1.3.6.1.5.5.7.3.5"
IPSEC_USER: Final = "1.3.6.1.5.5.7.3.7"
IPSEC_IKE: Final = "1.3.6.1.5.5.7.3.17"
IKE_INTERMEDIATE: Final = "1.3.6.1.5.5.8.2.2"
ANY_PURPOSE: Final = "2.5.29.37.0"

PURPOSE_NAMES: Final = {
    SERVER_AUTH: "serverAuth",
    CLIENT_AUTH: "clientAuth",
    IPSEC_END_SYSTEM: "ipsecEndSystem",
    IPSEC_USER: "ipsecUser",
    IPSEC_IKE: "ipsecIKE",
    IKE_INTERMEDIATE: "IKE intermediate",
    ANY_PURPOSE: "anyExtendedKeyUsage",
}


class Purpose(StrEnum):
    """What the certificate's owner is to us."""

    CLIENT = "client"
    GATEWAY = "gateway"


ACCEPTED: Final = {
    Purpose.GATEWAY: (SERVER_AUTH, IPSEC_IKE, IKE_INTERMEDIATE),
    Purpose.CLIENT: (CLIENT_AUTH, IPSEC_IKE, IKE_INTERMEDIATE, IPSEC_END_SYSTEM, IPSEC_USER),
}
"""Extended key usages of which a certificate must have one, if it has any."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What this side demands."""

    purpose: Purpose
    allow_sha1: bool = False
    min_rsa_bits: int = 2048
    allow_any_purpose: bool = False
    """Whether anyExtendedKeyUsage is as good as a named one."""


class _BudgetSpent(Exception):
    """No more signatures may be verified."""


def span(duration: timedelta) -> str:
    """A duration for a person, in its two largest units."""
    minutes = int(duration.total_seconds() // 60)
    days, hours = divmod(minutes // 60, 24)
    if days:
        return f"{days} d {hours} h"
    return f"{hours} h {minutes % 60} min" if hours else f"{minutes} min"


class Search:
    """One search, for one certificate. Why the best attempt failed is in ``failure``."""

    def __init__(self, helpers: Sequence[Parsed], anchors: Sequence[Parsed], rules: Rules) -> None:
        self.failure: CertificateRefused | None = None
        self.signatures = 0
        self._rank = -1
        self._anchors = anchors
        trusted = set(anchors)
        self._helpers = [helper for helper in helpers if helper not in trusted]
        self._rules = rules

    def paths(self, leaf: Parsed) -> Iterator[list[Parsed]]:
        """Every path whose names and signatures fit, end certificate first, anchor last."""
        try:
            yield from self._extend([leaf])
        except _BudgetSpent:
            detail = f"no path to a trusted root for {leaf} within {MAX_SIGNATURES} signatures"
            self.remember(CertificateRefused(Slug.CERT_UNKNOWN_CA, detail), MAX_DEPTH)

    def remember(self, failure: CertificateRefused, rank: int) -> None:
        """Keep the failure of the attempt that came furthest."""
        if rank > self._rank:
            self.failure, self._rank = failure, rank

    def _extend(self, path: list[Parsed]) -> Iterator[list[Parsed]]:
        last = path[-1]
        try:
            check_signature_strength(last, allow_sha1=self._rules.allow_sha1)
        except CertificateRefused as failure:
            self.remember(failure, len(path))
            return
        issuers = self._candidates(last, self._anchors)
        for anchor in issuers:
            if self._signed(last, anchor, len(path)):
                yield [*path, anchor]
        if len(path) >= MAX_DEPTH - 1:
            self.remember(
                CertificateRefused(Slug.CERT_UNKNOWN_CA, f"no trusted root within {MAX_DEPTH} steps from {path[0]}"), len(path)
            )
            return
        others = [c for c in self._candidates(last, self._helpers) if c not in path]
        for helper in others:
            if self._signed(last, helper, len(path)):
                yield from self._extend([*path, helper])
        if not issuers and not others:
            self.remember(CertificateRefused(Slug.CERT_UNKNOWN_CA, self._unknown(last)), len(path))

    def _unknown(self, last: Parsed) -> str:
        """Why there is nobody who could have issued this one."""
        if last.self_issued:
            return f"{last} is self-signed, and not among the {len(self._anchors)} trusted roots"
        return f"{last} was issued by '{text_of(last.issuer)}', which is not among the {len(self._anchors)} trusted roots and was not sent"

    @staticmethod
    def _candidates(child: Parsed, among: Sequence[Parsed]) -> list[Parsed]:
        """Who may have issued it by name, those first whose key has the right identifier."""
        named = [parent for parent in among if parent.name == child.issuer]
        return sorted(named, key=lambda parent: parent.key_id is None or parent.key_id != child.issuer_key_id)

    def _signed(self, child: Parsed, parent: Parsed, rank: int) -> bool:
        """Whether the parent's key made the child's signature."""
        try:
            public_key(parent, self._rules.min_rsa_bits)
        except CertificateRefused as failure:
            self.remember(failure, rank)
            return False
        if self.signatures >= MAX_SIGNATURES:
            raise _BudgetSpent
        self.signatures += 1
        try:
            verify_issued(child, parent)
        except (InvalidSignature, *UNREADABLE):
            detail = f"the signature of {child} was not made by the key of {parent}"
            self.remember(CertificateRefused(Slug.CERT_UNKNOWN_CA, detail), rank)
            return False
        return True


def validate(path: Sequence[Parsed], now: datetime, rules: Rules) -> None:
    """Validate a path, end certificate first, anchor last; names and signatures have been checked.

    Raises ``CertificateRefused`` for the first thing that is wrong, from the anchor down.
    """
    constraints = Constraints()
    room: int | None = None
    for place in range(len(path) - 1, -1, -1):
        certificate = path[place]
        anchor, leaf = place == len(path) - 1, place == 0
        _check_validity(certificate, now)
        if certificate.unknown_critical:
            unknown = ", ".join(certificate.unknown_critical)
            raise CertificateRefused(Slug.CERT_USAGE, f"{certificate} has critical extensions that are unknown here: {unknown}")
        if not anchor and (leaf or not certificate.self_issued):
            constraints.check(certificate)
        if leaf:
            check_leaf(certificate, rules)
            continue
        _check_authority(certificate, rules, anchor=anchor)
        if not anchor and not certificate.self_issued and room is not None:
            if room == 0:
                raise CertificateRefused(
                    Slug.CERT_USAGE, f"{certificate} is one authority more than the path length above it allows"
                )
            room -= 1
        if certificate.path_length is not None:
            room = certificate.path_length if room is None else min(room, certificate.path_length)
        constraints.add(certificate.constraints)


def _check_validity(certificate: Parsed, now: datetime) -> None:
    if now > certificate.not_after:
        detail = f"{certificate} expired {span(now - certificate.not_after)} ago, on {certificate.not_after:%Y-%m-%d %H:%M} UTC"
        raise CertificateRefused(Slug.CERT_EXPIRED, detail)
    if now < certificate.not_before:
        detail = (
            f"{certificate} becomes valid in {span(certificate.not_before - now)}, on {certificate.not_before:%Y-%m-%d %H:%M} UTC; "
            "is the clock right?"
        )
        raise CertificateRefused(Slug.CERT_NOT_YET_VALID, detail)


def _check_authority(certificate: Parsed, rules: Rules, *, anchor: bool) -> None:
    """Whether a certificate may issue others (RFC 5280 section 6.1.4). An old root of version 1 is one because we were told so."""
    if anchor and certificate.version == 1:
        return
    if certificate.version != 3:
        raise CertificateRefused(
            Slug.CERT_USAGE, f"{certificate} is of version {certificate.version} and cannot be an intermediate authority"
        )
    if not certificate.ca:
        raise CertificateRefused(
            Slug.CERT_USAGE, f"{certificate} has issued another one, but is no authority (CA:TRUE is missing)"
        )
    if certificate.key_usage is not None and not certificate.key_usage.key_cert_sign:
        raise CertificateRefused(Slug.CERT_USAGE, f"{certificate} may not sign certificates (key usage without keyCertSign)")
    if not anchor and certificate.purposes is not None and ANY_PURPOSE not in certificate.purposes:
        _check_purpose(certificate, rules)


def check_leaf(certificate: Parsed, rules: Rules) -> None:
    """Whether a certificate may stand for a machine in IKE (RFC 4945 section 5.1.3)."""
    if certificate.ca:
        raise CertificateRefused(Slug.CERT_USAGE, f"{certificate} is an authority (CA:TRUE), not a machine")
    usage = certificate.key_usage
    if usage is not None and not (usage.digital_signature or usage.content_commitment):
        raise CertificateRefused(Slug.CERT_USAGE, f"{certificate} may not sign (key usage without digitalSignature)")
    if certificate.purposes is not None:
        _check_purpose(certificate, rules)


def _check_purpose(certificate: Parsed, rules: Rules) -> None:
    accepted = ACCEPTED[rules.purpose]
    has = certificate.purposes or frozenset()
    if has & set(accepted) or (rules.allow_any_purpose and ANY_PURPOSE in has):
        return
    wanted = ", ".join(PURPOSE_NAMES[oid] for oid in accepted)
    found = ", ".join(PURPOSE_NAMES.get(oid, oid) for oid in sorted(has))
    raise CertificateRefused(
        Slug.CERT_USAGE, f"{certificate} is not for a {rules.purpose}: it needs one of {wanted}; it has {found}"
    )
