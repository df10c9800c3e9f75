"""The outer sockets: options, sharing between workers, and refusals that name the reason."""

from __future__ import annotations

import asyncio
import errno
import os
import random
import socket
import struct
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from headrace.errors import Slug
from headrace.shell import sockets as module
from headrace.shell.netns import Namespace
from headrace.shell.sockets import (
    BUFFER,
    Listener,
    ListenError,
    expand_addresses,
    holder,
    host_addresses,
    open_listener,
    spi_filter,
)

LOOP = ip_address("127.0.0.1")
SIX = ip_address("::1")
root = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root, or unshare -Urn")]


def listen(address: str = "127.0.0.1", **more: object) -> Listener:
    options = {"ike_port": 0, "natt_port": 0, "l2tp_port": 0, "raw_esp": False, **more}
    return open_listener(ip_address(address), **options)  # type: ignore[arg-type]


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = listen(clear_l2tp=True)
    yield made
    made.close()


def test_ports_and_options(listener: Listener) -> None:
    assert listener.natt is not None
    assert listener.ike is not None
    clear = listener.sockets[0].clear
    assert clear is not None
    assert listener.family == 4
    assert listener.clear
    assert not listener.raw
    assert (listener.ike_port, listener.natt_port, listener.l2tp_port) == tuple(
        s.getsockname()[1] for s in (listener.ike, listener.natt, clear)
    )
    for sock in (listener.ike, listener.natt, clear):
        assert not sock.getblocking()
        assert not os.get_inheritable(sock.fileno())
        assert sock.getsockopt(socket.IPPROTO_IP, 10) == 0  # IP_MTU_DISCOVER: the kernel fragments
        assert sock.getsockopt(socket.IPPROTO_IP, 13) == 1  # IP_RECVTOS
        assert sock.getsockopt(socket.SOL_SOCKET, 15) == 0  # SO_REUSEPORT
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 100_000
    if os.geteuid() == 0:
        assert listener.natt.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 2 * BUFFER
    assert listener.gso == listener.gro == True  # noqa: E712 (every kernel that the tests run on)
    listener.close()
    listener.close()
    assert listener.natt is None


def test_dont_fragment() -> None:
    made = listen(dont_fragment=True)
    assert made.natt is not None
    assert made.ike is not None
    assert made.natt.getsockopt(socket.IPPROTO_IP, 10) == 2
    assert made.ike.getsockopt(socket.IPPROTO_IP, 10) == 0  # IKE has messages that need fragments
    made.close()


def test_ipv6() -> None:
    try:
        made = listen("::1")
    except ListenError:
        pytest.skip("no IPv6 loopback")
    assert made.natt is not None
    assert made.family == 6
    assert made.natt.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
    assert made.natt.getsockopt(socket.IPPROTO_IPV6, 66) == 1  # IPV6_RECVTCLASS
    made.close()


def test_a_busy_port_names_its_holder(listener: Listener) -> None:
    before = open_files()
    with pytest.raises(
        ListenError, match=rf"127\.0\.0\.1 UDP port {listener.natt_port} is in use by .*\(pid {os.getpid()}\)"
    ) as caught:
        listen(natt_port=listener.natt_port)
    assert caught.value.slug is Slug.PORT_BUSY
    assert open_files() == before
    assert holder(listener.natt_port) == f"{Path('/proc/self/comm').read_text().strip()} (pid {os.getpid()})"


def test_a_port_that_workers_share_is_still_busy_for_others(listener: Listener) -> None:
    listener.provide(3)
    with pytest.raises(ListenError, match="is in use"):
        listen(natt_port=listener.natt_port)


def test_somebody_who_shares_his_port_is_not_joined() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.setsockopt(socket.SOL_SOCKET, 15, 1)
        other.bind(("127.0.0.1", 0))
        with pytest.raises(ListenError, match="is in use"):
            listen(natt_port=other.getsockname()[1])


def test_nobody_has_a_free_port(listener: Listener) -> None:
    port = listener.natt_port
    listener.close()
    assert holder(port) is None


def test_a_holder_that_cannot_be_seen(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_owners", lambda _: iter(()))
    assert holder(listener.natt_port) == "a process of another user or namespace"


def test_an_address_that_is_not_ours() -> None:
    with pytest.raises(ListenError, match=r"203\.0\.113\.77 UDP port .* no interface of this host has that address") as caught:
        listen("203.0.113.77")
    assert caught.value.slug is Slug.INTERNAL


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM])
def test_n208_a_low_port_without_the_right_to_it(number: int) -> None:
    text = str(module._bind_refusal(OSError(number, ""), LOOP, 500))
    assert "127.0.0.1 UDP port 500" in text
    assert "CAP_NET_BIND_SERVICE" in text


def test_n208_no_raw_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    def refuse(family: int, kind: int, proto: int = 0) -> socket.socket:
        if proto == 50:
            raise PermissionError(errno.EPERM, "Operation not permitted")
        return real(family, kind, proto)

    monkeypatch.setattr(socket, "socket", refuse)
    before = open_files()
    with pytest.raises(ListenError, match=r"CAP_NET_RAW is missing.*setcap"):
        listen(raw_esp=True)
    assert open_files() == before


