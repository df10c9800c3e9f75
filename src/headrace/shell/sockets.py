"""The outer sockets of one local address: UDP 500 for the control plane; UDP 4500, raw ESP and, where allowed, UDP 1701 for the workers.

With several workers each has its own sockets. UDP 4500 is shared out by the kernel (SO_REUSEPORT: by addresses and ports, so a peer
stays with one worker). A raw socket always gets a copy of everything, so each carries a small filter: SPI modulo workers.
"""

from __future__ import annotations

import ctypes
import errno
import ipaddress
import os
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.errors import HeadraceError, Slug
from headrace.shell.netlink import with_netlink

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headrace.model import IPAddress

ESP: Final = 50
"""IP protocol number (RFC 4303)."""
BUFFER: Final = 4 << 20
"""Octets of receive and of send buffer that are asked for: some milliseconds at 10 Gbit/s."""

# what the socket module does not name; linux/in.h, linux/in6.h, linux/udp.h, asm-generic/socket.h
_IP_MTU_DISCOVER: Final = 10
_IP_RECVTOS: Final = 13
_IPV6_MTU_DISCOVER: Final = 23
_IPV6_RECVTCLASS: Final = 66
_PMTUDISC_DONT: Final = 0
_PMTUDISC_DO: Final = 2
_UDP_SEGMENT: Final = 103
_UDP_GRO: Final = 104
_SO_REUSEPORT: Final = 15
_SO_ATTACH_FILTER: Final = 26
_SO_SNDBUFFORCE: Final = 32
_SO_RCVBUFFORCE: Final = 33


class ListenError(HeadraceError):
    """A socket could not be opened; the message names address, port, the reason and the way out."""

    def __init__(self, message: str, slug: Slug = Slug.INTERNAL) -> None:
        super().__init__(message)
        self.slug = slug
        """``PORT_BUSY`` when somebody else has the port."""


@dataclass(slots=True)
class WorkerSockets:
    """What one worker reads and writes at one address."""

    natt: socket.socket
    raw: socket.socket | None
    clear: socket.socket | None

    def close(self) -> None:
        """Close all of them."""
        for sock in (self.natt, self.raw, self.clear):
            if sock is not None:
                sock.close()


@dataclass(slots=True)
class Listener:
    """The sockets of one local outer address. ``close`` them after the engine has stopped."""

    address: IPAddress
    ike_port: int
    natt_port: int
    l2tp_port: int
    """Of clear L2TP; open only if ``clear`` says so."""
    ike: socket.socket | None
    """UDP 500: the control plane's."""
    gso: bool
    """The kernel segments UDP (``UDP_SEGMENT``)."""
    gro: bool
    """The kernel joins UDP on the way in (``UDP_GRO``)."""
    dont_fragment: bool
    sockets: list[WorkerSockets] = field(default_factory=list)
    """One entry for each worker, at least one."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.address.version

    @property
    def natt(self) -> socket.socket | None:
        """The first worker's UDP 4500 socket: the control plane sends IKE through it."""
        return self.sockets[0].natt if self.sockets else None

    @property
    def clear(self) -> bool:
        """Whether L2TP without IPsec is received."""
        return bool(self.sockets) and self.sockets[0].clear is not None

    @property
    def raw(self) -> bool:
        """Whether ESP without UDP is received."""
        return bool(self.sockets) and self.sockets[0].raw is not None

    def provide(self, workers: int) -> None:
        """See to it that there are sockets for so many workers. Raises ``ListenError``."""
        if workers < 1:
            raise ValueError(f"{workers} workers")
        while len(self.sockets) < workers:
            self.sockets.append(self._more())
        if self.raw:
            for number, entry in enumerate(self.sockets):
                assert entry.raw is not None
                _share_by_spi(entry.raw, self.family, number, len(self.sockets))

    def _more(self) -> WorkerSockets:
        first = self.sockets[0]
        made: list[socket.socket] = []
        try:
            for like, port in ((first.natt, self.natt_port), (first.clear, self.l2tp_port)):
                if like is not None:
                    # Only now: the first one was bound alone, so nobody else had the port.
                    like.setsockopt(socket.SOL_SOCKET, _SO_REUSEPORT, 1)
                    made.append(_open_udp(self.address, port, dont_fragment=self.dont_fragment, share=True))
            if self.gro:
                made[0].setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)
            raw = _open_raw(self.address, dont_fragment=self.dont_fragment) if first.raw is not None else None
        except BaseException:
            for sock in made:
                sock.close()
            raise
        return WorkerSockets(made[0], raw, made[1] if first.clear is not None else None)

    def close(self) -> None:
        """Close every socket. May be called twice."""
        for entry in self.sockets:
            entry.close()
        self.sockets.clear()
        if self.ike is not None:
            self.ike.close()
            self.ike = None


