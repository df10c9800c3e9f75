"""A PPP protocol of one's own: two links without a network between them, and a handler that answers what it gets.

The links are the cores that gateway and client use. ``LinkConfig.foreign`` names the numbers that this program takes; every other unknown
number is answered with Protocol-Reject.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from headrace.ppp.config import LinkConfig
from headrace.ppp.events import Carried, LinkDown, PppEvent, ProtocolRejected, Settled
from headrace.ppp.link import Link

ECHO = 0x4021
"""From the range for vendors (RFC 3818); any number that PPP itself does not use will do."""


@dataclass
class Endpoint:
    """One end of the line."""

    name: str
    link: Link
    answers: bool = False
    up: bool = False
    heard: list[bytes] = field(default_factory=list)

    def handle(self, event: PppEvent) -> None:
        """What the handler registered for ``ECHO`` does."""
        if isinstance(event, Settled):
            self.up = True
        elif isinstance(event, Carried) and event.protocol == ECHO:
            self.heard.append(event.information)
            if self.answers:
                self.link.carry(ECHO, event.information[::-1])
        elif isinstance(event, ProtocolRejected):
            print(f"{self.name}: the peer has no handler for {event.protocol:#06x}")
        elif isinstance(event, LinkDown):
            print(f"{self.name}: {event.failure}")


def run(*ends: Endpoint) -> None:
    """Pass frames to and fro until nothing moves."""
    moved = True
    while moved:
        moved = False
        for here, there in (ends, ends[::-1]):
            for event in here.link.poll_events():
                here.handle(event)
                moved = True
            for frame in here.link.poll_frames():
                there.link.receive(frame, 0.0)
                moved = True


def line(*taken: int) -> tuple[Endpoint, Endpoint]:
    """Two ends that have agreed on LCP and IPCP."""
    here = LinkConfig(server=False, foreign=frozenset({ECHO}), local_address=IPv4Address("10.0.0.2"))
    there = LinkConfig(server=False, local_address=IPv4Address("10.0.0.1"), foreign=frozenset(taken))
    ends = (
        Endpoint("here", Link(here, secrets.token_bytes)),
        Endpoint("there", Link(there, secrets.token_bytes), answers=True),
    )
    for end in ends:
        end.link.open(0.0)
    run(*ends)
    return ends


def main() -> None:
    """Send a packet to a peer with a handler, and to one without."""
    here, there = line(ECHO)
    assert here.up
    assert here.link.carry(ECHO, b"hello")
    run(here, there)
    print(f"there got {there.heard[0]!r}, here got {here.heard[0]!r}")
    here, there = line()
    here.link.carry(ECHO, b"hello")
    run(here, there)


if __name__ == "__main__":
    main()
