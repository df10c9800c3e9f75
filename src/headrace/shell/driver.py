"""The loop that both faces share: sockets and data plane in, stack, sockets and data plane out, one timer.

The way of a control message, in the order in which it is walked:

1. a socket (UDP 500) or the data plane's exception ring (UDP 4500, ESP, clear L2TP) becomes readable
2. the ladder takes what was read, at a time that the loop's clock gives
3. ``_flush``: events are delivered, what is pending is sent, the one timer is re-armed from ``deadline()``
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from headrace.dataplane.engine import Outgoing
from headrace.errors import LocalError
from headrace.model import Datagram, Endpoint
from headrace.stack import events

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headrace.dataplane.engine import Engine, Exception_
    from headrace.dataplane.tables import DataPlane
    from headrace.shell.sockets import Listener
    from headrace.shell.tap import Tap
    from headrace.stack.ladder import Ladder

_MARKER: Final = bytes(4)
"""Non-ESP marker before ISAKMP on UDP 4500 (RFC 3948 section 2.2)."""
_READS: Final = 64
"""Datagrams taken from one socket before the loop looks at the others."""
_KEEPALIVE_TICK: Final = 5.0
_MAX_DATAGRAM: Final = 65535


class Driver:
    """Owns no protocol state. ``on_event`` gets every event of the stack, in order; it may call the ladder, which is flushed after."""

    def __init__(
        self,
        ladder: Ladder,
        plane: DataPlane,
        engine: Engine,
        listeners: Sequence[Listener],
        on_event: Callable[[events.StackEvent], None],
        taps: Mapping[str, Tap] | None = None,
    ) -> None:
        self.ladder = ladder
        self.drops: Counter[str] = Counter()
        """Control messages that were ignored, by reason."""
        self._plane = plane
        self._engine = engine
        self._listeners = list(listeners)
        self._by_address = {listener.address: listener for listener in listeners}
        self._on_event = on_event
        self._taps = dict(taps or {})
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._keepalive: asyncio.TimerHandle | None = None
        self._flushing = False

    def now(self) -> float:
        """The loop's clock, which is the clock of every core."""
        return self._loop.time()

    def start(self) -> None:
        """Begin to read."""
        for listener in self._listeners:
            if listener.ike is not None:
                self._loop.add_reader(listener.ike.fileno(), self._read_ike, listener, listener.ike)
        self._loop.add_reader(self._engine.event_fd, self._read_exceptions)
        for name, tap in self._taps.items():
            self._loop.add_reader(tap.fd, self._read_tap, name, tap)
        self._send_keepalives()
        self.flush()

    def stop(self) -> None:
        """Read no more. What is open stays open: it belongs to the caller."""
        for listener in self._listeners:
            if listener.ike is not None:
                self._loop.remove_reader(listener.ike.fileno())
        self._loop.remove_reader(self._engine.event_fd)
        for tap in self._taps.values():
            self._loop.remove_reader(tap.fd)
        for handle in (self._timer, self._keepalive):
            if handle is not None:
                handle.cancel()

    # --- in ----------------------------------------------------------------------------------------------------------------

    def _read_ike(self, listener: Listener, sock: socket.socket) -> None:
        local = Endpoint(listener.address, listener.ike_port)
        for _ in range(_READS):
            try:
                data, address = sock.recvfrom(_MAX_DATAGRAM)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:  # an ICMP error that an earlier datagram of ours brought back
                self.drops[f"ike_socket_{error.errno}"] += 1
                continue
            remote = Endpoint(ip_address(address[0].partition("%")[0]), address[1])
            self.ladder.ike_datagram(Datagram(local, remote, data), self.now())
        self.flush()

    def _read_exceptions(self) -> None:
        for item in self._engine.poll_exceptions():
            self._take(item)
        self.flush()

    def _read_tap(self, name: str, tap: Tap) -> None:
        for frame in tap.read():
            self.ladder.tap_frame(name, frame, self.now())
        self.flush()

    def _take(self, item: Exception_) -> None:
        now = self.now()
        match item.status:
            case "exc_ike":
                listener = self._listeners[item.listener]
                assert item.remote is not None
                self.ladder.ike_datagram(Datagram(Endpoint(listener.address, listener.natt_port), item.remote, item.data), now)
            case "exc_l2tp":
                self.ladder.l2tp_control(item.peer, item.data, item.local_port, item.remote_port, now)
            case "exc_ppp":
                self.ladder.ppp_frame(item.session, item.data, now, encrypted=item.mppe)
            case "exc_moved":
                assert item.remote is not None
                self.ladder.peer_moved(item.peer, item.remote, now)
            case "exc_soft_limit":
                self.ladder.soft_limit(item.sa, now)
            case "exc_mppe_reset":
                self.ladder.mppe_lost(item.session, now)
            case "exc_clear_l2tp":
                listener = self._listeners[item.listener]
                assert item.remote is not None
                self.ladder.clear_l2tp(Endpoint(listener.address, listener.l2tp_port), item.remote, item.data, now)
            case other:
                raise LocalError(f"the data plane raised {other}, which nobody handles")

    # --- out ---------------------------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Deliver events, send what is pending, re-arm the timer. Whoever called the ladder calls this next."""
        if self._flushing:
            return
        self._flushing = True
        try:
            while True:
                happened = self.ladder.poll_events()
                for event in happened:
                    if isinstance(event, events.Dropped):
                        self.drops[event.reason] += 1
                    self._on_event(event)
                for datagram in self.ladder.poll_datagrams():
                    self._send_ike(datagram)
                self._send_packets(self.ladder.poll_packets())
                if not happened:
                    break
        finally:
            self._flushing = False
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        deadline = self.ladder.deadline()
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        # The loop may fire a timer a clock tick early; a core that is asked too soon would only ask again.
        deadline = self.ladder.deadline()
        self.ladder.tick(max(self.now(), deadline if deadline is not None else 0.0))
        self.flush()

    def _send_ike(self, datagram: Datagram) -> None:
        listener = self._by_address.get(datagram.local.address)
        if listener is None:
            return
        natt = datagram.local.port == listener.natt_port
        sock = listener.natt if natt else listener.ike
        if sock is not None:
            self._sendto(sock, _MARKER + datagram.data if natt else datagram.data, datagram.remote)

    def _sendto(self, sock: socket.socket, data: bytes, remote: Endpoint) -> None:
        try:
            sock.sendto(data, (str(remote.address), remote.port))
        except OSError as error:  # lost like any datagram: retransmission is the cores' business
            self.drops[f"ike_send_{error.errno}"] += 1

    def _send_packets(self, packets: Sequence[events.Packet]) -> None:
        """Send control packets through the data plane, and remove records in between, strictly in order."""
        batch: list[Outgoing] = []
        for packet in packets:
            match packet:
                case events.L2tpPacket():
                    batch.append(
                        Outgoing.l2tp(packet.peer, packet.data, local_port=packet.local_port, remote_port=packet.remote_port)
                    )
                case events.PppPacket():
                    batch.append(Outgoing.ppp(packet.session, packet.data))
                case events.TapFrame():
                    if (tap := self._taps.get(packet.tap)) is not None:
                        tap.write(packet.data)
                case events.ReleaseSession() | events.ReleasePeer():
                    self._send_batch(batch)
                    batch = []
                    with suppress(LocalError):  # its peer went first and took it along
                        if isinstance(packet, events.ReleaseSession):
                            self._plane.remove_session(packet.session)
                        else:
                            self._plane.remove_peer(packet.peer)
        self._send_batch(batch)

    def _send_batch(self, batch: list[Outgoing]) -> None:
        if batch:
            self._engine.send(batch)

    def _send_keepalives(self) -> None:
        for local, remote in self.ladder.keepalives(self.now()):
            listener = self._by_address.get(local.address)
            if listener is not None and listener.natt is not None:
                self._sendto(listener.natt, b"\xff", remote)
        self._keepalive = self._loop.call_later(_KEEPALIVE_TICK, self._send_keepalives)
