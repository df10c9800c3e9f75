"""The data of an LCP Terminate-Request: the layout of Windows, the texts of pppd, and what either means.

Windows ends a link with 12 octets, which no RFC describes but every RAS server and client writes::

    +----------------------+-------------+----------------------------+
    | sender's magic (4)   | 00 3c cd 74 | RAS error number, u32      |    0 is a normal hang-up
    +----------------------+-------------+----------------------------+
"""

from __future__ import annotations

from typing import Final

from headrace.errors import Slug, explain
from headrace.model import Failure, printable
from headrace.ppp.auth import VERDICTS, error_code
from headrace.wire import Reader, Writer

MARK: Final = b"\x00\x3c\xcd\x74"
_SIZE: Final = 12

# What the reason is called here when a peer ends the link with this number. Several slugs share a number; the commonest stands.
_SLUG_OF_NUMBER: Final = {
    629: Slug.PEER_CLOSED,
    646: Slug.HOURS,
    647: Slug.ACCOUNT_DISABLED,
    648: Slug.PASSWORD_EXPIRED,
    649: Slug.DIALIN_DENIED,
    691: Slug.AUTH_FAILED,
    708: Slug.ACCOUNT_EXPIRED,
    709: Slug.PASSWORD_CHANGE,
    717: Slug.POOL_EMPTY,
    718: Slug.AUTH_TIMEOUT,
    720: Slug.IPCP_REFUSED,
    721: Slug.LCP_TIMEOUT,
    732: Slug.LCP_NOT_CONVERGING,
    735: Slug.ADDRESS_CONFLICT,
    736: Slug.IPCP_REFUSED,
    737: Slug.LCP_LOOPBACK,
    738: Slug.POOL_EMPTY,
    741: Slug.ENCRYPTION_LOCAL,
    742: Slug.ENCRYPTION_REFUSED,
    778: Slug.SERVER_PROOF,
    798: Slug.USER_CERT_NONE,
    801: Slug.SERVER_CERT_NAME,
    812: Slug.AUTH_METHOD,
    823: Slug.PEAP_BINDING,
    824: Slug.PEAP_BINDING_MISSING,
    828: Slug.IDLE_TIMEOUT,
    829: Slug.ECHO_LOST,
    845: Slug.PEAP_RESULT,
    850: Slug.EAP_NO_METHOD,
    853: Slug.USER_CERT_INVALID,
    854: Slug.USER_CERT_EXPIRED,
    855: Slug.USER_CERT_REVOKED,
    856: Slug.USER_CERT_OTHER,
    857: Slug.SERVER_CERT_INVALID,
    858: Slug.SERVER_CERT_EXPIRED,
    859: Slug.SERVER_CERT_REVOKED,
    860: Slug.SERVER_CERT_OTHER,
    861: Slug.USER_CERT_CA,
    864: Slug.SERVER_CERT_CA,
    867: Slug.EAP_IDENTITY,
    917: Slug.AUTH_NO_COMMON,
    918: Slug.AUTH_NO_COMMON,
    919: Slug.AUTH_NO_COMMON,
    926: Slug.IDLE_TIMEOUT,
    929: Slug.ADMIN,
    930: Slug.RADIUS_TIMEOUT,
    932: Slug.SESSION_TIMEOUT,
    937: Slug.USER_LIMIT,
}

# Beginnings of pppd's texts. "MPPE disabled" is what it says at every orderly end of an encrypted link, too.
_SLUG_OF_TEXT: Final = (
    (b"User request", Slug.USER_REQUEST),
    (b"MPPE required", Slug.ENCRYPTION_REFUSED),
    (b"MPPE disabled", Slug.ENCRYPTION_REFUSED),
    (b"Authentication failed", Slug.AUTH_FAILED),
    (b"Failed to authenticate ourselves to peer", Slug.AUTH_FAILED),
    (b"peer refused to authenticate", Slug.AUTH_NO_COMMON),
    (b"Loopback detected", Slug.LCP_LOOPBACK),
    (b"Peer not responding", Slug.ECHO_LOST),
    (b"Link inactive", Slug.IDLE_TIMEOUT),
    (b"Connect time expired", Slug.SESSION_TIMEOUT),
    (b"Traffic limit reached", Slug.QUOTA),
    (b"No network protocols running", Slug.IPCP_REFUSED),
)


def ras_number(slug: Slug) -> int:
    """The number the peer is told for a reason of ours. A verdict on the user is told as MS-CHAP tells it, and no nearer."""
    return error_code(slug) if slug in VERDICTS else explain(slug).ras


def windows_layout(magic: int, slug: Slug) -> bytes:
    """The data of our Terminate-Request for a reason."""
    return Writer().u32(magic).raw(MARK).u32(ras_number(slug)).bytes()


def peer_reason(data: bytes, server: bool, was_encrypted: bool) -> Failure:
    """What a peer's Terminate-Request says.

    ``was_encrypted``: MPPE was up, so that "MPPE disabled" is nothing but pppd's way of saying goodbye. A number is told from the
    view of its sender: 742 from a client means that *this* server does not encrypt as it must, which is 741 here; a person who
    dials sees the number the server sent.
    """
    if len(data) == _SIZE and data[4:8] == MARK:
        reader = Reader(data, "lcp")
        reader.take(8, "terminate")
        number = reader.u32("terminate")
        says = f"the {'client' if server else 'server'} says {number}"
        if number == 0:
            return Failure(_normal(server), "hung up")
        return Failure(_mirrored(_SLUG_OF_NUMBER.get(number, Slug.LCP_TERMINATED), server), says)
    if not data:
        return Failure(_normal(server), "hung up")
    says = f'the {"client" if server else "server"} says "{printable(data, 100)}"'
    slug = next((slug for text, slug in _SLUG_OF_TEXT if data.startswith(text)), Slug.LCP_TERMINATED)
    if slug is Slug.USER_REQUEST or (was_encrypted and data.startswith(b"MPPE disabled")):
        slug = _normal(server)
    return Failure(_mirrored(slug, server), says)


def _normal(server: bool) -> Slug:
    return Slug.USER_REQUEST if server else Slug.PEER_CLOSED


def _mirrored(slug: Slug, server: bool) -> Slug:
    if not server:
        return slug
    return {Slug.ENCRYPTION_REFUSED: Slug.ENCRYPTION_LOCAL, Slug.ENCRYPTION_LOCAL: Slug.ENCRYPTION_REFUSED}.get(slug, slug)
