"""Result codes from failures and failures from result codes: the one place where the table of slugs meets RFC 2661 section 4.4.2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from headrace.errors import Slug
from headrace.l2tp.avp import CallResult, ErrorCode, Result, ResultCode
from headrace.model import Failure, printable

if TYPE_CHECKING:
    from collections.abc import Mapping

HIGHEST_VERSION: Final = 0x0100
"""Protocol version 1, revision 0: the error code of StopCCN 5, and the only value of the Protocol Version AVP."""

MAX_TEXT: Final = 200
"""Octets of text that we put into a Result Code AVP: more than a line is not read by anybody."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """What a peer is told, and what we say of it ourselves."""

    result: Result
    failure: Failure


STOP: Final[Mapping[Slug, tuple[ResultCode, ErrorCode]]] = {  # all others: general clearing
    Slug.SHUTDOWN: (ResultCode.SHUTTING_DOWN, ErrorCode.NONE),
    Slug.DRAINING: (ResultCode.SHUTTING_DOWN, ErrorCode.NONE),
    Slug.TUNNEL_AUTH: (ResultCode.NOT_AUTHORIZED, ErrorCode.NONE),
    Slug.L2TP_REFUSED: (ResultCode.NOT_AUTHORIZED, ErrorCode.NONE),
    Slug.LIMIT_TUNNELS: (ResultCode.ERROR, ErrorCode.NO_RESOURCES),
    Slug.L2TP_MALFORMED: (ResultCode.ERROR, ErrorCode.WRONG_LENGTH),
    Slug.HIDDEN_AVP: (ResultCode.ERROR, ErrorCode.VENDOR_SPECIFIC),
    Slug.INTERNAL: (ResultCode.ERROR, ErrorCode.VENDOR_SPECIFIC),
}

CALL: Final[Mapping[Slug, tuple[CallResult, ErrorCode]]] = {  # all others: administrative reasons
    Slug.LIMIT_SESSIONS: (CallResult.NO_FACILITIES_NOW, ErrorCode.NONE),
    Slug.DRAINING: (CallResult.NO_FACILITIES_NOW, ErrorCode.NONE),
    Slug.POOL_EMPTY: (CallResult.NO_FACILITIES_NOW, ErrorCode.NONE),
    Slug.L2TP_REFUSED: (CallResult.NO_FACILITIES, ErrorCode.NONE),
    Slug.L2TP_SILENT: (CallResult.NOT_IN_TIME, ErrorCode.NONE),
    Slug.ECHO_LOST: (CallResult.LOST_CARRIER, ErrorCode.NONE),
    Slug.LCP_TIMEOUT: (CallResult.LOST_CARRIER, ErrorCode.NONE),
    Slug.LCP_TERMINATED: (CallResult.LOST_CARRIER, ErrorCode.NONE),
    Slug.L2TP_MALFORMED: (CallResult.ERROR, ErrorCode.WRONG_LENGTH),
    Slug.INTERNAL: (CallResult.ERROR, ErrorCode.VENDOR_SPECIFIC),
}

OUR_LAYER: Final = frozenset(
    {
        Slug.L2TP_SILENT,
        Slug.L2TP_MALFORMED,
        Slug.L2TP_REFUSED,
        Slug.TUNNEL_AUTH,
        Slug.HIDDEN_AVP,
        Slug.LIMIT_SESSIONS,
        Slug.LIMIT_TUNNELS,
    }
)
"""Failures whose detail may be told to the peer: it is about the peer's own messages."""

ONE_ANSWER: Final = frozenset({Slug.USER_UNKNOWN, Slug.NO_NT_HASH, Slug.AUTH_LOCKED, Slug.AUTH_FAILED})
"""Told apart, these would tell a stranger which accounts exist."""


def public_text(failure: Failure) -> bytes:
    """What a peer may read of a failure: UTF-8, at most ``MAX_TEXT`` octets."""
    slug = Slug.AUTH_FAILED if failure.slug in ONE_ANSWER else failure.slug
    text = str(failure) if slug in OUR_LAYER else str(slug)
    return text.encode()[:MAX_TEXT].decode("utf-8", "ignore").encode()


