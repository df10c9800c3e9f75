"""Two engines in two network namespaces of the test's own, with real TUN devices, over UDP 4500 and over raw ESP."""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address
from typing import Any

import pytest
from tests.dataplane.engine_rig import (
    LEFT4,
    LEFT6,
    PATIENCE,
    RIGHT4,
    RIGHT6,
    Plane,
    Side,
    can_make_namespaces,
    checksum,
    connect,
    wait_for,
)

from headrace.dataplane.engine import Engine, Outgoing
from headrace.model import Auth, Cipher
from headrace.shell.netns import Namespace
from headrace.shell.sockets import open_listener
from headrace.shell.tun import Tun

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(bool(can_make_namespaces()), reason=can_make_namespaces() or "possible"),
]

OUTER = {4: ("192.0.2.2", "192.0.2.1"), 6: ("2001:db8::2", "2001:db8::1")}


@dataclass
class End(Side):
    """One side with its namespace."""

    ns: Any = None


@contextlib.contextmanager
def tunnel(
    *,
    encap: bool = True,
    outer: int = 4,
    workers: int = 1,
    offload: bool = True,
    mtu: int = 1400,
    cipher: Cipher = Cipher.AES_GCM16,
    auth: Auth = Auth.NONE,
    dont_fragment: bool = False,
    udp_gso: bool = True,
    batch: int = 256,
) -> Iterator[tuple[End, End]]:
    """Left and right, joined by a veth pair, with TUN devices up and addressed."""
    with contextlib.ExitStack() as stack:
        spaces = [stack.enter_context(Namespace(name)) for name in ("left", "right")]
        with spaces[0].netlink() as ip:
            ip.link("add", ifname="out", kind="veth", peer={"ifname": "out", "net_ns_fd": spaces[1].path})
        ends = []
        for number, ns in enumerate(spaces):
            with ns.netlink() as ip:
                index = ip.link_lookup(ifname="out")[0]
                ip.addr("add", index=index, address=OUTER[4][number], prefixlen=24)
                ip.addr("add", index=index, address=OUTER[6][number], prefixlen=64, flags=2)  # IFA_F_NODAD
                ip.link("set", index=index, state="up")
            end = ns.call(_open, number, outer, workers, offload, mtu, dont_fragment, udp_gso, batch, stack)
            end.ns = ns
            ends.append(end)
        left, right = ends
        connect(left, right, encap=encap, mru=mtu, cipher=cipher, auth=auth)
        for end in ends:
            end.engine.start()
        yield left, right


def _open(
    number: int,
    outer: int,
    workers: int,
    offload: bool,
    mtu: int,
    dont_fragment: bool,
    udp_gso: bool,
    batch: int,
    stack: contextlib.ExitStack,
) -> End:
    plane = stack.enter_context(Plane())
    listener = open_listener(ip_address(OUTER[outer][number]), dont_fragment=dont_fragment)
    stack.callback(listener.close)
    tun = stack.enter_context(Tun("inner", queues=workers, mtu=mtu, offload=offload))
    mine, theirs = ((LEFT4, RIGHT4), (RIGHT4, LEFT4))[number]
    tun.configure(address=mine, peer=theirs)
    tun.configure(address=(LEFT6, RIGHT6)[number], networks=[IPv6Network((RIGHT6, 64), strict=False)])
    engine = stack.enter_context(Engine(plane, [listener], tun, workers=workers, udp_gso=udp_gso, batch=batch))
    return End(plane, tun, listener, engine)


def ping(end: End, target: str, size: int = 56, timeout: float = PATIENCE) -> bool:
    """One echo request (RFC 792), answered unchanged."""

    def make() -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)

    body = os.urandom(size)
    front = b"\x08\x00\x00\x00" + b"hr\x00\x01"
    message = front[:2] + checksum(front + body).to_bytes(2, "big") + front[4:] + body
    with end.ns.call(make) as sock:
        sock.settimeout(timeout)
        try:
            sock.sendto(message, (target, 0))
            while True:
                answer = sock.recv(65535)[20:]
                if answer[:1] == b"\x00":
                    return bool(answer[8:] == body)
        except OSError:
            return False


def transfer(source: End, sink: End, target: str, octets: int) -> None:
    """Move octets over one TCP connection; both ends must agree about every one."""
    family = socket.AF_INET6 if ":" in target else socket.AF_INET
    server = sink.ns.call(lambda: socket.create_server((target, 0), family=family))
    seen = hashlib.sha256()
    received = [0]

    def serve() -> None:
        connection, _ = server.accept()
        with connection:
            connection.settimeout(20)
            while data := connection.recv(1 << 18):
                seen.update(data)
                received[0] += len(data)
            connection.sendall(b"!")

    server.settimeout(20)
    thread = threading.Thread(target=serve)
    thread.start()
    block = os.urandom(1 << 16)
    sent = hashlib.sha256()
    try:
        client = source.ns.call(lambda: socket.create_connection((target, server.getsockname()[1]), timeout=20))
        with client:
            client.settimeout(20)
            for _ in range(octets >> 16):
                client.sendall(block)
                sent.update(block)
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b"!"
    finally:
        thread.join(20)
        server.close()
    assert received[0] == octets >> 16 << 16
    assert seen.digest() == sent.digest()


