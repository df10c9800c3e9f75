"""What main mode needs of an authentication method, and what every method has in common: identities (RFC 2409 section 5)."""

from __future__ import annotations

from typing import Protocol

from headrace.errors import Slug
from headrace.ike.constants import AuthMethod, IdType, NotifyType
from headrace.ike.message import Chain
from headrace.ike.payloads import Identification
from headrace.ike.proposal import IkeHash
from headrace.ike.refusal import Refuse

_MAX_ID_OCTETS = 1024
"""A name of 255 octets, a DN of a few hundred."""


class Authenticator(Protocol):
    """One authentication method with our credentials for one peer."""

    name: str
    """``psk`` or ``cert``."""
    method: AuthMethod

    def digest(self, negotiated: IkeHash) -> IkeHash:
        """The hash of the PRF that makes HASH_I and HASH_R."""

    def skeyid(self, negotiated: IkeHash, nonces: bytes, shared: bytes) -> bytes:
        """SKEYID, from which everything follows."""

    def identity(self) -> Identification:
        """Who we say that we are."""

    def prove(self, value: bytes) -> list[tuple[int, bytes]]:
        """The payloads that prove our HASH."""

    def requests(self) -> list[tuple[int, bytes]]:
        """Certificate requests for the peer, if the method has such."""

    def verify(self, chain: Chain, identity: Identification, value: bytes) -> str:
        """Check the peer's proof of its HASH; gives its identity for a person. Raises ``Refuse`` or ``Malformed``."""


def check_identity(identity: Identification) -> None:
    """Judge the form of a phase-1 identity. Raises ``Refuse``."""
    data = identity.data
    if identity.type in {IdType.IPV4_ADDR, IdType.IPV6_ADDR}:
        good = identity.address is not None
    elif identity.type in {IdType.FQDN, IdType.USER_FQDN, IdType.KEY_ID, IdType.DER_ASN1_GN}:
        good = 0 < len(data) <= _MAX_ID_OCTETS
    elif identity.type == IdType.DER_ASN1_DN:
        good = len(data) <= _MAX_ID_OCTETS and is_der_sequence(data)
    else:
        good = False
    if not good:
        detail = f"an identity of type {identity.type} with {len(data)} octets makes no sense"
        raise Refuse(NotifyType.INVALID_ID_INFORMATION, Slug.IKE_ID, detail)
    if (identity.protocol, identity.port) not in {(0, 0), (17, 500), (17, 4500), (17, 0)}:
        detail = f"an identity for protocol {identity.protocol}, port {identity.port}"
        raise Refuse(NotifyType.INVALID_ID_INFORMATION, Slug.IKE_ID, detail)


def is_der_sequence(data: bytes) -> bool:
    """Whether octets are exactly one DER SEQUENCE, as every distinguished name is."""
    if len(data) < 2 or data[0] != 0x30:
        return False
    if data[1] < 0x80:
        return len(data) == 2 + data[1]
    count = data[1] & 0x7F
    if not 1 <= count <= 3 or len(data) < 2 + count or data[2] == 0:
        return False
    return len(data) == 2 + count + int.from_bytes(data[2 : 2 + count], "big")
