"""Whether the messages that open a tunnel are acceptable: versions, ids, challenges and their answers (RFC 2661 sections 4.4.3, 5.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headrace.errors import Slug
from headrace.l2tp.avp import AvpType, ErrorCode, challenge_response, same
from headrace.l2tp.reasons import HIGHEST_VERSION, Refusal, erroneous, stopping, wrong_version

if TYPE_CHECKING:
    from headrace.l2tp.config import L2tpConfig
    from headrace.l2tp.message import Message


def judge_challenge(message: Message, config: L2tpConfig, own: bytes | None) -> Refusal | None:
    """Whether a challenge in a message can be answered. ``own`` is a challenge of ours that must not come back (a reflection)."""
    challenge = message.octets(AvpType.CHALLENGE)
    if challenge is None:
        return None
    if not challenge:
        return stopping(Slug.TUNNEL_AUTH, f"{message.type.name} has an empty challenge")
    if config.secret is None:
        return stopping(Slug.TUNNEL_AUTH, f"{message.type.name} demands tunnel authentication, and no secret is set here")
    if own is not None and same(own, challenge):
        return stopping(Slug.TUNNEL_AUTH, f"{message.type.name} sends our own challenge back")
    return None


def judge_response(message: Message, config: L2tpConfig, own: bytes | None) -> Refusal | None:
    """Whether the answer to our challenge is right; without one there must be no answer (section 5.1.1)."""
    response = message.octets(AvpType.CHALLENGE_RESPONSE)
    if own is None or config.secret is None:
        return None if response is None else stopping(Slug.TUNNEL_AUTH, f"{message.type.name} answers a challenge never sent")
    if response is None:
        return stopping(Slug.TUNNEL_AUTH, f"{message.type.name} does not answer our challenge: the peer has no tunnel secret")
    if not same(challenge_response(message.type, config.secret, own), response):
        return stopping(Slug.TUNNEL_AUTH, f"{message.type.name} answers our challenge wrongly: the tunnel secrets differ")
    return None


def judge_opening(message: Message, config: L2tpConfig, own: bytes | None = None) -> Refusal | None:
    """What SCCRQ and SCCRP have in common: version, ids, a challenge (sections 4.4.3, 6.1, 6.2)."""
    version = message.number(AvpType.PROTOCOL_VERSION)
    if version is not None and version != HIGHEST_VERSION:
        return wrong_version(f"version {version >> 8}.{version & 0xFF}")
    if message.problem is not None:
        return erroneous(message.problem.error, message.problem.detail)
    if not message.number(AvpType.ASSIGNED_TUNNEL_ID):
        return erroneous(ErrorCode.OUT_OF_RANGE, f"{message.type.name} with Assigned Tunnel ID 0")
    return judge_challenge(message, config, own)
