"""DHCPv6 (RFC 8415), the server's side for one client on its own link: a delegated prefix (IA_PD) and name servers, and nothing else.

::

    +---------------+-----------------------------------------------+
    | Message type  | Transaction id, 24 bits                       |    then options: code 16, length 16, data
    +---------------+-----------------------------------------------+

One link has one client and at most one prefix to give, so the only state is which identity association holds it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv6Address, IPv6Network
from typing import Final

from headrace.wire import Malformed, Reader, Writer

SERVER_PORT: Final = 547
CLIENT_PORT: Final = 546

DUID_MAX: Final = 130
"""Octets (RFC 8415 section 11.1)."""
OPTIONS_MAX: Final = 64
"""Options of one message, or of one IA_PD, that are read."""

_LAYER: Final = "dhcp6"


class Message(IntEnum):
    """Message types (section 7.3)."""

    SOLICIT = 1
    ADVERTISE = 2
    REQUEST = 3
    CONFIRM = 4
    RENEW = 5
    REBIND = 6
    REPLY = 7
    RELEASE = 8
    DECLINE = 9
    INFORMATION_REQUEST = 11


class Option(IntEnum):
    """Option codes (section 21, RFC 3646)."""

    CLIENT_ID = 1
    SERVER_ID = 2
    IA_NA = 3
    IA_TA = 4
    ORO = 6
    STATUS = 13
    RAPID_COMMIT = 14
    DNS = 23
    IA_PD = 25
    IA_PREFIX = 26


class Status(IntEnum):
    """Status codes (section 21.13)."""

    SUCCESS = 0
    NO_ADDRESSES = 2
    NO_BINDING = 3
    NOT_ON_LINK = 4
    NO_PREFIX = 6


_STATUS_TEXT: Final = {
    Status.SUCCESS: "done",
    Status.NO_ADDRESSES: "addresses are given by router advertisement",
    Status.NO_BINDING: "nothing is held by that identity",
    Status.NOT_ON_LINK: "that prefix is not of this link",
    Status.NO_PREFIX: "no prefix is left on this link",
}


def parse_options(reader: Reader) -> list[tuple[int, bytes]]:
    """Options in order. Raises ``Malformed`` for one that runs past the end, or too many."""
    found: list[tuple[int, bytes]] = []
    while len(reader):
        if len(found) == OPTIONS_MAX:
            raise reader.fail("option", f"more than {OPTIONS_MAX} options")
        code, length = reader.u16("option"), reader.u16("option")
        found.append((code, reader.take(length, "option")))
    return found


def emit_option(code: int, data: bytes) -> bytes:
    """One option as octets."""
    return Writer().u16(code).u16(len(data)).raw(data).bytes()


def _status(status: Status) -> bytes:
    return emit_option(Option.STATUS, status.to_bytes(2, "big") + _STATUS_TEXT[status].encode())


@dataclass(frozen=True, slots=True)
class Request:
    """What a client says."""

    message: int
    transaction: bytes
    client: bytes = field(repr=False)
    """DUID; empty if it named none."""
    server: bytes = field(repr=False)
    options: tuple[tuple[int, bytes], ...] = ()

    @classmethod
    def parse(cls, data: bytes) -> Request:
        """Read a message. Raises ``Malformed``, also for an identifier that is given twice or too long."""
        reader = Reader(data, _LAYER)
        message, transaction = reader.u8("short"), reader.take(3, "short")
        options = parse_options(reader)
        ids = {}
        for code, value in options:
            if code in {Option.CLIENT_ID, Option.SERVER_ID}:
                if code in ids or not 3 <= len(value) <= DUID_MAX:
                    raise Malformed(_LAYER, "duid", reader.offset, f"an identifier of {len(value)} octets, or a second one")
                ids[code] = value
        return cls(message, transaction, ids.get(Option.CLIENT_ID, b""), ids.get(Option.SERVER_ID, b""), tuple(options))

    def has(self, code: int) -> bool:
        """Whether the message has this option."""
        return any(found == code for found, _ in self.options)

    def wants(self, code: int) -> bool:
        """Whether the client asks for this option (Option Request)."""
        asked = b"".join(value for found, value in self.options if found == Option.ORO)
        return code in {int.from_bytes(asked[at : at + 2], "big") for at in range(0, len(asked) - 1, 2)}


_GIVES: Final = {Message.SOLICIT, Message.REQUEST, Message.RENEW, Message.REBIND}
_NAMES_SERVER: Final = {Message.REQUEST, Message.RENEW, Message.RELEASE, Message.DECLINE}
_TAKES_BACK: Final = {Message.RELEASE, Message.DECLINE}


class DelegationServer:
    """Answers one client. ``delegated`` is what it may have, ``None``: no prefix, name servers alone."""

    def __init__(
        self,
        duid: bytes,
        delegated: IPv6Network | None,
        dns: Iterable[IPv6Address],
        *,
        preferred: int = 14400,
        valid: int = 86400,
    ) -> None:
        self._duid = duid
        self._delegated = delegated
        self._dns = b"".join(address.packed for address in dns)
        self._preferred = preferred
        self._valid = valid
        self.holder: tuple[bytes, bytes] | None = None
        """(DUID, IAID) that has the prefix now."""

    def answer(self, data: bytes) -> bytes | None:
        """Take one message and give the reply, ``None`` for what is not for this server or not for a server at all.

        Raises ``Malformed``.
        """
        request = Request.parse(data)
        if not self._is_for_us(request):
            return None
        head = emit_option(Option.SERVER_ID, self._duid)
        if request.client:
            head = emit_option(Option.CLIENT_ID, request.client) + head
        commit = request.message == Message.SOLICIT and request.has(Option.RAPID_COMMIT)
        offered = request.message == Message.SOLICIT and not commit
        body = b"".join(self._answer_option(request, code, value, offered=offered) for code, value in request.options)
        if commit:
            head += emit_option(Option.RAPID_COMMIT, b"")
        if request.message in _TAKES_BACK or request.message == Message.CONFIRM:
            # Confirm asks about addresses, of which this server has none to judge (section 18.3.3).
            body += _status(Status.SUCCESS if request.message in _TAKES_BACK else Status.NOT_ON_LINK)
        if self._dns and request.message not in _TAKES_BACK and request.wants(Option.DNS):
            body += emit_option(Option.DNS, self._dns)
        kind = Message.ADVERTISE if offered else Message.REPLY
        return bytes([kind]) + request.transaction + head + body

    def _is_for_us(self, request: Request) -> bool:
        """Section 16: which identifiers each message must have and must not have."""
        known = request.message in _GIVES | _TAKES_BACK | {Message.CONFIRM, Message.INFORMATION_REQUEST}
        if not known or (not request.client and request.message != Message.INFORMATION_REQUEST):
            return False
        if request.message in _NAMES_SERVER:
            return request.server == self._duid
        if request.message == Message.INFORMATION_REQUEST:
            return request.server in {b"", self._duid} and not request.has(Option.IA_PD) and not request.has(Option.IA_NA)
        return not request.server

    def _answer_option(self, request: Request, code: int, value: bytes, *, offered: bool) -> bytes:
        if code == Option.IA_PD:
            return self._delegation(request, value, offered=offered)
        if code == Option.IA_NA and request.message in _GIVES and len(value) >= 12:
            return emit_option(code, value[:4] + bytes(8) + _status(Status.NO_ADDRESSES))
        if code == Option.IA_TA and request.message in _GIVES and len(value) >= 4:
            return emit_option(code, value[:4] + _status(Status.NO_ADDRESSES))
        return b""

    def _delegation(self, request: Request, value: bytes, *, offered: bool) -> bytes:
        """One IA_PD: IAID, T1, T2, then prefixes."""
        reader = Reader(value, _LAYER)
        iaid = reader.take(4, "ia_pd")
        reader.take(8, "ia_pd")
        asked = [prefix for code, prefix in parse_options(reader) if code == Option.IA_PREFIX]
        who = (request.client, iaid)
        if request.message in _TAKES_BACK:
            if self.holder != who:
                return emit_option(Option.IA_PD, iaid + bytes(8) + _status(Status.NO_BINDING))
            self.holder = None
            return b""
        if request.message not in _GIVES:
            return b""
        if self._delegated is None or self.holder not in {None, who}:
            return emit_option(Option.IA_PD, iaid + bytes(8) + _status(Status.NO_PREFIX))
        if request.message == Message.RENEW and self.holder is None:
            return emit_option(Option.IA_PD, iaid + bytes(8) + _status(Status.NO_BINDING))
        if not offered:
            self.holder = who
        return emit_option(Option.IA_PD, self._prefixes(iaid, asked))

    def _prefixes(self, iaid: bytes, asked: list[bytes]) -> bytes:
        """Ours with its lifetimes, and any other that the client believes it has with none (section 18.3.5)."""
        assert self._delegated is not None
        ours = bytes([self._delegated.prefixlen]) + self._delegated.network_address.packed
        times = Writer().u32(self._preferred // 2).u32(self._preferred * 4 // 5).bytes()
        lifetimes = Writer().u32(self._preferred).u32(self._valid).bytes()
        body = iaid + times + emit_option(Option.IA_PREFIX, lifetimes + ours)
        for prefix in asked:
            if len(prefix) >= 25 and prefix[8:25] != ours and prefix[9:25] != bytes(16):
                body += emit_option(Option.IA_PREFIX, bytes(8) + prefix[8:25])
        return body
