"""What is around ESP: port 4500, raw sockets, clear L2TP; and where a peer is."""

from __future__ import annotations

import struct
from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from tests.dataplane.world import REMOTE, ip4, ip4_out, world
from tests.oracle import ip, l2tp

from headrace.dataplane.batch import Batch
from headrace.dataplane.native import NONE, DataPlaneError, InUse, lib
from headrace.dataplane.tables import DataPlane, PeerConfig, SessionConfig
from headrace.model import Endpoint

MARKER = bytes(4)


def isakmp(body: bytes = b"", *, version: int = 0x10, length: int | None = None) -> bytes:
    size = 28 + len(body) if length is None else length
    return bytes(range(1, 17)) + bytes([1, version, 2, 0]) + bytes(4) + size.to_bytes(4) + body


def test_keepalive() -> None:
    with world() as w:
        assert w.decap1(b"\xff")[0] == "keepalive"
        assert w.decap1(b"\xff\xff")[0] == "drop_esp_short"
        assert w.decap1(b"\xfe")[0] == "drop_esp_short"


def test_n055_ike_without_marker_and_marker_without_ike() -> None:
    with world() as w:
        message = isakmp(b"hello")
        assert w.decap1(MARKER + message) == ("exc_ike", message)
        assert w.decap1(message)[0] == "drop_natt_marker", "the marker is missing"
        for size in (1, 2, 3, 4, 5, 31):
            assert w.decap1((MARKER + message)[:size])[0] == "drop_natt_marker", size
        esp_of_spi_0 = bytes(4) + struct.pack("!I", 1) + bytes(range(60, 140))
        assert w.decap1(esp_of_spi_0)[0] == "drop_natt_marker"


def test_ike_that_deserves_an_answer_goes_up() -> None:
    with world() as w:
        for message in (isakmp(version=0x20), isakmp(version=0x30), isakmp(b"tail", length=28), isakmp(length=99)):
            assert w.decap1(MARKER + message) == ("exc_ike", message)
        assert w.batch.kinds() == ["ike"]
        assert w.batch.remote(0) == REMOTE


def raw4(payload: bytes, **fields: object) -> bytes:
    return ip.ip4(payload, "198.51.100.7", "203.0.113.1", protocol=50, **fields)  # type: ignore[arg-type]


def test_raw_esp_begins_with_the_ipv4_header() -> None:
    with world(udp_encap=False) as w:
        assert w.decap1(raw4(w.wire(ip4())), lib.HR_KIND_RAW4, remote=None) == ("ok", ip4())
        assert w.batch.remote(0) == Endpoint(IPv4Address("198.51.100.7"), 0)
        options = raw4(w.wire(ip4()), options=b"\x01" * 8)
        assert w.decap1(options, lib.HR_KIND_RAW4, remote=None) == ("ok", ip4())
        padded = raw4(w.wire(ip4())) + bytes(6)
        assert w.decap1(padded, lib.HR_KIND_RAW4, remote=None) == ("ok", ip4())
        assert w.decap1(w.wire(ip4()), lib.HR_KIND_RAW6) == ("ok", ip4())


def test_raw_ipv4_headers_that_are_none() -> None:
    with world(udp_encap=False) as w:
        good = raw4(w.wire(ip4()))
        bad = [
            good[:19],
            b"",
            bytes([0x65]) + good[1:],
            bytes([0x44]) + good[1:],
            good[:2] + (19).to_bytes(2) + good[4:],
            good[:2] + (len(good) + 1).to_bytes(2) + good[4:],
            bytes([0x4F]) + good[1:21],
            good[:9] + bytes([17]) + good[10:],
            raw4(w.wire(ip4()), fragment=0x2000),
            raw4(w.wire(ip4()), fragment=0x0007),
        ]
        for packet in bad:
            assert w.decap1(packet, lib.HR_KIND_RAW4, remote=None)[0] == "drop_outer_short"
        assert w.decap1(good, lib.HR_KIND_RAW4, remote=None)[0] == "ok"


def test_congestion_on_the_outer_path_is_told_inside() -> None:
    with world(udp_encap=False) as w:
        ect = ip4(tos=0x02)
        status, got = w.decap1(raw4(w.wire(ect), tos=3), lib.HR_KIND_RAW4)
        assert status == "ok"
        assert got == ip4(tos=0x03), "marked, with a right checksum"
        assert w.decap1(raw4(w.wire(ip4(tos=0)), tos=3), lib.HR_KIND_RAW4)[1] == ip4(tos=0)
        six = ip.ip6(bytes(20), traffic=1)
        wire = w.theirs.seal(w.frame_in(l2tp.ppp(0x57, six)))
        assert w.decap1(raw4(wire, tos=3), lib.HR_KIND_RAW4)[1] == ip.ip6(bytes(20), traffic=3)


