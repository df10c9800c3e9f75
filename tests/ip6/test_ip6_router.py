"""The gateway's end of an IPv6 link, with scapy as the one who asks and who reads the answers."""

from __future__ import annotations

import random
from ipaddress import IPv6Address, IPv6Network
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.layers import dhcp6 as s6
from scapy.layers import inet6 as s
from scapy.layers.inet import UDP
from tests import dissect

from headrace.ip6.host import IpHost
from headrace.ip6.router import BURST, INTERVAL, IpRouter, RouterConfig, split

US, CLIENT = "fe80::1", "fe80::7"
PREFIX, DELEGATED = IPv6Network("2001:db8:0:4::/64"), IPv6Network("2001:db8:0:100::/56")
DNS = (IPv6Address("2001:db8::53"),)
DUID = bytes.fromhex("0004") + bytes(range(16))


def router(**changes: Any) -> IpRouter:
    fields: dict[str, Any] = {"delegated": DELEGATED, "dns": DNS, "mtu": 1380} | changes
    made = IpRouter(RouterConfig(IPv6Address(US), PREFIX, DUID, **fields), random.Random(1).randbytes, 0.0)
    made.tick(0.0)
    made.poll_packets()
    return made


def ask(made: IpRouter, packet: Any, now: float = 1.0) -> list[Any]:
    made.receive(bytes(packet), now)
    return [s.IPv6(answer) for answer in made.poll_packets()]


def solicitation(**fields: Any) -> Any:
    return s.IPv6(src=CLIENT, dst="ff02::2", hlim=255, **fields) / s.ICMPv6ND_RS()


def dhcp(message: Any, source: str = CLIENT) -> Any:
    return s.IPv6(src=source, dst="ff02::1:2") / UDP(sport=546, dport=547) / message


def client_id(last: int = 1) -> Any:
    return s6.DHCP6OptClientId(duid=s6.DUID_UUID(uuid=bytes(15) + bytes([last])))


def server_id() -> Any:
    return s6.DHCP6OptServerId(duid=s6.DUID_UUID(DUID))


def ia_pd(iaid: int = 5, *prefixes: Any) -> Any:
    return s6.DHCP6OptIA_PD(iaid=iaid, iapdopt=list(prefixes))


def test_a_solicitation_is_answered_by_an_advertisement_that_scapy_reads() -> None:
    (answer,) = ask(router(), solicitation())
    assert (answer.src, answer.dst, answer.hlim) == (US, CLIENT, 255)
    advertisement = answer[s.ICMPv6ND_RA]
    assert (advertisement.M, advertisement.O, advertisement.routerlifetime) == (0, 1, 1800)
    info = answer[s.ICMPv6NDOptPrefixInfo]
    assert (info.prefix, info.prefixlen, info.A, info.L) == (str(PREFIX.network_address), 64, 1, 1)
    assert (info.validlifetime, info.preferredlifetime) == (86400, 14400)
    assert answer[s.ICMPv6NDOptMTU].mtu == 1380
    assert answer[s.ICMPv6NDOptRDNSS].dns == [str(DNS[0])]
    again = answer.copy()
    del again[s.ICMPv6ND_RA].cksum
    assert s.IPv6(bytes(again))[s.ICMPv6ND_RA].cksum == advertisement.cksum


def test_one_without_an_address_is_answered_by_multicast() -> None:
    (answer,) = ask(router(), s.IPv6(src="::", dst="ff02::2", hlim=255) / s.ICMPv6ND_RS())
    assert answer.dst == "ff02::1"


def test_without_name_servers_and_prefix_to_delegate_there_is_no_dhcp_to_ask() -> None:
    (answer,) = ask(router(delegated=None, dns=()), solicitation())
    assert answer[s.ICMPv6ND_RA].O == 0
    assert s.ICMPv6NDOptRDNSS not in answer


