"""A multilink bundle (RFC 1990): sessions of one user and one machine whose fragments belong together.

The first session leads: the network protocols are on its link, its addresses are the bundle's. What arrives in fragments on any session is
put together here. What we send ourselves is cut over all sessions; IP that the data plane forwards goes whole over the one that leads, which
section 2 allows (it then has no place in the sequence).
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Final

from headrace.ppp.frame import Frame, Proto
from headrace.ppp.multilink import LINKS_MAX, Receiver, Sender, Terms
from headrace.wire import Malformed

if TYPE_CHECKING:
    from headrace.stack.ladder import Session

FORWARDED: Final = frozenset({Proto.IPV4, Proto.IPV6})


@dataclass(frozen=True, slots=True)
class Key:
    """What makes two sessions one bundle (section 5.1.3): who it is, and which machine."""

    user: str
    discriminator: bytes


class Bundle:
    """One bundle; the ladder brings fragments and sends what is cut."""

    def __init__(self, key: Key, terms: Terms, head: Session) -> None:
        self.key = key
        self.terms = terms
        self.head = head
        self.sessions: list[Session] = []
        self._receiver = Receiver(terms)
        self._sender = Sender(terms)
        self.add(head)

    def takes(self, terms: Terms) -> bool:
        """Whether a link with these terms may join."""
        return terms == self.terms and len(self.sessions) < LINKS_MAX

    def add(self, session: Session) -> None:
        """A session joins."""
        self.sessions.append(session)
        self._receiver.join(session.record.handle)

    def remove(self, session: Session) -> None:
        """A session leaves."""
        if session in self.sessions:
            self.sessions.remove(session)
            self._receiver.leave(session.record.handle)

    def receive(self, session: Session, fragment: bytes, now: float) -> list[Frame]:
        """Take a fragment; the frames that are whole now. Raises ``Malformed``."""
        return self._frames(self._receiver.receive(session.record.handle, fragment, now))

    def deadline(self) -> float | None:
        """When what is missing is given up."""
        return self._receiver.deadline()

    def tick(self, now: float) -> list[Frame]:
        """Give up what is missing; the frames that are whole behind it."""
        return self._frames(self._receiver.tick(now))

    def poll_drops(self) -> list[str]:
        """Reasons for which fragments and frames were lost."""
        drops, self._receiver.drops = self._receiver.drops, []
        return drops

    def cut(self, protocol: int, information: bytes) -> list[tuple[Session, bytes]]:
        """Fragments of one packet, each with the session that it goes through; nothing for one over the peer's MRRU."""
        limits = [session.link.send_limit() for session in self.sessions]
        pieces = self._sender.cut(Frame(protocol, information).emit(), limits)
        return [(self.sessions[index], piece) for index, piece in pieces]

    def _frames(self, whole: list[bytes]) -> list[Frame]:
        frames = []
        for data in whole:
            try:
                frames.append(Frame.parse(data))
            except Malformed:
                self._receiver.drops.append("ppp_short")
        return frames


def is_its_own(packet: bytes, head: Session) -> bool:
    """Whether an IP packet that came in fragments may enter as one of the session that leads: what the data plane asks of whole ones."""
    record = head.record
    if packet[:1] and packet[0] >> 4 == 4 and len(packet) >= 20:
        source, to = IPv4Address(packet[12:16]), IPv4Address(packet[16:20])
        mine = record.remote_address is not None and (not head.entry.own4 or source == head.entry.own4)
        return mine and not to.is_loopback and str(to) != str(record.peer.local.address)
    if packet[:1] and packet[0] >> 4 == 6 and len(packet) >= 40:
        six, to6 = IPv6Address(packet[8:24]), IPv6Address(packet[24:40])
        mine = head.entry.open6 and (head.entry.own6 is None or six in head.entry.own6)
        return mine and not to6.is_loopback and str(to6) != str(record.peer.local.address)
    return False


def stays_on_link(packet: bytes) -> bool:
    """Whether an IPv6 packet is between the two ends of the link alone, as the data plane sees it."""
    to = packet[24:26]
    return len(packet) >= 40 and ((to[0] == 0xFF and to[1] & 15 <= 2) or (to[0] == 0xFE and to[1] & 0xC0 == 0x80))
