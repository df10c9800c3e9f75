"""An established ISAKMP SA: its channel, what was agreed, which message ids it has seen, its quick modes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.ike.dpd import Questions
from headrace.ike.limits import MAX_INFORMATIONAL_IDS, MAX_QUICK_IDS

if TYPE_CHECKING:
    from headrace.ike.channel import Channel
    from headrace.ike.constants import AuthMethod
    from headrace.ike.fragment import Reassembly
    from headrace.ike.main_mode import MainMode
    from headrace.ike.natt import NatVerdict, Variant
    from headrace.ike.payloads import Identification
    from headrace.ike.proposal import IkeProposal
    from headrace.ike.quick_mode import QuickMode
    from headrace.model import Endpoint


class SeenIds:
    """The message ids of an ISAKMP SA that were used, so that no exchange can be had twice."""

    __slots__ = ("_informational", "_quick")

    def __init__(self) -> None:
        self._quick: set[int] = set()
        self._informational: OrderedDict[int, None] = OrderedDict()

    def __contains__(self, message_id: int) -> bool:
        return message_id in self._quick or message_id in self._informational

    @property
    def exhausted(self) -> bool:
        """Whether no quick mode fits any more: the ISAKMP SA must be renewed."""
        return len(self._quick) >= MAX_QUICK_IDS

    def quick(self, message_id: int) -> None:
        """A quick mode used it. Never forgotten."""
        self._quick.add(message_id)

    def informational(self, message_id: int) -> None:
        """An informational message used it. The oldest are forgotten."""
        self._informational[message_id] = None
        if len(self._informational) > MAX_INFORMATIONAL_IDS:
            self._informational.popitem(last=False)


@dataclass(slots=True, eq=False)
class Phase1:
    """One ISAKMP SA of a peer, from the last message of main mode on."""

    channel: Channel
    initiator: bool
    """Whether this side began it."""
    proposal: IkeProposal
    method: AuthMethod
    auth: str
    """``psk`` or ``cert``."""
    identity: Identification
    """The peer's, authenticated."""
    remote_id: str
    """The same for a person."""
    variant: Variant | None
    """NAT traversal, if both sides know it."""
    nat: NatVerdict
    local: Endpoint
    """Our end when it was established."""
    remote: Endpoint
    dpd: bool
    """The peer answers R-U-THERE."""
    fragments: bool
    """The peer takes fragments."""
    vendor: str
    initial_contact: bool
    """The peer said, authenticated, that it has no other SA with us."""
    started: float
    """When its first message went out or came in."""
    chosen: float
    """When its transform was agreed."""
    established: float
    life: float
    """Seconds, agreed."""
    origin: MainMode
    """The exchange that made it; it answers repetitions of the last request for a while."""
    reassembly: Reassembly
    rekey_at: float = 0.0
    expires_at: float = 0.0
    retire_at: float | None = None
    """When it goes because a newer one has taken over."""
    seen: SeenIds = field(default_factory=SeenIds)
    quick: dict[int, QuickMode] = field(default_factory=dict)
    questions: Questions = field(default_factory=Questions)
    quick_done: bool = False
    """A quick mode was completed under it."""

    @property
    def cookies(self) -> tuple[bytes, bytes]:
        """By which messages find it."""
        return self.channel.cookie_i, self.channel.cookie_r

    @property
    def name(self) -> tuple[str, bytes]:
        """How the peer proved itself, and as whom."""
        return self.auth, self.identity.emit()

    @property
    def floated(self) -> bool:
        """Whether ESP goes in UDP: a NAT was found, or feigned, and both sides know what to do about it."""
        return self.variant is not None and bool(self.nat)


class Phase1s:
    """The ISAKMP SAs of one peer: which one is used, which ones go because a newer one has taken over.

    The rule is that of ``headrace.esp.sa.Children``: one that was begun when another was established is its successor; of two that were
    being made at the same time the lower initiator cookie loses.
    """

    __slots__ = ("_items", "_settle", "_settle_other")

    def __init__(self, settle: float, settle_other: float) -> None:
        """Seconds: ``settle`` until we take away what we replaced, ``settle_other`` until the peer should have."""
        self._items: dict[tuple[bytes, bytes], Phase1] = {}
        self._settle = settle
        self._settle_other = settle_other

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Phase1]:
        return iter(list(self._items.values()))

    def __contains__(self, phase1: Phase1) -> bool:
        return self._items.get(phase1.cookies) is phase1

    def get(self, cookies: tuple[bytes, bytes]) -> Phase1 | None:
        """The one with these cookies."""
        return self._items.get(cookies)

    @property
    def best(self) -> Phase1 | None:
        """The one for what is to be sent: the newest that is not about to go."""
        return max(self._items.values(), key=lambda item: (item.retire_at is None, item.established), default=None)

    def add(self, phase1: Phase1, now: float) -> None:
        """A new one; older ones, or a rival, are superseded."""
        for other in self._items.values():
            if other.retire_at is not None:
                continue
            if other.established <= phase1.started:
                loser, ours = other, phase1.initiator
            else:
                loser = min(other, phase1, key=lambda item: item.channel.cookie_i)
                ours = loser.initiator
            loser.retire_at = now + (self._settle if ours else self._settle_other)
        self._items[phase1.cookies] = phase1

    def remove(self, phase1: Phase1) -> None:
        """One is gone. Where the best that is left had been about to go, what was to replace it went first: it stays."""
        self._items.pop(phase1.cookies, None)
        best = self.best
        if best is not None:
            best.retire_at = None