def test_advertisements_come_unasked_three_at_first_then_seldom() -> None:
    made = IpRouter(RouterConfig(IPv6Address(US), PREFIX, DUID), random.Random(2).randbytes, 0.0)
    times: list[float] = []
    while len(times) < 6:
        due = made.deadline()
        assert due is not None
        made.tick(due)
        assert [s.IPv6(p).dst for p in made.poll_packets()] == ["ff02::1"]
        times.append(due)
    assert times[:3] == [0, 16, 32]
    assert all(INTERVAL[0] <= b - a <= INTERVAL[1] for a, b in pairwise(times[2:]))


def test_neighbour_solicitation_and_echo_for_our_own_address_alone() -> None:
    made = router()
    (answer,) = ask(made, s.IPv6(src=CLIENT, dst=US, hlim=255) / s.ICMPv6ND_NS(tgt=US))
    advertisement = answer[s.ICMPv6ND_NA]
    assert (advertisement.tgt, advertisement.R, advertisement.S, advertisement.O) == (US, 1, 1, 1)
    (defended,) = ask(made, s.IPv6(src="::", dst="ff02::1:ff00:1", hlim=255) / s.ICMPv6ND_NS(tgt=US))
    assert (defended.dst, defended[s.ICMPv6ND_NA].S) == ("ff02::1", 0)
    assert ask(made, s.IPv6(src=CLIENT, dst=US, hlim=255) / s.ICMPv6ND_NS(tgt="fe80::2")) == []
    for to in (US, "ff02::1", "ff02::2"):
        (reply,) = ask(made, s.IPv6(src=CLIENT, dst=to) / s.ICMPv6EchoRequest(id=3, seq=4, data=b"hello"))
        assert (reply.src, reply[s.ICMPv6EchoReply].data) == (US, b"hello")
    assert ask(made, s.IPv6(src=CLIENT, dst="fe80::9") / s.ICMPv6EchoRequest()) == []


@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"", "ip6_short"),
        (b"\x45" + bytes(60), "ip6_version"),
        (bytes(solicitation())[:-1], "ip6_length"),
        (bytes(solicitation())[:-4] + b"\x01\x02\x03\x04", "ip6_checksum"),
        (bytes(s.IPv6(src=CLIENT, dst="ff02::2", hlim=64) / s.ICMPv6ND_RS()), "nd_hop_limit"),
        (bytes(s.IPv6(src=CLIENT, dst="ff02::2", hlim=255) / s.ICMPv6ND_RS(code=3)), "nd_hop_limit"),
        (bytes(solicitation() / s.ICMPv6NDOptUnknown(type=1, len=0, data=b"\0" * 6)), "nd_option"),
        (bytes(solicitation() / s.ICMPv6NDOptUnknown(type=1, len=9, data=b"\0" * 6)), "nd_option"),
        (bytes(s.IPv6(src=CLIENT, dst=US, hlim=255) / s.ICMPv6ND_NS(tgt="ff02::1")), "nd_target"),
        (bytes(s.IPv6(src=CLIENT, dst="ff02::1:2") / UDP(sport=546, dport=547, len=9) / b"abc"), "ip6_udp"),
        (bytes(dhcp(b"\x01")), "dhcp6_short"),
        (bytes(dhcp(b"\x01abc\x00\x01\x00\xff")), "dhcp6_option"),
        (bytes(dhcp(b"\x01abc" + b"\x00\x01\x00\x03abc" * 2)), "dhcp6_duid"),
        (bytes(dhcp(b"\x01abc\x00\x01\x00\x84" + bytes(0x84))), "dhcp6_duid"),
        (bytes(dhcp(b"\x01abc" + b"\x00\x63\x00\x00" * 65)), "dhcp6_option"),
        (bytes(dhcp(b"\x01abc\x00\x01\x00\x03abc\x00\x19\x00\x04abcd")), "dhcp6_ia_pd"),
    ],
)
def test_what_is_wrong_is_counted_and_not_answered(packet: bytes, reason: str) -> None:
    made = router()
    assert ask(made, packet) == []
    assert made.poll_drops() == [reason]
    assert len(ask(made, solicitation())) == 1


