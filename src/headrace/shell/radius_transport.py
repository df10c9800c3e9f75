"""RADIUS over sockets: a ``radius.client.Client``, its source ports, its one timer, and whoever waits for an answer."""

from __future__ import annotations

import asyncio
import logging
import secrets
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from headrace.radius.client import Answered, Client, Dropped, Server, ServerState, Timing, Unanswered
from headrace.radius.packet import PACKET_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from headrace.model import Endpoint
    from headrace.radius.names import Code
    from headrace.radius.packet import Attribute

log = logging.getLogger("headrace.radius")


class RadiusTransport:
    """Asks the servers of one kind. Belongs to the running loop; ``close`` it."""

    def __init__(
        self, servers: Sequence[tuple[Endpoint, Server]], timing: Timing, tell: Callable[[str], None] = log.warning
    ) -> None:
        self.names = [server.name for _, server in servers]
        self.secrets = [server.secret for _, server in servers]
        self.client = Client([server for _, server in servers], secrets.token_bytes, timing)
        self._places = [endpoint for endpoint, _ in servers]
        self._tell = tell
        self._loop = asyncio.get_running_loop()
        self._sockets: dict[tuple[int, int], socket.socket] = {}
        self._waiting: dict[int, asyncio.Future[Answered | Unanswered]] = {}
        self._timer: asyncio.TimerHandle | None = None

    async def ask(self, code: Code, attributes: Iterable[Attribute], *, server: int | None = None) -> Answered | Unanswered:
        """Send a request and wait for its end. Raises ``ValueError`` for attributes that do not fit a packet."""
        number = self.client.send(code, attributes, self._loop.time(), server=server)
        future: asyncio.Future[Answered | Unanswered] = self._loop.create_future()
        self._waiting[number] = future
        self._pump()
        try:
            return await future
        finally:
            self._waiting.pop(number, None)
            self.client.cancel(number)

    def close(self) -> None:
        """Close the sockets; whoever waits goes on waiting no longer."""
        if self._timer is not None:
            self._timer.cancel()
        for opened in self._sockets.values():
            self._loop.remove_reader(opened)
            opened.close()
        self._sockets.clear()
        for future in self._waiting.values():
            future.cancel()

    def _pump(self) -> None:
        for event in self.client.poll_events():
            match event:
                case Answered() | Unanswered():
                    future = self._waiting.get(event.request)
                    if future is not None and not future.done():
                        future.set_result(event)
                case ServerState():
                    state = "answers again" if event.alive else "does not answer"
                    self._tell(f"RADIUS server {self.names[event.server]} {state}")
                case Dropped():
                    log.info("an answer of RADIUS server %s is ignored: %s", self.names[event.server], event.reason)
        for datagram in self.client.poll_datagrams():
            self._send(datagram.server, datagram.port, datagram.data)
        if self._timer is not None:
            self._timer.cancel()
        deadline = self.client.deadline()
        self._timer = self._loop.call_at(deadline, self._tick) if deadline is not None else None

    def _tick(self) -> None:
        self.client.tick(self._loop.time())
        self._pump()

    def _send(self, server: int, port: int, data: bytes) -> None:
        # What cannot be sent is as good as lost on the way: it is repeated, or another server is asked.
        with suppress(OSError):
            if (server, port) not in self._sockets:
                self._sockets[server, port] = self._open(server, port)
            self._sockets[server, port].send(data)

    def _open(self, server: int, port: int) -> socket.socket:
        """A source port of its own, connected: the kernel drops what comes from elsewhere (N169)."""
        place = self._places[server]
        made = socket.socket(socket.AF_INET if place.address.version == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            made.connect((str(place.address), place.port))
        except OSError:
            made.close()
            raise
        self._loop.add_reader(made, self._readable, server, port)
        return made

    def _readable(self, server: int, port: int) -> None:
        for _ in range(64):
            try:
                data = self._sockets[server, port].recv(PACKET_MAX + 1)
            except (BlockingIOError, OSError):  # a server's port that is closed says so here
                break
            self.client.receive(server, port, data)
        self._pump()