def test_n075_a_peer_that_moved() -> None:
    with world() as w:
        moved = Endpoint.of("198.51.100.99", 61000)
        first, second = w.wire(ip4()), w.wire(ip4())
        assert w.decap1(first)[0] == "ok"
        assert w.plane.events() == []
        assert w.decap1(second, remote=moved)[0] == "ok"
        (event,) = w.plane.events()
        assert (event.what, event.peer, event.remote, event.cookie) == ("exc_moved", w.peer, moved, 77)
        assert w.plane.peer(w.peer).remote == moved
        w.decap([w.wire(ip4()) for _ in range(3)], remote=moved)
        assert w.plane.events() == [], "told once"
        w.encap([ip4_out()])
        assert w.batch.remote(0) == moved


def test_n076_replay_and_forgery_do_not_move_a_peer() -> None:
    with world() as w:
        moved = Endpoint.of("198.51.100.99", 61000)
        good = w.wire(ip4())
        assert w.decap1(good)[0] == "ok"
        assert w.decap1(good, remote=moved)[0] == "drop_esp_replay"
        forged = bytearray(w.wire(ip4()))
        forged[-1] ^= 1
        assert w.decap1(bytes(forged), remote=moved)[0] == "drop_esp_auth"
        assert w.plane.events() == []
        assert w.plane.peer(w.peer).remote == REMOTE


def test_an_overtaken_packet_does_not_move_the_peer_back() -> None:
    with world() as w:
        moved = Endpoint.of("198.51.100.99", 61000)
        old, new = w.wire(ip4()), w.wire(ip4())
        assert w.decap1(new, remote=moved)[0] == "ok"
        assert w.decap1(old, remote=REMOTE)[0] == "ok"
        assert w.plane.peer(w.peer).remote == moved


def test_who_does_not_follow() -> None:
    moved = Endpoint.of("198.51.100.99", 61000)
    with world(follow=False) as w:
        assert w.decap1(w.wire(ip4()), remote=moved)[0] == "ok"
        assert w.plane.peer(w.peer).remote == REMOTE
    with world(udp_encap=False) as w:  # raw ESP has no NAT mapping that could change
        assert w.decap1(w.wire(ip4()), lib.HR_KIND_RAW6, remote=moved)[0] == "ok"
        assert w.plane.peer(w.peer).remote == REMOTE
    with world() as w:
        assert w.decap1(w.wire(ip4()), remote=Endpoint.of("2001:db8::1", 4500))[0] == "ok"
        assert w.plane.peer(w.peer).remote == REMOTE, "not into another family"


def test_where_packets_are_sent() -> None:
    with world() as w:
        w.encap([ip4_out()])
        assert (w.batch.kinds(), w.batch.remote(0)) == (["send_udp4500"], REMOTE)
        w.plane.update_peer(w.peer, replace(w.peer_config, udp_encap=False, listener=3))
        w.encap([ip4_out()])
        assert (w.batch.kinds(), w.batch.remote(0)) == (["send_raw"], Endpoint(REMOTE.address, 0))
        assert int(w.batch.desc["listener"][0]) == 3


# --- L2TP without IPsec ---


class Clear:
    """A data plane that allows it, with one peer that has no IPsec and one that has."""

    def __init__(self, plane: DataPlane) -> None:
        self.plane = plane
        self.batch = Batch(8)
        self.peer = plane.add_peer(PeerConfig(Endpoint.of("198.51.100.20", 1701), clear=True))
        self.other = plane.add_peer(PeerConfig(Endpoint.of("198.51.100.21", 4500), udp_encap=True))
        common = {"open4": True}
        self.session = plane.add_session(SessionConfig(self.peer, 5, 6, 50, 60, **common))  # type: ignore[arg-type]
        self.secured = plane.add_session(SessionConfig(self.other, 7, 8, 70, 80, **common))  # type: ignore[arg-type]

    def decap(self, packet: bytes, address: str, port: int = 1701) -> tuple[str, bytes]:
        self.batch.load([packet], lib.HR_KIND_UDP1701, remote=Endpoint.of(address, port))
        self.plane.decap(self.batch, 1)
        return self.batch.statuses()[0], self.batch.packet(0)


def test_clear_data_only_from_its_own_clear_peer() -> None:
    with DataPlane(allow_clear_l2tp=True) as plane:
        clear = Clear(plane)
        data = l2tp.data(5, 6, l2tp.ppp(0x21, ip4()))
        assert clear.decap(data, "198.51.100.20") == ("ok", ip4())
        assert clear.decap(data, "198.51.100.20", 1702)[0] == "drop_not_protected"
        assert clear.decap(data, "198.51.100.66")[0] == "drop_not_protected"
        secured = l2tp.data(7, 8, l2tp.ppp(0x21, ip4()))
        assert clear.decap(secured, "198.51.100.21", 4500)[0] == "drop_not_protected"
        assert clear.decap(l2tp.data(9, 9, b""), "198.51.100.20")[0] == "drop_l2tp_session"


