"""What this machine has and the configuration needs: addresses, free ports, rights, devices, routes out of the way.

Nothing is changed; sockets that are opened to see whether they can be are closed at once.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pyroute2.netlink.exceptions import NetlinkError

from headrace.access.pools import AddressRange
from headrace.model import Auth, Cipher, IPAddress
from headrace.shell.firewall import Packet, blocking, rules_in_force
from headrace.shell.netlink import with_netlink
from headrace.stack.mtu import inner_mtu

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headrace.shell.config import GatewayConfig
    from headrace.shell.firewall import Rules

_CAPABILITIES: Final = {10: "CAP_NET_BIND_SERVICE", 12: "CAP_NET_ADMIN", 13: "CAP_NET_RAW"}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that the machine does not give."""

    key: str
    """The configuration's key that asks for it, or what is missing."""
    reason: str
    remedy: str
    fatal: bool = True
    """Whether the gateway cannot start; otherwise some client will not get through."""

    def __str__(self) -> str:
        return f"{self.key}: {self.reason}; {self.remedy}"


def check_host(config: GatewayConfig, *, running: bool = False, proc: Path = Path("/proc")) -> list[Finding]:
    """Look for everything that would keep the gateway from starting here, or its clients from getting through.

    ``running``: ports and TUN are in use because it runs.
    """
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
    found += _forwarding(config, proc)
    found += _firewall(config, rules_in_force())
    found += _path(config)
    return found


def _forwarding(config: GatewayConfig, proc: Path) -> list[Finding]:
    """Without forwarding, clients reach this machine and nothing behind it."""
    if config.network.forwarding:
        return []
    families = [("4", "ipv4/ip_forward")] + ([("6", "ipv6/conf/all/forwarding")] if config.network.ipv6_prefixes else [])
    found = []
    for version, name in families:
        try:
            on = (proc / "sys" / "net" / name).read_text().strip() != "0"
        except OSError:
            continue
        if not on:
            reason = f"this machine does not forward IPv{version}: clients will reach it, and nothing behind it"
            found.append(Finding("network.forwarding", reason, "set network.forwarding = true, if they should", fatal=False))
    return found


def _firewall(config: GatewayConfig, rules: Rules | None) -> list[Finding]:
    """Ports and ESP that this machine's own rules drop."""
    if rules is None:
        return []
    found = []
    for version in sorted({address.version for address in config.gateway.listen}):
        wanted = [
            Packet(17, config.gateway.ike_port, version),
            Packet(17, config.gateway.natt_port, version),
            Packet(50, 0, version),
        ]
        if config.gateway.allow_clear_l2tp:
            wanted.append(Packet(17, config.gateway.l2tp_port, version))
        for packet in wanted:
            chain = blocking(rules, packet)
            if chain:
                match = f"udp dport {packet.port}" if packet.port else "meta l4proto esp"
                whose = "clients" if packet.port else "clients without a NAT"
                reason = f"this machine's own rules drop {packet} over IPv{version} (chain {chain}): {whose} will show 809"
                found.append(Finding("firewall", reason, f"nft insert rule {chain} {match} accept", fatal=False))
    return found


def _path(config: GatewayConfig) -> list[Finding]:
    """Interfaces of the outer addresses that are too small for packets of ``ppp.mru``, with the ESP that takes the most room."""
    found = []
    for name, mtu in sorted(_outer_interfaces(config)):
        largest = min(
            inner_mtu(mtu, version, Cipher.AES_CBC, Auth.HMAC_SHA2_256_128, udp_encap=True, mppe=False, numbered=False)
            for version in {address.version for address in config.gateway.listen}
        )
        if largest < config.ppp.mru:
            reason = f"packets of {config.ppp.mru} octets will be fragmented on {name}, whose MTU is {mtu}"
            found.append(Finding("ppp.mru", reason, f"set ppp.mru = {largest}, and network.mtu likewise", fatal=False))
    return found


def _outer_interfaces(config: GatewayConfig) -> set[tuple[str, int]]:
    """Interfaces that have an address which is listened on, with their MTU."""
    listening = set(config.gateway.listen)
    anything = {address.version for address in listening if address.is_unspecified}
    return {
        (one.name, one.mtu)
        for one in interface_addresses()
        if not one.address.is_loopback and one.name != config.network.tun_name
        if one.address in listening or one.address.version in anything
    }


class InterfaceAddress(NamedTuple):
    """One address of this machine."""

    name: str
    """Of the interface."""
    mtu: int
    """Of the interface, octets."""
    address: IPAddress


def interface_addresses() -> list[InterfaceAddress]:
    """The addresses of this machine; none where netlink cannot be asked."""

    def ask(ip: Any) -> list[InterfaceAddress]:
        links = {link["index"]: (link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_MTU")) for link in ip.get_links()}
        return [
            InterfaceAddress(*links[one["index"]], ip_address(one.get_attr("IFA_ADDRESS")))
            for one in ip.get_addr()
            if one["index"] in links
        ]

    try:
        return with_netlink(ask)
    except (OSError, NetlinkError, ValueError):
        return []


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
        ("gateway.state_dir", config.accounts.key_file.parent),
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
