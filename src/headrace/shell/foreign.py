"""PPP protocols of an embedding program: one handler gets their frames and may send."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Collection

    from headrace.stack.events import SessionRecord


class PppHandler(Protocol):
    """What a program gives to ``Gateway``: all calls come on the event loop, and must not block.

    Send with ``Gateway.carry``. A handler may be called for a session before ``SessionUp`` has told of it, never before its user is
    known, and never after ``SessionDown``. Frames in clear do not come where encryption is required, nor frames larger than the MRU.
    """

    @property
    def protocols(self) -> Collection[int]:
        """PPP protocol numbers that it takes. Peers get Protocol-Reject for what nobody takes."""

    def received(self, session: SessionRecord, protocol: int, information: bytes) -> None:
        """A frame of one of ``protocols`` came."""

    def rejected(self, session: SessionRecord, protocol: int) -> None:
        """The peer answered a frame of ours with Protocol-Reject."""
