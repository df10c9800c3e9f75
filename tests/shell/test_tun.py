"""The TUN device: what the kernel was asked for, what it refuses, and that nothing stays."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import platform
import select
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from typing import Any

import pytest

from headrace.shell import steer
from headrace.shell import tun as module
from headrace.shell.netns import Namespace
from headrace.shell.tun import MAX_SEGMENTS, USO, VNET, Tun, TunError

REASON = (
    "needs root, or unshare -Urn"
    if os.geteuid()
    else ""
    if os.access("/dev/net/tun", os.R_OK | os.W_OK)
    else "needs /dev/net/tun"
)
root = [pytest.mark.root, pytest.mark.skipif(bool(REASON), reason=REASON or "possible")]


@pytest.fixture
def ns() -> Iterator[Namespace]:
    with Namespace("tun") as space:
        yield space


def link(ns: Namespace, name: str) -> dict[str, Any]:
    """Attributes of an interface; empty if there is none."""
    with ns.netlink() as ip:
        found = ip.link_lookup(ifname=name)
        return dict(ip.get_links(found[0])[0]["attrs"]) if found else {}


def routes(ns: Namespace, family: int = socket.AF_INET) -> set[str]:
    with ns.netlink() as ip:
        return {
            f"{r.get_attr('RTA_DST')}/{r['dst_len']}" for r in ip.get_routes(family=family, table=254) if r.get_attr("RTA_DST")
        }


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"queues": 0}, "queues"),
        ({"queues": 65}, "queues"),
        ({"mtu": 575}, "MTU"),
        ({"mtu": 65536}, "MTU"),
        ({"name": "a" * 16}, "interface name"),
        ({"name": "a/b"}, "interface name"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        Tun(**arguments)


def test_n208_no_device_node(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(module, "DEVICE", tmp_path / "tun")
    with pytest.raises(TunError, match=r"does not exist.*modprobe tun"):
        Tun("hr0")


@pytest.mark.parametrize(
    ("number", "match"),
    [(errno.EACCES, "chmod"), (errno.EPERM, "run as root"), (errno.ENODEV, "no driver"), (errno.EMFILE, "Too many open files")],
)
def test_n208_the_device_node_cannot_be_opened(monkeypatch: pytest.MonkeyPatch, number: int, match: str) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(TunError, match=match):
        Tun("hr0")


def test_steering_on_a_processor_whose_system_calls_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    with pytest.raises(OSError, match="pdp11"):
        steer.load()


@pytest.mark.parametrize("number", [errno.EPERM, errno.EBUSY, errno.EINVAL])
def test_n208_the_kernel_refuses(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def ioctl(_: int, request: int, argument: bytes) -> bytes:
        if request == 0x400454CA:
            raise OSError(number, os.strerror(number))
        return struct.pack("I", 0x4101) + argument[4:]

    monkeypatch.setattr(module, "open_device", lambda: os.open("/dev/null", os.O_RDWR))
    monkeypatch.setattr(fcntl, "ioctl", ioctl)
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    with pytest.raises(TunError) as caught:
        Tun("hr0")
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before
    expected = {errno.EPERM: "CAP_NET_ADMIN", errno.EBUSY: "ip link del hr0", errno.EINVAL: "Invalid argument"}
    assert expected[number] in str(caught.value)


class TestDevice:
    """With a real one."""

    pytestmark = root

    def test_it_has_what_was_asked_for_and_goes_when_it_is_closed(self, ns: Namespace) -> None:
        with ns.call(lambda: Tun("hr0", queues=3, mtu=1380)) as tun:
            assert (tun.name, len(tun.fds), tun.mtu) == ("hr0", 3, 1380)
            seen = link(ns, "hr0")
            assert (seen["IFLA_MTU"], seen["IFLA_OPERSTATE"]) == (1380, "DOWN")
            assert all(not os.get_blocking(fd) for fd in tun.fds)
            if tun.vnet & VNET:
                assert seen["IFLA_GSO_MAX_SEGS"] == MAX_SEGMENTS
            assert "queues=3" in repr(tun)
        assert link(ns, "hr0") == {}
        tun.close()

    def test_the_kernel_picks_a_name(self, ns: Namespace) -> None:
        with ns.call(lambda: Tun("hr%d")) as one, ns.call(lambda: Tun("hr%d")) as two, ns.call(Tun) as three:
            assert (one.name, two.name) == ("hr0", "hr1")
            assert three.name

    @pytest.mark.parametrize("queues", [1, 2])
    def test_n208_a_name_that_is_taken(self, ns: Namespace, queues: int) -> None:
        with (
            ns.call(lambda: Tun("hr0", queues=queues)),
            pytest.raises(TunError, match="hr0 is taken"),
        ):
            ns.call(lambda: Tun("hr0", queues=queues))
        with pytest.raises(TunError, match="lo"):
            ns.call(lambda: Tun("lo"))

    def test_a_gateway_has_one_address_and_routes(self, ns: Namespace) -> None:
        networks: list[IPv4Network | IPv6Network] = [
            IPv4Network("10.99.0.0/24"),
            IPv4Network("10.98.0.0/16"),
            IPv6Network("fd00:99::/64"),
        ]
        with ns.call(lambda: Tun("hr0")) as tun:
            for _ in range(2):  # twice is as good as once
                ns.call(lambda: tun.configure(address=IPv4Address("10.99.0.1"), networks=networks))
            ns.call(lambda: tun.configure(address=IPv6Address("fd00:99::1")))
            assert routes(ns) == {"10.99.0.0/24", "10.98.0.0/16"}
            assert "fd00:99::/64" in routes(ns, socket.AF_INET6)
            with ns.netlink() as ip:
                found = {
                    a.get_attr("IFA_LOCAL") or a.get_attr("IFA_ADDRESS"): a["prefixlen"] for a in ip.get_addr(index=tun.index)
                }
            assert found["10.99.0.1"] == 32
            assert found["fd00:99::1"] == 128
        assert routes(ns) == set()

    def test_a_client_has_a_peer_and_may_shrink_its_mtu(self, ns: Namespace) -> None:
        with ns.call(lambda: Tun("hr0", mtu=1400)) as tun:
            ns.call(lambda: tun.configure(address=IPv4Address("10.99.0.5"), peer=IPv4Address("10.99.0.1"), mtu=1300))
            assert routes(ns) == {"10.99.0.1/32"}
            assert link(ns, "hr0")["IFLA_MTU"] == 1300
            for mtu in (1401, 100):
                with pytest.raises(ValueError, match="MTU"):
                    tun.configure(mtu=mtu)
            with ns.netlink() as ip:
                (address,) = ip.get_addr(index=tun.index, family=socket.AF_INET)
            assert (address.get_attr("IFA_LOCAL"), address.get_attr("IFA_ADDRESS")) == ("10.99.0.5", "10.99.0.1")

    def test_forwarding_is_switched_on(self, ns: Namespace) -> None:
        def forwarding() -> str:
            return Path("/proc/sys/net/ipv4/ip_forward").read_text().strip()

        with ns.call(lambda: Tun("hr0")) as tun:
            ns.call(lambda: Path("/proc/sys/net/ipv4/ip_forward").write_text("0"))
            ns.call(tun.configure)
            assert ns.call(forwarding) == "0"
            ns.call(lambda: tun.configure(forwarding=True))
            assert ns.call(forwarding) == "1"

    def test_what_the_kernel_does_not_take_is_said(self, ns: Namespace) -> None:
        with ns.call(lambda: Tun("hr0")) as tun:
            with ns.netlink() as ip:
                ip.link("del", index=tun.index)
            with pytest.raises(TunError, match="hr0: the kernel refuses"):
                ns.call(lambda: tun.configure(address=IPv4Address("10.99.0.1")))

    def test_up_and_down(self, ns: Namespace) -> None:
        with ns.call(lambda: Tun("hr0")) as tun:
            ns.call(tun.up)
            assert link(ns, "hr0")["IFLA_OPERSTATE"] in {"UP", "UNKNOWN"}
            ns.call(tun.down)
            assert link(ns, "hr0")["IFLA_OPERSTATE"] == "DOWN"

    @pytest.mark.parametrize("offload", [True, False])
    def test_large_segments_arrive_with_a_header_only_if_asked_for(self, ns: Namespace, offload: bool) -> None:
        with ns.call(lambda: Tun("hr0", offload=offload)) as tun:
            ns.call(lambda: tun.configure(address=IPv4Address("10.99.0.1"), networks=[IPv4Network("10.99.0.0/24")]))
            assert bool(tun.vnet & VNET) == offload
            with ns.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as sock:
                if tun.vnet & USO:
                    sock.setsockopt(17, 103, 1000)
                sock.sendto(bytes(4000), ("10.99.0.9", 7))
                assert select.select(tun.fds, [], [], 5)[0]
                data = os.read(tun.fds[0], 1 << 16)
            if tun.vnet & USO:
                flags, kind, _, size, start, offset = struct.unpack("=BBHHHH", data[:10])
                assert (flags, kind, size, start, offset) == (1, 5, 1000, 20, 6)
                assert len(data) == 10 + 28 + 4000
            elif not offload:
                assert data[0] == 0x45
                assert len(data) <= 1400

    def test_everything_for_one_destination_waits_in_one_queue(self, ns: Namespace) -> None:
        with ns.call(lambda: Tun("hr0", queues=4)) as tun:
            if not tun.steered:
                pytest.skip("no right to load eBPF (a user namespace)")
            networks: list[IPv4Network | IPv6Network] = [IPv4Network("10.99.0.0/24"), IPv6Network("fd00:99::/48")]
            ns.call(lambda: tun.configure(address=IPv4Address("10.99.0.1"), networks=networks))
            ns.call(lambda: tun.configure(address=IPv6Address("fd00:99::1")))
            for family, targets in (
                (socket.AF_INET, [f"10.99.0.{n}" for n in range(2, 42)]),
                (socket.AF_INET6, [f"fd00:99:0:{n:x}::{port:x}" for n in range(1, 41) for port in (1, 2)]),
            ):
                with ns.call(lambda: socket.socket(family, socket.SOCK_DGRAM)) as sock:  # noqa: B023
                    for target in targets:
                        for port in range(2000, 2004):
                            sock.sendto(b"x", (target, port))
            queues: dict[bytes, set[int]] = {}
            for number, fd in enumerate(tun.fds):
                while select.select([fd], [], [], 0)[0]:
                    packet = os.read(fd, 2000)[10 if tun.vnet else 0 :]
                    key = packet[16:20] if packet[0] == 0x45 else packet[24:32]
                    if packet[9 if packet[0] == 0x45 else 6] == 17:
                        queues.setdefault(key, set()).add(number)
            assert len(queues) == 80
            assert all(len(its) == 1 for its in queues.values())
            for length in (4, 8):
                assert len(set.union(*(its for key, its in queues.items() if len(key) == length))) == 4

    def test_without_the_right_to_steer_packets_are_shared_out_by_flow(
        self, ns: Namespace, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse() -> int:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(steer, "load", refuse)
        with ns.call(lambda: Tun("hr0", queues=2)) as tun:
            assert not tun.steered

    def test_it_works_from_within_a_running_event_loop(self, ns: Namespace) -> None:
        async def body() -> None:
            def make() -> None:
                with Tun("hr0") as tun:
                    tun.configure(address=IPv4Address("10.99.0.1"), networks=[IPv4Network("10.99.0.0/24")])

            ns.call(make)
            await asyncio.sleep(0)

        asyncio.run(body())
