"""ICMP echo through the tunnel, so that "does traffic cross" needs no other program."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address

_ECHO_REQUEST = 8
_ECHO_REPLY = 0


@dataclass(frozen=True, slots=True)
class PingResult:
    """What a run of echo requests brought."""

    sent: int
    received: int
    times: tuple[float, ...]
    """Seconds from request to reply, in the order of the replies."""


def checksum(data: bytes) -> int:
    """The Internet checksum of RFC 1071 over ``data``, ready to be stored."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def echo_request(identifier: int, sequence: int, size: int) -> bytes:
    """An ICMP echo request with ``size`` octets of data (RFC 792)."""
    data = bytes(i & 0xFF for i in range(size))
    head = struct.pack("!BBHHH", _ECHO_REQUEST, 0, 0, identifier, sequence)
    return head[:2] + struct.pack("!H", checksum(head + data)) + head[4:] + data


async def ping(
    source: IPv4Address,
    target: IPv4Address,
    *,
    count: int = 3,
    interval: float = 0.2,
    timeout: float = 3.0,  # noqa: ASYNC109 (of each request)
    size: int = 56,
    device: str = "",
) -> PingResult:
    """Send ``count`` echo requests of ``size`` data octets and wait for each reply. Needs CAP_NET_RAW; raises ``OSError`` without it."""
    identifier = os.getpid() & 0xFFFF
    times: list[float] = []
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.setblocking(False)
        sock.bind((str(source), 0))
        if device:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        for sequence in range(count):
            sent = time.monotonic()
            try:
                await loop.sock_sendto(sock, echo_request(identifier, sequence, size), (str(target), 0))
                async with asyncio.timeout(timeout):
                    await _reply(loop, sock, target, identifier, sequence)
            except (TimeoutError, OSError):
                continue
            times.append(time.monotonic() - sent)
            if sequence + 1 < count:
                await asyncio.sleep(interval)
    return PingResult(count, len(times), tuple(times))


async def _reply(
    loop: asyncio.AbstractEventLoop, sock: socket.socket, target: IPv4Address, identifier: int, sequence: int
) -> None:
    while True:
        packet, address = await loop.sock_recvfrom(sock, 65535)
        if address[0] != str(target) or len(packet) < 20:
            continue
        icmp = packet[(packet[0] & 15) * 4 :]
        if len(icmp) >= 8 and icmp[0] == _ECHO_REPLY and struct.unpack("!HH", icmp[4:8]) == (identifier, sequence):
            return
