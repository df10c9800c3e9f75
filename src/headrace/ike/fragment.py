"""IKE fragmentation as Windows and Cisco do it (MS-IKEE 2.2.3.1, 3.3.5). Nothing here is authenticated, so everything is bounded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.core import earliest
from headrace.ike.constants import HEADER_OCTETS, PayloadType
from headrace.ike.limits import FRAGMENT_LIFE, MAX_MESSAGE_OCTETS, MAX_UNFINISHED
from headrace.ike.message import Header, emit_message
from headrace.ike.payloads import Fragment
from headrace.ike.refusal import Drop

_OVERHEAD = HEADER_OCTETS + 8
"""Octets of a fragment's datagram that are not data: ISAKMP header, generic header, fragment header."""
_MOST = 255


def split(message: bytes, fragment_id: int, size: int) -> list[bytes]:
    """Cut a whole message into datagrams of at most ``size`` octets, each with the message's cookies and exchange type."""
    room = max(size - _OVERHEAD, -(-len(message) // _MOST))
    head = Header.parse(message)
    pieces = [message[start : start + room] for start in range(0, len(message), room)]
    return [
        emit_message(
            Header(head.cookie_i, head.cookie_r, PayloadType.FRAGMENT, head.exchange),
            [(PayloadType.FRAGMENT, Fragment(fragment_id, number, number == len(pieces), piece).emit())],
        )
        for number, piece in enumerate(pieces, 1)
    ]


@dataclass(slots=True)
class _Unfinished:
    since: float
    pieces: dict[int, bytes] = field(default_factory=dict)
    last: int = 0
    """Number of the last piece; 0 while it is not known."""
    octets: int = 0


class Reassembly:
    """The unfinished messages of one negotiation or SA.

    ``charge`` is told of octets that are kept (positive) and given back (negative); it answers whether there is room for them.
    """

    __slots__ = ("_charge", "_unfinished")

    def __init__(self, charge: Callable[[int], bool]) -> None:
        self._charge = charge
        self._unfinished: dict[int, _Unfinished] = {}

    def add(self, fragment: Fragment, now: float) -> bytes | None:
        """Take one fragment; gives the whole message when it was the missing one. Raises ``Drop``."""
        self.expire(now)
        number = fragment.number
        if number == 0 or not fragment.data:
            raise Drop("ike_fragment", "fragment number 0, or no data")
        message = self._unfinished.get(fragment.id)
        if message is None:
            while len(self._unfinished) >= MAX_UNFINISHED:
                self._discard(min(self._unfinished, key=lambda key: self._unfinished[key].since))
            message = self._unfinished[fragment.id] = _Unfinished(now)
        if number in message.pieces:
            raise Drop("ike_fragment", "a fragment that is already there")
        if (fragment.last and (message.last or number < max(message.pieces, default=0))) or (
            message.last and number > message.last
        ):
            self._discard(fragment.id)
            raise Drop("ike_fragment", "two last fragments, or one behind the last")
        if message.octets + len(fragment.data) > MAX_MESSAGE_OCTETS or not self._charge(len(fragment.data)):
            self._discard(fragment.id)
            raise Drop("ike_fragment", "too many octets")
        message.pieces[number] = fragment.data
        message.octets += len(fragment.data)
        if fragment.last:
            message.last = number
        if len(message.pieces) != message.last:
            return None
        whole = b"".join(message.pieces[i] for i in range(1, message.last + 1))
        self._discard(fragment.id)
        return whole

    def deadline(self) -> float | None:
        """When the oldest unfinished message is given up."""
        return earliest(message.since + FRAGMENT_LIFE for message in self._unfinished.values())

    def expire(self, now: float) -> None:
        """Give up what is too old."""
        for key in [key for key, message in self._unfinished.items() if now >= message.since + FRAGMENT_LIFE]:
            self._discard(key)

    def clear(self) -> None:
        """Give up everything."""
        for key in list(self._unfinished):
            self._discard(key)

    def _discard(self, key: int) -> None:
        self._charge(-self._unfinished.pop(key).octets)
