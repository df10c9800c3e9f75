"""strongSwan, xl2tpd and pppd as the server of ``headrace dial``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.interop.guest import GUEST_IP, OUR_IP, PSK, SERVER
from tests.interop.lab import Dialled, Scenario, secret_file, wait_for
from tests.shell.test_inner_ipv6 import PING as PING6

if TYPE_CHECKING:
    from tests.interop.pki import Papers

STATEFUL = Path(__file__).parent / "stateful.py"


def connected(scenario: Scenario, dialled: Dialled, *, mppe: str = "") -> dict[str, object]:
    """The call came up, its pings were answered, it was hung up, and the server noticed; the session as the client saw it."""
    assert dialled.code == 0, dialled
    ping = dialled.event("ping")
    assert ping["received"] == ping["sent"] >= 3
    dialled.event("disconnected")
    session: dict[str, object] = dialled.event("connected")["session"]
    assert session["mppe"] == mppe
    assert scenario.outcome.code == 0, scenario.outcome
    log = scenario.outcome.log("server.charon.log")
    assert "received DELETE for ESP CHILD_SA" in log or "received DELETE for IKE_SA" in log
    return session


def failed(dialled: Dialled, slug: str, number: int) -> None:
    """The call failed for this reason, and the person who dials is told number and remedy."""
    assert dialled.code == 1, dialled
    event = dialled.event("failed")
    assert (event["slug"], event["ras"]) == (slug, number), dialled
    assert f"error {number}: " in dialled.stderr and "\nremedy: " in dialled.stderr


def test_psk_raw(scenario: Scenario) -> None:
    """Pre-shared key, ESP as IP protocol 50."""
    with scenario.server():
        dialled = scenario.dial()
    session = connected(scenario, dialled)
    assert session["machine_auth"] == "psk" and session["user_auth"] == "mschap-v2" and session["nat"] == "none"
    assert scenario.capture.count("ip.proto == 50") > 20


def test_psk_natt(scenario: Scenario) -> None:
    """Pre-shared key, ESP in UDP 4500 by --force-encapsulation."""
    with scenario.server():
        dialled = scenario.dial("--force-encapsulation")
    connected(scenario, dialled)
    assert scenario.capture.count("esp && udp.port == 4500") > 20
    assert scenario.capture.count("ip.proto == 50") == 0


def test_cert(scenario: Scenario, papers: Papers) -> None:
    """Certificates of our own small CA; the server's names the address that was dialled."""
    certificate, key, ca = papers.small_ca.ours(scenario.folder)
    with scenario.server(AUTH="cert", pki=papers.small_ca.guest):
        dialled = scenario.dial("--certificate", certificate, "--private-key", key, "--ca", ca, psk=None)
    assert connected(scenario, dialled)["machine_auth"] == "cert"


def test_cert_fragments(scenario: Scenario, papers: Papers) -> None:
    """A foreign CA with an authority between: both proofs in IKE fragments, ESP in UDP 4500."""
    certificate, key, ca = papers.long_chain.ours(scenario.folder)
    options: list[str | Path] = ["--certificate", certificate, "--private-key", key, "--ca", ca, "--force-encapsulation"]
    with scenario.server(AUTH="cert", pki=papers.long_chain.guest):
        dialled = scenario.dial(*options, psk=None)
    assert connected(scenario, dialled)["machine_auth"] == "cert"
    for address in (OUR_IP, GUEST_IP):
        assert scenario.capture.count(f"isakmp.typepayload == 132 && ip.src == {address}") >= 2


def test_cert_wrong_name(scenario: Scenario, papers: Papers) -> None:
    """The server's certificate names another than the one that was dialled."""
    certificate, key, ca = papers.small_ca.ours(scenario.folder)
    options: list[str | Path] = [
        "--certificate",
        certificate,
        "--private-key",
        key,
        "--ca",
        ca,
        "--remote-name",
        "vpn.example.org",
    ]
    with scenario.server(AUTH="cert", pki=papers.small_ca.guest):
        dialled = scenario.dial(*options, psk=None)
    assert dialled.code == 1 and dialled.event("failed")["slug"] == "cert-name", dialled


