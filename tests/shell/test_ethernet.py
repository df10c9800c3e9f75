"""What is not IP, through the real gateway and real clients: old machines that speak IPX, and an Ethernet bridged by PPP."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from tests import dissect
from tests.shell.site import Site, ping, reason_to_skip, wait

from headrace.ipx import rip, sap
from headrace.ipx.ethernet import Frame, FrameType, unwrap, wrap
from headrace.ipx.packet import BROADCAST, RIP, RIP_SOCKET, SAP, SAP_SOCKET, Address, Packet
from headrace.shell.netns import Namespace

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-"),
]

INNER, CABLE = 0x00C0FFEE, 0x0000CAB1
ROUTER = bytes.fromhex("024852000001")
ALICE, BOB, STATION = (bytes.fromhex(f"00a0240000{n:02x}") for n in (1, 2, 3))


class Machine:
    """An old machine on an Ethernet: raw frames in and out of an interface."""

    def __init__(self, namespace: Namespace, interface: str, mac: bytes, network: int, kind: FrameType) -> None:
        def make() -> socket.socket:
            return socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))

        self.sock = namespace.call(make)
        self.sock.bind((interface, 0))
        self.sock.settimeout(3)
        self.mac, self.network, self.kind = mac, network, kind
        self.seen: list[bytes] = []

    def send(self, to: Address, payload: bytes, *, socket_: int = 0x4000, kind: int = 0, station: bytes = ROUTER) -> None:
        packet = Packet(to, Address(self.network, self.mac, socket_), payload, kind)
        frame = wrap(self.kind, Frame(station, self.mac, packet.emit()))
        self.seen.append(frame)
        self.sock.send(frame)

    def receive(self, socket_: int = 0x4000) -> Packet:
        until = time.monotonic() + 5
        while time.monotonic() < until:
            data = self.sock.recv(2000)
            found = unwrap(self.kind, data)
            if (
                found is not None
                and found.source != self.mac
                and (packet := Packet.parse(found.packet)).destination.socket == socket_
            ):
                self.seen.append(data)
                return packet
        raise AssertionError("nothing came")


@pytest.mark.parametrize("kind", [FrameType.ETHERNET_II])
def test_old_machines_see_each_other(site: Site, kind: FrameType, tmp_path: Path) -> None:
    first, second = site.client(), site.client()
    site.serve(ipx={"network": INNER, "ethernet_network": CABLE, "frame": kind.value})
    dials = []
    for client, user, mac in ((first, "alice", ALICE), (second, "bob", BOB)):
        more = ("--ipx-tap", "ipx", "--ipx-node", mac.hex(":"), "--ipx-frame", kind.value)
        dials.append(site.dial(client, *more, "--encryption", "required-128" if user == "alice" else "off", user=user))
        dials[-1].wait_for("connected")
    nodes = {f"{INNER:08x}.{mac.hex()}" for mac in (ALICE, BOB)}
    wait(lambda: {session["ipx"] for session in site.control("sessions")} == nodes, 5)
    alice, bob = Machine(first, "ipx", ALICE, INNER, kind), Machine(second, "ipx", BOB, INNER, kind)
    station = Machine(site.gateway, "headrace-ipx", STATION, CABLE, kind)
    alice.send(Address(INNER, BOB, 0x4000), b"hello bob")
    got = bob.receive()
    assert (got.payload, got.source, got.hops) == (b"hello bob", Address(INNER, ALICE, 0x4000), 1)
    bob.send(Address(CABLE, STATION, 0x4000), b"hello station" * 40)
    assert station.receive().payload == b"hello station" * 40
    station.send(Address(INNER, ALICE, 0x4000), b"hello alice")
    assert alice.receive().payload == b"hello alice"
    alice.send(Address(0, BROADCAST, 0x869C), b"who is there", socket_=0x869C)
    assert bob.receive(0x869C).payload == b"who is there"
    service = sap.Service(4, b"OLDSERVER", Address(INNER, BOB, 0x451), 1)
    offer = sap.Message(sap.ALL_RESPONSE, services=(service,)).emit()
    bob.send(Address(INNER, BROADCAST, SAP_SOCKET), offer, socket_=SAP_SOCKET, kind=SAP)
    found: tuple[sap.Service, ...] = ()
    for _ in range(10):
        nearest = sap.Message(sap.NEAREST_REQUEST, wanted=4).emit()
        alice.send(Address(INNER, BROADCAST, SAP_SOCKET), nearest, kind=SAP)
        try:
            found = sap.Message.parse(alice.receive().payload).services
            break
        except (TimeoutError, AssertionError):
            continue
    assert [(s.name, s.address.node) for s in found] == [(b"OLDSERVER", BOB)]
    alice.send(Address(INNER, BROADCAST, RIP_SOCKET), rip.Message(rip.REQUEST, (rip.Entry(CABLE),)).emit(), kind=RIP)
    assert rip.Message.parse(alice.receive().payload).entries == (rip.Entry(CABLE, 1, 2),)
    if not dissect.NONE:
        frames = [frame for machine in (alice, bob, station) for frame in machine.seen]
        rows = dissect.dissect(dissect.capture(tmp_path / "ipx.pcap", dissect.ETHERNET, frames), "ipx.src.net")
        assert all(network for _, network in rows)
    for machine in (alice, bob, station):
        machine.sock.close()
    assert [dial.hang_up() for dial in dials] == [0, 0]


@pytest.mark.parametrize("encryption", ["required-128"])
def test_ethernet_is_bridged_between_clients_and_gateway(site: Site, encryption: str) -> None:
    first, second = site.client(), site.client()
    site.serve(bridge={"enabled": True})
    dials = [
        site.dial(client, "--bridge-tap", "br", "--encryption", encryption, user=user)
        for client, user in ((first, "alice"), (second, "bob"))
    ]
    for dial in dials:
        dial.wait_for("connected")
    wait(lambda: all(session["bridged"] for session in site.control("sessions")), 5)
    site.gateway.address("headrace-br", "172.29.0.1", 24)
    for number, client in enumerate((first, second), 2):
        client.address("br", f"172.29.0.{number}", 24)
    for source, target in (("172.29.0.2", "172.29.0.1"), ("172.29.0.2", "172.29.0.3"), ("172.29.0.3", "172.29.0.1")):
        client = first if source.endswith("2") else second
        assert ping(client, source, target) == 5
        assert ping(client, source, target, size=1348) == 5
    with first.netlink() as ip:
        neighbours = {n.get_attr("NDA_DST") for n in ip.get_neighbours(family=2)}
    assert {"172.29.0.1", "172.29.0.3"} <= neighbours, "by real ARP"
    assert [dial.hang_up() for dial in dials] == [0, 0]
