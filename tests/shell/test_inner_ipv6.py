"""IPv6 through the real gateway and the real client: addresses by router advertisement, traffic by the kernel, and nobody else's source."""

from __future__ import annotations

import pytest
from tests.shell.site import Site, headrace, reason_to_skip, wait

from headrace.shell.netns import Namespace

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-"),
]

NETWORK = {"ipv6_prefixes": ["2001:db8:1::/48"], "ipv6_delegate": 56, "ipv6_dns": ["2001:db8:1::53"]}

PING = """
import socket, sys
with socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6) as sock:
    sock.settimeout(0.5)
    answered = 0
    scope = socket.if_nametoindex(sys.argv[3])
    sock.bind((sys.argv[1], 0, 0, scope if sys.argv[1].startswith("fe80") else 0))
    for number in range(5):
        sock.sendto(bytes((128, 0, 0, 0, 0, 9, 0, number)) + bytes(int(sys.argv[4])), (sys.argv[2], 0, 0, scope))
        try:
            while sock.recv(2000)[:8][0] != 129:
                pass
            answered += 1
        except TimeoutError:
            pass
    print(answered)
"""


def ping(client: Namespace, source: str, target: str, size: int = 56) -> int:
    return int(client.run([headrace()[0], "-c", PING, source, target, "headrace0", str(size)]).stdout)


@pytest.mark.parametrize("encryption", ["required-128"])
def test_a_client_gets_an_address_and_traffic_crosses(site: Site, encryption: str) -> None:
    client = site.client()
    site.serve(network=NETWORK, ppp={"multilink": True})
    dial = site.dial(client, "--route", "2001:db8:1::/48", "--encryption", encryption)
    told = dial.wait_for("ipv6")
    (address,) = told["addresses"]
    assert address.startswith("2001:db8:1:200:")
    assert (told["router"], told["dns"]) == ("fe80::1", ["2001:db8:1::53"])
    with client.netlink() as ip:
        wait(lambda: address in {a.get_attr("IFA_ADDRESS") for a in ip.get_addr(family=10)}, 5)
        wait(lambda: any(r.get_attr("RTA_DST") == "2001:db8:1::" for r in ip.get_routes(family=10)), 5)
    for size in (0, 56, 1280):
        assert ping(client, address, "2001:db8:1::1", size) == 5
    assert ping(client, told["link_local"], "fe80::1") == 5
    (session,) = site.control("sessions")
    assert session["prefix6"] == "2001:db8:1:200::/55"
    assert bool(session["mppe"]) == (encryption != "off")
    before = site.control("status")["packets"].get("drop_spoofed_source", {"packets": 0})["packets"]
    with client.netlink() as ip:
        ip.addr("add", index=ip.link_lookup(ifname="headrace0")[0], address="2001:db8:1:400::9", prefixlen=128, family=10)
    wait(lambda: ping(client, "2001:db8:1:400::9", "2001:db8:1::1") == 0, 5)
    assert site.control("status")["packets"]["drop_spoofed_source"]["packets"] >= before + 5
    assert dial.hang_up() == 0
    site.logged("session-down alice")


@pytest.mark.slow
def test_two_clients_reach_each_other_and_one_without_ipv6_is_let_be(site: Site) -> None:
    first, second, plain = site.client(), site.client(), site.client()
    site.serve(network={**NETWORK, "forwarding": True})
    dials = [site.dial(client, "--route", "2001:db8:1::/48", user=user) for client, user in ((first, "alice"), (second, "bob"))]
    one, two = (dial.wait_for("ipv6")["addresses"][0] for dial in dials)
    for client, own in ((first, one), (second, two)):
        with client.netlink() as ip:
            wait(lambda own=own, ip=ip: own in {a.get_attr("IFA_ADDRESS") for a in ip.get_addr(family=10)}, 5)  # type: ignore[misc]
            wait(lambda ip=ip: any(r.get_attr("RTA_DST") == "2001:db8:1::" for r in ip.get_routes(family=10)), 5)  # type: ignore[misc]
    wait(lambda: ping(first, one, two) == 5, 10)
    alone = site.dial(plain, "--no-inner-ipv6", user="alice")
    assert alone.wait_for("connected")["address"]
    assert sorted(bool(session["prefix6"]) for session in site.control("sessions")) == [False, True, True]
    assert [dial.hang_up() for dial in (*dials, alone)] == [0, 0, 0]
