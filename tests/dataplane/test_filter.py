"""Where a session's packets may go."""

from __future__ import annotations

import struct
from ipaddress import ip_network

import pytest
from tests.dataplane.world import World, world
from tests.oracle import ip, l2tp

from headrace.access.filters import parse_filters
from headrace.dataplane.native import DataPlaneError
from headrace.model import FILTER_RULES, FilterAction, FilterRule


def to4(w: World, destination: str, payload: bytes = b"", protocol: int = 17) -> str:
    return w.decap1(w.wire(ip.ip4(payload, "10.9.0.2", destination, protocol=protocol)))[0]


def to6(w: World, destination: str, payload: bytes = b"", next_header: int = 17) -> str:
    packet = bytearray(ip.ip6(payload, "2001:db8:9::ffff:1", destination))
    packet[6] = next_header
    return w.decap1(w.theirs.seal(w.frame_in(l2tp.ppp(0x57, bytes(packet)))))[0]


def test_the_first_rule_that_fits_decides() -> None:
    rules = parse_filters("deny 10.20.0.0/20, allow tcp 10.0.0.0/8 443, allow udp 192.0.2.53 53-54, allow icmp any, deny any")
    with world(filters=rules) as w:
        tcp = struct.pack(">HH", 40000, 443) + bytes(16)
        assert to4(w, "10.20.15.255", tcp, 6) == "drop_filter"
        assert to4(w, "10.20.16.0", tcp, 6) == "ok"
        assert to4(w, "10.20.16.0", tcp, 17) == "drop_filter"
        assert to4(w, "10.20.16.0", struct.pack(">HH", 443, 80) + bytes(16), 6) == "drop_filter"
        for port, expected in ((52, "drop_filter"), (53, "ok"), (54, "ok"), (55, "drop_filter")):
            assert to4(w, "192.0.2.53", struct.pack(">HHHH", 1, port, 8, 0)) == expected
        assert to4(w, "203.0.113.9", bytes(8), 1) == "ok"
        assert to4(w, "203.0.113.9", bytes(8), 47) == "drop_filter"
        w.update(filters=())
        assert to4(w, "203.0.113.9", bytes(8), 47) == "ok"


def test_what_hides_its_ports_fits_rules_that_deny_and_none_that_allow() -> None:
    later = bytearray(ip.ip4(bytes(32), "10.9.0.2", "203.0.113.9", protocol=6))
    struct.pack_into(">H", later, 6, 64)  # a later fragment
    later[10:12] = b"\0\0"
    with world(filters=parse_filters("deny tcp any 25")) as w:
        assert w.decap1(w.wire(bytes(later)))[0] == "drop_filter"
        assert to4(w, "203.0.113.9", b"\0\1", 6) == "drop_filter", "too short to have a port"
    with world(filters=parse_filters("allow tcp any 25, deny any")) as w:
        assert w.decap1(w.wire(bytes(later)))[0] == "drop_filter"


def test_ipv6_and_its_extension_headers() -> None:
    rules = parse_filters("allow udp 2001:db8:cafe::/47 53, deny any")
    udp = struct.pack(">HHHH", 1, 53, 8, 0)
    with world(filters=rules) as w:
        assert to6(w, "2001:db8:cafe::1", udp) == "ok"
        assert to6(w, "2001:db8:caff::1", udp) == "ok"
        assert to6(w, "2001:db8:cb00::1", udp) == "drop_filter"
        assert to6(w, "2001:db8:cafe::1", bytes([17, 0, 0, 0, 0, 0, 0, 0]) + udp, 0) == "ok"
        assert to6(w, "2001:db8:cafe::1", bytes([17, 0, 0, 0, 0, 0, 0, 0]) + udp, 44) == "ok", "the first fragment"
        assert to6(w, "2001:db8:cafe::1", bytes([17, 0, 0, 8, 0, 0, 0, 0]) + udp, 44) == "drop_filter", "a later one"
        assert to6(w, "2001:db8:cafe::1", bytes([17, 9, 0, 0, 0, 0, 0, 0]), 0) == "drop_filter", "past the end"
        assert to6(w, "2001:db8:cafe::1", b"\x3c\0" * 60, 60) == "drop_filter", "too many"


@pytest.mark.parametrize("bits", [0, 1, 7, 8, 9, 31, 32])
def test_networks_of_any_length(bits: int) -> None:
    network = ip_network(("203.0.113.77", bits), strict=False)
    with world(filters=(FilterRule(FilterAction.DENY, network),)) as w:
        assert to4(w, "203.0.113.77") == "drop_filter"
        if bits:
            outside = type(network.network_address)(int(network.network_address) ^ 1 << 32 - bits)
            assert to4(w, str(outside)) in {"ok", "drop_loop"}


def test_too_many_rules_are_refused() -> None:
    rule = FilterRule(FilterAction.DENY)
    with world(filters=(rule,) * FILTER_RULES) as w, pytest.raises(DataPlaneError):
        w.update(filters=(rule,) * (FILTER_RULES + 1))
