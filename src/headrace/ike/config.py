"""What the IKE core is told: proposals, credentials, lives, bounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec, rsa

from headrace.errors import PeerError, Slug
from headrace.esp.proposal import EspProposal
from headrace.ike.proposal import IkeProposal
from headrace.model import Endpoint

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
PublicKey: TypeAlias = rsa.RSAPublicKey | ec.EllipticCurvePublicKey


class CertificateRefused(PeerError):
    """A peer's certificate is not accepted."""

    def __init__(self, slug: Slug, detail: str) -> None:
        super().__init__(f"{slug}: {detail}")
        self.slug = slug
        self.detail = detail


class CertificateVerifier(Protocol):
    """Judges a peer's certificate chain. It lives outside of this room: it needs wall-clock time, files and revocation lists."""

    def authorities(self) -> Sequence[bytes]:
        """DER names of the CAs that are trusted, for the certificate request."""

    def verify(self, chain: Sequence[bytes], names: Sequence[str]) -> PublicKey:
        """Check the end certificate ``chain[0]`` (DER; the others are untrusted helpers) and return its public key.

        ``names`` are the names and addresses of which it must hold one, as a client demands of the gateway it dialled; empty means any.
        Raises ``CertificateRefused``.
        """


@dataclass(frozen=True, slots=True)
class LocalCertificate:
    """Our own machine certificate."""

    key: PrivateKey = field(repr=False)
    chain: tuple[bytes, ...]
    """DER, own certificate first, then intermediates, never the root."""


@dataclass(frozen=True, slots=True)
class IkeConfig:
    """Everything that does not change while the core runs, except that a reload may replace the whole for new negotiations."""

    proposals: tuple[IkeProposal, ...]
    """Phase 1, most wanted first. A responder takes the first of the initiator's that is in here."""
    esp_proposals: tuple[EspProposal, ...]
    psk_for: Callable[[Endpoint], bytes | None] = field(default=lambda _remote: None, repr=False)
    """The pre-shared key for a remote endpoint, ``None`` if PSK is not allowed for it. Never selected by identity: a Windows client
    behind a NAT names its private address."""
    certificate: LocalCertificate | None = None
    verifier: CertificateVerifier | None = None
    remote_names: tuple[str, ...] = ()
    """As an initiator: what the responder's certificate must name."""
    pfs: bool = False
    """As an initiator: use a key exchange in quick mode when the ESP proposal names a group. A responder takes what is asked."""
    force_encapsulation: bool = False
    """Make both ends believe in a NAT: for paths that do not carry protocol 50, and for unprivileged use."""
    fragmentation: bool = True
    fragment_size: int = 1200
    """Largest datagram payload before a message with certificates is fragmented, if the peer can."""
    dpd_delay: float = 30.0
    """Seconds without anything authenticated from the peer before we ask; 0 is off."""
    dpd_timeout: float = 120.0
    """Seconds without an answer before the peer is gone."""
    rekey_time: float = 4 * 3600.0
    """Phase 1: seconds until this side rekeys; the peer's shorter life wins."""
    esp_rekey_time: float = 3600.0
    esp_rekey_bytes: int = 0
    """Octets; 0 is no volume limit of our own. Carried in the proposal as kilobytes when set."""
    retransmit_base: float = 2.0
    retransmit_factor: float = 1.8
    retransmit_tries: int = 5
    keepalive: float = 20.0
    """Seconds between NAT keepalives; sent by the shell for the peers in ``keepalives()``."""
    half_open_timeout: float = 30.0
    max_half_open: int = 4096
    max_half_open_per_address: int = 64
    """Generous, for an office behind one NAT that reconnects at once."""
    max_peers: int = 65536
    max_children_per_peer: int = 16
    keylog: bool = False
