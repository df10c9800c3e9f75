"""L2TP messages and PPP frames in words. Passwords are counted, never shown."""

from __future__ import annotations

from typing import Final

from headrace.errors import PeerError
from headrace.l2tp import avp as avps
from headrace.l2tp.avp import Avp, AvpType, BadValue, Kind
from headrace.l2tp.message import MESSAGES, Message, interpret
from headrace.model import printable
from headrace.ppp.ccp import STATELESS, strengths
from headrace.ppp.frame import Code, Frame, Packet, Proto, protocol_name
from headrace.ppp.lcp import AUTH_OPTION
from headrace.ppp.option import Ccp, Lcp, Option, describe, parse_options
from headrace.wire import Malformed

_AUTH_CODES: Final = {
    Proto.CHAP: {1: "Challenge", 2: "Response", 3: "Success", 4: "Failure", 7: "Change-Password"},
    Proto.PAP: {1: "Authenticate-Request", 2: "Authenticate-Ack", 3: "Authenticate-Nak"},
    Proto.EAP: {1: "Request", 2: "Response", 3: "Success", 4: "Failure"},
}
_EAP_TYPES: Final = {
    1: "Identity", 2: "Notification", 3: "Nak", 4: "MD5-Challenge", 6: "GTC", 13: "TLS", 21: "TTLS", 25: "PEAP", 26: "MSCHAPv2",
    33: "Extensions",
}  # fmt: skip
_CONTROL: Final = frozenset({Proto.LCP, Proto.IPCP, Proto.CCP, Proto.IPV6CP, Proto.IPXCP, Proto.ECP, Proto.CCP_LINK})
_CONFIGURE: Final = frozenset({1, 2, 3, 4})
_METHODS: Final = {data: method.value for method, data in AUTH_OPTION.items()} | {b"\xc2\x27": "eap", b"\xc2\x23\x80": "mschap"}


def l2tp_message(body: bytes, secret: bytes | None) -> tuple[Message | None, str, list[str]]:
    """A control message: its value if it can be made, its name, its attributes. Raises ``Malformed``."""
    if not body:
        return None, "ZLB", []
    raw = avps.parse(body)
    problem = ""
    try:
        raw = avps.reveal(raw, secret)
    except PeerError as error:
        problem = str(error)
    message: Message | None = None
    try:
        message = interpret(raw)
        name = message.type.name
    except PeerError as error:
        name = _type_name(raw)
        problem = problem or str(error)
    details = [_attribute(item) for item in raw[1:]]
    return message, name, [*details, *([problem] if problem else [])]


def _type_name(raw: tuple[Avp, ...]) -> str:
    number = int.from_bytes(raw[0].value, "big") if raw and len(raw[0].value) == 2 else -1
    row = MESSAGES.get(number)
    return row.number.name if row else f"message {number}"


def _attribute(item: Avp) -> str:
    if item.hidden:
        return f"{item} hidden"
    if item.spec is None:
        return str(item)
    try:
        value = avps.decode(item.spec, item.value)
    except BadValue as error:
        return str(error)
    if isinstance(value, bytes):
        if item.number in {AvpType.CHALLENGE, AvpType.CHALLENGE_RESPONSE, AvpType.PROXY_AUTHEN_RESPONSE, AvpType.RANDOM_VECTOR}:
            return f"{item.spec.name} of {len(value)} octets"
        return f"{item.spec.name} {printable(value) if item.spec.kind is Kind.TEXT else value[:32].hex()}".rstrip()
    return f"{item.spec.name} {value}"


def ppp_name(protocol: int) -> str:
    """A protocol as a column has it: ``LCP``, ``IPv4``."""
    special = {Proto.IPV4: "IPv4", Proto.IPV6: "IPv6", Proto.COMPRESSED: "MPPE"}
    try:
        number = Proto(protocol)
    except ValueError:
        return f"PPP {protocol:04x}"
    return special.get(number, number.name)


def ppp_control(frame: Frame) -> str:
    """A frame that is no user data, in one line. Raises ``Malformed``."""
    if frame.protocol not in _CONTROL and frame.protocol not in _AUTH_CODES:
        return f"{len(frame.information)} octets of {protocol_name(frame.protocol)}"
    packet = Packet.parse(frame.information, "ppp")
    if frame.protocol in _AUTH_CODES:
        return _authentication(frame.protocol, packet)
    head = str(packet).split(" id ", maxsplit=1)[0] + f" id {packet.identifier}"
    if packet.code in _CONFIGURE:
        return f"{head} {options(frame.protocol, packet.data)}".rstrip()
    if packet.code == Code.TERMINATE_REQUEST and packet.data:
        return f"{head} {_terminate(packet.data)}"
    if packet.code == Code.PROTOCOL_REJECT and len(packet.data) >= 2:
        return f"{head} of {protocol_name(int.from_bytes(packet.data[:2], 'big'))}"
    if packet.code == Code.IDENTIFICATION and len(packet.data) > 4:
        return f"{head} {printable(packet.data[4:])}"
    return head


def _terminate(data: bytes) -> str:
    if len(data) == 12 and data[4:8] == b"\x00\x3c\xcd\x74":
        return f"error {int.from_bytes(data[8:], 'big')}"
    return f'"{printable(data, 100)}"'


def options(protocol: int, data: bytes) -> str:
    """Options in one line; those whose octets say little are spelled out. Raises ``Malformed``."""
    parts = []
    for option in parse_options(data, "ppp"):
        text = _option(protocol, option)
        parts.append(text or describe(protocol, (option,)))
    return " ".join(parts)


def _option(protocol: int, option: Option) -> str:
    if protocol == Proto.LCP and option.type == Lcp.AUTH:
        return f"<auth {_METHODS.get(option.data, option.data.hex())}>"
    if protocol == Proto.CCP and option.type == Ccp.MPPE and len(option.data) == 4:
        return f"<mppe {mppe(option.value)}>"
    return ""


def mppe(value: int) -> str:
    """The bits of CCP's MPPE option: ``128/40 stateless``."""
    bits = "/".join(map(str, strengths(value))) or "none"
    return f"{bits} {'stateless' if value & STATELESS else 'stateful'}{' with MPPC' if value & 1 else ''}"


def _authentication(protocol: int, packet: Packet) -> str:
    head = f"{_AUTH_CODES[Proto(protocol)].get(packet.code, f'code {packet.code}')} id {packet.identifier}"
    data = packet.data
    if protocol == Proto.CHAP:
        if packet.code in {1, 2} and data:
            return f"{head} of {data[0]} octets, name {printable(data[1 + data[0] :]) or '-'}"
        return f'{head} "{printable(data, 120)}"' if packet.code in {3, 4} else head
    if protocol == Proto.PAP and packet.code == 1 and data:
        name = data[1 : 1 + data[0]]
        rest = data[1 + data[0] :]
        return f"{head} name {printable(name)}, password of {rest[0] if rest else 0} octets"
    if protocol == Proto.EAP and packet.code in {1, 2} and data:
        kind = _EAP_TYPES.get(data[0], f"type {data[0]}")
        what = f" {printable(data[1:], 100)}" if data[0] == 1 and len(data) > 1 else f", {len(data)} octets"
        return f"{head} {kind}{what}"
    return head


def malformed(error: Malformed) -> str:
    """One line for what a parser refused."""
    return str(error)
