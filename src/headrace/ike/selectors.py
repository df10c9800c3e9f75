"""Selectors of quick mode (RFC 2409 section 5.5, RFC 2407 section 4.6.2): for L2TP they can only mean UDP and port 1701.

Addresses are taken as they come: behind NATs a client names its private address for itself and a public one for us (RFC 3947), and
traffic is bound to the SA, never to them. Only their form is judged, so that one host stays one host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from headrace.errors import Slug
from headrace.ike.constants import IdType, NotifyType
from headrace.ike.payloads import Identification
from headrace.ike.refusal import Refuse

L2TP_PORT: Final = 1701
UDP: Final = 17
_ADDRESS_OCTETS: Final = {
    IdType.IPV4_ADDR_SUBNET: 4,
    IdType.IPV4_ADDR_RANGE: 4,
    IdType.IPV6_ADDR_SUBNET: 16,
    IdType.IPV6_ADDR_RANGE: 16,
}


def is_one_host(identity: Identification) -> bool:
    """Whether a selector names exactly one address."""
    if identity.address is not None:
        return True
    octets = _ADDRESS_OCTETS.get(IdType(identity.type)) if identity.type in _ADDRESS_OCTETS else None
    if octets is None or len(identity.data) != 2 * octets:
        return False
    first, second = identity.data[:octets], identity.data[octets:]
    return second == (first if identity.type in {IdType.IPV4_ADDR_RANGE, IdType.IPV6_ADDR_RANGE} else b"\xff" * octets)


def remote_port(identities: Sequence[Identification], *, initiator: bool) -> int:
    """The inner UDP port of the peer's side, 0 for any. ``initiator`` tells which of the two is ours. Raises ``Refuse``.

    Our own port must be 1701; the peer's may be any, for some clients send from another one. None at all means the addresses of the
    ISAKMP SA, and any port.
    """
    if not identities:
        return 0
    if len(identities) != 2:
        raise _refuse("only one of the two selectors is there")
    ours, theirs = identities if initiator else (identities[1], identities[0])
    for identity in (ours, theirs):
        if not is_one_host(identity):
            raise _refuse(f"the selector {identity} is not one address")
        if identity.protocol != UDP:
            raise _refuse(f"the selector {identity} is not UDP")
    if ours.port != L2TP_PORT:
        raise _refuse(f"the selector {ours} is not our L2TP port {L2TP_PORT}")
    return theirs.port


def _refuse(detail: str) -> Refuse:
    return Refuse(NotifyType.INVALID_ID_INFORMATION, Slug.ESP_SELECTOR, detail)
