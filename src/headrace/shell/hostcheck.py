"""What this machine has and the configuration needs: addresses, free ports, rights, devices, routes out of the way.

Nothing is changed; sockets that are opened to see whether they can be are closed at once.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING, Final

from headrace.access.pools import AddressRange

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.model import IPAddress
    from headrace.shell.config import GatewayConfig

_CAPABILITIES: Final = {10: "CAP_NET_BIND_SERVICE", 12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the machine does not give."""

    key: str
    """The configuration's key that asks for it, or what is missing."""
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}; {self.remedy}"


def check_host(config: GatewayConfig, *, running: bool = False, proc: Path = Path("/proc")) -> list[Finding]:
    """Look for everything that would keep the gateway from starting here. ``running``: ports and TUN are in use because it runs."""
    found = list(_rights(proc))
    found += _routes(config, proc)
    for i, address in enumerate(config.gateway.listen):
        ports = [("ike_port", config.gateway.ike_port), ("natt_port", config.gateway.natt_port)]
        if config.gateway.allow_clear_l2tp:
            ports.append(("l2tp_port", config.gateway.l2tp_port))
        for key, port in ports if not running else []:
            finding = _port(f"gateway.listen[{i}]", key, address, port, proc)
            if finding is not None:
                found.append(finding)
                if finding.key.startswith("gateway.listen"):
                    break
    found += _devices(config, running=running)
    return found


def _rights(proc: Path) -> list[Finding]:
    """Capabilities that are missing."""
    try:
        text = (proc / "self" / "status").read_text()
        have = int(next(line.split()[1] for line in text.splitlines() if line.startswith("CapEff:")), 16)
    except (OSError, ValueError, StopIteration, IndexError):
        return []
    missing = [name for bit, name in _CAPABILITIES.items() if not have >> bit & 1]
    if not missing:
        return []
    names = ",".join(name.lower() for name in missing)
    program = shutil.which("headrace") or "headrace"
    return [
        Finding(
            "rights",
            f"this user lacks {', '.join(missing)}",
            f"run it as root or as a unit with AmbientCapabilities={' '.join(missing)}; or: setcap {names}+ep $(readlink -f {program})",
        )
    ]


def _port(listen: str, key: str, address: IPAddress, port: int, proc: Path) -> Finding | None:
    """Whether a UDP port can be had."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.bind((str(address), port))
    except OSError as error:
        if error.errno == errno.EADDRNOTAVAIL:
            return Finding(
                listen, f"{address} is no address of this machine", '`ip addr` shows those it has; "0.0.0.0" stands for all'
            )
        if error.errno == errno.EAFNOSUPPORT:
            return Finding(listen, f"this machine has no IPv{address.version}", "leave the address out")
        if error.errno == errno.EADDRINUSE:
            who = port_owner(port, proc)
            by = f" by {who}" if who else ""
            return Finding(
                f"gateway.{key}", f"UDP port {port} of {address} is in use{by}", "stop that program (strongSwan, xl2tpd ...)"
            )
        if error.errno in {errno.EACCES, errno.EPERM}:
            return None  # told among the rights
        return Finding(f"gateway.{key}", f"UDP port {port} of {address}: {error.strerror}", "see that the address is up")
    return None


def port_owner(port: int, proc: Path = Path("/proc")) -> str:
    """Name the process that has a UDP port, if it can be seen: ``charon (pid 812)``."""
    inodes = set()
    for name in ("udp", "udp6"):
        try:
            lines = (proc / "net" / name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if len(fields) > 9 and fields[1].rpartition(":")[2] == f"{port:04X}":
                inodes.add(f"socket:[{fields[9]}]")
    if not inodes:
        return ""
    for process in proc.glob("[0-9]*"):
        try:
            for descriptor in (process / "fd").iterdir():
                if str(descriptor.readlink()) in inodes:
                    return f"{(process / 'comm').read_text().strip()} (pid {process.name})"
        except OSError:
            continue
    return ""


def _devices(config: GatewayConfig, *, running: bool) -> list[Finding]:
    found = []
    tun = Path("/dev/net/tun")
    if not tun.exists():
        found.append(
            Finding("tun", f"there is no {tun}", "load the module: modprobe tun; in a container, pass --device /dev/net/tun")
        )
    name = config.network.tun_name
    if not running and Path("/sys/class/net", name).exists():
        found.append(
            Finding(
                "network.tun_name", f"there is an interface {name} already", f"choose another name, or: ip link delete {name}"
            )
        )
    for key, path in (
        ("gateway.state_dir", config.accounts.database.parent),
        ("gateway.control_socket", config.gateway.control_socket.parent),
    ):
        place = next((p for p in (path, *path.parents) if p.exists()), path)
        if not os.access(place, os.W_OK):
            found.append(Finding(key, f"{place} cannot be written to", "run it as the gateway's user, or name another place"))
    return found


def _routes(config: GatewayConfig, proc: Path) -> list[Finding]:
    """Pools, or our inner address, that overlap a network which this machine reaches otherwise, or one of its own addresses."""
    found = []
    for network, device in host_routes(proc):
        if device == config.network.tun_name or network.prefixlen == 0:
            continue
        there = AddressRange(network.network_address, network.broadcast_address)
        for pool in config.network.pools:
            for span in pool.ranges:
                if span.overlaps(there):
                    reason = f"{span} overlaps {network}, which this machine reaches through {device}"
                    found.append(Finding(f"network.pools.{pool.name}", reason, "take a network that is not in use here"))
        if config.network.address in there:
            reason = f"{config.network.address} is in {network}, which this machine reaches through {device}"
            found.append(Finding("network.address", reason, "take an address of a network that is not in use here"))
    return found


def host_routes(proc: Path = Path("/proc")) -> Iterable[tuple[IPv4Network, str]]:
    """The main IPv4 routing table: networks and their interfaces."""
    try:
        lines = (proc / "net" / "route").read_text().splitlines()[1:]
    except OSError:
        return
    for line in lines:
        fields = line.split()
        if len(fields) < 8:
            continue
        destination, mask = (IPv4Address(int.from_bytes(bytes.fromhex(fields[i]), "little")) for i in (1, 7))
        yield IPv4Network(f"{destination}/{mask}", strict=False), fields[0]
