"""The real gateway and the real client, in namespaces, over real sockets, ESP and TUN."""

from __future__ import annotations

import random
import socket
import time
from contextlib import ExitStack

import pytest
from tests.shell.site import GATEWAY, Dial, Site, masquerade, ping, reason_to_skip, wait

from headrace.shell.netns import Namespace, veth

pytestmark = [
    pytest.mark.root,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip() or "-"),
]

CERTIFICATE = ("--certificate", "laptop/laptop.crt", "--private-key", "laptop/laptop.key", "--ca", "laptop/ca.crt")


@pytest.mark.parametrize(
    ("arguments", "psk", "expected"),
    [
        (CERTIFICATE, "", {"machine_auth": "cert", "nat": "none"}),
        ((), "psk", {"machine_auth": "psk", "nat": "none"}),
        (("--force-encapsulation", *CERTIFICATE), "", {"machine_auth": "cert"}),
        (
            ("--force-encapsulation", "--esp-proposal", "aes128-sha1", "--proposal", "aes256-sha1-modp2048"),
            "psk",
            {"esp": "aes128-sha1"},
        ),
        (
            ("--encryption", "required-128", "--pfs", "--esp-proposal", "aes256-sha256-ecp256"),
            "psk",
            {"mppe": "128-bit stateless"},
        ),
    ],
    ids=["cert", "psk", "cert-natt", "windows-like", "mppe-pfs"],
)
def test_a_client_connects_and_traffic_crosses(
    site: Site, arguments: tuple[str, ...], psk: str, expected: dict[str, str]
) -> None:
    client = site.client()
    gateway = site.serve()
    dial = site.dial(client, *arguments, psk=psk)
    connected = dial.wait_for("connected")
    (session,) = site.control("sessions")
    assert [passed["number"] for passed in session["ladder"]][:9] == list(range(2, 11))
    assert all(passed["agreed"] for passed in session["ladder"])
    assert session["user"] == "alice"
    assert session["inner"] == connected["address"]
    assert {key: session[key] for key in expected} == expected
    both = ("user", "outer", "gateway", "inner", "inner_gateway", "nat", "machine_auth", "user_auth", "esp", "mppe")
    assert {key: connected["session"][key] for key in both} == {key: session[key] for key in both}
    assert connected["session"]["since"] > "2020"  # of the wall clock, not of the loop's
    for size in (0, 56, 1372):
        assert ping(client, connected["address"], size=size) == 5
    (session,) = site.control("sessions")
    assert session["rx_packets"] >= 15
    assert session["tx_packets"] >= 15
    assert dial.hang_up() == 0
    site.logged("session-down alice")
    site.logged("peer-down")
    assert site.control("sessions") == []
    counters = site.control("status")["packets"]
    assert not [name for name in counters if name.startswith("drop_")], counters
    gateway.send_signal(2)
    assert gateway.wait(15) == 0


def test_n153_encryption_required_and_refused_says_742_on_both_sides(site: Site) -> None:
    client = site.client()
    site.serve(ppp={"encryption": "required"})
    code, complaint = site.dial(client, "--encryption", "off").finish()
    assert code == 1
    assert "error 742" in complaint
    assert "does not support the required data encryption type" in complaint
    line = site.logged("742 encryption-refused")
    assert "192.0.2.11 user alice" in line
    assert "remedy:" in line


def test_a_client_that_requires_encryption_refuses_a_gateway_without(site: Site) -> None:
    client = site.client()
    site.serve(ppp={"encryption": "off"})
    code, complaint = site.dial(client, "--encryption", "required").finish()
    assert code == 1
    assert "error 742" in complaint
    site.logged("741 encryption-local")


@pytest.mark.parametrize(
    ("arguments", "options", "client_says", "gateway_says"),
    [
        ((), {"password": "wrong-password"}, "error 691", "691 auth-failed"),
        ((), {"user": "mallory"}, "error 691", "691 user-unknown"),
        (("--timeout", "12"), {"psk": "wrong-psk"}, "error 789", "789 psk-mismatch"),
        (("--proposal", "aes128-sha256-modp3072"), {}, "error 788", "788 ike-no-proposal"),
        (("--esp-proposal", "aes128-sha512"), {}, "error 788", "788 esp-no-proposal"),
        (
            ("--certificate", "stranger/stranger.crt", "--private-key", "stranger/stranger.key", "--ca", "laptop/ca.crt"),
            {"psk": ""},
            "error 7",
            "790 cert-unknown-ca",
        ),
        (
            ("--certificate", "laptop/laptop.crt", "--private-key", "laptop/laptop.key", "--ca", "stranger/ca.crt"),
            {"psk": ""},
            "cert-unknown-ca",
            "our-",
        ),
        ((*CERTIFICATE, "--remote-name", "elsewhere.example.net"), {"psk": ""}, "cert-name", "our-"),
        (("--auth", "pap"), {}, "error ", "auth-no-common"),
    ],
    ids=[
        "password",
        "user",
        "psk",
        "ike-proposal",
        "esp-proposal",
        "stranger",
        "untrusted-gateway",
        "wrong-name",
        "auth-method",
    ],
)
def test_a_refusal_has_its_number_and_remedy_on_both_sides(
    site: Site, arguments: tuple[str, ...], options: dict[str, str], client_says: str, gateway_says: str
) -> None:
    client = site.client()
    # Only what a client does not offer by itself is left out, so that each case breaks on its own rung.
    site.serve(ike={"proposals": ["aes256-sha256-ecp384", "aes128-sha256-ecp256"]}, esp={"proposals": ["aes256-sha256"]})
    code, complaint = site.dial(client, *arguments, **options).finish()
    assert code == 1
    assert client_says in complaint, complaint
    assert "remedy:" in complaint
    line = site.logged(gateway_says, 45)
    assert "192.0.2.11" in line
    assert "remedy:" in line
    wait(lambda: site.control("status")["peers"] == 0, 30)


