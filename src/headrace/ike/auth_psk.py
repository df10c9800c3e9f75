"""Authentication by pre-shared key (RFC 2409 section 5.4). The key is chosen by address, never by identity: it must be known before one comes."""

from __future__ import annotations

import hmac

from headrace.errors import Slug
from headrace.ike.auth import check_identity
from headrace.ike.constants import AuthMethod, NotifyType, PayloadType
from headrace.ike.keymat import skeyid_psk
from headrace.ike.message import Chain
from headrace.ike.payloads import Hash, Identification
from headrace.ike.proposal import IkeHash
from headrace.ike.refusal import Refuse
from headrace.model import IPAddress


class PskAuthenticator:
    """Both sides know the same key."""

    name = "psk"
    method = AuthMethod.PSK

    __slots__ = ("_local", "_psk")

    def __init__(self, psk: bytes, local: IPAddress) -> None:
        self._psk = psk
        self._local = local

    def digest(self, negotiated: IkeHash) -> IkeHash:
        """The negotiated hash."""
        return negotiated

    def skeyid(self, negotiated: IkeHash, nonces: bytes, shared: bytes) -> bytes:
        """prf(psk, Ni_b | Nr_b)."""
        del shared
        return skeyid_psk(negotiated, self._psk, nonces)

    def identity(self) -> Identification:
        """Our own address, as every peer with a pre-shared key expects."""
        return Identification.of_address(self._local)

    def prove(self, value: bytes) -> list[tuple[int, bytes]]:
        """The HASH payload."""
        return [(PayloadType.HASH, value)]

    def requests(self) -> list[tuple[int, bytes]]:
        """None."""
        return []

    def verify(self, chain: Chain, identity: Identification, value: bytes) -> str:
        """Compare the HASH payload in constant time, then judge the identity. Raises ``Refuse`` or ``Malformed``."""
        if not hmac.compare_digest(chain.one(PayloadType.HASH, Hash).data, value):
            detail = "the peer's HASH is wrong although it decrypts: the pre-shared keys differ, or the message was changed on its way"
            raise Refuse(NotifyType.AUTHENTICATION_FAILED, Slug.PSK_MISMATCH, detail)
        check_identity(identity)
        return str(identity)