def test_mppe_128(scenario: Scenario) -> None:
    """Both sides require MPPE-128."""
    with scenario.server(PPP_OPTIONS="require-mppe-128"):
        dialled = scenario.dial("--encryption", "required-128")
    connected(scenario, dialled, mppe="128-bit stateless")


def test_mppe_stateful_loss(scenario: Scenario) -> None:
    """Stateful MPPE both ways, every eleventh packet lost each way: each side asks the other for resets, and traffic goes on."""
    with scenario.server(PPP_OPTIONS="require-mppe-128;mppe-stateful", LOSS="11", HOLD="15"):
        dialled = scenario.dial("--encryption", "required-128", "--mppe-stateful", "--ping-count", "40", launcher=STATEFUL)
    assert dialled.event("connected")["session"]["mppe"] == "128-bit stateful"
    ping = dialled.event("ping")
    assert ping["received"] > ping["sent"] / 4, ping
    resets = [scenario.capture.count(f"ccp && ppp.code == 14 && ip.src {sign} {OUR_IP}") for sign in ("==", "!=")]
    assert min(resets) >= 2, resets
    scenario.note = (
        f"{resets[0]} Reset-Requests by us, {resets[1]} by pppd; {ping['received']} of {ping['sent']} pings answered"
    )


def test_mppe_required_by_server(scenario: Scenario) -> None:
    """The server requires MPPE; the client takes it as it is optional."""
    with scenario.server(PPP_OPTIONS="require-mppe-128"):
        dialled = scenario.dial()
    connected(scenario, dialled, mppe="128-bit stateless")


def test_mppe_off(scenario: Scenario) -> None:
    """The server requires MPPE, the client was told to use none: error 742."""
    with scenario.server(PPP_OPTIONS="require-mppe-128"):
        dialled = scenario.dial("--encryption", "off")
    failed(dialled, "encryption-refused", 742)


def test_mppe_none_at_server(scenario: Scenario) -> None:
    """The client requires MPPE, the server has none: error 742, too."""
    with scenario.server():
        dialled = scenario.dial("--encryption", "required-128")
    failed(dialled, "encryption-refused", 742)


def test_wrong_psk(scenario: Scenario) -> None:
    """Pre-shared keys differ: error 789."""
    scenario.garbled = True
    with scenario.server():
        dialled = scenario.dial(psk="another-secret-of-20-octets")
    failed(dialled, "psk-mismatch", 789)


def test_wrong_password(scenario: Scenario) -> None:
    """The user's password is wrong: error 691."""
    with scenario.server():
        dialled = scenario.dial(password="looking-glass")
    failed(dialled, "auth-failed", 691)


def test_no_proposal(scenario: Scenario) -> None:
    """No phase-1 proposal in common: error 788."""
    with scenario.server(IKE_PROP="aes256-sha512-modp4096"):
        dialled = scenario.dial("--proposal", "aes128-sha1-modp2048")
    failed(dialled, "ike-no-proposal", 788)


def test_defaults(scenario: Scenario) -> None:
    """xl2tpd and pppd with nothing set but addresses: BSD and Deflate compression, IPV6CP and VJ are asked for."""
    with scenario.server(PPP_BASE="", PPP_OPTIONS="", L2TP_OPTIONS="", L2TP_GLOBAL="force userspace = yes"):
        dialled = scenario.dial()
    connected(scenario, dialled)


@pytest.mark.parametrize("options", ["nomppe", "require-mppe-128"])
def test_ipv6(scenario: Scenario, options: str) -> None:
    """IPV6CP with pppd, an address from radvd, pings of the server's address."""
    with (
        scenario.server(PPP_OPTIONS=f"{options};+ipv6", PREFIX6="2001:db8:77::") as job,
        scenario.dialling("--route", "2001:db8:77::/48", ping=False) as process,
    ):
        scenario.await_connected(process)
        told = scenario.await_event(process, "ipv6")
        (address,) = told["addresses"]
        script = [sys.executable, "-c", PING6, address, "2001:db8:77::1", "headrace0", "56"]
        wait_for(lambda: scenario.lab.namespace.run(script).stdout.strip() == "5", "five answers", 30)
        job.tell("stop")
    assert address.startswith("2001:db8:77:0:")
    assert told["router"].startswith("fe80::") and told["dns"] == ["2001:db8:77::53"]
    scenario.note = f"{address}, router {told['router']}"


