"""The inner packet: spoofing, loops, routes, sizes, rates, segment sizes; and ICMP and fragments."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import Any

import pytest
from tests.dataplane.world import LOCAL, REMOTE, World, ip4, ip4_out, world
from tests.oracle import ip, l2tp

from headrace.dataplane.native import NONE, InUse, ffi, lib
from headrace.dataplane.tables import SessionConfig
from headrace.model import Endpoint


def in6(w: World, packet: bytes) -> tuple[str, bytes]:
    return w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x57, packet))))


def test_n086_spoofed_sources() -> None:
    with world() as w:
        for source in ("10.9.0.1", "10.9.0.3", "0.0.0.0", "203.0.113.1", "255.255.255.255"):
            assert w.decap1(w.wire(ip.ip4(b"x", source)))[0] == "drop_spoofed_source"
        assert w.decap1(w.wire(ip4()))[0] == "ok"
        for source in ("2001:db8:8:ffff::2", "2001:db8:9:1::2", "fe80::1", "::"):
            assert in6(w, ip.ip6(b"x", source))[0] == "drop_spoofed_source"
        assert in6(w, ip.ip6(b"x", "2001:db8:9::ffff:1"))[0] == "ok"
        w.update(own4=None, own6=None)
        assert w.decap1(w.wire(ip.ip4(b"x", "192.0.2.200")))[0] == "ok"
        assert in6(w, ip.ip6(b"x", "fe80::1"))[0] == "ok"


@pytest.mark.parametrize("bits", [1, 7, 48, 63, 64, 65, 127, 128])
def test_prefixes_of_any_length(bits: int) -> None:
    own = IPv6Network(("2001:db8:9:4321:8765:fedc:ba98:7654", bits), strict=False)
    inside, outside = own.network_address, ip_address(int(own.network_address) ^ 1 << 128 - bits)
    with world(own6=own) as w:
        assert in6(w, ip.ip6(b"", str(inside), "8001::1" if bits == 1 else "3fff::1"))[0] in {"ok", "drop_loop"}
        assert in6(w, ip.ip6(b"", str(outside)))[0] == "drop_spoofed_source"
        out = ip.ip6(b"", "fd00::1", str(inside))
        expected = "drop_loop" if ip_address("fd00::1") in own else "ok"
        assert w.encap([out], session=NONE)[0][0] == expected
        assert w.encap([ip.ip6(b"", "fd00::1", str(outside))], session=NONE)[0][0] == "drop_no_route"


def test_n087_loops() -> None:
    with world() as w:
        for destination in ("127.0.0.1", "127.255.255.255", str(LOCAL), "10.9.0.2"):
            assert w.decap1(w.wire(ip4(destination=destination)))[0] == "drop_loop"
        w.plane.set_listener(1, ip_address("2001:db8:aaaa::1"))
        for destination in ("::1", "2001:db8:aaaa::1", "2001:db8:9::77"):
            assert in6(w, ip.ip6(b"", destination=destination))[0] == "drop_loop"
        w.plane.set_listener(0, None)
        assert w.decap1(w.wire(ip4(destination=str(LOCAL))))[0] == "ok"


def test_loops_of_what_we_send() -> None:
    with world(default_route=True) as w:

        def status(packet: bytes) -> str:
            return w.encap([packet], session=NONE)[0][0]

        assert status(ip.ip4(b"", "10.9.0.2", "10.9.0.2")) == "drop_loop", "from the session to itself"
        assert status(ip.ip4(b"", "192.0.2.1", "127.0.0.1")) == "drop_loop"
        assert status(ip.ip4(b"", "192.0.2.1", str(REMOTE.address))) == "drop_loop", "the tunnel's own far end"
        local = str(LOCAL)
        assert status(ip.ip4(bytes(8), local, "192.0.2.9", protocol=50)) == "drop_loop"
        for port in (500, 4500, 1701):
            assert status(ip.ip4(l2tp.udp(b"", port, 4500), local, "192.0.2.9")) == "drop_loop"
        assert status(ip.ip4(l2tp.udp(b"", 53, 4500), local, "192.0.2.9")) == "ok"
        assert status(ip.ip4(bytes(8), "192.0.2.1", "192.0.2.9", protocol=50)) == "ok"


def test_routes() -> None:
    with world() as w:

        def where(packet: bytes) -> tuple[str, int]:
            ((status, _),) = w.encap([packet], session=NONE)
            return status, int(w.batch.desc["session"][0])

        other = w.plane.add_session(
            SessionConfig(
                w.peer,
                1,
                2,
                101,
                203,
                open4=True,
                open6=True,
                own4=IPv4Address("10.9.0.3"),
                own6=IPv6Network("2001:db8:9:0:1::/80"),
            )
        )
        assert where(ip4_out()) == ("ok", w.session)
        assert where(ip.ip4(b"", "192.0.2.1", "10.9.0.3")) == ("ok", other)
        assert where(ip.ip4(b"", "192.0.2.1", "10.9.0.4"))[0] == "drop_no_route"
        assert where(ip.ip6(b"", "fd00::1", "2001:db8:9:0:1::5")) == ("ok", other), "the longest prefix"
        assert where(ip.ip6(b"", "fd00::1", "2001:db8:9:0:2::5")) == ("ok", w.session)
        assert where(ip.ip6(b"", "fd00::1", "2001:db8:8::5"))[0] == "drop_no_route"
        with pytest.raises(InUse):
            w.update(own4=IPv4Address("10.9.0.3"))
        w.config = SessionConfig(
            w.peer, 1, 1, 101, 202, open4=True, own4=IPv4Address("10.9.0.2"), own6=IPv6Network("2001:db8:9::/64"), open6=True
        )
        assert where(ip4_out()) == ("ok", w.session), "a refused update changes nothing"
        w.update(own4=IPv4Address("10.9.0.9"), own6=None)
        assert where(ip4_out())[0] == "drop_no_route"
        assert where(ip.ip4(b"", "192.0.2.1", "10.9.0.9")) == ("ok", w.session)
        assert where(ip.ip6(b"", "fd00::1", "2001:db8:9:0:2::5"))[0] == "drop_no_route"
        w.plane.remove_session(other)
        assert where(ip.ip4(b"", "192.0.2.1", "10.9.0.3"))[0] == "drop_no_route"
        assert w.encap([ip4_out()], session=other)[0][0] == "drop_l2tp_session"


def test_default_route_goes_to_the_newest_and_then_to_an_heir() -> None:
    with world() as w:

        def owner() -> int:
            ((status, _),) = w.encap([ip.ip4(b"", "10.0.0.1", "8.8.8.8")], session=NONE)
            return int(w.batch.desc["session"][0]) if status == "ok" else -1

        assert owner() == -1
        w.update(default_route=True)
        assert owner() == w.session
        second = w.plane.add_session(SessionConfig(w.peer, 2, 2, 5, 5, open4=True, default_route=True))
        assert owner() == second
        w.plane.remove_session(second)
        assert owner() == w.session
        w.update(default_route=False)
        assert owner() == -1


def test_outgoing_ip_that_is_none() -> None:
    with world() as w:
        for packet in (b"", b"\x45", bytes(40), b"\x70" + bytes(60), ip4_out()[:-1], ip.ip6(b"x")[:-1]):
            assert w.encap([packet], session=NONE)[0][0] == "drop_ip_malformed"


def test_too_big_says_what_would_fit() -> None:
    with world(send_mru=600) as w:
        assert w.encap([ip4_out(580)])[0][0] == "ok"
        packet = ip4_out(581)
        assert w.encap([packet])[0] == ("drop_too_big", packet)
        assert int(w.batch.desc["seq"][0]) == 600
        w.open_mppe()
        assert w.encap([ip4_out(576)])[0][0] == "ok"
        assert w.encap([ip4_out(577)])[0][0] == "drop_too_big"
        assert int(w.batch.desc["seq"][0]) == 596, "MPPE needs four octets of it"
    with world() as w:
        assert [s for s, _ in w.encap([ip4_out(1480), ip4_out(1481)])] == ["ok", "drop_too_big"]


# --- rates ---


def test_rate_limits() -> None:
    with world(rate_rx=1_000_000, rate_tx=500_000) as w:
        w.now = 10**12
        got = [status for status, _ in w.decap([w.wire(ip4(980)) for _ in range(200)])]
        burst = got.count("ok")
        assert got == ["ok"] * burst + ["drop_rate"] * (200 - burst)
        assert 100 <= burst <= 102, "a tenth of a second"
        w.now += 10_000_000
        assert [s for s, _ in w.decap([w.wire(ip4(980)) for _ in range(50)])].count("ok") in {10, 11}
        out = [s for s, _ in w.encap([ip4_out(980)] * 200)]
        assert 50 <= out.count("ok") <= 52
        assert w.plane.session_stats(w.session).tx_dropped == 200 - out.count("ok")
        w.now += 10**9
        assert [s for s, _ in w.encap([ip4_out(980)] * 40)] == ["ok"] * 40
        w.update(rate_tx=0)
        assert [s for s, _ in w.encap([ip4_out(980)] * 200)] == ["ok"] * 200


def test_a_slow_rate_still_lets_packets_through() -> None:
    with world(rate_rx=1) as w:
        assert [s for s, _ in w.decap([w.wire(ip4(1400)) for _ in range(20)])].count("ok") >= 11
        w.now += 3600 * 10**9
        assert w.decap1(w.wire(ip4(1400)))[0] == "ok"


# --- segment sizes ---


def mss(value: int) -> bytes:
    return b"\x02\x04" + value.to_bytes(2)


OWN, FAR, OWN6, FAR6 = "10.9.0.2", "192.0.2.7", "2001:db8:9::2", "2001:db8:ff::7"


def with_options(options: bytes, *, six: bool = False, **fields: Any) -> bytes:
    source, destination = (OWN6, FAR6) if six else (OWN, FAR)
    segment = ip.tcp_syn(source, destination, options, **fields)
    return ip.ip6(segment, source, destination, next_header=6) if six else ip.ip4(segment, source, destination, protocol=6)


@pytest.mark.parametrize("six", [False, True])
@pytest.mark.parametrize("before", [b"", b"\x01", b"\x01\x01", b"\x03\x03\x07", b"\x08\x0a" + bytes(8)])
def test_segment_size_of_syns_is_clamped(six: bool, before: bytes) -> None:
    with world(mss4=1300, mss6=1280) as w:
        limit = 1280 if six else 1300
        for flags in (0x02, 0x12, 0xC2):
            for value, expected in ((65535, limit), (limit + 1, limit), (limit, limit), (536, 536), (0, 0)):
                options, wanted = before + mss(value) + b"\x01", before + mss(expected) + b"\x01"
                packet = with_options(options, six=six, flags=flags)
                got = in6(w, packet) if six else w.decap1(w.wire(packet))
                assert got == ("ok", with_options(wanted, six=six, flags=flags)), (value, flags)


def test_segment_size_both_ways_and_only_in_syns() -> None:
    with world(mss4=1300) as w:
        segment = ip.tcp_syn(FAR, OWN, mss(1460))
        out = w.encap([ip.ip4(segment, FAR, OWN, protocol=6)])[0][1]
        assert w.unwrap(out)[4:] == ip.ip4(ip.tcp_syn(FAR, OWN, mss(1300)), FAR, OWN, protocol=6)
        for packet in (
            with_options(mss(1460), flags=0x10),
            ip.ip4(ip.tcp_syn(OWN, FAR, mss(1460)), OWN, FAR, protocol=17),
            ip.ip4(ip.tcp_syn(OWN, FAR, mss(1460)), OWN, FAR, protocol=6, fragment=0x0001),
        ):
            assert w.decap1(w.wire(packet)) == ("ok", packet)
    with world() as w:
        packet = with_options(mss(1460))
        assert w.decap1(w.wire(packet)) == ("ok", packet)


def test_segment_size_behind_extension_headers() -> None:
    with world(mss6=1280) as w:

        def packet(value: int) -> bytes:
            chain = (
                bytes([60, 0]) + b"\x01\x04" + bytes(4) + bytes([43, 1]) + b"\x01\x0c" + bytes(12) + bytes([6, 0]) + bytes(6)
            )
            return ip.ip6(chain + ip.tcp_syn(OWN6, FAR6, mss(value)), OWN6, FAR6, next_header=0)

        assert in6(w, packet(1440)) == ("ok", packet(1280))


def test_options_that_lie_are_left_alone() -> None:
    with world(mss4=1000, mss6=1000) as w:
        lies = [
            b"\x02\x03\xff\xff",
            b"\x02\x00\xff\xff",
            b"\x05\x00" + mss(1460),
            b"\x05\xff" + mss(1460),
            b"\x02",
            b"\x00" + mss(1460),
            b"\x02\x06\xff\xff\xff\xff",
        ]
        for options in lies:
            for six in (False, True):
                packet = with_options(options, six=six)
                assert (in6(w, packet) if six else w.decap1(w.wire(packet))) == ("ok", packet)
        segment = bytearray(ip.tcp_syn(OWN, FAR, mss(1460)))
        for offset in (0, 4, 7, 15):
            segment[12] = offset << 4
            packet = ip.ip4(bytes(segment), OWN, FAR, protocol=6)
            assert w.decap1(w.wire(packet))[0] == "ok"
        for size in range(20):
            packet = ip.ip4(bytes(segment)[:size], OWN, FAR, protocol=6)
            assert w.decap1(w.wire(packet)) == ("ok", packet)
        endless = bytes([0, 255]) * 20
        assert in6(w, ip.ip6(endless, OWN6, FAR6, next_header=0))[0] == "ok"


# --- ICMP and fragments ---


def too_big(packet: bytes, mtu: int, room: int = 2048) -> bytes:
    reply = ffi.new("uint8_t[]", 2048)
    size = lib.hr_ip_too_big(packet, len(packet), mtu, reply, room)
    return bytes(ffi.buffer(reply, size))


def test_icmp_says_that_a_packet_is_too_big() -> None:
    packet = ip.ip4(bytes(range(200)) * 7, "192.0.2.7", "10.9.0.2")
    reply = too_big(packet, 1400)
    assert len(reply) == 576
    assert ip.checksum(reply[:20]) == 0
    assert ip.checksum(reply[20:]) == 0
    assert (reply[9], reply[12:16], reply[16:20]) == (1, packet[16:20], packet[12:16])
    assert struct.unpack("!BBxxHH", reply[20:28]) == (3, 4, 0, 1400)
    assert reply[28:] == packet[:548]
    assert too_big(packet, 1400, 575) == b""
    small = ip.ip4(b"x", "192.0.2.7", "10.9.0.2")
    assert too_big(small, 1400)[28:] == small


def test_icmp6_says_that_a_packet_is_too_big() -> None:
    packet = ip.ip6(bytes(1400), FAR6, OWN6)
    reply = too_big(packet, 1396)
    assert len(reply) == 1280
    assert struct.unpack("!BBxxI", reply[40:48]) == (2, 0, 1396)
    assert reply[48:] == packet[:1232]
    assert ip.checksum(ip.pseudo(OWN6, FAR6, len(reply) - 40, 58) + reply[40:]) == 0
    assert struct.unpack("!I", too_big(packet, 600)[44:48]) == (1280,)


def test_no_icmp_about_errors_fragments_and_crowds() -> None:
    def icmp(kind: int) -> bytes:
        return ip.ip4(bytes([kind]) + bytes(99), FAR, OWN, protocol=1)

    for kind in (3, 4, 5, 11, 12):
        assert too_big(icmp(kind), 100) == b""
    assert too_big(icmp(8), 100)
    assert too_big(ip.ip4(bytes(100), FAR, OWN, fragment=0x2005), 100) == b""
    assert too_big(ip.ip4(bytes(100), FAR, OWN, fragment=0x2000), 100)
    for source, destination in (
        ("0.0.0.0", OWN),
        ("224.0.0.1", OWN),
        (FAR, "224.0.0.1"),
        (FAR, "255.255.255.255"),
        ("127.0.0.1", OWN),
    ):
        assert too_big(ip.ip4(bytes(100), source, destination), 100) == b""
    for kind, answered in ((1, False), (2, False), (4, False), (127, False), (128, True), (129, True), (137, False)):
        assert bool(too_big(ip.ip6(bytes([kind]) + bytes(99), FAR6, OWN6, next_header=58), 100)) is answered
    assert too_big(ip.ip6(bytes(99), FAR6, "ff02::1"), 100) == b""
    for junk in (b"", b"\x45", bytes(60), ip4()[:-1], ip4() + b"x"):
        assert too_big(junk, 100) == b""


def fragments(packet: bytes, mtu: int, room: int = 2048) -> list[bytes]:
    at = ffi.new("uint32_t *")
    out = ffi.new("uint8_t[]", 2048)
    found: list[bytes] = []
    while size := lib.hr_ip_fragment(packet, len(packet), mtu, at, out, room):
        found.append(bytes(ffi.buffer(out, size)))
        assert len(found) < 9000
    return found


@pytest.mark.parametrize("options", [b"", b"\x83\x07\x04" + bytes(4) + b"\x00", b"\x07\x07\x04" + bytes(5)])
@pytest.mark.parametrize("mtu", [68, 100, 576, 1400])
@pytest.mark.parametrize("first", [0, 0x2000, 0x2010, 0x0010])
def test_fragments_make_the_packet_again(options: bytes, mtu: int, first: int) -> None:
    payload = bytes(n * 31 & 0xFF for n in range(1777))
    packet = ip.ip4(payload, FAR, OWN, fragment=first, options=options)
    assert lib.hr_ip_may_fragment(packet, len(packet))
    parts = fragments(packet, mtu)
    back = b""
    for number, part in enumerate(parts):
        header = (part[0] & 15) * 4
        assert len(part) <= mtu
        assert int.from_bytes(part[2:4]) == len(part)
        assert ip.checksum(part[:header]) == 0
        word = int.from_bytes(part[6:8])
        assert (word & 0x1FFF) * 8 == (first & 0x1FFF) * 8 + len(back)
        assert bool(word & 0x2000) == (number < len(parts) - 1 or bool(first & 0x2000))
        assert part[4:6] + part[8:10] + part[12:20] == packet[4:6] + packet[8:10] + packet[12:20]
        copied = options if number == 0 or (options and options[0] & 0x80) else b""
        assert part[20:header] == copied
        back += part[header:]
    assert back == payload


def test_what_may_not_be_cut() -> None:
    for packet in (ip.ip4(bytes(99), fragment=0x4000), ip.ip6(bytes(99)), b"", bytes(30), ip4(fragment=0)[:-1]):
        assert not lib.hr_ip_may_fragment(packet, len(packet))
        assert fragments(packet, 68) == []
    packet = ip.ip4(bytes(1000), fragment=0)
    assert fragments(packet, 27) == []
    assert fragments(packet, 576, room=100) == []
    assert fragments(packet, 1500) == [packet]


def test_peers_far_end_is_compared_whole() -> None:
    with world(remote=Endpoint.of("2001:db8:1::7", 4500), default_route=True) as w:
        assert w.encap([ip.ip6(b"", "fd00::1", "2001:db8:1::7")], session=NONE)[0][0] == "drop_loop"
        assert w.encap([ip.ip6(b"", "fd00::1", "2001:db8:1::8")], session=NONE)[0][0] == "ok"
