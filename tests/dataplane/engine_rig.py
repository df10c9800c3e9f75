"""Two data planes with mirrored SAs and sessions, their workers, and TUNs that are sockets: everything a test needs without root.

``left`` is the client (10.9.0.2 inside), ``right`` the gateway (10.9.0.1): whatever one encapsulates the other takes.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any

from headrace.dataplane.engine import Engine, Exception_
from headrace.dataplane.tables import DataPlane, PeerConfig, SessionConfig
from headrace.model import Auth, Cipher, Endpoint, EspKeys
from headrace.shell.sockets import Listener, open_listener

LEFT4, RIGHT4 = IPv4Address("10.9.0.2"), IPv4Address("10.9.0.1")
LEFT6, RIGHT6 = IPv6Address("fd00:9::2"), IPv6Address("fd00:9::1")
VNET = struct.Struct("=BBHHHH")
PATIENCE = 5.0


class FakeTun:
    """A TUN as the workers see it: one datagram is one packet, with the same virtio header."""

    def __init__(self, *, mtu: int = 1400, vnet: int = 3, queues: int = 1) -> None:
        self.mtu = mtu
        self.vnet = vnet
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in range(queues)]
        self.far = [far for far, _ in pairs]
        self.near = [near for _, near in pairs]
        for sock in (*self.near, *self.far):
            sock.setblocking(False)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.fds = tuple(near.fileno() for near in self.near)

    def put(self, packet: bytes, header: bytes | None = None, queue: int = 0) -> None:
        """The kernel hands over a packet."""
        front = (header if header is not None else bytes(VNET.size)) if self.vnet else b""
        self.put_raw(front + packet, queue)

    def put_raw(self, data: bytes, queue: int = 0) -> None:
        """The kernel hands over octets that need not be a packet."""
        sock = self.far[queue]
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            with contextlib.suppress(BlockingIOError):
                sock.send(data)
                return
            select.select([], [sock], [], 0.01)
        raise AssertionError("the worker does not read its TUN")

    def get(self, timeout: float = PATIENCE) -> tuple[bytes, bytes]:
        """What a worker wrote next: virtio header and packet."""
        ready, _, _ = select.select(self.far, [], [], timeout)
        if not ready:
            raise AssertionError("nothing arrived at the TUN")
        data = ready[0].recv(1 << 17)
        return (data[: VNET.size], data[VNET.size :]) if self.vnet else (b"", data)

    def packet(self) -> bytes:
        """The next packet without its header."""
        return self.get()[1]

    def quiet(self, timeout: float = 0.05) -> bool:
        """Whether nothing arrives."""
        return not select.select(self.far, [], [], timeout)[0]

    def close(self) -> None:
        for sock in (*self.near, *self.far):
            sock.close()


class Plane(DataPlane):
    """A data plane with what the tests say often."""

    def __init__(self, *, allow_clear: bool = False) -> None:
        super().__init__(max_peers=16, max_sas=64, max_sessions=16, allow_clear_l2tp=allow_clear)

    def peer_at(
        self, remote: str, port: int, *, encap: bool = True, clear: bool = False, listener: int = 0, follow: bool = False
    ) -> int:
        """A peer."""
        return self.add_peer(
            PeerConfig(Endpoint.of(remote, port), listener=listener, udp_encap=encap, clear=clear, follow=follow)
        )

    def sa(self, peer: int, spi: int, *, outbound: bool, cipher: Cipher = Cipher.AES_GCM16, auth: Auth = Auth.NONE) -> int:
        """An SA in use."""
        keys = EspKeys(spi, outbound, cipher, auth, bytes(range(_KEY_LEN[cipher])), bytes(range(_AUTH_LEN[auth])))
        index = self.add_sa(peer, keys, replay_window=0 if outbound else 4096)
        if outbound:
            self.use_sa(index)
        return index

    def session(self, peer: int, *, local: int, remote: int, gateway: bool, mru: int = 1400) -> int:
        """A session whose network layers are open."""
        return self.add_session(
            SessionConfig(
                peer,
                local_tunnel=local,
                local_session=local,
                remote_tunnel=remote,
                remote_session=remote,
                lns=gateway,
                send_acfc=True,
                send_pfc=True,
                open4=True,
                open6=True,
                default_route=not gateway,
                send_mru=mru,
                own4=LEFT4 if gateway else None,
                own6=IPv6Network((LEFT6, 128)) if gateway else None,
            )
        )

    def packets(self) -> dict[str, int]:
        """Packets by status, those that are not 0."""
        return {name: packets for name, (packets, _) in self.counters().items() if packets}

    def dropped(self) -> dict[str, int]:
        """Losses by reason."""
        return {name: count for name, count in self.packets().items() if name.startswith("drop_")}


_KEY_LEN = {Cipher.AES_GCM16: 20, Cipher.AES_CBC: 16, Cipher.NULL: 0}
_AUTH_LEN = {Auth.NONE: 0, Auth.HMAC_SHA1_96: 20, Auth.HMAC_SHA2_256_128: 32}


@dataclass
class Side:
    """One end of the rig."""

    plane: Plane
    tun: Any
    listener: Listener
    engine: Engine
    peer: int = -1
    session: int = -1

    def exceptions(self, count: int, timeout: float = PATIENCE) -> list[Exception_]:
        """Wait for so many exceptions."""
        got: list[Exception_] = []
        until = time.monotonic() + timeout
        while len(got) < count:
            left = until - time.monotonic()
            assert left > 0, f"only {len(got)} of {count} exceptions arrived: {got[:3]}"
            if select.select([self.engine.event_fd], [], [], left)[0]:
                got += self.engine.poll_exceptions()
        return got


def wait_for(condition: Callable[[], bool], timeout: float = PATIENCE) -> None:
    """Wait until something is true."""
    until = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < until, "it did not become true"
        time.sleep(0.002)


def loopback_listener(address: str = "127.0.0.1", **options: Any) -> Listener:
    """Sockets on free ports, without privileges."""
    return open_listener(ip_address(address), ike_port=0, natt_port=0, l2tp_port=0, raw_esp=False, **options)


def connect(
    left: Side, right: Side, *, encap: bool = True, mru: int = 1400, cipher: Cipher = Cipher.AES_GCM16, auth: Auth = Auth.NONE
) -> None:
    """Give both the same SAs and the same session."""
    left.peer = left.plane.peer_at(str(right.listener.address), right.listener.natt_port if encap else 0, encap=encap)
    right.peer = right.plane.peer_at(str(left.listener.address), left.listener.natt_port if encap else 0, encap=encap)
    for spi, sender, taker in ((0x2002, left, right), (0x1001, right, left)):
        taker.plane.sa(taker.peer, spi, outbound=False, cipher=cipher, auth=auth)
        sender.plane.sa(sender.peer, spi, outbound=True, cipher=cipher, auth=auth)
    left.session = left.plane.session(left.peer, local=7, remote=9, gateway=False, mru=mru)
    right.session = right.plane.session(right.peer, local=9, remote=7, gateway=True, mru=mru)


@contextlib.contextmanager
def rig(
    *,
    mtu: int = 1400,
    vnet: int = 3,
    right_vnet: int | None = None,
    mru: int = 1400,
    workers: int = 1,
    start: bool = True,
    **options: Any,
) -> Iterator[tuple[Side, Side]]:
    """Both sides on loopback, running."""
    with contextlib.ExitStack() as stack:
        sides: list[Side] = []
        for its in (vnet, vnet if right_vnet is None else right_vnet):
            plane = Plane()
            stack.callback(plane.close)
            tun = FakeTun(mtu=mtu, vnet=its, queues=workers)
            stack.callback(tun.close)
            listener = loopback_listener()
            stack.callback(listener.close)
            engine = stack.enter_context(Engine(plane, [listener], tun, workers=workers, **options))
            sides.append(Side(plane, tun, listener, engine))
        left, right = sides
        connect(left, right, mru=mru)
        if start:
            left.engine.start()
            right.engine.start()
        yield left, right


# --- packets -------------------------------------------------------------------------------------------------------------------


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071), the slow way."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF & ~int(total)


def _pseudo(source: IPv4Address | IPv6Address, target: IPv4Address | IPv6Address, proto: int, length: int) -> bytes:
    return source.packed + target.packed + struct.pack("!IBBBB", length, 0, 0, 0, proto)


def ip_packet(
    source: IPv4Address | IPv6Address, target: IPv4Address | IPv6Address, proto: int, body: bytes, **field: int
) -> bytes:
    """An IP packet around a transport part. ``ident``, ``df``, ``tos`` are IPv4's."""
    if source.version == 6:
        return struct.pack("!IHBB", 6 << 28, len(body), proto, 64) + source.packed + target.packed + body
    flags = 0x4000 if field.get("df", 1) else 0
    front = struct.pack("!BBHHHBBH", 0x45, field.get("tos", 0), 20 + len(body), field.get("ident", 1), flags, 64, proto, 0)
    header = front + source.packed + target.packed
    return header[:10] + struct.pack("!H", checksum(header)) + header[12:] + body