def test_tunnel_secret(scenario: Scenario) -> None:
    """Both sides prove that they know the tunnel secret."""
    secret = secret_file(scenario.folder / "l2tp-secret", "a-tunnel-secret-of-ours")
    with scenario.server(L2TP_SECRET="a-tunnel-secret-of-ours"):
        dialled = scenario.dial("--l2tp-secret-file", secret)
    connected(scenario, dialled)


def test_rekey_by_server(scenario: Scenario) -> None:
    """The server renews ISAKMP SA and ESP SAs while pings pass."""
    with scenario.server(IKE_REKEY="14s", ESP_REKEY="9s", ESP_LIFE="60s"):
        dialled = scenario.dial("--ping-count", "110")
    connected(scenario, dialled)
    assert len(set(scenario.capture.rows(f"esp && ip.src == {OUR_IP}", ["esp.spi"]))) >= 3


def test_rekey_by_volume(scenario: Scenario) -> None:
    """The server renews ESP SAs when a volume has passed."""
    with scenario.server(ESP_BYTES="8000"):
        dialled = scenario.dial("--ping-count", "80")
    connected(scenario, dialled)
    assert len(set(scenario.capture.rows(f"esp && ip.src == {OUR_IP}", ["esp.spi"]))) >= 2


@pytest.mark.parametrize("machine", ["psk", "cert"])
def test_behind_nat(scenario: Scenario, papers: Papers, machine: str) -> None:
    """Our client stands behind a NAT, with a private address: ESP in UDP 4500 without being told to."""
    parameters: dict[str, Any] = {}
    options: list[str | Path] = []
    if machine == "cert":
        certificate, key, ca = papers.small_ca.ours(scenario.folder)
        options = ["--certificate", certificate, "--private-key", key, "--ca", ca]
        parameters = {"AUTH": "cert", "pki": papers.small_ca.guest}
    with scenario.lab.home() as home, scenario.server(**parameters):
        dialled = scenario.dial(*options, namespace=home, psk=None if machine == "cert" else PSK)
    session = connected(scenario, dialled)
    assert session["nat"] == "client" and session["machine_auth"] == machine
    assert str(session["outer"]).startswith("192.168.1.2:")
    assert scenario.capture.count("esp && udp.port == 4500") > 20
    assert scenario.capture.count("ip.proto == 50") == 0


def test_nobody_there(scenario: Scenario) -> None:
    """Nobody answers at that address: error 809."""
    failed(scenario.dial(), "ike-no-answer", 809)


def test_server_ends(scenario: Scenario) -> None:
    """The server ends with a call up: the person who dialled is told."""
    with scenario.server() as job, scenario.dialling(ping=False) as process:
        scenario.await_connected(process)
        job.tell("stop")
        process.wait(60)
    failed(scenario.dialled, "peer-closed", 631)


def test_server_vanishes(scenario: Scenario) -> None:
    """The server's power fails with a call up: the client notices and ends."""
    job = scenario.start(SERVER)
    job.await_mark("server.ready")
    with scenario.dialling("--dpd-delay", "5", "--dpd-timeout", "8", ping=False) as process:
        scenario.await_connected(process)
        scenario.lab.guest.kill()
        process.wait(90)
    assert scenario.dialled.code == 1
    assert scenario.dialled.event("failed")["slug"] in {"dpd-lost", "echo-lost"}, scenario.dialled


def test_server_restarts(scenario: Scenario) -> None:
    """The server's power fails and comes back: `headrace dial --reconnect` notices, and is up again by itself."""
    job = scenario.start(SERVER)
    job.await_mark("server.ready")
    with scenario.dialling("--dpd-delay", "5", "--dpd-timeout", "8", "--reconnect", ping=False) as process:
        scenario.await_connected(process)
        scenario.lab.guest.kill()
        scenario.start(SERVER).await_mark("server.ready")
        scenario.await_connected(process, times=2)
    assert scenario.dialled.code == 0, scenario.dialled
    lost = next(event for event in scenario.dialled.events if event.get("event") == "failed")
    assert lost["slug"] in {"dpd-lost", "echo-lost"}, scenario.dialled
    scenario.note = f"{lost['slug']}, then connected again after {len(scenario.dialled.events)} events"
