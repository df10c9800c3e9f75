"""What is told of a session to accounting (RFC 2866, 2869): one record as values, and its attributes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from headrace.errors import Slug
from headrace.radius.names import Attr, Cause, Status
from headrace.radius.packet import Attribute, number

_CAUSES: Final = {
    Slug.USER_REQUEST: Cause.USER_REQUEST,
    Slug.PEER_CLOSED: Cause.USER_REQUEST,
    Slug.PEER_DELETED: Cause.USER_REQUEST,
    Slug.ECHO_LOST: Cause.LOST_CARRIER,
    Slug.HELLO_LOST: Cause.LOST_CARRIER,
    Slug.DPD_LOST: Cause.LOST_CARRIER,
    Slug.IDLE_TIMEOUT: Cause.IDLE_TIMEOUT,
    Slug.SESSION_TIMEOUT: Cause.SESSION_TIMEOUT,
    Slug.QUOTA: Cause.SESSION_TIMEOUT,
    Slug.ADMIN: Cause.ADMIN_RESET,
    Slug.COA_DISCONNECT: Cause.ADMIN_RESET,
    Slug.REPLACED: Cause.NAS_REQUEST,
    Slug.SHUTDOWN: Cause.NAS_REBOOT,
    Slug.DRAINING: Cause.NAS_REBOOT,
    Slug.INTERNAL: Cause.NAS_ERROR,
}


def cause_of(slug: Slug, *, by_peer: bool) -> Cause:
    """The Acct-Terminate-Cause of an end."""
    return _CAUSES.get(slug, Cause.USER_REQUEST if by_peer else Cause.USER_ERROR)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What a session has carried; input is from the user."""

    seconds: int = 0
    input_octets: int = 0
    output_octets: int = 0
    input_packets: int = 0
    output_packets: int = 0


def record(status: Status, moment: float, traffic: Traffic | None = None, cause: Cause | None = None) -> tuple[Attribute, ...]:
    """The attributes that say what happened. ``moment`` is when, in seconds since 1970."""
    out = [number(Attr.ACCT_STATUS_TYPE, status), number(Attr.EVENT_TIMESTAMP, int(moment) & 0xFFFFFFFF)]
    if traffic is not None:
        out += _traffic(traffic)
    if cause is not None:
        out.append(number(Attr.ACCT_TERMINATE_CAUSE, cause))
    return tuple(out)


def _traffic(traffic: Traffic) -> list[Attribute]:
    low, words = 0xFFFFFFFF, 32
    return [
        number(Attr.ACCT_SESSION_TIME, min(traffic.seconds, low)),
        number(Attr.ACCT_INPUT_OCTETS, traffic.input_octets & low),
        number(Attr.ACCT_OUTPUT_OCTETS, traffic.output_octets & low),
        number(Attr.ACCT_INPUT_GIGAWORDS, traffic.input_octets >> words & low),
        number(Attr.ACCT_OUTPUT_GIGAWORDS, traffic.output_octets >> words & low),
        number(Attr.ACCT_INPUT_PACKETS, traffic.input_packets & low),
        number(Attr.ACCT_OUTPUT_PACKETS, traffic.output_packets & low),
    ]
