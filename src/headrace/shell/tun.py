"""The TUN device: opened with as many queues as there are workers, given its addresses and routes, gone when it is closed.

The device is made by ``ioctl`` (linux/if_tun.h) and set up over rtnetlink. With ``IFF_VNET_HDR`` every packet carries a virtio-net
header, so that one read hands over a large TCP segment and one write takes one: ``csrc/gso.c`` cuts and joins them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Interface, IPv6Network
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

from pyroute2.netlink.exceptions import NetlinkError

from headrace.errors import HeadraceError
from headrace.shell import steer
from headrace.shell.netlink import with_netlink

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from headrace.model import IPAddress

DEVICE: Final = Path("/dev/net/tun")

# linux/if_tun.h; the numbers are those of every architecture with the generic ioctl encoding
_TUNSETIFF: Final = 0x400454CA
_TUNGETFEATURES: Final = 0x800454CF
_TUNSETOFFLOAD: Final = 0x400454D0
_TUNSETVNETHDRSZ: Final = 0x400454D8
_TUNSETSTEERINGEBPF: Final = 0x800454E0
_IFF_TUN: Final = 0x0001
_IFF_MULTI_QUEUE: Final = 0x0100
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000
_IFF_TUN_EXCL: Final = 0x8000
_TUN_F_CSUM: Final = 0x01
_TUN_F_TSO4: Final = 0x02
_TUN_F_TSO6: Final = 0x04
_TUN_F_TSO_ECN: Final = 0x08
_TUN_F_USO4: Final = 0x20
_TUN_F_USO6: Final = 0x40
_VNET_HDR_LEN: Final = 10

VNET: Final = 1
"""Bit of ``Tun.vnet``: packets carry a virtio-net header. The bits are ``enum hr_tun_flag``."""
USO: Final = 2
"""Bit of ``Tun.vnet``: the kernel knows UDP segmentation (since 6.2)."""

MAX_QUEUES: Final = 64
"""``HR_WORKERS_MAX``."""
MAX_SEGMENTS: Final = 64
"""Packets that one large segment may become; the kernel is told, ``csrc/gso.h`` refuses more."""
MIN_MTU: Final = 576
_QUEUE_LENGTH: Final = 1000
"""Packets that wait for a worker (each perhaps a segment of 64 KiB)."""
_MAX_NAME: Final = 15
_INET6: Final = 10
_IFA_F_NODAD: Final = 0x02
_FORWARDING4: Final = Path("/proc/sys/net/ipv4/ip_forward")
_FORWARDING6: Final = Path("/proc/sys/net/ipv6/conf/all/forwarding")


class TunError(HeadraceError):
    """The system refused the device; the message says what is missing and how it is granted."""


class Tun:
    """One TUN device. A context manager; closing it takes the device away, and with it its addresses and routes."""

    def __init__(self, name: str = "", *, queues: int = 1, mtu: int = 1400, offload: bool = True) -> None:
        """Make the device, down and without addresses.

        ``name`` may end in ``%d``, and be empty: the kernel then picks one. ``offload`` asks for virtio headers where the kernel
        has them. Raises ``TunError``, or ``ValueError`` for arguments that make no sense.
        """
        if not 1 <= queues <= MAX_QUEUES:
            raise ValueError(f"{queues} queues: 1 to {MAX_QUEUES} are possible")
        if not MIN_MTU <= mtu <= 65535:
            raise ValueError(f"an MTU of {mtu}: {MIN_MTU} to 65535 are possible")
        if len(name.encode()) > _MAX_NAME or "/" in name:
            raise ValueError(f"{name!r} is no interface name: at most {_MAX_NAME} octets without a slash")
        self.mtu = mtu
        """Largest IP packet of the device, octets."""
        self.vnet = 0
        """``VNET`` and ``USO``: what the workers have to expect."""
        self.fds: tuple[int, ...] = ()
        """One descriptor for each queue, not blocking; closed with the device."""
        self.steered = False
        """Packets for one destination stay in one queue; without, they are shared out by flow."""
        fds: list[int] = []
        try:
            for _ in range(queues):
                fds.append(open_device())
                name = self._attach(fds[-1], name, first=len(fds) == 1, multi=queues > 1, offload=offload)
        except BaseException:
            for fd in fds:
                os.close(fd)
            raise
        self.name = name
        """As the kernel made it."""
        self.fds = tuple(fds)
        if queues > 1:
            with suppress(OSError):  # no CAP_BPF, as in a user namespace: then by flow
                self._steer()
        try:
            self.index = self._prepare()
            """Interface index."""
        except BaseException:
            self.close()
            raise

    def _attach(self, fd: int, name: str, *, first: bool, multi: bool, offload: bool) -> str:
        flags = _IFF_TUN | _IFF_NO_PI | (_IFF_MULTI_QUEUE if multi else 0)
        features = struct.unpack("I", fcntl.ioctl(fd, _TUNGETFEATURES, bytes(4)))[0]
        vnet = offload and bool(features & _IFF_VNET_HDR)
        flags |= _IFF_VNET_HDR if vnet else 0
        flags |= _IFF_TUN_EXCL if first and "%" not in name else 0
        try:
            made = fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        except OSError as error:
            raise refusal(error, name) from error
        if vnet:
            fcntl.ioctl(fd, _TUNSETVNETHDRSZ, struct.pack("i", _VNET_HDR_LEN))
            self.vnet = VNET
            tcp = _TUN_F_CSUM | _TUN_F_TSO4 | _TUN_F_TSO6 | _TUN_F_TSO_ECN
            try:
                fcntl.ioctl(fd, _TUNSETOFFLOAD, tcp | _TUN_F_USO4 | _TUN_F_USO6)
                self.vnet |= USO
            except OSError:  # a kernel before 6.2
                with suppress(OSError):  # checksums and large segments then stay with the kernel: slower, not wrong
                    fcntl.ioctl(fd, _TUNSETOFFLOAD, tcp)
        return bytes(made[:16]).rstrip(b"\0").decode()

    def _steer(self) -> None:
        program = steer.load()
        try:
            fcntl.ioctl(self.fds[0], _TUNSETSTEERINGEBPF, struct.pack("i", program))
        finally:
            os.close(program)
        self.steered = True

    def _prepare(self) -> int:
        def exchange(ip: Any) -> int:
            index = int(ip.link_lookup(ifname=self.name)[0])
            ip.link("set", index=index, mtu=self.mtu, txqlen=_QUEUE_LENGTH)
            if self.vnet:
                ip.link("set", index=index, gso_max_segs=MAX_SEGMENTS)
            return index

        index = with_netlink(exchange)
        # The tunnel has no neighbours to ask: router solicitations and the like would only be dropped packets.
        # Nor is its link-local address the kernel's to choose: the ends of each link agree on it.
        for key, value in (("autoconf", "0"), ("accept_ra", "0"), ("router_solicitations", "0"), ("addr_gen_mode", "1")):
            with suppress(OSError):  # a kernel without IPv6, or /proc read-only
                Path(f"/proc/sys/net/ipv6/conf/{self.name}/{key}").write_text(value, "ascii")
        return index

    def configure(
        self,
        *,
        address: IPAddress | None = None,
        peer: IPAddress | None = None,
        networks: Iterable[IPv4Network | IPv6Network] = (),
        mtu: int | None = None,
        forwarding: bool = False,
    ) -> None:
        """Give the device an address, bring it up, and route networks into it.

        With ``peer`` the link is point to point (a client). ``mtu`` may only be smaller than the one that the device was made
        with, which is what the workers have room for. ``forwarding`` switches IPv4 forwarding of the host on.
        Raises ``TunError``; what was done until then stays, and goes with the device.
        """
        if mtu is not None and not MIN_MTU <= mtu <= self.mtu:
            raise ValueError(f"an MTU of {mtu}: the device was made for {MIN_MTU} to {self.mtu}")
        try:
            with_netlink(lambda ip: self._configure(ip, address, peer, networks, mtu))
        except NetlinkError as error:
            raise TunError(f"{self.name}: the kernel refuses to set up the device: {error}") from error
        if forwarding:
            _switch_forwarding_on()

    def configure6(
        self, addresses: Iterable[IPv6Interface], networks: Iterable[IPv6Network] = (), *, forwarding: bool = False
    ) -> None:
        """Make these the IPv6 addresses of the device, and no others; route networks into it.

        ``forwarding`` switches IPv6 forwarding of the host on. Raises ``TunError``.
        """
        wanted = list(addresses)
        with suppress(OSError):
            Path(f"/proc/sys/net/ipv6/conf/{self.name}/disable_ipv6").write_text("0", "ascii")
        try:
            with_netlink(lambda ip: self._configure6(ip, wanted, networks))
        except NetlinkError as error:
            raise TunError(f"{self.name}: the kernel refuses IPv6 addresses: {error}") from error
        if forwarding:
            _switch_forwarding_on(_FORWARDING6)

    def _configure6(self, ip: Any, wanted: list[IPv6Interface], networks: Iterable[IPv6Network]) -> None:
        known = {(a.get_attr("IFA_ADDRESS"), a["prefixlen"]) for a in ip.get_addr(index=self.index, family=_INET6)}
        fresh = {(str(address.ip), address.network.prefixlen) for address in wanted}
        for address, length in known - fresh:
            ip.addr("del", index=self.index, address=address, prefixlen=length, family=_INET6)
        for address, length in fresh - known:
            # No duplicates are looked for: the two ends of the link have agreed on who they are.
            ip.addr("add", index=self.index, address=address, prefixlen=length, family=_INET6, flags=_IFA_F_NODAD)
        for network in networks:
            ip.route("replace", dst=str(network), oif=self.index, family=_INET6)

    def write(self, packet: bytes) -> None:
        """Give the system one IP packet, as if it had come through the tunnel; lost where the kernel takes none."""
        with suppress(OSError):
            os.write(self.fds[0], (bytes(_VNET_HDR_LEN) if self.vnet else b"") + packet)

    def _configure(
        self,
        ip: Any,
        address: IPAddress | None,
        peer: IPAddress | None,
        networks: Iterable[IPv4Network | IPv6Network],
        mtu: int | None,
    ) -> None:
        if mtu is not None:
            ip.link("set", index=self.index, mtu=mtu)
        ip.link("set", index=self.index, state="up")
        if address is not None:
            shown = address if peer is None else peer
            more = {} if peer is None else {"local": str(address)}
            # "replace": the same address again, after a link went and came, is no error.
            ip.addr(
                "replace", index=self.index, address=str(shown), prefixlen=shown.max_prefixlen, family=_family(shown), **more
            )
        for network in networks:
            ip.route("replace", dst=str(network), oif=self.index, family=_family(network))

    def up(self) -> None:
        """Bring the link up (again)."""
        self._set("up")

    def down(self) -> None:
        """Bring the link down: packets to it are refused, workers go on."""
        self._set("down")

    def _set(self, state: str) -> None:
        with_netlink(lambda ip: ip.link("set", index=self.index, state=state))

    def close(self) -> None:
        """Take the device away. The workers must not use it any more."""
        fds, self.fds = self.fds, ()
        for fd in fds:
            os.close(fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Tun({self.name!r}, queues={len(self.fds)}, mtu={self.mtu}, vnet={self.vnet})"


def open_device() -> int:
    """Open ``/dev/net/tun``. Raises ``TunError`` with what is missing."""
    try:
        return os.open(DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise TunError(
            f"{DEVICE} does not exist: load the module (modprobe tun), or pass the device into the container (--device {DEVICE})"
        ) from error
    except PermissionError as error:
        raise TunError(f"{DEVICE} may not be opened: run as root, or make it accessible (chmod 0666 {DEVICE})") from error
    except OSError as error:
        if error.errno == errno.ENODEV:
            raise TunError(f"{DEVICE} has no driver behind it: load the module (modprobe tun)") from error
        raise TunError(f"{DEVICE}: {os.strerror(error.errno or 0)}") from error


def refusal(error: OSError, name: str) -> TunError:
    """Say why the kernel makes no device."""
    if error.errno in {errno.EPERM, errno.EACCES}:
        return TunError(
            f"the kernel refuses to make the TUN device {name or 'headrace'}: CAP_NET_ADMIN is missing; run as root, or grant it "
            "(setcap cap_net_admin,cap_net_raw,cap_net_bind_service+ep on the interpreter, AmbientCapabilities= in a systemd unit)"
        )
    if error.errno in {errno.EBUSY, errno.EEXIST}:
        return TunError(f"the interface name {name} is taken: choose another, or remove it (ip link del {name})")
    return TunError(f"the kernel refuses to make the TUN device {name!r}: {os.strerror(error.errno or 0)}")


def _family(of: IPAddress | IPv4Network | IPv6Network) -> int:
    return 2 if isinstance(of, IPv4Address | IPv4Network) else 10


def _switch_forwarding_on(path: Path = _FORWARDING4) -> None:
    try:
        if path.read_text("ascii").strip() != "1":
            path.write_text("1", "ascii")
    except OSError as error:
        raise TunError(
            f"forwarding is off and cannot be switched on ({error.strerror}): write 1 to {path}, or set network.forwarding to false"
        ) from error