def stop_result(failure: Failure) -> Result:
    """The value of StopCCN's Result Code AVP for a failure."""
    result, error = STOP.get(failure.slug, (ResultCode.GENERAL, ErrorCode.NONE))
    return Result(result, error, public_text(failure))


def call_result(failure: Failure) -> Result:
    """The value of CDN's Result Code AVP for a failure."""
    result, error = CALL.get(failure.slug, (CallResult.ADMINISTRATIVE, ErrorCode.NONE))
    return Result(result, error, public_text(failure))


def stopping(slug: Slug, detail: str) -> Refusal:
    """A reason to close a tunnel, with the code that the table gives."""
    failure = Failure(slug, detail)
    return Refusal(stop_result(failure), failure)


def clearing(slug: Slug, detail: str) -> Refusal:
    """A reason to clear a call, with the code that the table gives."""
    failure = Failure(slug, detail)
    return Refusal(call_result(failure), failure)


def erroneous(error: ErrorCode, detail: str, slug: Slug = Slug.L2TP_MALFORMED) -> Refusal:
    """Result code 2 with a given error code: it has the same number in both messages."""
    failure = Failure(slug, detail)
    return Refusal(Result(ResultCode.ERROR, error, public_text(failure)), failure)


def out_of_state(detail: str) -> Refusal:
    """A tunnel message in a state that has no place for it: StopCCN 7."""
    failure = Failure(Slug.L2TP_MALFORMED, detail)
    return Refusal(Result(ResultCode.FSM_ERROR, ErrorCode.NONE, public_text(failure)), failure)


def wrong_version(seen: str) -> Refusal:
    """StopCCN 5, with the version that we speak as its error code."""
    failure = Failure(Slug.L2TP_REFUSED, f"peer speaks {seen}, only version 1.0 of RFC 2661 is spoken here")
    return Refusal(Result(ResultCode.VERSION, HIGHEST_VERSION, public_text(failure)), failure)


def already_exists(detail: str) -> Refusal:
    """StopCCN 3: the control channel exists."""
    failure = Failure(Slug.L2TP_REFUSED, detail)
    return Refusal(Result(ResultCode.ALREADY_EXISTS, ErrorCode.NONE, public_text(failure)), failure)


def _meaning(names: type[ResultCode | CallResult], result: Result | None) -> str:
    """A peer's result code in words."""
    if result is None:
        return "without a result code"
    known = {code.value: code.name.lower().replace("_", " ") for code in names}
    words = f"result {result.result} ({known.get(result.result, 'unknown')})"
    if result.error and result.result != ResultCode.VERSION:
        errors = {code.value: code.name.lower().replace("_", " ") for code in ErrorCode}
        words += f", error {result.error} ({errors.get(result.error, 'unknown')})"
    return f"{words}: {printable(result.text)}" if result.text else words


def failure_of_stop(result: Result | None, *, established: bool, authenticating: bool) -> Failure:
    """What the peer's StopCCN means to us. Before the tunnel was up it is a refusal, and the code says which."""
    detail = f"StopCCN {_meaning(ResultCode, result)}"
    if established:
        return Failure(Slug.PEER_CLOSED, detail)
    code = result.result if result else 0
    if code == ResultCode.NOT_AUTHORIZED and authenticating:
        return Failure(Slug.TUNNEL_AUTH, detail)
    if code == ResultCode.SHUTTING_DOWN:
        return Failure(Slug.DRAINING, detail)
    if result is not None and (code, result.error) == (ResultCode.ERROR, ErrorCode.NO_RESOURCES):
        return Failure(Slug.LIMIT_TUNNELS, detail)
    return Failure(Slug.L2TP_REFUSED, detail)


def failure_of_call(result: Result | None, *, established: bool) -> Failure:
    """What the peer's CDN means to us."""
    detail = f"CDN {_meaning(CallResult, result)}"
    busy = {CallResult.NO_FACILITIES_NOW, CallResult.BUSY}
    if result is not None and (
        result.result in busy or (result.result, result.error) == (CallResult.ERROR, ErrorCode.NO_RESOURCES)
    ):
        # An LNS may find that it is full when the ICCN comes: for us the call is established then.
        return Failure(Slug.LIMIT_SESSIONS, detail)
    if established:
        return Failure(Slug.PEER_CLOSED, detail)
    return Failure(Slug.L2TP_REFUSED, detail)