def open_listener(
    address: IPAddress,
    *,
    ike_port: int = 500,
    natt_port: int = 4500,
    l2tp_port: int = 1701,
    clear_l2tp: bool = False,
    raw_esp: bool = True,
    dont_fragment: bool = False,
    workers: int = 1,
) -> Listener:
    """Open everything that belongs to one local address, for so many workers; a port of 0 lets the kernel choose.

    With ``dont_fragment`` outer packets carry DF, and what does not fit the path is lost and counted (``emsgsize``); without, the
    kernel cuts them into fragments. Raises ``ListenError``.
    """
    opened: list[socket.socket] = []
    try:
        ike = _open_udp(address, ike_port, dont_fragment=False)
        opened.append(ike)
        natt = _open_udp(address, natt_port, dont_fragment=dont_fragment)
        opened.append(natt)
        clear = None
        if clear_l2tp:
            clear = _open_udp(address, l2tp_port, dont_fragment=dont_fragment)
            opened.append(clear)
        raw = _open_raw(address, dont_fragment=dont_fragment) if raw_esp else None
    except BaseException:
        for sock in opened:
            sock.close()
        raise
    listener = Listener(
        address=address,
        ike_port=ike.getsockname()[1],
        natt_port=natt.getsockname()[1],
        l2tp_port=l2tp_port if clear is None else clear.getsockname()[1],
        ike=ike,
        gso=_try_option(natt, socket.IPPROTO_UDP, _UDP_SEGMENT, 0),
        gro=_try_option(natt, socket.IPPROTO_UDP, _UDP_GRO, 1),
        dont_fragment=dont_fragment,
        sockets=[WorkerSockets(natt, raw, clear)],
    )
    try:
        listener.provide(workers)
    except BaseException:
        listener.close()
        raise
    return listener


def expand_addresses(addresses: Iterable[IPAddress]) -> tuple[IPAddress, ...]:
    """Replace wildcards by the addresses of their family that the host has, without loopback, link-local and doubles; order is kept.

    A socket of its own for each address makes answers leave from the address that was asked.
    """
    found: dict[IPAddress, None] = {}
    for address in addresses:
        if not address.is_unspecified:
            found[address] = None
            continue
        for own in host_addresses(address.version):
            if not own.is_loopback and not own.is_link_local:
                found[own] = None
    return tuple(found)