def test_a_flood_is_answered_within_a_rate() -> None:
    made = router()
    answers = [answer for _ in range(500) for answer in ask(made, solicitation(), now=5.0)]
    assert len(answers) == BURST
    assert made.poll_drops() == ["ip6_rate"] * (500 - len(answers))
    assert len(ask(made, solicitation(), now=6.0)) == 1


def test_a_prefix_is_delegated_in_four_messages_or_two() -> None:
    made = router()
    solicit = s6.DHCP6_Solicit(trid=0x123456) / client_id() / ia_pd() / s6.DHCP6OptOptReq(reqopts=[23])
    (answer,) = ask(made, dhcp(solicit))
    advertise = answer[s6.DHCP6_Advertise]
    assert (answer[UDP].sport, answer[UDP].dport, advertise.trid) == (547, 546, 0x123456)
    assert bytes(answer[s6.DHCP6OptServerId].duid) == DUID
    given = answer[s6.DHCP6OptIA_PD]
    prefix = given.iapdopt[0]
    assert (prefix.prefix, prefix.plen, prefix.preflft, prefix.validlft) == ("2001:db8:0:100::", 56, 14400, 86400)
    assert (given.T1, given.T2) == (7200, 11520)
    assert answer[s6.DHCP6OptDNSServers].dnsservers == [str(DNS[0])]
    assert made._dhcp.holder is None, "an offer binds nothing"
    request = s6.DHCP6_Request(trid=7) / client_id() / server_id() / ia_pd()
    (reply,) = ask(made, dhcp(request))
    assert reply[s6.DHCP6_Reply].trid == 7
    assert s6.DHCP6OptDNSServers not in reply
    assert made._dhcp.holder is not None
    other = router()
    (quick,) = ask(other, dhcp(solicit / s6.DHCP6OptRapidCommit()))
    assert s6.DHCP6OptRapidCommit in quick[s6.DHCP6_Reply]


def test_the_prefix_has_one_holder_until_it_is_released() -> None:
    made = router()
    ask(made, dhcp(s6.DHCP6_Request() / client_id(1) / server_id() / ia_pd(5)))
    (refused,) = ask(made, dhcp(s6.DHCP6_Request() / client_id(2) / server_id() / ia_pd(5)))
    assert refused[s6.DHCP6OptStatusCode].statuscode == 6
    (foreign,) = ask(made, dhcp(s6.DHCP6_Release() / client_id(2) / server_id() / ia_pd(5)))
    assert foreign[s6.DHCP6OptIA_PD].iapdopt[0].statuscode == 3
    (renewed,) = ask(made, dhcp(s6.DHCP6_Renew() / client_id(1) / server_id() / ia_pd(5)))
    assert renewed[s6.DHCP6OptIA_PD].iapdopt[0].plen == 56
    ask(made, dhcp(s6.DHCP6_Release() / client_id(1) / server_id() / ia_pd(5)))
    (unbound,) = ask(made, dhcp(s6.DHCP6_Renew() / client_id(1) / server_id() / ia_pd(5)))
    assert unbound[s6.DHCP6OptIA_PD].iapdopt[0].statuscode == 3
    (taken,) = ask(made, dhcp(s6.DHCP6_Rebind() / client_id(2) / ia_pd(9)))
    assert taken[s6.DHCP6OptIA_PD].iapdopt[0].prefix == "2001:db8:0:100::"


def test_a_prefix_that_is_not_ours_is_taken_away() -> None:
    stale = s6.DHCP6OptIAPrefix(prefix="2001:db8:bad::", plen=56, preflft=9, validlft=9)
    (answer,) = ask(router(), dhcp(s6.DHCP6_Request() / client_id() / server_id() / ia_pd(5, stale)))
    ours, theirs = answer[s6.DHCP6OptIA_PD].iapdopt
    assert (ours.validlft, theirs.prefix, theirs.validlft, theirs.preflft) == (86400, "2001:db8:bad::", 0, 0)


