"""Control messages (RFC 2661 sections 3.2 and 6): which exist, which AVPs they need, and a value for each that arrives.

Reading goes in three steps, each with its own kind of failure: ``avp.parse`` (the structure), ``avp.reveal`` (hidden AVPs), and
``interpret`` here, which never fails for a known message type but notes the first ``Problem`` in it. Who reads decides by the
problem and by the message whether a call or the whole tunnel has to go.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final

from headrace.errors import PeerError
from headrace.l2tp import avp as wire
from headrace.l2tp.avp import AVPS, Avp, AvpType, BadValue, ErrorCode, Result, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headrace.model import Rand


class MessageType(IntEnum):
    """Message types (section 3.2). 0, 5 and 13 are not assigned."""

    SCCRQ = 1
    SCCRP = 2
    SCCCN = 3
    STOPCCN = 4
    HELLO = 6
    OCRQ = 7
    OCRP = 8
    OCCN = 9
    ICRQ = 10
    ICRP = 11
    ICCN = 12
    CDN = 14
    WEN = 15
    SLI = 16


class Scope(Enum):
    """What a message is about: then that is what an error in it ends."""

    TUNNEL = "tunnel"
    SESSION = "session"


@dataclass(frozen=True, slots=True)
class MessageSpec:
    """One row of the table. Message Type itself must be in every message and is not listed."""

    number: MessageType
    name: str
    scope: Scope
    must: tuple[AvpType, ...]
    may: tuple[AvpType, ...]
    section: str

    def legal(self, number: int) -> bool:
        """Whether an AVP belongs here. Random Vector may be anywhere."""
        return number in {AvpType.MESSAGE_TYPE, AvpType.RANDOM_VECTOR, *self.must, *self.may}


def _rows(*rows: MessageSpec) -> dict[int, MessageSpec]:
    return {row.number: row for row in rows}


_M: Final = MessageType
_T: Final = AvpType
_PROXY: Final = (
    _T.INITIAL_RECEIVED_LCP_CONFREQ,
    _T.LAST_SENT_LCP_CONFREQ,
    _T.LAST_RECEIVED_LCP_CONFREQ,
    _T.PROXY_AUTHEN_TYPE,
    _T.PROXY_AUTHEN_NAME,
    _T.PROXY_AUTHEN_CHALLENGE,
    _T.PROXY_AUTHEN_ID,
    _T.PROXY_AUTHEN_RESPONSE,
)

MESSAGES: Final = _rows(
    MessageSpec(
        _M.SCCRQ,
        "Start-Control-Connection-Request",
        Scope.TUNNEL,
        (_T.PROTOCOL_VERSION, _T.HOST_NAME, _T.FRAMING_CAPABILITIES, _T.ASSIGNED_TUNNEL_ID),
        (
            _T.BEARER_CAPABILITIES,
            _T.RECEIVE_WINDOW_SIZE,
            _T.CHALLENGE,
            _T.TIE_BREAKER,
            _T.FIRMWARE_REVISION,
            _T.VENDOR_NAME,
        ),
        "6.1",
    ),
    MessageSpec(
        _M.SCCRP,
        "Start-Control-Connection-Reply",
        Scope.TUNNEL,
        (_T.PROTOCOL_VERSION, _T.HOST_NAME, _T.FRAMING_CAPABILITIES, _T.ASSIGNED_TUNNEL_ID),
        (
            _T.BEARER_CAPABILITIES,
            _T.FIRMWARE_REVISION,
            _T.VENDOR_NAME,
            _T.RECEIVE_WINDOW_SIZE,
            _T.CHALLENGE,
            _T.CHALLENGE_RESPONSE,
        ),
        "6.2",
    ),
    MessageSpec(_M.SCCCN, "Start-Control-Connection-Connected", Scope.TUNNEL, (), (_T.CHALLENGE_RESPONSE,), "6.3"),
    MessageSpec(
        _M.STOPCCN, "Stop-Control-Connection-Notification", Scope.TUNNEL, (_T.ASSIGNED_TUNNEL_ID, _T.RESULT_CODE), (), "6.4"
    ),
    MessageSpec(_M.HELLO, "Hello", Scope.TUNNEL, (), (), "6.5"),
    MessageSpec(
        _M.OCRQ,
        "Outgoing-Call-Request",
        Scope.SESSION,
        (
            _T.ASSIGNED_SESSION_ID,
            _T.CALL_SERIAL_NUMBER,
            _T.MINIMUM_BPS,
            _T.MAXIMUM_BPS,
            _T.BEARER_TYPE,
            _T.FRAMING_TYPE,
            _T.CALLED_NUMBER,
        ),
        (_T.SUB_ADDRESS,),
        "6.9",
    ),
    MessageSpec(_M.OCRP, "Outgoing-Call-Reply", Scope.SESSION, (_T.ASSIGNED_SESSION_ID,), (_T.PHYSICAL_CHANNEL_ID,), "6.10"),
    MessageSpec(
        _M.OCCN,
        "Outgoing-Call-Connected",
        Scope.SESSION,
        (_T.TX_CONNECT_SPEED, _T.FRAMING_TYPE),
        (_T.RX_CONNECT_SPEED, _T.SEQUENCING_REQUIRED),
        "6.11",
    ),
    MessageSpec(
        _M.ICRQ,
        "Incoming-Call-Request",
        Scope.SESSION,
        (_T.ASSIGNED_SESSION_ID, _T.CALL_SERIAL_NUMBER),
        (_T.BEARER_TYPE, _T.PHYSICAL_CHANNEL_ID, _T.CALLING_NUMBER, _T.CALLED_NUMBER, _T.SUB_ADDRESS),
        "6.6",
    ),
    MessageSpec(_M.ICRP, "Incoming-Call-Reply", Scope.SESSION, (_T.ASSIGNED_SESSION_ID,), (), "6.7"),
    MessageSpec(
        _M.ICCN,
        "Incoming-Call-Connected",
        Scope.SESSION,
        (_T.TX_CONNECT_SPEED, _T.FRAMING_TYPE),
        (*_PROXY, _T.PRIVATE_GROUP_ID, _T.RX_CONNECT_SPEED, _T.SEQUENCING_REQUIRED),
        "6.8",
    ),
    MessageSpec(
        _M.CDN,
        "Call-Disconnect-Notify",
        Scope.SESSION,
        (_T.RESULT_CODE, _T.ASSIGNED_SESSION_ID),
        (_T.Q931_CAUSE_CODE, _T.PPP_DISCONNECT_CAUSE),
        "6.12",
    ),
    MessageSpec(_M.WEN, "WAN-Error-Notify", Scope.SESSION, (_T.CALL_ERRORS,), (), "6.13"),
    MessageSpec(_M.SLI, "Set-Link-Info", Scope.SESSION, (_T.ACCM,), (), "6.14"),
)


class UnknownMessage(PeerError):
    """A message that this version does not know, or that does not begin with its type."""

    def __init__(self, detail: str, *, mandatory: bool) -> None:
        super().__init__(detail)
        self.mandatory = mandatory
        """If set, the tunnel must go (section 4.1); else it is acknowledged and ignored."""


@dataclass(frozen=True, slots=True)
class Problem:
    """The first thing that is wrong with a message of a known type."""

    error: ErrorCode
    detail: str


@dataclass(frozen=True, slots=True)
class Message:
    """A control message of a known type, with the values of the known AVPs that fit their type. Of two alike the first counts."""

    type: MessageType
    values: Mapping[int, Value] = field(repr=False)
    problem: Problem | None = None

    @property
    def spec(self) -> MessageSpec:
        """Its row in the table."""
        return MESSAGES[self.type]

    def number(self, avp: AvpType) -> int | None:
        """An integer value, ``None`` if the AVP is absent."""
        value = self.values.get(avp)
        return value if isinstance(value, int) else None

    def octets(self, avp: AvpType) -> bytes | None:
        """An octet or text value, ``None`` if the AVP is absent."""
        value = self.values.get(avp)
        return value if isinstance(value, bytes) else None

    @property
    def result(self) -> Result | None:
        """The value of the Result Code AVP, ``None`` if it is absent."""
        value = self.values.get(AvpType.RESULT_CODE)
        return value if isinstance(value, Result) else None

    def __str__(self) -> str:
        return f"{self.type.name}({', '.join(AVPS[number].name for number in self.values)})"


def _value(avp: Avp, message: MessageSpec) -> Value:
    """The value of one AVP. Raises ``BadValue`` also for one that is not known."""
    if avp.spec is None or avp.hidden:
        raise BadValue(ErrorCode.UNKNOWN_MANDATORY, f"{message.name}: AVP is unknown: {avp}")
    return wire.decode(avp.spec, avp.value)


def interpret(avps: tuple[Avp, ...]) -> Message:
    """Make a message of AVPs that have been deciphered. Raises ``UnknownMessage`` for what is no known message."""
    first = avps[0] if avps else None
    if first is None or first.spec is None or first.number != AvpType.MESSAGE_TYPE or len(first.value) != 2:
        raise UnknownMessage(f"first AVP is not a Message Type: {first}", mandatory=True)
    number = int.from_bytes(first.value, "big")
    spec = MESSAGES.get(number)
    if spec is None:
        raise UnknownMessage(f"message type {number} is unknown", mandatory=first.mandatory)
    values: dict[int, Value] = {}
    problem: Problem | None = None
    for avp in avps[1:]:
        try:
            value = _value(avp, spec)
        except BadValue as error:
            # What is not mandatory may be ignored, and a bad value of it no less than a good one.
            if avp.mandatory:
                problem = problem or Problem(error.error, str(error))
        else:
            values.setdefault(avp.number, value)
    missing = [AVPS[avp].name for avp in spec.must if avp not in values]
    if missing and problem is None:
        problem = Problem(ErrorCode.VENDOR_SPECIFIC, f"{spec.name} without {', '.join(missing)}")
    return Message(spec.number, values, problem)


def parse(body: bytes, secret: bytes | None = None, base: int = 0) -> Message:
    """All three steps. Raises ``Malformed``, ``HiddenUnreadable``, ``HiddenLength`` or ``UnknownMessage``."""
    return interpret(wire.reveal(wire.parse(body, base), secret))


@dataclass(frozen=True, slots=True)
class Hiding:
    """How AVPs are hidden by a sender that wants it."""

    secret: bytes = field(repr=False)
    rand: Rand = field(repr=False)


def emit(kind: MessageType, values: Mapping[AvpType, Value], hiding: Hiding | None = None) -> bytes:
    """The body of a message: its type first, then ``values`` in their order, hidden where they may be if ``hiding`` is given.

    Raises ``ValueError`` if an AVP is missing or has no place in this message: our own mistake.
    """
    spec = MESSAGES[kind]
    missing = [number for number in spec.must if number not in values]
    misplaced = [number for number in values if not spec.legal(number)]
    if missing or misplaced:
        raise ValueError(f"{spec.name}: missing {missing}, misplaced {misplaced}")
    avps = [wire.make(AvpType.MESSAGE_TYPE, kind)]
    rest = [wire.make(number, value) for number, value in values.items()]
    if hiding is not None and any(AVPS[avp.number].may_hide for avp in rest):
        vector = hiding.rand(16)
        avps.append(wire.make(AvpType.RANDOM_VECTOR, vector))
        for avp in rest:
            # An empty value stays clear: there is nothing to hide, and a length of zero inside is not taken by everybody.
            fits = 0 < len(avp.value) <= wire.MAX_VALUE - 2
            hidden = AVPS[avp.number].may_hide and fits
            avps.append(wire.hide(avp, hiding.secret, vector, hiding.rand) if hidden else avp)
    else:
        avps += rest
    return b"".join(wire.emit(avp) for avp in avps)