def test_workers_share_a_port_and_a_sender_stays_with_one(listener: Listener) -> None:
    listener.provide(4)
    listener.provide(2)  # never fewer
    assert len(listener.sockets) == 4
    with pytest.raises(ValueError, match="0 workers"):
        listener.provide(0)
    ports = {entry.natt.getsockname()[1] for entry in listener.sockets}
    assert ports == {listener.natt_port}
    senders = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(40)]
    for number, sender in enumerate(senders):
        for _ in range(3):
            sender.sendto(bytes([number]), ("127.0.0.1", listener.natt_port))
    homes: dict[int, set[int]] = {}
    for worker, entry in enumerate(listener.sockets):
        while True:
            try:
                data, *_ = entry.natt.recvmsg(100, 100)
            except BlockingIOError:
                break
            homes.setdefault(data[0], set()).add(worker)
    for sender in senders:
        sender.close()
    assert len(homes) == 40
    assert all(len(home) == 1 for home in homes.values())
    assert len(set.union(*homes.values())) > 1


def interpret(program: list[tuple[int, int, int, int]], packet: bytes) -> int:
    """Classic BPF, as far as the filter needs it."""
    a = x = at = 0
    while True:
        code, jt, jf, k = program[at]
        at += 1
        if code == 0xB1:
            if k >= len(packet):
                return 0
            x = 4 * (packet[k] & 15)
        elif code == 0x01:
            x = k
        elif code == 0x80:
            a = len(packet)
        elif code == 0x1C:
            a = (a - x) & 0xFFFFFFFF
        elif code == 0x35:
            at += jt if a >= k else jf
        elif code == 0x40:
            if x + k + 4 > len(packet):
                return 0
            (a,) = struct.unpack("!I", packet[x + k : x + k + 4])
        elif code == 0x94:
            a %= k
        elif code == 0x15:
            at += jt if a == k else jf
        elif code == 0x06:
            return k
        else:
            raise AssertionError(hex(code))


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("workers", [2, 3, 64])
def test_every_esp_packet_has_exactly_one_worker(version: int, workers: int) -> None:
    rng = random.Random(workers)
    programs = [spi_filter(version, number, workers) for number in range(workers)]
    for _ in range(300):
        header = bytes([0x40 | (words := rng.randint(5, 15))]) + rng.randbytes(4 * words - 1) if version == 4 else b""
        packet = header + rng.randbytes(rng.choice([0, 1, 3, 4, 8, 100]))
        takers = [number for number, program in enumerate(programs) if interpret(program, packet)]
        short = len(packet) - len(header) < 4
        assert takers == [0 if short else struct.unpack("!I", packet[len(header) : len(header) + 4])[0] % workers]


class TestRaw:
    """Raw sockets, in a namespace."""

    pytestmark = root

    @pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
    def test_raw_esp_is_shared_by_spi(self, address: str) -> None:
        with Namespace("raw") as ns:
            made = ns.call(lambda: listen(address, raw_esp=True, workers=3))
            assert made.raw
            family = socket.AF_INET if made.family == 4 else socket.AF_INET6
            with ns.call(lambda: socket.socket(family, socket.SOCK_RAW, 50)) as sender:
                for spi in range(0x100, 0x100 + 30):
                    sender.sendto(struct.pack("!I", spi) + bytes(20), (address, 0))
            for worker, entry in enumerate(made.sockets):
                assert entry.raw is not None
                seen = []
                while True:
                    try:
                        data = entry.raw.recv(1000)
                    except BlockingIOError:
                        break
                    seen.append(struct.unpack("!I", data[20:24] if made.family == 4 else data[:4])[0])
                assert seen == [spi for spi in range(0x100, 0x100 + 30) if spi % 3 == worker]
            made.close()

    def test_an_address_that_is_not_ours(self) -> None:
        with pytest.raises(ListenError, match="ESP cannot be opened"):
            module._open_raw(ip_address("203.0.113.77"), dont_fragment=False)

    def test_wildcards_become_addresses(self) -> None:
        with Namespace("wild") as ns:
            with ns.netlink() as ip:
                ip.link("add", ifname="d0", kind="veth", peer={"ifname": "d1"})
                index = ip.link_lookup(ifname="d0")[0]
                ip.link("set", index=index, state="up")
                ip.link("set", index=ip.link_lookup(ifname="d1")[0], state="up")
                for text, bits in (("192.0.2.7", 24), ("198.51.100.7", 24), ("2001:db8::7", 64)):
                    ip.addr("add", index=index, address=text, prefixlen=bits, flags=2 if ":" in text else 0)  # IFA_F_NODAD

            def expand(*texts: str) -> list[str]:
                return [str(a) for a in ns.call(lambda: expand_addresses(map(ip_address, texts)))]

            assert expand("0.0.0.0") == ["192.0.2.7", "198.51.100.7"]
            assert expand("::") == ["2001:db8::7"]
            assert expand("198.51.100.7", "0.0.0.0", "203.0.113.1") == ["198.51.100.7", "192.0.2.7", "203.0.113.1"]
            assert {str(a) for a in ns.call(lambda: host_addresses(4))} == {"127.0.0.1", "192.0.2.7", "198.51.100.7"}


def test_addresses_can_be_asked_for_from_within_a_running_event_loop() -> None:
    async def body() -> list[object]:
        return list(host_addresses(4))

    assert LOOP in asyncio.run(body())


def test_explicit_addresses_stay_as_they_are() -> None:
    assert expand_addresses([LOOP, SIX, LOOP]) == (LOOP, SIX)
