"""A learning bridge (IEEE 802.1D without its spanning tree): sessions and one TAP are its ports.

Without a spanning tree a loop is possible: somebody may join two ports elsewhere. What bounds it: a rate for frames to everybody, a rate
for stations that move between ports, and room for only so many stations. Frames of bridges to bridges are never passed on.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from headrace.core import Budget, Outbox

TAP: Final = 0
"""The port of the TAP; sessions have their handles, which begin at 1."""

AGE: Final = 300.0
"""Seconds without a frame after which a station is forgotten (802.1D's default)."""
STATIONS_MAX: Final = 4096
SESSION_STATIONS_MAX: Final = 64
"""Stations behind one session."""
FLOOD_RATE: Final = 500.0
"""Frames a second to everybody from one port, and as many at once: each is copied to every session."""
MOVE_PAUSE: Final = 1.0
"""Seconds that a station stays where it was seen: two ports that show it in turn are a loop, or a thief."""

_RESERVED: Final = b"\x01\x80\xc2\x00\x00"
_VLAN: Final = (b"\x81\x00", b"\x88\xa8")


@dataclass(slots=True)
class _Port:
    room: int
    tagged: bool
    budget: Budget
    stations: int = 0


@dataclass(slots=True)
class _Station:
    port: int
    seen: float
    moved: float


class Switch:
    """Sans-IO: frames in, frames out. ``receive`` never raises for a frame's content."""

    def __init__(self) -> None:
        self._ports: dict[int, _Port] = {}
        self._stations: OrderedDict[bytes, _Station] = OrderedDict()
        """Longest silent first."""
        self._frames: Outbox[tuple[int, bytes]] = Outbox()
        self._drops: Outbox[str] = Outbox()

    def attach(self, port: int, room: int, now: float, *, tagged: bool = True) -> None:
        """A port came up that takes frames of at most ``room`` octets, with VLAN tags or without."""
        self.detach(port)
        self._ports[port] = _Port(room, tagged, Budget(FLOOD_RATE, FLOOD_RATE, now))

    def detach(self, port: int) -> None:
        """A port went, and all stations behind it. Harmless if it never came."""
        if self._ports.pop(port, None) is not None:
            for mac in [mac for mac, station in self._stations.items() if station.port == port]:
                del self._stations[mac]

    @property
    def stations(self) -> int:
        """How many are known."""
        return len(self._stations)

    def receive(self, port: int, frame: bytes, now: float) -> None:
        """Take one Ethernet frame without check sequence from a port."""
        known = self._ports.get(port)
        to, source = frame[:6], frame[6:12]
        if known is None or len(frame) < 14:
            self._drops.put("bridge_port" if known is None else "bridge_short")
        elif source[0] & 1 or source == bytes(6):
            self._drops.put("bridge_source")
        elif to.startswith(_RESERVED) and to[5] < 0x10:
            self._drops.put("bridge_reserved")
        elif self._learn(port, known, source, now):
            self._forward(port, known, to, frame, now)

    def poll_frames(self) -> list[tuple[int, bytes]]:
        """Ports and frames to send there, oldest first."""
        return self._frames.drain()

    def poll_drops(self) -> list[str]:
        """Reasons for which frames were ignored."""
        return self._drops.drain()

    def _learn(self, port: int, known: _Port, source: bytes, now: float) -> bool:
        """Note where a station is. False if the frame is not to be believed."""
        self._forget(now)
        station = self._stations.get(source)
        if station is not None and station.port != port:
            if now - station.moved < MOVE_PAUSE:
                self._drops.put("bridge_moving")
                return False
            self._remove(source)
            station = None
        if station is None:
            if port != TAP and known.stations >= SESSION_STATIONS_MAX:
                self._drops.put("bridge_stations")
                return False
            if len(self._stations) >= STATIONS_MAX:
                self._remove(next(iter(self._stations)))
            known.stations += 1
            self._stations[source] = _Station(port, now, now)
        else:
            station.seen = now
            self._stations.move_to_end(source)
        return True

    def _forget(self, now: float) -> None:
        while self._stations:
            mac, station = next(iter(self._stations.items()))
            if now - station.seen < AGE:
                return
            self._remove(mac)

    def _remove(self, mac: bytes) -> None:
        station = self._stations.pop(mac)
        self._ports[station.port].stations -= 1

    def _forward(self, port: int, known: _Port, to: bytes, frame: bytes, now: float) -> None:
        station = self._stations.get(to)
        if station is not None:
            if station.port == port:
                self._drops.put("bridge_local")  # they hear each other
            else:
                self._send(station.port, frame)
            return
        if not known.budget.spend(now):
            self._drops.put("bridge_rate")
            return
        for other in self._ports:
            if other != port:
                self._send(other, frame)

    def _send(self, port: int, frame: bytes) -> None:
        known = self._ports[port]
        if len(frame) > known.room:
            self._drops.put("bridge_too_big")
        elif not known.tagged and frame[12:14] in _VLAN:
            self._drops.put("bridge_tagged")
        else:
            self._frames.put((port, frame))
