"""What a peer's notifications and silences mean for a person: the failure that is logged and shown, with its stable slug."""

from __future__ import annotations

from typing import Final

from headrace.errors import Slug
from headrace.ike.constants import NotifyType, notify_name
from headrace.ike.natt import NatVerdict
from headrace.model import Failure

_PROPOSAL_NOTES: Final = frozenset(
    {
        NotifyType.NO_PROPOSAL_CHOSEN,
        NotifyType.BAD_PROPOSAL_SYNTAX,
        NotifyType.ATTRIBUTES_NOT_SUPPORTED,
        NotifyType.INVALID_TRANSFORM_ID,
        NotifyType.INVALID_PROTOCOL_ID,
    }
)
_CERTIFICATE_NOTES: Final = frozenset(
    {
        NotifyType.INVALID_CERTIFICATE,
        NotifyType.INVALID_CERT_ENCODING,
        NotifyType.INVALID_CERT_AUTHORITY,
        NotifyType.CERT_TYPE_UNSUPPORTED,
        NotifyType.CERTIFICATE_UNAVAILABLE,
    }
)
_GARBAGE_NOTES: Final = frozenset(
    {
        NotifyType.INVALID_HASH_INFORMATION,
        NotifyType.PAYLOAD_MALFORMED,
        NotifyType.INVALID_PAYLOAD_TYPE,
        NotifyType.UNEQUAL_PAYLOAD_LENGTHS,
    }
)


def phase1_failure(notify: int, auth: str, *, proven: bool) -> Failure:
    """What a peer's notification during main mode means.

    ``auth`` is ``psk`` or ``cert``, ``proven`` whether our message 5 was what it answers.
    """
    said = f"the peer answered {notify_name(notify)}"
    if notify in _PROPOSAL_NOTES:
        return Failure(Slug.IKE_NO_PROPOSAL, f"{said}: none of our phase-1 proposals suits it")
    if notify in _CERTIFICATE_NOTES:
        return Failure(Slug.OUR_CERT_REFUSED, f"{said}: it does not accept our certificate")
    if notify in _GARBAGE_NOTES and proven and auth == "psk":
        return Failure(Slug.PSK_MISMATCH, f"{said} to message 5: it could not decrypt it, so the pre-shared keys differ")
    if notify in {NotifyType.AUTHENTICATION_FAILED, NotifyType.INVALID_SIGNATURE, NotifyType.INVALID_HASH_INFORMATION}:
        return Failure(
            Slug.OUR_AUTH_REFUSED, f"{said}: it does not accept our {'pre-shared key' if auth == 'psk' else 'signature'}"
        )
    if notify == NotifyType.INVALID_ID_INFORMATION:
        return Failure(Slug.IKE_ID, f"{said}: it does not accept our identity")
    if notify == NotifyType.INVALID_KEY_INFORMATION:
        return Failure(Slug.IKE_KEY_EXCHANGE, said)
    if notify in {NotifyType.INVALID_MAJOR_VERSION, NotifyType.INVALID_MINOR_VERSION}:
        return Failure(Slug.IKE_VERSION, f"{said}: it does not speak IKEv1")
    return Failure(Slug.IKE_NOTIFY, said)


def phase2_failure(notify: int, *, initiator: bool) -> Failure:
    """What a peer's notification during quick mode means for a person; ``initiator`` is our role in it."""
    said = f"the peer answered {notify_name(notify)} to quick mode"
    if not initiator:
        return Failure(Slug.ESP_NO_PROPOSAL, f"{said}: it cannot use the ESP SA that it had asked for itself")
    if notify in {
        NotifyType.NO_PROPOSAL_CHOSEN,
        NotifyType.BAD_PROPOSAL_SYNTAX,
        NotifyType.ATTRIBUTES_NOT_SUPPORTED,
        NotifyType.INVALID_TRANSFORM_ID,
        NotifyType.INVALID_SPI,
    }:
        return Failure(Slug.ESP_NO_PROPOSAL, f"{said}: none of our ESP proposals suits it")
    if notify == NotifyType.INVALID_ID_INFORMATION:
        return Failure(Slug.ESP_SELECTOR, f"{said}: it does not allow UDP 1701 between these addresses")
    return Failure(Slug.IKE_NOTIFY, said)


LATE_REFUSALS: Final = frozenset(
    {NotifyType.AUTHENTICATION_FAILED, NotifyType.INVALID_SIGNATURE, NotifyType.INVALID_HASH_INFORMATION, *_CERTIFICATE_NOTES}
)
"""Notifications that can only be about our message 6, as long as nothing was built on phase 1."""


def late_refusal(notify: int, auth: str) -> Failure:
    """A peer's refusal of our message 6, when phase 1 was complete for us already."""
    slug = Slug.OUR_AUTH_REFUSED if auth == "psk" else Slug.OUR_CERT_REFUSED
    return Failure(slug, f"the peer answered {notify_name(notify)} to our last message of main mode")


BEHIND_NAT: Final = (
    "we stand behind a NAT, and Windows then makes no connection until AssumeUDPEncapsulationContextOnSendRule is 2 in its registry"
    " (Services\\PolicyAgent; Windows XP: Services\\IPSec) and it was restarted; feature updates of Windows take the value away"
)


def behind_nat(nat: NatVerdict, vendor_name: str) -> bool:
    """Whether a peer that falls silent is Windows which by default refuses a gateway behind a NAT."""
    return nat.local and vendor_name.startswith("Windows")