@pytest.mark.parametrize(
    ("encap", "outer", "offload", "workers"),
    [
        (True, 4, True, 1),
        (True, 4, False, 1),
        (True, 6, True, 1),
        (False, 4, True, 1),
        (False, 6, True, 1),
        (False, 4, True, 2),
        (True, 4, True, 2),
    ],
)
def test_ping_and_tcp(encap: bool, outer: int, offload: bool, workers: int) -> None:
    with tunnel(encap=encap, outer=outer, offload=offload, workers=workers) as (left, right):
        for size in (0, 56, 1372, 1373, 4000):  # the last two in fragments
            assert ping(left, str(RIGHT4), size)
            assert ping(right, str(LEFT4), size)
        transfer(left, right, str(RIGHT4), 8 << 20)
        transfer(right, left, str(LEFT4), 4 << 20)
        transfer(left, right, str(RIGHT6), 1 << 20)
        for end in (left, right):
            assert not set(end.plane.dropped()) - {"drop_no_route", "drop_spoofed_source"}  # multicast of the kernel's own
        stats = left.engine.stats()
        assert (stats["tun_gso_reads"] > 0, stats["tun_gso_writes"] > 0) == (offload, offload)
        if encap and offload:
            assert stats["socket_gso_writes"] > 0
            assert right.engine.stats()["socket_gso_reads"] > 0


@pytest.mark.parametrize(("cipher", "auth"), [(Cipher.AES_CBC, Auth.HMAC_SHA1_96), (Cipher.AES_CBC, Auth.HMAC_SHA2_256_128)])
def test_other_transforms(cipher: Cipher, auth: Auth) -> None:
    with tunnel(cipher=cipher, auth=auth) as (left, right):
        transfer(left, right, str(RIGHT4), 4 << 20)


def test_a_path_that_is_too_narrow_for_offload_is_served_in_fragments() -> None:
    with tunnel() as (left, right):
        for end in (left, right):
            with end.ns.netlink() as ip:
                ip.link("set", index=ip.link_lookup(ifname="out")[0], mtu=1300)
        transfer(left, right, str(RIGHT4), 1 << 20)
        assert left.engine.stats()["emsgsize"] > 0
        assert "drop_socket" not in left.plane.dropped()


def test_n089_outer_packets_that_may_not_be_fragmented_are_counted() -> None:
    with tunnel(dont_fragment=True) as (left, _):
        with left.ns.netlink() as ip:
            ip.link("set", index=ip.link_lookup(ifname="out")[0], mtu=1300)
        assert not ping(left, str(RIGHT4), 1372, timeout=0.3)
        assert left.engine.stats()["emsgsize"] >= 1
        assert left.plane.dropped()["drop_socket"] >= 1
        assert ping(left, str(RIGHT4), 1000)


def test_n089_the_outer_link_goes_down_and_comes_back() -> None:
    with tunnel() as (left, _):
        assert ping(left, str(RIGHT4))
        for _ in range(2):
            with left.ns.netlink() as ip:
                ip.link("set", index=ip.link_lookup(ifname="out")[0], state="down")
            before = left.engine.stats()["enetdown"]
            assert not ping(left, str(RIGHT4), timeout=0.1)
            assert left.engine.stats()["enetdown"] > before
            with left.ns.netlink() as ip:
                ip.link("set", index=ip.link_lookup(ifname="out")[0], state="up")
            wait_for(lambda: ping(left, str(RIGHT4), timeout=0.1), timeout=2)
        assert left.engine.alive == 1


@pytest.mark.parametrize("encap", [True, False])
def test_n089_a_full_socket_pauses_the_tun_and_loses_little(encap: bool) -> None:
    """A shaped outer link, small buffers: EAGAIN is the rule, and TCP gets what the link gives."""
    with tunnel(encap=encap) as (left, right):
        left.ns.run(["tc", "qdisc", "add", "dev", "out", "root", "tbf", "rate", "40mbit", "burst", "32kb", "limit", "4mb"])
        for entry in left.listener.sockets:
            for sock in (entry.natt, entry.raw):
                assert sock is not None
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        transfer(left, right, str(RIGHT4), 3 << 20)
        stats = left.engine.stats()
        assert stats["eagain" if encap else "enobufs"] > 0
        assert stats["paused"] > 0
        # control packets find their way meanwhile or are lost with a reason, and nothing hangs
        assert set(left.engine.send([Outgoing.ppp(left.session, b"\xc0\x21\x09\x01\x00\x04")] * 20)) <= {"ok", "drop_socket"}
        left.ns.run(["tc", "qdisc", "del", "dev", "out", "root"])
        wait_for(lambda: ping(left, str(RIGHT4), timeout=0.5))


