"""Inner packets for a program instead of a TUN: a source and sink in memory, bounded, with the workers' own system calls behind it.

A queue is a pair of sockets without names. The workers see what they see of a TUN; the program has ``send`` and ``receive`` over batches,
``fileno`` for its event loop, or a callback in a thread of its own. What does not fit is not sent (``send`` says how much was), or counted
by the data plane as ``drop_tun_write``.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from typing import TYPE_CHECKING, Final, Self

from headrace.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

__all__ = ["PacketQueue"]

_DEPTH: Final = 1 << 22
"""Octets that may wait in each direction; the system may allow less."""
_LARGEST: Final = 65536


class PacketQueue:
    """In place of a TUN: IP packets go in by ``send`` and come out by ``receive``. A context manager; close it after the engine."""

    def __init__(self, *, mtu: int = 1400, workers: int = 1, depth: int = _DEPTH) -> None:
        """Make it. ``mtu``: octets of the largest packet; ``workers``: as many as the engine has. Raises ``LocalError``."""
        if workers < 1 or not 576 <= mtu <= 65535:
            raise LocalError(f"{workers} workers, MTU {mtu}: at least 1, and 576 to 65535 are possible")
        self.mtu = mtu
        self.vnet = 0
        """Whole packets, no virtio header."""
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(workers)]
        self._mine = [mine for mine, _ in pairs]
        self._theirs = [theirs for _, theirs in pairs]
        for sock in (*self._mine, *self._theirs):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, depth)
        self.fds = tuple(sock.fileno() for sock in self._theirs)
        self._poll = select.epoll()
        for sock in self._mine:
            self._poll.register(sock.fileno(), select.EPOLLIN)
        self._by_fd = {sock.fileno(): sock for sock in self._mine}
        self._thread: threading.Thread | None = None
        self._stop = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def fileno(self) -> int:
        """Readable when ``receive`` has something."""
        return self._poll.fileno()

    def send(self, packets: Iterable[bytes]) -> int:
        """Give the workers IP packets, routed by their destination; how many were taken before a queue was full.

        Packets for one destination stay in order. Raises ``LocalError`` for what cannot be an IP packet of this MTU.
        """
        taken = 0
        for packet in packets:
            if not 20 <= len(packet) <= self.mtu:
                raise LocalError(f"{len(packet)} octets are no IP packet for an MTU of {self.mtu}")
            at = slice(16, 20) if packet[0] >> 4 == 4 else slice(24, 32)
            sock = self._mine[int.from_bytes(packet[at], "big") % len(self._mine)]
            try:
                sock.send(packet)
            except (BlockingIOError, InterruptedError):
                break
            taken += 1
        return taken

    def receive(self, most: int = 512, timeout: float = 0.0) -> list[bytes]:
        """Take what came out of sessions, at most so many packets; wait up to ``timeout`` seconds for the first."""
        found: list[bytes] = []
        for fd, _ in self._poll.poll(timeout):
            with contextlib.suppress(BlockingIOError):
                while len(found) < most and fd in self._by_fd:
                    found.append(self._by_fd[fd].recv(_LARGEST))
        return found

    def deliver(self, taker: Callable[[list[bytes]], None]) -> None:
        """Call ``taker`` with every batch that comes out, in a thread of its own, until ``close``."""
        if self._thread is not None:
            raise LocalError("somebody takes the packets already")
        self._poll.register(self._stop, select.EPOLLIN)
        self._thread = threading.Thread(target=self._run, args=(taker,), name="headrace-queue", daemon=True)
        self._thread.start()

    def _run(self, taker: Callable[[list[bytes]], None]) -> None:
        while True:
            found = self.receive(timeout=3600)
            if found:
                taker(found)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._stop)
                return

    def close(self) -> None:
        """End the thread, if there is one, and take the queues away. May be called twice."""
        if self._thread is not None:
            os.eventfd_write(self._stop, 1)
            self._thread.join()
            self._thread = None
        if self._mine:
            self._poll.close()
            os.close(self._stop)
            for sock in (*self._mine, *self._theirs):
                sock.close()
            self._mine, self._theirs = [], []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
