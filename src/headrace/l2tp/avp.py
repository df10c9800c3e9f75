"""Attribute-value pairs (RFC 2661 section 4): the format, the table of those that exist, and hiding (section 4.3).

::

     0                   1                   2                   3
     0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |M|H| rsvd  |      Length       |           Vendor ID           |
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
    |         Attribute Type        |        Attribute Value...
    +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Final, TypeAlias

from headrace.errors import PeerError
from headrace.model import printable
from headrace.wire import Reader, Writer

if TYPE_CHECKING:
    from headrace.model import Rand

LAYER: Final = "l2tp avp"

FLAG_MANDATORY: Final = 0x8000
FLAG_HIDDEN: Final = 0x4000
RESERVED_MASK: Final = 0x3C00
LENGTH_MASK: Final = 0x03FF

HEADER_SIZE: Final = 6
MAX_LENGTH: Final = 1023
MAX_VALUE: Final = MAX_LENGTH - HEADER_SIZE

MAX_AVPS: Final = 96
"""Most AVPs that one message may carry. All that the RFC defines are 39; a few vendor ones and Random Vectors come on top."""

IETF: Final = 0


class AvpType(IntEnum):
    """Attribute types of the IETF (vendor 0)."""

    MESSAGE_TYPE = 0
    RESULT_CODE = 1
    PROTOCOL_VERSION = 2
    FRAMING_CAPABILITIES = 3
    BEARER_CAPABILITIES = 4
    TIE_BREAKER = 5
    FIRMWARE_REVISION = 6
    HOST_NAME = 7
    VENDOR_NAME = 8
    ASSIGNED_TUNNEL_ID = 9
    RECEIVE_WINDOW_SIZE = 10
    CHALLENGE = 11
    Q931_CAUSE_CODE = 12
    CHALLENGE_RESPONSE = 13
    ASSIGNED_SESSION_ID = 14
    CALL_SERIAL_NUMBER = 15
    MINIMUM_BPS = 16
    MAXIMUM_BPS = 17
    BEARER_TYPE = 18
    FRAMING_TYPE = 19
    CALLED_NUMBER = 21
    CALLING_NUMBER = 22
    SUB_ADDRESS = 23
    TX_CONNECT_SPEED = 24
    PHYSICAL_CHANNEL_ID = 25
    INITIAL_RECEIVED_LCP_CONFREQ = 26
    LAST_SENT_LCP_CONFREQ = 27
    LAST_RECEIVED_LCP_CONFREQ = 28
    PROXY_AUTHEN_TYPE = 29
    PROXY_AUTHEN_NAME = 30
    PROXY_AUTHEN_CHALLENGE = 31
    PROXY_AUTHEN_ID = 32
    PROXY_AUTHEN_RESPONSE = 33
    CALL_ERRORS = 34
    ACCM = 35
    RANDOM_VECTOR = 36
    PRIVATE_GROUP_ID = 37
    RX_CONNECT_SPEED = 38
    SEQUENCING_REQUIRED = 39
    PPP_DISCONNECT_CAUSE = 46


class ResultCode(IntEnum):
    """Why a tunnel is closed: result codes of StopCCN (RFC 2661 section 4.4.2)."""

    GENERAL = 1
    ERROR = 2
    ALREADY_EXISTS = 3
    NOT_AUTHORIZED = 4
    VERSION = 5
    SHUTTING_DOWN = 6
    FSM_ERROR = 7


class CallResult(IntEnum):
    """Why a call is cleared: result codes of CDN (RFC 2661 section 4.4.2)."""

    LOST_CARRIER = 1
    ERROR = 2
    ADMINISTRATIVE = 3
    NO_FACILITIES_NOW = 4
    NO_FACILITIES = 5
    INVALID_DESTINATION = 6
    NO_CARRIER = 7
    BUSY = 8
    NO_DIAL_TONE = 9
    NOT_IN_TIME = 10
    NO_FRAMING = 11


class ErrorCode(IntEnum):
    """General error codes, with result code 2 of either message (RFC 2661 section 4.4.2)."""

    NONE = 0
    NO_CONTROL_CONNECTION = 1
    WRONG_LENGTH = 2
    OUT_OF_RANGE = 3
    NO_RESOURCES = 4
    INVALID_SESSION = 5
    VENDOR_SPECIFIC = 6
    TRY_ANOTHER = 7
    UNKNOWN_MANDATORY = 8


@dataclass(frozen=True, slots=True)
class Result:
    """Value of the Result Code AVP."""

    result: int
    """A ``ResultCode`` or ``CallResult``; any other number may come from a peer."""
    error: int = 0
    """An ``ErrorCode``; with StopCCN 5 the highest protocol version that is spoken."""
    text: bytes = b""
    """UTF-8 for a person; unchecked when it comes from a peer."""

    def __str__(self) -> str:
        numbers = f"{self.result}/{self.error}"
        return f"{numbers} {printable(self.text)}" if self.text else numbers


@dataclass(frozen=True, slots=True)
class Cause:
    """Value of the Q.931 Cause Code AVP."""

    code: int
    message: int
    text: bytes = b""


@dataclass(frozen=True, slots=True)
class CallErrors:
    """Value of the Call Errors AVP: what a LAC counted on its line since the call began."""

    crc: int
    framing: int
    hardware_overrun: int
    buffer_overrun: int
    timeout: int
    alignment: int


@dataclass(frozen=True, slots=True)
class AccmPair:
    """Value of the ACCM AVP: asynchronous control character maps of an asynchronous line."""

    send: int
    receive: int


Value: TypeAlias = int | bytes | Result | Cause | CallErrors | AccmPair


class Kind(Enum):
    """How the value of an AVP is coded."""

    U16 = "u16"
    U32 = "u32"
    OCTETS = "octets"
    TEXT = "text"
    RESULT = "result"
    CAUSE = "cause"
    CALL_ERRORS = "call errors"
    ACCM = "accm"
    EMPTY = "empty"


@dataclass(frozen=True, slots=True)
class AvpSpec:
    """One row of the table."""

    number: AvpType
    name: str
    kind: Kind
    mandatory: bool
    """The M bit it is sent with."""
    may_hide: bool
    section: str
    """Of RFC 2661 unless it says otherwise."""
    shortest: int = 0
    """Least octets of an OCTETS or TEXT value."""
    longest: int = MAX_VALUE


def _rows(*rows: AvpSpec) -> dict[int, AvpSpec]:
    return {row.number: row for row in rows}


_T: Final = AvpType
_K: Final = Kind

AVPS: Final = _rows(
    # number, name, coding, M, may hide, section
    AvpSpec(_T.MESSAGE_TYPE, "Message Type", _K.U16, True, False, "4.4.1"),
    AvpSpec(_T.RESULT_CODE, "Result Code", _K.RESULT, True, False, "4.4.2"),
    AvpSpec(_T.PROTOCOL_VERSION, "Protocol Version", _K.U16, True, False, "4.4.3"),
    AvpSpec(_T.FRAMING_CAPABILITIES, "Framing Capabilities", _K.U32, True, True, "4.4.3"),
    AvpSpec(_T.BEARER_CAPABILITIES, "Bearer Capabilities", _K.U32, True, True, "4.4.3"),
    AvpSpec(_T.TIE_BREAKER, "Tie Breaker", _K.OCTETS, False, False, "4.4.3", 8, 8),
    AvpSpec(_T.FIRMWARE_REVISION, "Firmware Revision", _K.U16, False, True, "4.4.3"),
    # At least one octet says the RFC; Windows XP may send none, so none is taken.
    AvpSpec(_T.HOST_NAME, "Host Name", _K.TEXT, True, False, "4.4.3"),
    AvpSpec(_T.VENDOR_NAME, "Vendor Name", _K.TEXT, False, True, "4.4.3"),
    AvpSpec(_T.ASSIGNED_TUNNEL_ID, "Assigned Tunnel ID", _K.U16, True, True, "4.4.3"),
    AvpSpec(_T.RECEIVE_WINDOW_SIZE, "Receive Window Size", _K.U16, True, False, "4.4.3"),
    AvpSpec(_T.CHALLENGE, "Challenge", _K.OCTETS, True, True, "4.4.3"),
    AvpSpec(_T.Q931_CAUSE_CODE, "Q.931 Cause Code", _K.CAUSE, True, False, "4.4.6"),
    AvpSpec(_T.CHALLENGE_RESPONSE, "Challenge Response", _K.OCTETS, True, True, "4.4.3", 16, 16),
    AvpSpec(_T.ASSIGNED_SESSION_ID, "Assigned Session ID", _K.U16, True, True, "4.4.4"),
    AvpSpec(_T.CALL_SERIAL_NUMBER, "Call Serial Number", _K.U32, True, True, "4.4.4"),
    AvpSpec(_T.MINIMUM_BPS, "Minimum BPS", _K.U32, True, True, "4.4.4"),
    AvpSpec(_T.MAXIMUM_BPS, "Maximum BPS", _K.U32, True, True, "4.4.4"),
    AvpSpec(_T.BEARER_TYPE, "Bearer Type", _K.U32, True, True, "4.4.4"),
    AvpSpec(_T.FRAMING_TYPE, "Framing Type", _K.U32, True, True, "4.4.4"),
    AvpSpec(_T.CALLED_NUMBER, "Called Number", _K.TEXT, True, True, "4.4.4"),
    AvpSpec(_T.CALLING_NUMBER, "Calling Number", _K.TEXT, True, True, "4.4.4"),
    AvpSpec(_T.SUB_ADDRESS, "Sub-Address", _K.TEXT, True, True, "4.4.4"),
    AvpSpec(_T.TX_CONNECT_SPEED, "(Tx) Connect Speed", _K.U32, True, True, "4.4.4"),
    AvpSpec(_T.PHYSICAL_CHANNEL_ID, "Physical Channel ID", _K.U32, False, True, "4.4.4"),
    AvpSpec(_T.INITIAL_RECEIVED_LCP_CONFREQ, "Initial Received LCP CONFREQ", _K.OCTETS, False, True, "4.4.5"),
    AvpSpec(_T.LAST_SENT_LCP_CONFREQ, "Last Sent LCP CONFREQ", _K.OCTETS, False, True, "4.4.5"),
    AvpSpec(_T.LAST_RECEIVED_LCP_CONFREQ, "Last Received LCP CONFREQ", _K.OCTETS, False, True, "4.4.5"),
    AvpSpec(_T.PROXY_AUTHEN_TYPE, "Proxy Authen Type", _K.U16, False, True, "4.4.5"),
    AvpSpec(_T.PROXY_AUTHEN_NAME, "Proxy Authen Name", _K.TEXT, False, True, "4.4.5"),
    AvpSpec(_T.PROXY_AUTHEN_CHALLENGE, "Proxy Authen Challenge", _K.OCTETS, False, True, "4.4.5"),
    AvpSpec(_T.PROXY_AUTHEN_ID, "Proxy Authen ID", _K.U16, False, True, "4.4.5"),
    AvpSpec(_T.PROXY_AUTHEN_RESPONSE, "Proxy Authen Response", _K.OCTETS, False, True, "4.4.5"),
    AvpSpec(_T.CALL_ERRORS, "Call Errors", _K.CALL_ERRORS, True, True, "4.4.6"),
    AvpSpec(_T.ACCM, "ACCM", _K.ACCM, True, True, "4.4.6"),
    AvpSpec(_T.RANDOM_VECTOR, "Random Vector", _K.OCTETS, True, False, "4.4.1"),
    AvpSpec(_T.PRIVATE_GROUP_ID, "Private Group ID", _K.OCTETS, False, True, "4.4.4"),
    AvpSpec(_T.RX_CONNECT_SPEED, "Rx Connect Speed", _K.U32, False, True, "4.4.4"),
    AvpSpec(_T.SEQUENCING_REQUIRED, "Sequencing Required", _K.EMPTY, True, False, "4.4.4"),
    AvpSpec(_T.PPP_DISCONNECT_CAUSE, "PPP Disconnect Cause Code", _K.OCTETS, False, True, "RFC 3145 2.1", 5),
)


class BadValue(PeerError):
    """The value of a known AVP does not fit its type. ``error`` is the code that the peer is told."""

    def __init__(self, error: ErrorCode, detail: str) -> None:
        super().__init__(detail)
        self.error = error


class HiddenUnreadable(PeerError):
    """A hidden AVP that cannot be deciphered: no secret, or no Random Vector before it."""


class HiddenLength(PeerError):
    """A hidden AVP whose deciphered length is impossible: the two ends have different secrets, or the peer erred."""


@dataclass(frozen=True, slots=True)
class Avp:
    """One AVP as on the wire; nothing of its value is checked."""

    number: int
    """Attribute type, 0 to 65535."""
    value: bytes = field(repr=False)
    """0 to 1017 octets; ciphertext if ``hidden``."""
    mandatory: bool = True
    hidden: bool = False
    vendor: int = IETF
    reserved: int = 0
    """The four reserved bits, 0 to 15. If any is set the AVP is to be treated as unknown (section 4.1)."""

    @property
    def spec(self) -> AvpSpec | None:
        """Its row in the table, ``None`` if it is unknown."""
        return AVPS.get(self.number) if self.vendor == IETF and not self.reserved else None

    def __str__(self) -> str:
        name = self.spec.name if self.spec else f"type {self.number}" + (f" of vendor {self.vendor}" if self.vendor else "")
        return f"{name} ({'M' if self.mandatory else '-'}{'H' if self.hidden else '-'}, {len(self.value)} octets)"


def parse(body: bytes, base: int = 0) -> tuple[Avp, ...]:
    """Split the body of a control message into its AVPs.

    ``base`` is the offset of the body in the message. Raises ``Malformed`` if a length does not fit or there are too many.
    """
    reader = Reader(body, LAYER, base)
    avps: list[Avp] = []
    while len(reader):
        if len(avps) == MAX_AVPS:
            raise reader.fail("message", f"more than {MAX_AVPS} AVPs")
        start = reader.offset
        head = reader.u16("flags and length")
        length = head & LENGTH_MASK
        if length < HEADER_SIZE:
            raise reader.fail("length", f"{length} at AVP {len(avps) + 1}, octet {start}: less than its own header")
        vendor, number = reader.u16("vendor id"), reader.u16("attribute type")
        avps.append(
            Avp(
                number=number,
                value=reader.take(length - HEADER_SIZE, "value"),
                mandatory=bool(head & FLAG_MANDATORY),
                hidden=bool(head & FLAG_HIDDEN),
                vendor=vendor,
                reserved=(head & RESERVED_MASK) >> 10,
            )
        )
    return tuple(avps)


def emit(avp: Avp) -> bytes:
    """One AVP in octets. Raises ``OverflowError`` if it does not fit into 1023."""
    length = HEADER_SIZE + len(avp.value)
    if length > MAX_LENGTH:
        raise OverflowError(f"{avp} does not fit into an AVP")
    head = length | avp.reserved << 10
    head |= FLAG_MANDATORY if avp.mandatory else 0
    head |= FLAG_HIDDEN if avp.hidden else 0
    return Writer().u16(head).u16(avp.vendor).u16(avp.number).raw(avp.value).bytes()


def decode(spec: AvpSpec, octets: bytes) -> Value:
    """The value of an AVP by its row. Raises ``BadValue`` if the length does not fit."""

    def length(right: bool, wanted: str) -> None:
        if not right:
            raise BadValue(ErrorCode.WRONG_LENGTH, f"{spec.name} AVP has a value of {len(octets)} octets, {wanted} expected")

    match spec.kind:
        case Kind.U16:
            length(len(octets) == 2, "2")
            return int.from_bytes(octets, "big")
        case Kind.U32:
            length(len(octets) == 4, "4")
            return int.from_bytes(octets, "big")
        case Kind.EMPTY:
            length(not octets, "none")
            return b""
        case Kind.OCTETS | Kind.TEXT:
            length(spec.shortest <= len(octets) <= spec.longest, f"{spec.shortest} to {spec.longest}")
            return octets
        case Kind.RESULT:
            # Some peers leave the error code out, some send it with nothing behind: both are legal.
            length(len(octets) == 2 or len(octets) >= 4, "2, or 4 and more")
            return Result(int.from_bytes(octets[:2], "big"), int.from_bytes(octets[2:4], "big"), octets[4:])
        case Kind.CAUSE:
            length(len(octets) >= 3, "3 or more")
            return Cause(int.from_bytes(octets[:2], "big"), octets[2], octets[3:])
        case Kind.CALL_ERRORS:
            length(len(octets) == 26, "26")
            return CallErrors(*(int.from_bytes(octets[i : i + 4], "big") for i in range(2, 26, 4)))
        case Kind.ACCM:
            length(len(octets) == 10, "10")
            return AccmPair(int.from_bytes(octets[2:6], "big"), int.from_bytes(octets[6:10], "big"))


def encode(value: Value, spec: AvpSpec) -> bytes:
    """The octets of a value by its row. Raises ``OverflowError`` or ``TypeError`` for one that does not fit: our own mistake."""
    writer = Writer()
    match spec.kind, value:
        case Kind.U16, int():
            writer.u16(value)
        case Kind.U32, int():
            writer.u32(value)
        case ((Kind.OCTETS | Kind.TEXT | Kind.EMPTY), bytes()):
            writer.raw(value)
        case Kind.RESULT, Result():
            writer.u16(value.result).u16(value.error).raw(value.text)
        case Kind.CAUSE, Cause():
            writer.u16(value.code).u8(value.message).raw(value.text)
        case Kind.CALL_ERRORS, CallErrors():
            writer.u16(0)
            for count in (
                value.crc,
                value.framing,
                value.hardware_overrun,
                value.buffer_overrun,
                value.timeout,
                value.alignment,
            ):
                writer.u32(count)
        case Kind.ACCM, AccmPair():
            writer.u16(0).u32(value.send).u32(value.receive)
        case _:
            raise TypeError(f"{spec.name} AVP cannot hold {type(value).__name__}")
    return writer.bytes()


def make(number: AvpType, value: Value) -> Avp:
    """An AVP to send: the M bit comes from the table."""
    spec = AVPS[number]
    return Avp(number, encode(value, spec), spec.mandatory)


def _keystream_xor(number: int, secret: bytes, vector: bytes, octets: bytes, *, reveal: bool) -> bytes:
    """The cipher of section 4.3: each block is masked with MD5 over the secret and the block of ciphertext before it."""
    mask = hashlib.md5(number.to_bytes(2, "big") + secret + vector, usedforsecurity=False).digest()
    out = bytearray()
    for start in range(0, len(octets), 16):
        block = octets[start : start + 16]
        result = bytes(a ^ b for a, b in zip(block, mask, strict=False))
        out += result
        mask = hashlib.md5(secret + (block if reveal else result), usedforsecurity=False).digest()
    return bytes(out)


def hide(avp: Avp, secret: bytes, vector: bytes, rand: Rand | None = None) -> Avp:
    """The hidden form of an AVP (section 4.3).

    With ``rand`` the value is padded to full blocks of 16 octets, so that its length does not show. Raises ``OverflowError`` if it
    does not fit any more.
    """
    plain = len(avp.value).to_bytes(2, "big") + avp.value
    if rand is not None:
        plain += rand(min(-len(plain) % 16, MAX_VALUE - len(plain)))
    if len(plain) > MAX_VALUE:
        raise OverflowError(f"{avp} does not fit into a hidden AVP")
    return Avp(avp.number, _keystream_xor(avp.number, secret, vector, plain, reveal=False), avp.mandatory, hidden=True)


def reveal(avps: tuple[Avp, ...], secret: bytes | None) -> tuple[Avp, ...]:
    """Decipher what is hidden. The nearest Random Vector before an AVP counts (section 4.3).

    An unknown AVP stays hidden: nobody will look at it. Raises ``HiddenUnreadable`` and ``HiddenLength``.
    """
    vector = b""
    clear: list[Avp] = []
    for avp in avps:
        if avp.spec is not None and avp.number == AvpType.RANDOM_VECTOR:
            vector = avp.value
        if not avp.hidden or avp.spec is None:
            clear.append(avp)
            continue
        if secret is None:
            raise HiddenUnreadable(f"hidden AVP, no secret: {avp}")
        if not vector:
            raise HiddenUnreadable(f"hidden AVP without a Random Vector before it: {avp}")
        plain = _keystream_xor(avp.number, secret, vector, avp.value, reveal=True)
        length = int.from_bytes(plain[:2], "big")
        if not 0 < length <= len(plain) - 2:
            raise HiddenLength(f"{avp} deciphers to an impossible length: are the secrets the same?")
        clear.append(Avp(avp.number, plain[2 : 2 + length], avp.mandatory))
    return tuple(clear)


def challenge_response(message_type: int, secret: bytes, challenge: bytes) -> bytes:
    """Answer to a challenge, 16 octets (section 4.4.3, 5.1.1). ``message_type`` is that of the message that carries the answer."""
    return hashlib.md5(bytes([message_type]) + secret + challenge, usedforsecurity=False).digest()


def same(expected: bytes, given: bytes) -> bool:
    """Compare an answer to a challenge in constant time."""
    return hmac.compare_digest(expected, given)
