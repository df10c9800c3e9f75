"""What EAP-TLS and PEAP need of TLS: an end without a socket, and what its alerts mean here.

TLS itself is a library's (OpenSSL), which no protocol core imports: whoever builds a link passes a ``TlsFactory``.
"""

from __future__ import annotations

from typing import Final, Protocol

from headrace.errors import Slug
from headrace.model import Failure

TLS13: Final = "TLSv1.3"


class TlsEngine(Protocol):
    """One end of one TLS session."""

    @property
    def version(self) -> str:
        """``TLSv1.2`` or ``TLSv1.3``; of use once ``complete``."""

    @property
    def complete(self) -> bool:
        """Whether this end's handshake is over, the peer's certificate judged and taken."""

    @property
    def failure(self) -> Failure | None:
        """Why TLS cannot go on, from this end's view. ``drain`` may still hold the alert that tells the peer."""

    @property
    def peer_certificate(self) -> bytes:
        """The peer's own certificate, DER; empty if it showed none."""

    def feed(self, data: bytes) -> None:
        """Take octets from the peer, and do what they allow. Never raises for their content."""

    def drain(self) -> bytes:
        """Octets for the peer."""

    def read(self) -> bytes:
        """What the peer has said through TLS since the last call."""

    def write(self, data: bytes) -> None:
        """Say something through TLS. Only once ``complete``."""

    def export(self, label: bytes, context: bytes | None, length: int) -> bytes:
        """Keying material (RFC 5705, RFC 8446 section 7.5): TLS 1.2 without ``context`` is the PRF over both randoms."""


class TlsFactory(Protocol):
    """Makes ends, all of one side and with one set of certificates."""

    @property
    def has_certificate(self) -> bool:
        """Whether this side can prove itself: always a server's, a client's if the user has one."""

    def open(self, *, client_certificate: bool) -> TlsEngine:
        """A new end. ``client_certificate``: the client shows one (as server: must), as in EAP-TLS; in PEAP it does not."""


# What an alert says of the certificate that its receiver has shown (RFC 8446 section 6.2): as the client, as the server.
_OF_CERTIFICATE: Final = {
    42: (Slug.USER_CERT_INVALID, Slug.SERVER_CERT_INVALID),
    43: (Slug.USER_CERT_OTHER, Slug.SERVER_CERT_OTHER),
    44: (Slug.USER_CERT_REVOKED, Slug.SERVER_CERT_REVOKED),
    45: (Slug.USER_CERT_EXPIRED, Slug.SERVER_CERT_EXPIRED),
    46: (Slug.USER_CERT_OTHER, Slug.SERVER_CERT_OTHER),
    48: (Slug.USER_CERT_CA, Slug.SERVER_CERT_CA),
    49: (Slug.USER_CERT_OTHER, Slug.SERVER_CERT_OTHER),
    80: (Slug.USER_CERT_OTHER, Slug.SERVER_CERT_OTHER),  # how OpenSSL says that its program did not like a certificate
    116: (Slug.USER_CERT_NONE, Slug.EAP_TLS_FAILED),
}

_NAMES: Final = {
    0: "close notify",
    10: "unexpected message",
    20: "bad record MAC",
    22: "record overflow",
    40: "handshake failure",
    42: "bad certificate",
    43: "unsupported certificate",
    44: "certificate revoked",
    45: "certificate expired",
    46: "certificate unknown",
    47: "illegal parameter",
    48: "unknown CA",
    49: "access denied",
    50: "decode error",
    51: "decrypt error",
    70: "protocol version",
    71: "insufficient security",
    80: "internal error",
    109: "missing extension",
    110: "unsupported extension",
    112: "unrecognised name",
    116: "certificate required",
}


def alert_failure(description: int, *, server: bool) -> Failure:
    """What the peer's fatal alert means to us, its receiver; ``server`` says which side we are."""
    slug = _OF_CERTIFICATE.get(description, (Slug.EAP_TLS_FAILED,) * 2)[server]
    name = _NAMES.get(description, "alert")
    return Failure(slug, f"the {'client' if server else 'server'} ends TLS with alert {description}, {name}")


# What the pki room says of a certificate, as it is called when the peer showed it in EAP: a user's, a server's.
_OF_VERDICT: Final = {
    Slug.CERT_NONE: (Slug.USER_CERT_NONE, Slug.SERVER_CERT_OTHER),
    Slug.CERT_EXPIRED: (Slug.USER_CERT_EXPIRED, Slug.SERVER_CERT_EXPIRED),
    Slug.CERT_REVOKED: (Slug.USER_CERT_REVOKED, Slug.SERVER_CERT_REVOKED),
    Slug.CERT_UNKNOWN_CA: (Slug.USER_CERT_CA, Slug.SERVER_CERT_CA),
    Slug.CERT_USAGE: (Slug.USER_CERT_OTHER, Slug.SERVER_CERT_OTHER),
    Slug.CERT_CRL: (Slug.USER_CERT_OTHER, Slug.SERVER_CERT_OTHER),
    Slug.CERT_NAME: (Slug.USER_CERT_OTHER, Slug.SERVER_CERT_NAME),
}


def certificate_failure(slug: Slug, detail: str, *, server: bool) -> Failure:
    """Our verdict on the peer's certificate; ``server`` says which side we are."""
    user, host = _OF_VERDICT.get(slug, (Slug.USER_CERT_INVALID, Slug.SERVER_CERT_INVALID))
    return Failure(user if server else host, detail)