def test_addresses_are_refused_and_information_is_given() -> None:
    made = router(delegated=None)
    (answer,) = ask(made, dhcp(s6.DHCP6_Solicit() / client_id() / s6.DHCP6OptIA_NA(iaid=1) / ia_pd(2)))
    assert answer[s6.DHCP6OptIA_NA].ianaopts[0].statuscode == 2
    assert answer[s6.DHCP6OptIA_PD].iapdopt[0].statuscode == 6
    (info,) = ask(made, dhcp(s6.DHCP6_InfoRequest() / s6.DHCP6OptOptReq(reqopts=[23])))
    assert info[s6.DHCP6OptDNSServers].dnsservers == [str(DNS[0])]
    assert s6.DHCP6OptClientId not in info


@pytest.mark.parametrize(
    "message",
    [
        s6.DHCP6_Advertise(),
        s6.DHCP6_Reply() / client_id(),
        s6.DHCP6_Solicit(),
        s6.DHCP6_Solicit() / client_id() / server_id(),
        s6.DHCP6_Request() / client_id(),
        s6.DHCP6_Request() / client_id() / s6.DHCP6OptServerId(duid=s6.DUID_LL(lladdr="02:00:00:00:00:09")),
        s6.DHCP6_InfoRequest() / ia_pd(),
        s6.DHCP6_RelayForward(),
    ],
)
def test_what_is_for_no_server_or_another_is_not_answered(message: Any) -> None:
    made = router()
    assert ask(made, dhcp(message)) == []
    assert len(made.poll_drops()) == 1


def test_a_grant_is_split_into_link_and_delegation() -> None:
    assert split(IPv6Network("2001:db8::/55"), 56) == (IPv6Network("2001:db8::/64"), IPv6Network("2001:db8:0:100::/56"))
    assert split(IPv6Network("2001:db8::/63"), 64) == (IPv6Network("2001:db8::/64"), IPv6Network("2001:db8:0:1::/64"))
    assert split(IPv6Network("2001:db8::/64"), 56) == (IPv6Network("2001:db8::/64"), None)
    assert split(IPv6Network("2001:db8::/60"), 0) == (IPv6Network("2001:db8::/64"), None)


def test_our_host_learns_from_our_router() -> None:
    made, host = router(), IpHost(IPv6Address(CLIENT), 0.0)
    host.tick(0.0)
    (solicit,) = host.poll_packets()
    (answer,) = ask(made, solicit)
    assert host.receive(bytes(answer), 1.0)
    (learned,) = host.poll_events()
    assert learned.router == IPv6Address(US)
    assert learned.addresses == (IPv6Address("2001:db8:0:4::7"),)
    assert (learned.dns, learned.mtu) == (DNS, 1380)
    assert host.deadline() == 1801
    host.tick(1801)
    assert host.poll_events()[0].router is None
    host.tick(86401)
    assert host.poll_events()[0].addresses == ()


def advertisement(*options: Any, **fields: Any) -> bytes:
    message: Any = s.IPv6(src=US, dst="ff02::1", hlim=255) / s.ICMPv6ND_RA(routerlifetime=fields.get("lifetime", 60))
    for option in options:
        message /= option
    return bytes(message)


def info(prefix: str, **fields: Any) -> Any:
    values = {"prefixlen": 64, "A": 1, "L": 1, "validlifetime": 100, "preferredlifetime": 50} | fields
    return s.ICMPv6NDOptPrefixInfo(prefix=prefix, **values)


def test_a_host_believes_few_prefixes_and_no_strange_ones() -> None:
    host = IpHost(IPv6Address(CLIENT), 0.0)
    host.receive(advertisement(*(info(f"2001:db8:{n}::") for n in range(9))), 0.0)
    assert len(host.poll_events()[0].addresses) == 4
    host.receive(advertisement(info("2001:db8:0::", validlifetime=0, preferredlifetime=0)), 1.0)
    assert len(host.poll_events()[0].addresses) == 3
    strange = [info("fe80::"), info("ff02::"), info("2001:db8:99::", prefixlen=48), info("2001:db8:99::", A=0)]
    host.receive(advertisement(*strange, info("2001:db8:99::", preferredlifetime=200)), 2.0)
    assert host.poll_events() == []
    assert host.poll_drops() == ["nd_prefix"] * 5


