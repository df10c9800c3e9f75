"""The judge of peers' certificates: path, validity, purpose, names, revocation, from what was configured and what the peer sent alone."""

from __future__ import annotations

import logging
from datetime import UTC
from typing import TYPE_CHECKING, Final

from headrace.errors import ConfigError, Slug
from headrace.ike.config import CertificateRefused
from headrace.pki.certificate import UNREADABLE, Parsed, parse, public_key, read, text_of
from headrace.pki.crl import Policy, Revocation
from headrace.pki.names import check_named
from headrace.pki.path import Purpose, Rules, Search, validate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from cryptography import x509

    from headrace.ike.config import PublicKey

MAX_CHAIN: Final = 128
"""Certificates that are looked at of what a peer sends; more are refused unread."""

VALIDATED: Final = 1000
"""Rank of a failure in a path that is whole: it says more than any that did not reach a root."""

_log = logging.getLogger(__name__)


class ChainVerifier:
    """Satisfies ``headrace.ike.config.CertificateVerifier``.

    ``roots`` are trusted because they are configured; nothing that a peer sends ever is. Nothing is fetched from anywhere.
    """

    def __init__(
        self,
        roots: Sequence[x509.Certificate],
        crls: Sequence[x509.CertificateRevocationList] = (),
        *,
        clock: Callable[[], datetime],
        purpose: str,
        crl_policy: str = "soft",
        allow_sha1: bool = False,
        min_rsa_bits: int = 2048,
        allow_any_purpose: bool = False,
        note: Callable[[str], None] = _log.warning,
    ) -> None:
        """Prepare for verdicts.

        ``clock`` gives the present with its time zone. ``purpose`` is what the peer is: ``client`` or ``gateway``. ``crl_policy``
        says whether a certificate of unknown standing is taken with a ``note`` (``soft``) or refused (``strict``).
        ``min_rsa_bits`` and ``allow_sha1`` open the door for old clients, ``allow_any_purpose`` for anyExtendedKeyUsage.
        Raises ``ConfigError`` for a root or list that cannot be read, and for an unknown purpose or policy.
        """
        try:
            self._rules = Rules(Purpose(purpose), allow_sha1, min_rsa_bits, allow_any_purpose)
            self._policy = Policy(crl_policy)
        except ValueError as error:
            raise ConfigError(f"{error}; purposes are client and gateway, policies soft and strict") from error
        try:
            self._roots = [parse(root) for root in roots]
        except UNREADABLE as error:
            raise ConfigError(f"a trusted root cannot be read: {error}") from error
        self._revocation = Revocation(crls)
        self._clock = clock
        self._note = note

    def authorities(self) -> Sequence[bytes]:
        """DER names of the trusted roots, for the certificate request; each once."""
        return list(dict.fromkeys(root.name.public_bytes() for root in self._roots))

    def verify(self, chain: Sequence[bytes], names: Sequence[str]) -> PublicKey:
        """Judge ``chain[0]`` (DER) with the help of the others; see ``CertificateVerifier.verify``. Raises ``CertificateRefused``."""
        if not chain:
            raise CertificateRefused(Slug.CERT_NONE, f"the peer sent no certificate; asked for one of {self._asked_for()}")
        if len(chain) > MAX_CHAIN:
            raise CertificateRefused(Slug.CERT_MALFORMED, f"{len(chain)} certificates, at most {MAX_CHAIN} are read")
        now = self._clock().astimezone(UTC)
        leaf = read(chain[0], "the peer's certificate")
        key = public_key(leaf, self._rules.min_rsa_bits)
        path = self._path(leaf, self._helpers(chain[1:]), now)
        if names:
            check_named(leaf, names)
        self._check_revocation(path, now)
        return key

    def _asked_for(self) -> str:
        return ", ".join(f"'{root.subject}'" for root in self._roots)

    @staticmethod
    def _helpers(chain: Sequence[bytes]) -> list[Parsed]:
        """The other certificates, each once. One that cannot be read helps nobody; if it was needed, its absence is told."""
        helpers: dict[bytes, Parsed] = {}
        for der in chain:
            try:
                helpers.setdefault(der, read(der, "an intermediate certificate"))
            except CertificateRefused:
                continue
        return list(helpers.values())

    def _path(self, leaf: Parsed, helpers: list[Parsed], now: datetime) -> list[Parsed]:
        """The first valid path. Raises the failure of the attempt that came furthest."""
        search = Search(helpers, self._roots, self._rules)
        for path in search.paths(leaf):
            try:
                validate(path, now, self._rules)
            except CertificateRefused as failure:
                search.remember(failure, VALIDATED)
            else:
                return path
        raise search.failure or CertificateRefused(
            Slug.CERT_UNKNOWN_CA, f"{leaf} was issued by '{text_of(leaf.issuer)}', and no root is trusted"
        )

    def _check_revocation(self, path: list[Parsed], now: datetime) -> None:
        """Every certificate but the anchor, from the anchor down."""
        for place in range(len(path) - 2, -1, -1):
            doubt = self._revocation.check(path[place], path[place + 1], now)
            if doubt is None:
                continue
            if self._policy is Policy.STRICT:
                raise CertificateRefused(Slug.CERT_CRL, f"whether {path[place]} is revoked cannot be told: {doubt}")
            self._note(f"{path[place]} is taken although it cannot be told whether it is revoked: {doubt}")