def test_clear_control() -> None:
    with DataPlane(allow_clear_l2tp=True) as plane:
        clear = Clear(plane)
        message = l2tp.control()
        assert clear.decap(message, "198.51.100.20") == ("exc_l2tp", message)
        assert int(clear.batch.desc["peer"][0]) == clear.peer
        assert clear.decap(message, "198.51.100.77") == ("exc_clear_l2tp", message)
        assert int(clear.batch.desc["peer"][0]) == NONE
        plane.update_peer(clear.peer, PeerConfig(Endpoint.of("198.51.100.77", 1702), clear=True))
        assert clear.decap(message, "198.51.100.77", 1702)[0] == "exc_l2tp"
        assert clear.decap(message, "198.51.100.20")[0] == "exc_clear_l2tp"
        plane.remove_peer(clear.peer)
        assert clear.decap(message, "198.51.100.77", 1702)[0] == "exc_clear_l2tp"


def test_clear_encap() -> None:
    with DataPlane(allow_clear_l2tp=True) as plane:
        clear = Clear(plane)
        clear.batch.load([ip4()], lib.HR_KIND_IP, session=clear.session)
        plane.encap(clear.batch, 1)
        assert clear.batch.statuses() == ["ok"]
        assert clear.batch.kinds() == ["send_udp1701"]
        assert clear.batch.remote(0) == Endpoint.of("198.51.100.20", 1701)
        assert l2tp.parse_data(clear.batch.packet(0)) == l2tp.Data(50, 60, None, None, l2tp.ppp(0x21, ip4()))
        clear.batch.load([l2tp.control()], lib.HR_KIND_L2TP, peer=clear.peer)
        plane.encap(clear.batch, 1)
        assert clear.batch.packets() == [l2tp.control()]


def test_clear_is_refused_unless_allowed() -> None:
    with world() as w:
        with pytest.raises(DataPlaneError, match="out of range"):
            w.plane.add_peer(PeerConfig(REMOTE, clear=True))
        for message in (l2tp.control(), l2tp.data(1, 1, l2tp.ppp(0x21, ip4())), b"", bytes(100)):
            assert w.decap1(message, lib.HR_KIND_UDP1701)[0] == "drop_not_protected"


def test_one_clear_peer_for_one_address() -> None:
    with DataPlane(allow_clear_l2tp=True) as plane:
        clear = Clear(plane)
        config = PeerConfig(Endpoint.of("198.51.100.20", 1701), clear=True)
        with pytest.raises(InUse):
            plane.add_peer(config)
        second = plane.add_peer(replace(config, remote=Endpoint.of("198.51.100.20", 1702)))
        with pytest.raises(InUse):
            plane.update_peer(second, config)
        assert plane.peer(second).remote.port == 1702
        plane.update_peer(clear.peer, replace(config, clear=False))
        plane.update_peer(second, config)


def test_control_through_an_sa() -> None:
    with world() as w:
        message = l2tp.control(7, 0, 3, 4, b"\x80\x08\0\0\0\0\0\x06")
        assert w.decap1(w.theirs.seal(l2tp.udp(message, 1701, 1701))) == ("exc_l2tp", message)
        desc = w.batch.desc[0]
        assert (int(desc["peer"]), int(desc["l2tp_local_port"]), int(desc["l2tp_remote_port"])) == (w.peer, 1701, 1701)
        assert w.batch.kinds() == ["l2tp"]
        assert w.decap1(w.theirs.seal(l2tp.udp(message, 50123, 1701)))[0] == "exc_l2tp"
        assert int(w.batch.desc["l2tp_remote_port"][0]) == 50123


def test_control_of_ours() -> None:
    with world() as w:
        message = l2tp.control(9, 0, 1, 2, b"\x80\x08\0\0\0\0\0\x06")
        ((status, packet),) = w.encap([message], lib.HR_KIND_L2TP, session=NONE, peer=w.peer, local_port=1701, remote_port=1701)
        assert status == "ok"
        assert w.open_esp(packet) == message
        assert w.encap([message], lib.HR_KIND_L2TP, session=NONE, peer=5)[0][0] == "drop_no_sa"
        long = bytes(1700)
        assert (
            w.open_esp(w.encap([long], lib.HR_KIND_L2TP, session=NONE, peer=w.peer, local_port=1701, remote_port=1701)[0][1])
            == long
        )


def test_udp_checksums_inside_ipv6() -> None:
    local, remote = "2001:db8::1", "2001:db8:1::7"
    with world(remote=Endpoint.of(remote, 4500)) as w:

        def inner() -> bytes:
            ((status, packet),) = w.encap([ip4_out(33)])
            assert status == "ok"
            return w.ours.open(packet)[0]

        assert inner()[6:8] == b"\0\0", "nothing to compute it from"
        w.plane.set_listener(0, Endpoint.of(local, 0).address)
        datagram = inner()
        assert datagram[6:8] != b"\0\0"
        assert ip.checksum(ip.pseudo(local, remote, len(datagram), 17) + datagram) == 0