@pytest.mark.parametrize(
    "packet",
    [
        bytes(s.IPv6(src="2001:db8::1", dst="ff02::1", hlim=255) / s.ICMPv6ND_RA()),
        bytes(s.IPv6(src=US, dst="ff02::1", hlim=64) / s.ICMPv6ND_RA()),
        bytes(s.IPv6(src=US, dst="ff02::1", hlim=255) / s.ICMPv6ND_RA(code=1)),
    ],
)
def test_an_advertisement_from_elsewhere_is_not_believed(packet: bytes) -> None:
    host = IpHost(IPv6Address(CLIENT), 0.0)
    assert host.receive(packet, 0.0)
    assert host.poll_events() == []
    assert host.poll_drops() == ["nd_hop_limit"]


def test_a_host_asks_three_times_and_leaves_the_rest_to_the_system() -> None:
    host = IpHost(IPv6Address(CLIENT), 0.0)
    times: list[float] = []
    while (due := host.deadline()) is not None:
        host.tick(due)
        times.append(due)
        assert s.ICMPv6ND_RS in s.IPv6(host.poll_packets()[0])
    assert times == [0, 4, 8]
    assert not host.receive(bytes(s.IPv6(src=US, dst=CLIENT) / s.ICMPv6EchoReply()), 9.0)


@given(st.binary(max_size=200), st.sampled_from([b"", bytes(solicitation())[:44], bytes(dhcp(b"\x01abc"))[:52]]))
@settings(deadline=None)
def test_no_octets_make_it_raise(octets: bytes, start: bytes) -> None:
    made, host = router(), IpHost(IPv6Address(CLIENT), 0.0)
    made.receive(start + octets, 1.0)
    host.receive(start + octets, 1.0)
    body = s.IPv6(src=CLIENT, dst="ff02::1:2") / UDP(sport=546, dport=547) / octets
    made.receive(bytes(body), 1.0)
    host.receive(bytes(s.IPv6(src=US, dst="ff02::1", hlim=255) / s.ICMPv6ND_RA() / octets), 1.0)


@pytest.mark.skipif(dissect.NONE, reason="tshark is not installed")
def test_tshark_reads_what_both_ends_say(tmp_path: Path) -> None:
    made, host = router(), IpHost(IPv6Address(CLIENT), 0.0)
    host.tick(0.0)
    said = [bytes(packet) for packet in host.poll_packets()]
    for question in (
        said[0],
        s.IPv6(src="::", dst="ff02::1:ff00:1", hlim=255) / s.ICMPv6ND_NS(tgt=US),
        s.IPv6(src=CLIENT, dst=US) / s.ICMPv6EchoRequest(data=b"hello"),
        dhcp(s6.DHCP6_Solicit(trid=1) / client_id() / ia_pd() / s6.DHCP6OptOptReq(reqopts=[23])),
        dhcp(s6.DHCP6_Request(trid=2) / client_id() / server_id() / ia_pd() / s6.DHCP6OptIA_NA(iaid=3)),
        dhcp(s6.DHCP6_Release(trid=3) / client_id() / server_id() / ia_pd()),
    ):
        said += [bytes(answer) for answer in ask(made, question)]
    frames = [b"\xff\x03\x00\x57" + packet for packet in said]
    fields = ("icmpv6.type", "icmpv6.checksum.status", "dhcpv6.msgtype", "dhcpv6.iaprefix.pref_addr", "icmpv6.opt.prefix")
    rows = dissect.dissect(dissect.capture(tmp_path / "ip6.pcap", dissect.PPP, frames), *fields)
    assert [row[1] for row in rows[:4]] == ["133", "134", "136", "129"]
    assert {row[2] for row in rows[:4]} == {"1"}, "right checksums"
    assert [row[3] for row in rows[4:]] == ["2", "7", "7"]
    assert rows[4][4] == "2001:db8:0:100::"
    assert rows[1][5] == str(PREFIX.network_address)