def host_addresses(version: int) -> list[IPAddress]:
    """Every address of one family (4 or 6) that an interface of this host has, in the order of the interfaces."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    found = with_netlink(lambda ip: list(ip.get_addr(family=family)))
    texts = [message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS") for message in found]
    return [ipaddress.ip_address(text) for text in texts if text]


# --- sockets -------------------------------------------------------------------------------------------------------------------


def _open_udp(address: IPAddress, port: int, *, dont_fragment: bool, share: bool = False) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        _set_options(sock, address.version, dont_fragment=dont_fragment)
        if share:
            sock.setsockopt(socket.SOL_SOCKET, _SO_REUSEPORT, 1)
        sock.bind((str(address), port))
    except OSError as error:
        sock.close()
        raise _bind_refusal(error, address, port) from error
    return sock


def _open_raw(address: IPAddress, *, dont_fragment: bool) -> socket.socket:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        sock = socket.socket(family, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, ESP)
    except PermissionError as error:
        raise ListenError(
            "a raw socket for ESP (IP protocol 50) is refused: CAP_NET_RAW is missing; run as root, or grant it "
            "(setcap cap_net_admin,cap_net_raw,cap_net_bind_service+ep on the interpreter, AmbientCapabilities= in a systemd unit)"
        ) from error
    try:
        _set_options(sock, address.version, dont_fragment=dont_fragment)
        sock.bind((str(address), 0))
    except OSError as error:
        sock.close()
        raise _bind_refusal(error, address, None) from error
    return sock


def _set_options(sock: socket.socket, version: int, *, dont_fragment: bool) -> None:
    discover = _PMTUDISC_DO if dont_fragment else _PMTUDISC_DONT
    if version == 4:
        sock.setsockopt(socket.IPPROTO_IP, _IP_MTU_DISCOVER, discover)
        sock.setsockopt(socket.IPPROTO_IP, _IP_RECVTOS, 1)
    else:
        if sock.type == socket.SOCK_DGRAM:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER, discover)
        sock.setsockopt(socket.IPPROTO_IPV6, _IPV6_RECVTCLASS, 1)
    for force, plain in ((_SO_RCVBUFFORCE, socket.SO_RCVBUF), (_SO_SNDBUFFORCE, socket.SO_SNDBUF)):
        # With CAP_NET_ADMIN beyond the system's limit, else up to it.
        if not _try_option(sock, socket.SOL_SOCKET, force, BUFFER):
            _try_option(sock, socket.SOL_SOCKET, plain, BUFFER)


def _try_option(sock: socket.socket, level: int, option: int, value: int) -> bool:
    try:
        sock.setsockopt(level, option, value)
    except OSError:
        return False
    return True


# Classic BPF (linux/filter.h), as (code, jump if true, jump if false, k).
_LDX_MSH: Final = 0xB1  # X = 4 * (octet k & 15): the length of the IPv4 header
_LDX_IMM: Final = 0x01
_LD_LEN: Final = 0x80
_SUB_X: Final = 0x1C
_JGE: Final = 0x35
_LD_IND: Final = 0x40
_MOD: Final = 0x94
_JEQ: Final = 0x15
_RET: Final = 0x06


def spi_filter(version: int, number: int, of: int) -> list[tuple[int, int, int, int]]:
    """Return the filter that lets worker ``number`` of ``of`` have its share of the SPIs; the first also gets what is too short to have one.

    A raw IPv4 socket sees the IP header in front of the SPI, a raw IPv6 socket does not.
    """
    return [
        (_LDX_MSH, 0, 0, 0) if version == 4 else (_LDX_IMM, 0, 0, 0),
        (_LD_LEN, 0, 0, 0),
        (_SUB_X, 0, 0, 0),
        (_JGE, 0, 3 if number else 4, 4),
        (_LD_IND, 0, 0, 0),
        (_MOD, 0, 0, of),
        (_JEQ, 1, 0, number),
        (_RET, 0, 0, 0),
        (_RET, 0, 0, 0xFFFFFFFF),
    ]


def _share_by_spi(sock: socket.socket, version: int, number: int, of: int) -> None:
    if of == 1:
        return
    program = b"".join(struct.pack("HBBI", *instruction) for instruction in spi_filter(version, number, of))
    memory = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a count, and a pointer at its natural alignment
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(memory)))


# --- who has it ------------------------------------------------------------------------------------------------------------------


def _bind_refusal(error: OSError, address: IPAddress, port: int | None) -> ListenError:
    where = f"{address}, ESP" if port is None else f"{address} UDP port {port}"
    if error.errno == errno.EADDRINUSE and port is not None:
        return ListenError(
            f"{where} is in use by {holder(port) or 'another process'}: stop it, or choose another port", Slug.PORT_BUSY
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return ListenError(f"{where} cannot be opened: no interface of this host has that address (ip address show)")
    if error.errno in {errno.EACCES, errno.EPERM}:
        return ListenError(
            f"{where} is refused: ports below 1024 need CAP_NET_BIND_SERVICE; run as root, or grant it "
            "(setcap cap_net_bind_service+ep on the interpreter, AmbientCapabilities= in a systemd unit)"
        )
    return ListenError(f"{where} cannot be opened: {os.strerror(error.errno or 0)}")


def holder(port: int) -> str | None:
    """Name the processes that have a UDP port, as far as this process may see: ``charon (pid 812)``; ``None`` if nobody is found."""
    inodes = set(_inodes(port))
    if not inodes:
        return None
    found = sorted({f"{name} (pid {pid})" for pid, name in _owners(inodes)})
    return ", ".join(found) if found else "a process of another user or namespace"


def _inodes(port: int) -> Iterator[int]:
    """Socket inodes that have a local UDP port, from /proc/net/udp and udp6: ``sl local remote st queues tr retrnsmt uid timeout inode``."""
    for table in ("udp", "udp6"):
        with suppress(OSError):
            for line in Path(f"/proc/net/{table}").read_text("ascii").splitlines()[1:]:
                part = line.split()
                with suppress(ValueError, IndexError):
                    if int(part[1].rpartition(":")[2], 16) == port:
                        yield int(part[9])


def _owners(inodes: set[int]) -> Iterator[tuple[int, str]]:
    wanted = {f"socket:[{inode}]" for inode in inodes}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        with suppress(OSError):
            if any(_link(entry) in wanted for entry in (process / "fd").iterdir()):
                yield int(process.name), (process / "comm").read_text("utf-8").strip()


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""