def udp_packet(
    payload: bytes,
    source: IPv4Address | IPv6Address = LEFT4,
    target: IPv4Address | IPv6Address = RIGHT4,
    ports: tuple[int, int] = (1000, 2000),
    **field: int,
) -> bytes:
    """A UDP datagram with a right checksum."""
    header = struct.pack("!HHHH", *ports, 8 + len(payload), 0)
    total = checksum(_pseudo(source, target, 17, len(header) + len(payload)) + header + payload) or 0xFFFF
    return ip_packet(source, target, 17, header[:6] + struct.pack("!H", total) + payload, **field)


def tcp_packet(
    payload: bytes,
    source: IPv4Address | IPv6Address = LEFT4,
    target: IPv4Address | IPv6Address = RIGHT4,
    *,
    seq: int = 1,
    flags: int = 0x10,
    ports: tuple[int, int] = (1000, 80),
    options: bytes = b"",
    partial: bool = False,
    **field: int,
) -> bytes:
    """A TCP segment; ``partial``: its checksum field holds only the pseudo header's sum, as the kernel leaves it for the device."""
    header = struct.pack("!HHIIBBHHH", *ports, seq & 0xFFFFFFFF, 99, (5 + len(options) // 4) << 4, flags, 500, 0, 0) + options
    pseudo = _pseudo(source, target, 6, len(header) + len(payload))
    total = ~checksum(pseudo) & 0xFFFF if partial else checksum(pseudo + header + payload)
    return ip_packet(source, target, 6, header[:16] + struct.pack("!H", total) + header[18:] + payload, **field)


def transport_right(packet: bytes) -> bool:
    """Whether IP and transport checksums are right."""
    if packet[0] >> 4 == 4:
        header = (packet[0] & 15) * 4
        source: IPv4Address | IPv6Address = IPv4Address(packet[12:16])
        target: IPv4Address | IPv6Address = IPv4Address(packet[16:20])
        proto = packet[9]
        if checksum(packet[:header]):
            return False
    else:
        header, source, target, proto = 40, IPv6Address(packet[8:24]), IPv6Address(packet[24:40]), packet[6]
    body = packet[header:]
    return checksum(_pseudo(source, target, proto, len(body)) + body) == 0


def large_segment(payload: bytes, size: int, *, six: bool = False, **more: Any) -> tuple[bytes, bytes]:
    """A TCP segment larger than the MTU as the kernel hands it over: virtio header and packet."""
    source, target = (LEFT6, RIGHT6) if six else (LEFT4, RIGHT4)
    packet = tcp_packet(payload, source, target, partial=True, **more)
    start = 40 if six else 20
    return VNET.pack(1, 4 if six else 1, len(packet) - len(payload), size, start, 16), packet


def tcp_parts(packet: bytes) -> tuple[int, int, bytes]:
    """Sequence number, flags and payload of a TCP packet without IP options."""
    start = 20 if packet[0] >> 4 == 4 else 40
    seq = int.from_bytes(packet[start + 4 : start + 8], "big")
    return seq, packet[start + 13], packet[start + (packet[start + 12] >> 4) * 4 :]


def natt_sender(address: str = "127.0.0.1") -> socket.socket:
    """A socket of somebody else."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 0))
    return sock


def isakmp(body: bytes = b"") -> bytes:
    """Non-ESP marker and the smallest ISAKMP message."""
    return bytes(4) + b"\x11" * 16 + bytes((1, 0x10, 2, 0)) + bytes(4) + struct.pack("!I", 28 + len(body)) + body


def can_make_namespaces() -> str:
    """Empty if network namespaces and TUN devices can be made here, else why not."""
    if os.geteuid() != 0:
        return "needs root, or unshare -Urn"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "needs /dev/net/tun"
    return ""