def test_a_socket_that_stays_full_does_not_stop_what_comes_in() -> None:
    with tunnel() as (left, right):
        left.ns.run(["tc", "qdisc", "add", "dev", "out", "root", "tbf", "rate", "8kbit", "burst", "2kb", "limit", "4mb"])
        for entry in left.listener.sockets:
            entry.natt.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)
        sender = left.ns.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with sender:
            sender.setblocking(False)
            until = time.monotonic() + 0.3
            while time.monotonic() < until:
                with contextlib.suppress(BlockingIOError):
                    sender.sendto(bytes(1300), (str(RIGHT4), 9))
        wait_for(lambda: left.plane.dropped().get("drop_socket", 0) > 0)
        right.engine.send([Outgoing.ppp(right.session, b"\xc0\x21\x09\x01\x00\x04")])
        assert left.exceptions(1)[0].status == "exc_ppp"
        assert left.engine.stats()["rounds"] < 50_000
        left.ns.run(["tc", "qdisc", "del", "dev", "out", "root"])
        wait_for(lambda: ping(left, str(RIGHT4), timeout=0.5))


def test_the_tun_goes_down_and_up() -> None:
    with tunnel() as (left, right):
        assert ping(left, str(RIGHT4))
        for _ in range(2):
            right.ns.call(right.tun.down)
            assert not ping(left, str(RIGHT4), timeout=0.1)
            assert right.plane.dropped()["drop_tun_write"] >= 1
            assert right.engine.stats()["enetdown"] >= 1
            right.ns.call(right.tun.configure)
            wait_for(lambda: ping(left, str(RIGHT4), timeout=0.1))
        assert right.engine.alive == 1


def test_the_tun_is_deleted_under_the_workers() -> None:
    with tunnel() as (left, right):
        with right.ns.netlink() as ip:
            ip.link("del", index=ip.link_lookup(ifname="inner")[0])
        assert not ping(left, str(RIGHT4), timeout=0.1)
        left.engine.send([Outgoing.ppp(left.session, b"\xc0\x21\x09\x01\x00\x04")])
        assert right.exceptions(1)[0].status == "exc_ppp"
        before = right.engine.stats()["rounds"]
        time.sleep(0.1)
        assert right.engine.stats()["rounds"] - before < 100
        assert right.engine.alive == 1


def test_raw_esp_shorter_than_anything_is_counted() -> None:
    with tunnel(encap=False, workers=2) as (left, right):
        raw = left.ns.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 50))
        with raw:
            for size in range(12):
                raw.sendto(bytes([0xEE]) * size, (OUTER[4][1], 0))
            # each worker takes its share of the SPIs, and none is taken twice
            for spi in range(0x5000, 0x5020):
                raw.sendto(spi.to_bytes(4, "big") + bytes(60), (OUTER[4][1], 0))
        wait_for(lambda: sum(right.plane.dropped().values()) >= 44)
        time.sleep(0.05)
        dropped = right.plane.dropped()
        assert dropped.pop("drop_esp_spi") >= 32
        assert sum(dropped.values()) <= 12
        assert ping(left, str(RIGHT4))


def test_large_udp_datagrams_of_applications_go_through_in_one_piece_or_in_many() -> None:
    with tunnel() as (left, right):
        server = right.ns.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        client = left.ns.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        with server, client:
            server.bind((str(RIGHT4), 7000))
            server.settimeout(PATIENCE)
            client.setsockopt(17, 103, 1200)  # UDP_SEGMENT: the application's own segmentation reaches the TUN as one read
            data = os.urandom(12_000)
            client.sendto(data, (str(RIGHT4), 7000))
            assert b"".join(server.recv(2000) for _ in range(10)) == data
        if left.tun.vnet & 2:
            assert left.engine.stats()["tun_gso_reads"] == 1


@pytest.mark.slow
def test_iperf3() -> None:
    with tunnel() as (left, right):
        try:
            server = right.ns.popen(["iperf3", "-s", "-1"], stdout=subprocess.DEVNULL)
        except FileNotFoundError:
            pytest.skip("iperf3 is not installed")
        wait_for(lambda: str(right.ns.run(["ss", "-Hltn", "sport = :5201"]).stdout).strip() != "")
        left.ns.run(["iperf3", "-c", str(RIGHT4), "-t", "2", "-P", "2"])
        server.wait(10)
        assert right.engine.stats()["tun_packets_out"] > 10_000
