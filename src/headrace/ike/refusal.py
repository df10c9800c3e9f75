"""How this room says no: ``Drop`` is silent, ``Refuse`` has a notification for the peer and a failure for a person."""

from __future__ import annotations

from collections.abc import Iterable
from types import MappingProxyType
from typing import Final

from headrace.errors import PeerError, Slug
from headrace.ike.constants import NotifyType
from headrace.ike.payloads import BadProposal, UnsupportedDoi, UnsupportedSituation
from headrace.model import Failure
from headrace.wire import Malformed

DROPS: Final = MappingProxyType(
    {
        "ike_short": "fewer octets than the ISAKMP header",
        "ike_length": "the header's length is not the datagram's",
        "ike_version": "a version other than 1",
        "ike_exchange": "an exchange that is not served, or not now",
        "ike_cookie": "cookies that name no SA, or are zero",
        "ike_malformed": "payloads that cannot be read",
        "ike_too_many_payloads": "a chain longer than any real message",
        "ike_message_id": "a message id that is not allowed here",
        "ike_replay": "an exchange that was already had",
        "ike_duplicate": "a repeated request, answered a moment ago",
        "ike_unexpected": "a message that does not fit the state",
        "ike_clear": "in clear where it must be encrypted",
        "ike_unauth_info": "an informational message in clear about a live SA",
        "ike_decrypt": "does not decrypt to payloads",
        "ike_hash": "HASH is wrong or missing",
        "ike_key_exchange": "a public value that is refused",
        "ike_nonce": "a nonce of a length that is refused",
        "ike_fragment": "a fragment that fits nothing",
        "ike_quick_mode_limit": "too many quick modes at once",
        "ike_half_open_limit": "too many half-open negotiations",
        "ike_half_open_evicted": "a half-open negotiation that never went on had to make room",
        "ike_dpd": "a dead-peer-detection message out of sequence",
        "ike_delete": "a delete for what is not the peer's",
        "ike_notify": "a notification that is ignored",
    }
)
"""Every reason of a ``Dropped`` event: its counter name and its text."""


class Drop(PeerError):
    """Ignore the datagram, count it."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(detail or DROPS[reason])
        self.reason = reason


class Refuse(PeerError):
    """Refuse a negotiation and tell the peer."""

    def __init__(self, notify: NotifyType | None, slug: Slug, detail: str, *, spi: bytes = b"", reason: str = "") -> None:
        super().__init__(f"{slug}: {detail}")
        self.notify = notify
        self.failure = Failure(slug, detail)
        self.spi = spi
        """SPI of the proposal that is refused, in phase 2."""
        self.reason = reason
        """Counter, where the negotiation goes on: a message in clear proves nothing and ends nothing."""


def notify_for(error: Malformed) -> NotifyType:
    """What a peer is told of a message that could not be read."""
    return next((notify for kind, notify in _NOTIFY_FOR if isinstance(error, kind)), NotifyType.PAYLOAD_MALFORMED)


_NOTIFY_FOR: Final = (
    (UnsupportedDoi, NotifyType.DOI_NOT_SUPPORTED),
    (UnsupportedSituation, NotifyType.SITUATION_NOT_SUPPORTED),
    (BadProposal, NotifyType.BAD_PROPOSAL_SYNTAX),
)
_LISTED: Final = 8
"""Items that a text for a person lists."""


def listed(labels: Iterable[str]) -> str:
    """Labels in one line, each once, cut where nobody would read on."""
    unique = list(dict.fromkeys(labels))
    if not unique:
        return "none"
    rest = len(unique) - _LISTED
    return "; ".join(unique[:_LISTED]) + (f"; and {rest} more" if rest > 0 else "")
