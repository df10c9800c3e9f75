"""Packets of an interface as they come: ESP, ISAKMP, NAT-T, L2TP and ICMP, chosen in the kernel so that the rest costs nothing."""

from __future__ import annotations

import ctypes
import socket
import struct
import time
from collections.abc import Iterator
from typing import Final, Self

from headrace.errors import HeadraceError
from headrace.inspect.pcap import PACKET_MAX, Captured
from headrace.inspect.pcapng import LINK_RAW
from headrace.model import IPAddress

_SO_ATTACH_FILTER: Final = 26
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_ETH_P_ALL: Final = 3
_OUTGOING: Final = 4
_LOOPBACK: Final = 772
_BUFFER: Final = 4 << 20
_PORTS: Final = (500, 4500, 1701)

# Classic BPF, on the network header: the socket is a cooked one. (code, operand, label if true, label if false)
_LDW, _LDB, _LDH, _LDH_X, _LDX_IHL = 0x20, 0x30, 0x28, 0x48, 0xB1
_RSH, _JEQ, _JSET, _RET = 0x74, 0x15, 0x45, 0x06
_PROGRAM: Final[tuple[tuple[int | str, int, str, str], ...]] = (
    (_LDB, 0, "", ""),
    (_RSH, 4, "", ""),
    (_JEQ, 4, "", "six"),
    (_LDB, 9, "", ""),
    (_JEQ, 50, "take", ""),
    (_JEQ, 1, "take", ""),
    (_JEQ, 17, "", "leave"),
    (_LDH, 6, "", ""),
    (_JSET, 0x1FFF, "take", ""),  # a later fragment has no ports
    (_LDX_IHL, 0, "", ""),
    (_LDH_X, 0, "", ""),
    *((_JEQ, port, "take", "") for port in _PORTS),
    (_LDH_X, 2, "", ""),
    *((_JEQ, port, "take", "") for port in _PORTS[:-1]),
    (_JEQ, _PORTS[-1], "take", "leave"),
    ("six", 0, "", ""),
    (_JEQ, 6, "", "leave"),
    (_LDB, 6, "", ""),
    (_JEQ, 50, "take", ""),
    (_JEQ, 44, "take", ""),
    (_JEQ, 17, "", "leave"),
    (_LDH, 40, "", ""),
    *((_JEQ, port, "take", "") for port in _PORTS),
    (_LDH, 42, "", ""),
    *((_JEQ, port, "take", "") for port in _PORTS[:-1]),
    (_JEQ, _PORTS[-1], "take", "leave"),
    ("take", 0, "", ""),
    (_RET, PACKET_MAX, "", ""),
    ("leave", 0, "", ""),
    (_RET, 0, "", ""),
)


def _only(host: IPAddress) -> tuple[tuple[int | str, int, str, str], ...]:
    """What stands before the rest when only packets from or to one host are wanted: the words of both addresses, compared."""
    words = [int.from_bytes(host.packed[at : at + 4], "big") for at in range(0, len(host.packed), 4)]
    version, source, destination = (4, 12, 16) if host.version == 4 else (6, 8, 24)
    rows: list[tuple[int | str, int, str, str]] = [(_LDB, 0, "", ""), (_RSH, 4, "", ""), (_JEQ, version, "", "leave")]
    for at, matched, other in ((source, "wanted", "destination"), (destination, "wanted", "leave")):
        for number, word in enumerate(words):
            last = number == len(words) - 1
            rows += [(_LDW, at + 4 * number, "", ""), (_JEQ, word, matched if last else "", other)]
        if other == "destination":
            rows.append((other, 0, "", ""))
    return (*rows, ("wanted", 0, "", ""))


def program(host: IPAddress | None = None) -> bytes:
    """The filter as the kernel takes it; ``host`` is an outer address, of which alone packets are wanted."""
    places: dict[str, int] = {}
    rows: list[tuple[int, int, str, str]] = []
    for code, operand, yes, no in (*(_only(host) if host is not None else ()), *_PROGRAM):
        if isinstance(code, str):
            places[code] = len(rows)
        else:
            rows.append((code, operand, yes, no))
    return b"".join(
        struct.pack("=HBBI", code, places[yes] - at - 1 if yes else 0, places[no] - at - 1 if no else 0, operand)
        for at, (code, operand, yes, no) in enumerate(rows)
    )


class LiveCapture:
    """A packet socket on one interface. Needs CAP_NET_RAW: raises ``PermissionError`` without; ``HeadraceError`` for no such interface."""

    def __init__(self, interface: str, host: IPAddress | None = None) -> None:
        """``interface`` may be empty: all of them. ``host`` chooses the packets from and to one outer address."""
        everywhere = 0 if interface else socket.htons(_ETH_P_ALL)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, everywhere)
        try:
            code = program(host)
            kept = ctypes.create_string_buffer(code, len(code))
            self._socket.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(code) // 8, ctypes.addressof(kept))
            )
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            if interface:
                self._socket.bind((interface, _ETH_P_ALL))
            else:
                self._forget_the_unfiltered()
        except OSError as error:
            self._socket.close()
            if isinstance(error, PermissionError):
                raise
            raise HeadraceError(f"interface {interface}: {error.strerror}; `ip link` lists them") from None

    def _forget_the_unfiltered(self) -> None:
        """Throw away what came before the filter was there; what comes now has passed it."""
        self._socket.setblocking(False)
        for _ in range(_BUFFER // 256):
            try:
                self._socket.recv(1)
            except BlockingIOError:
                return

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def packets(self, seconds: float | None = None) -> Iterator[Captured]:
        """Packets until the time is over, or for ever."""
        until = None if seconds is None else time.monotonic() + seconds
        number = 0
        while True:
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            self._socket.settimeout(left)
            try:
                data, (_, _, kind, hardware, _) = self._socket.recvfrom(PACKET_MAX)
            except TimeoutError:
                return
            if kind == _OUTGOING and hardware == _LOOPBACK:
                continue  # it comes back in a moment
            number += 1
            yield Captured(number, time.time(), LINK_RAW, data, len(data))

    def lost(self) -> int:
        """Packets that the kernel had to drop since the last call, for we were too slow."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("II", statistics)[1])