def test_n149_an_empty_pool_refuses_the_next_and_leaves_the_others(site: Site) -> None:
    first, second = site.client(), site.client()
    site.serve(network_pools={"pool": ["10.99.0.2-10.99.0.2"]})
    one = site.dial(first)
    connected = one.wait_for("connected")
    code, complaint = site.dial(second, user="bob").finish()
    assert code == 1
    assert "error 7" in complaint
    assert "pool pool is empty (1 of 1)" in site.logged("717 pool-empty")
    assert ping(first, connected["address"]) == 5
    assert one.hang_up() == 0
    site.logged("peer-down")
    again = site.dial(second, user="bob")
    assert again.wait_for("connected")["address"] == "10.99.0.2"
    assert again.hang_up() == 0


def test_clients_behind_one_nat_with_equal_addresses_and_ports(site: Site) -> None:
    """Three homes, each with 192.168.1.2 behind its own router, all behind one carrier's NAT: everything but the SA is equal."""
    with ExitStack() as stack:
        carrier = stack.enter_context(Namespace("carrier"))
        veth(site.gateway, "wan", carrier, "wan")
        site.gateway.address("wan", GATEWAY, 24)
        carrier.address("wan", "192.0.2.99", 24)
        masquerade(carrier, "wan")
        dials: list[tuple[Namespace, Dial]] = []
        site.serve()
        for number in range(3):
            router, home = stack.enter_context(Namespace("router")), stack.enter_context(Namespace("home"))
            veth(carrier, f"net{number}", router, "wan")
            carrier.address(f"net{number}", f"100.64.{number}.1", 24)
            router.address("wan", f"100.64.{number}.2", 24)
            router.route("0.0.0.0/0", f"100.64.{number}.1")
            masquerade(router, "wan")
            veth(router, "lan", home, "eth")
            router.address("lan", "192.168.1.1", 24)
            home.address("eth", "192.168.1.2", 24)
            home.route("0.0.0.0/0", "192.168.1.1")
            dials.append((home, site.dial(home, "--local-ike-port", "500", "--local-natt-port", "4500")))
        addresses = [dial.wait_for("connected")["address"] for _, dial in dials]
        assert len(set(addresses)) == 3
        for (home, _), address in zip(dials, addresses, strict=True):
            assert ping(home, address) == 5
        assert {s["nat"] for s in site.control("sessions")} == {"client"}
        assert [dial.hang_up() for _, dial in dials] == [0, 0, 0]


def test_disconnecting_by_hand_and_going_down_tell_the_client(site: Site) -> None:
    client = site.client()
    gateway = site.serve()
    dial = site.dial(client)
    dial.wait_for("connected")
    assert site.control("disconnect", "--user", "alice") is not None
    code, complaint = dial.finish()
    assert code == 1
    assert "error " in complaint
    dial = site.dial(client)
    dial.wait_for("connected")
    gateway.send_signal(15)
    assert gateway.wait(15) == 0
    code, complaint = dial.finish()
    assert code == 1
    assert "error " in complaint


def test_n203_a_busy_port_starts_nothing(site: Site) -> None:
    site.client()
    blocker = site.gateway.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM)
    with blocker:
        blocker.bind((GATEWAY, 4500))
        process = site.launch()
        assert process.wait(20) == 3
        text = site.log.read_text("utf-8")
        assert "192.0.2.1 UDP port 4500 is in use by" in text
        assert "Traceback" not in text
    with site.gateway.netlink() as ip:
        assert not ip.link_lookup(ifname="headrace0")
    assert not (site.folder / "control.sock").exists()
    site.serve()


def test_n214_a_server_that_does_not_answer(site: Site) -> None:
    client = site.client()
    started = time.monotonic()
    code, complaint = site.dial(client, "--timeout", "6").finish()
    assert code == 1
    assert "error 809" in complaint
    assert time.monotonic() - started < 30
    with client.netlink() as ip:
        assert not [link for link in ip.get_links() if str(link.get_attr("IFLA_IFNAME")).startswith("headrace")]


def test_junk_on_every_port_disturbs_nobody(site: Site) -> None:
    client, hostile = site.client(), site.client()
    site.serve(gateway={"allow_clear_l2tp": True, "insecure_lab_mode": True})
    dial = site.dial(client)
    connected = dial.wait_for("connected")
    generator = random.Random(20)
    for port in (500, 4500, 1701):
        with hostile.call(socket.socket, socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect((GATEWAY, port))
            for number in range(3000):
                start = (b"", bytes(4), bytes(8), b"\xc8\x02\x00\x14")[number % 4]
                try:
                    sock.send(start + generator.randbytes(generator.randrange(600)))
                except ConnectionRefusedError:
                    continue
    assert ping(client, connected["address"]) == 5
    status = site.control("status")
    assert status["sessions"] == 1
    assert sum(entry["packets"] for name, entry in status["packets"].items() if name.startswith("drop_")) > 1000
    assert "Traceback" not in site.log.read_text("utf-8")
    assert len(site.log.read_text("utf-8").splitlines()) < 200
    assert dial.hang_up() == 0
