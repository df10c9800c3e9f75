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

_SO_ATTACH_FILTER: Final = 26
_SOL_PACKET: Final = 263
_PACKET_STATISTICS: Final = 6
_ETH_P_ALL: Final = 3
_OUTGOING: Final = 4
_LOOPBACK: Final = 772
_BUFFER: Final = 4 << 20
_PORTS: Final = (500, 4500, 1701)

# Classic BPF, on the network header: the socket is a cooked one. (code, operand, label if true, label if false)
_LDB, _LDH, _LDH_X, _LDX_IHL = 0x30, 0x28, 0x48, 0xB1
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


def program() -> bytes:
    """The filter as the kernel takes it."""
    places: dict[str, int] = {}
    rows: list[tuple[int, int, str, str]] = []
    for code, operand, yes, no in _PROGRAM:
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

    def __init__(self, interface: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, 0)
        try:
            code = program()
            kept = ctypes.create_string_buffer(code, len(code))
            self._socket.setsockopt(
                socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(code) // 8, ctypes.addressof(kept))
            )
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            self._socket.bind((interface, _ETH_P_ALL))
        except OSError as error:
            self._socket.close()
            if isinstance(error, PermissionError):
                raise
            raise HeadraceError(f"interface {interface}: {error.strerror}; `ip link` lists them") from None
        self._loopback = self._socket.getsockname()[3] == _LOOPBACK

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
                data, (_, _, kind, _, _) = self._socket.recvfrom(PACKET_MAX)
            except TimeoutError:
                return
            if kind == _OUTGOING and self._loopback:
                continue  # it comes back in a moment
            number += 1
            yield Captured(number, time.time(), LINK_RAW, data, len(data))

    def lost(self) -> int:
        """Packets that the kernel had to drop since the last call, for we were too slow."""
        statistics = self._socket.getsockopt(_SOL_PACKET, _PACKET_STATISTICS, 8)
        return int(struct.unpack("II", statistics)[1])
