"""First messages of main mode as a probe: does anything answer, what does it accept, what does it say of itself.

Every probe leaves a half-open negotiation at the server, which forgets it after half a minute, so their number and rate are bounded.
"""

from __future__ import annotations

import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from headrace.ike import phase1_offer, vendor
from headrace.ike.constants import AuthMethod, Exchange, PayloadType, notify_name
from headrace.ike.limits import MAX_OFFERED
from headrace.ike.message import Header, emit_message, parse_chain
from headrace.ike.payloads import Notify, SecurityAssociation, VendorId
from headrace.ike.proposal import TIERS, IkeProposal
from headrace.model import Endpoint, IPAddress
from headrace.wire import Malformed

TRIES: Final = 3
WAIT: Final = 1.2
"""Seconds for an answer to each."""
RATE: Final = 4.0
"""Probes a second at most."""
SCAN_MAX: Final = 16
"""Proposals that a scan finds at most, for each way to authenticate."""
LARGE: Final = 1900
"""Octets of the large probe: two fragments on any path."""
MARKER: Final = bytes(4)
_DATAGRAM_MAX: Final = 65535


@dataclass(slots=True)
class Answer:
    """What came back to a first message."""

    seconds: float
    chosen: phase1_offer.Offer | None = None
    notify: int | None = None
    vendors: list[bytes] = field(default_factory=list)

    @property
    def label(self) -> str:
        """For a person."""
        if self.chosen is not None:
            return self.chosen.label
        return notify_name(self.notify) if self.notify is not None else "an answer that cannot be read"


class Unreachable(Exception):
    """The network said that nothing gets there: an ICMP error, or no route."""


class PortClosed(Unreachable):
    """Port unreachable: the host is there, nothing listens. A Windows client heeds it not, and times out."""


class Prober:
    """Sends first messages to one server. Counts every datagram."""

    def __init__(self, remote: IPAddress, source: IPAddress | None = None) -> None:
        self.sent = 0
        self._remote = remote
        self._source = source
        self._last = 0.0

    def ask(
        self, port: int, proposals: Sequence[IkeProposal], methods: Sequence[AuthMethod], *, marker: bool = False, size: int = 0
    ) -> Answer | None:
        """One offer, repeated while nothing answers; ``None`` for silence. Raises ``Unreachable``."""
        cookie = secrets.token_bytes(8)
        message = _offer(cookie, proposals, methods, size)
        family = socket.AF_INET if self._remote.version == 4 else socket.AF_INET6
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            if self._source is not None:
                sock.bind((str(self._source), 0))
            # The large probe must be cut on the way, not refused here.
            with suppress(OSError):
                sock.setsockopt(socket.IPPROTO_IP, 10, 0)  # IP_MTU_DISCOVER: never set DF
            try:
                sock.connect((str(self._remote), port))
                return self._exchange(sock, cookie, (MARKER if marker else b"") + message, marker=marker)
            except ConnectionRefusedError as error:
                raise PortClosed(f"{Endpoint(self._remote, port)}: {error.strerror}") from None
            except OSError as error:
                raise Unreachable(f"{Endpoint(self._remote, port)}: {error.strerror or error}") from None

    def _exchange(self, sock: socket.socket, cookie: bytes, message: bytes, *, marker: bool) -> Answer | None:
        for _ in range(TRIES):
            pause = self._last + 1 / RATE - time.monotonic()
            if pause > 0:
                time.sleep(pause)
            self._last = begin = time.monotonic()
            sock.send(message)
            self.sent += 1
            while (left := begin + WAIT - time.monotonic()) > 0:
                sock.settimeout(left)
                try:
                    data = sock.recv(_DATAGRAM_MAX)
                except TimeoutError:
                    break
                answer = _read(data[4:] if marker and data[:4] == MARKER else data, cookie, time.monotonic() - begin)
                if answer is not None:
                    return answer
        return None

    def scan(self, port: int, method: AuthMethod, limit: int = SCAN_MAX) -> list[phase1_offer.Offer]:
        """Which proposals are accepted: offer all, take away what was chosen, ask again until nothing is."""
        left = list(TIERS["legacy"])
        found: list[phase1_offer.Offer] = []
        while left and len(found) < limit:
            offered = left[:MAX_OFFERED]
            answer = self.ask(port, offered, (method,))
            if answer is None or answer.chosen is None or answer.chosen.proposal not in offered:
                left = left[MAX_OFFERED:]  # none of these
                continue
            found.append(answer.chosen)
            left.remove(answer.chosen.proposal)
        return found


def _offer(cookie: bytes, proposals: Sequence[IkeProposal], methods: Sequence[AuthMethod], size: int) -> bytes:
    sa = phase1_offer.build(proposals, methods, 28800)
    ids = [vendor.RFC_3947, vendor.NAT_T_02N, vendor.DPD, vendor.FRAGMENTATION]
    payloads = [(int(PayloadType.SA), sa.emit()), *((int(PayloadType.VENDOR_ID), item) for item in ids)]
    header = Header(cookie, bytes(8), PayloadType.SA, Exchange.MAIN)
    message = emit_message(header, payloads)
    if size > len(message) + 4:  # a vendor id that nobody knows is skipped by everybody
        payloads.append((int(PayloadType.VENDOR_ID), secrets.token_bytes(size - len(message) - 4)))
        message = emit_message(header, payloads)
    return message


def _read(data: bytes, cookie: bytes, seconds: float) -> Answer | None:
    """An answer to our cookie; ``None`` for anything else."""
    try:
        header = Header.parse(data)
        if header.cookie_i != cookie or header.cookie_r == bytes(8) or header.encrypted:
            return None
        answer = Answer(seconds)
        chain = parse_chain(header.next_payload, data[28 : header.length], padded=False)
        sa = chain.maybe(PayloadType.SA, SecurityAssociation)
        offers = phase1_offer.read_all(sa) if sa is not None else []
        answer.chosen = offers[0] if len(offers) == 1 else None  # an answer is one transform, no list
        answer.vendors = [item.data for item in chain.all(PayloadType.VENDOR_ID, VendorId)]
        notes = chain.all(PayloadType.NOTIFY, Notify)
        answer.notify = notes[0].type if notes else None
    except Malformed:
        return Answer(seconds) if data[:8] == cookie else None
    return answer
