"""NAT traversal: which specification, where the NAT is, which payload numbers and modes follow (RFC 3947 and its drafts 02, 03)."""

from __future__ import annotations

import hmac
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

from headrace.ike import vendor
from headrace.ike.constants import Encapsulation, PayloadType
from headrace.ike.keymat import digest_of
from headrace.ike.proposal import IkeHash
from headrace.model import Endpoint, Rand


@dataclass(frozen=True, slots=True)
class Variant:
    """One specification of NAT traversal."""

    name: str
    vendor_id: bytes
    nat_d: PayloadType
    nat_oa: PayloadType
    transport: Encapsulation
    tunnel: Encapsulation


_RFC: Final = (PayloadType.NAT_D, PayloadType.NAT_OA, Encapsulation.UDP_TRANSPORT, Encapsulation.UDP_TUNNEL)
_DRAFT: Final = (
    PayloadType.NAT_D_DRAFT,
    PayloadType.NAT_OA_DRAFT,
    Encapsulation.UDP_TRANSPORT_DRAFT,
    Encapsulation.UDP_TUNNEL_DRAFT,
)
VARIANTS: Final = (
    Variant("RFC 3947", vendor.RFC_3947, *_RFC),
    Variant("draft-ietf-ipsec-nat-t-ike-03", vendor.NAT_T_03, *_DRAFT),
    # With a newline behind it in the hash: Windows, and what most others really send.
    Variant("draft-ietf-ipsec-nat-t-ike-02", vendor.NAT_T_02N, *_DRAFT),
    Variant("draft-ietf-ipsec-nat-t-ike-02", vendor.NAT_T_02, *_DRAFT),
)
"""Best first."""


@dataclass(frozen=True, slots=True)
class NatVerdict:
    """Where NATs stand."""

    local: bool = False
    """Before us."""
    remote: bool = False
    """Before the peer."""

    def __bool__(self) -> bool:
        return self.local or self.remote


NO_NAT: Final = NatVerdict()


def best(ids: Collection[bytes]) -> Variant | None:
    """The best specification that the peer showed; we know them all."""
    return next((variant for variant in VARIANTS if variant.vendor_id in ids), None)


def nat_d(digest: IkeHash, cookies: bytes, endpoint: Endpoint) -> bytes:
    """Body of one NAT-D payload: hash(CKY-I | CKY-R | IP | port) (RFC 3947 section 3.2)."""
    return digest_of(digest, cookies + endpoint.address.packed + endpoint.port.to_bytes(2, "big"))


def own_nat_d(
    digest: IkeHash, cookies: bytes, local: Endpoint, remote: Endpoint, *, feign: bool, feign_local: bool, rand: Rand
) -> list[bytes]:
    """Our NAT-D payloads: the destination as we see it, then ourselves.

    To ``feign`` a NAT makes the client the one behind it, for which every peer is made: the client falsifies its own address
    (``feign_local``), the gateway the client's.
    """
    bodies = [nat_d(digest, cookies, remote), nat_d(digest, cookies, local)]
    if feign:
        bodies[1 if feign_local else 0] = rand(digest.octets)
    return bodies


def detect(received: list[bytes], digest: IkeHash, cookies: bytes, local: Endpoint, remote: Endpoint) -> NatVerdict:
    """Judge the peer's NAT-D payloads. One alone says nothing of the peer's side, so a NAT is taken to be there."""
    if not received:
        return NO_NAT
    return NatVerdict(
        local=not _holds(received[:1], nat_d(digest, cookies, local)),
        remote=not _holds(received[1:], nat_d(digest, cookies, remote)),
    )


def _holds(bodies: Iterable[bytes], expected: bytes) -> bool:
    return any(hmac.compare_digest(body, expected) for body in bodies)
