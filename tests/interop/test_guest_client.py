"""strongSwan, xl2tpd and pppd as the client of ``headrace serve``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.interop.guest import CLIENT, OUR_IP, Outcome
from tests.interop.lab import Gateway, Line, Scenario, secret_file

if TYPE_CHECKING:
    from tests.interop.pki import Issued, Papers

IMPATIENT = Path(__file__).parent / "impatient.py"
STATEFUL = Path(__file__).parent / "stateful.py"

REQUIRED = {"encryption": "required-128"}
ADMIN_NUMBER = 629

RESTLESS: dict[str, Any] = {
    "DPD_DELAY": "3",
    "DPD_TIMEOUT": "8s",
    "DPD_ACTION": "restart",
    "PPP_BASE": "mtu 1400;mru 1400;lcp-echo-interval 2;lcp-echo-failure 3",
}
"""A client that comes again by itself."""


def farewells(scenario: Scenario) -> set[str]:
    """The data of our Terminate-Requests in hexadecimal digits, from behind the magic number on."""
    rows = scenario.capture.rows(f"lcp && ppp.code == 5 && ip.src == {OUR_IP}", ["ppp.data"])
    return {data.replace(":", "")[8:] for (data,) in rows}


def windows_terminate(number: int) -> str:
    """The same as Windows lays it out: mark and error number."""
    return f"003ccd74{number:08x}"


def hung_up(gateway: Gateway) -> None:
    """The gateway noticed that the client went by itself."""
    down = gateway.session_down()
    assert down.who == "the client" and down.slug == "peer-closed", down
    if gateway.lines("peer-up"):
        gateway.wait_line("peer-down")


def connects(scenario: Scenario, gateway: Gateway, **parameters: Any) -> Line:
    """The guest comes up, its pings are answered, it hangs up; the line that says how it was up."""
    outcome = scenario.client(**parameters)
    assert outcome.code == 0, f"{outcome}\n{gateway.log()}"
    up = gateway.session_up()
    hung_up(gateway)
    return up


def is_refused(scenario: Scenario, gateway: Gateway, code: int, **parameters: Any) -> tuple[Outcome, Line]:
    """The guest fails on the rung with this exit code; the line that says why."""
    outcome = scenario.client(**parameters)
    assert outcome.code == code, f"{outcome}\n{gateway.log()}"
    line = gateway.refused()
    assert not gateway.lines("session-up")
    return outcome, line


def certificates(scenario: Scenario, issued: Issued, **more: object) -> dict[str, object]:
    """[ike] for a gateway with certificates only."""
    certificate, key, ca = issued.ours(scenario.folder)
    return {"psk_file": None, "certificate": str(certificate), "private_key": str(key), "ca": [str(ca)], **more}


# --- how machines prove themselves, and both ways of ESP ------------------------------------------------------------------------


def test_psk_raw(scenario: Scenario) -> None:
    """Pre-shared key, ESP as IP protocol 50; `headrace sessions` and `status` tell of it."""
    gateway = scenario.gateway()
    job = scenario.start(CLIENT, BARRIER="yes")
    job.await_mark("client.up")
    (session,) = gateway.ask("sessions")
    assert session["user"] == "alice" and session["nat"] == "none" and session["mppe"] == ""
    assert session["rx_packets"] >= 7 and session["tx_packets"] >= 7
    assert gateway.ask("status")["sessions"] == 1
    job.tell("go")
    outcome = job.wait()
    assert outcome.code == 0, outcome
    up = gateway.session_up()
    assert (up.user, up.machine, up.auth, up.esp, up.mppe) == ("alice", "psk", "mschap-v2", "aes256-sha256", "none")
    hung_up(gateway)
    assert gateway.ask("status")["sessions"] == 0
    assert scenario.capture.count("esp && !udp.port == 4500") > 20
    assert scenario.capture.count("udp.port == 4500") == 0


def test_psk_natt(scenario: Scenario) -> None:
    """Pre-shared key, ESP in UDP 4500."""
    gateway = scenario.gateway()
    up = connects(scenario, gateway, NATT="yes")
    assert up.machine == "psk" and up.outer.endswith(":4500")
    assert "NAT before the client" in gateway.wait_line("peer-up").text
    assert scenario.capture.count("esp && udp.port == 4500") > 20
    assert scenario.capture.count("ip.proto == 50") == 0


def test_cert_raw(scenario: Scenario, papers: Papers) -> None:
    """Certificates of our own small CA, ESP as IP protocol 50."""
    gateway = scenario.gateway(ike=certificates(scenario, papers.small_ca))
    assert connects(scenario, gateway, AUTH="cert", pki=papers.small_ca.guest).machine == "cert"


def test_cert_natt_fragments(scenario: Scenario, papers: Papers) -> None:
    """A foreign CA with an authority between, ESP in UDP 4500, both proofs in IKE fragments."""
    gateway = scenario.gateway(ike=certificates(scenario, papers.long_chain))
    up = connects(scenario, gateway, AUTH="cert", NATT="yes", pki=papers.long_chain.guest)
    assert up.machine == "cert"
    for address in (OUR_IP, "192.0.2.2"):
        assert scenario.capture.count(f"isakmp.typepayload == 132 && ip.src == {address}") >= 2


def test_cert_revoked(scenario: Scenario, papers: Papers) -> None:
    """A certificate that stands on the revocation list is refused: 13806 on a Windows screen."""
    issued = papers.small_ca
    gateway = scenario.gateway(ike=certificates(scenario, issued, crl=[str(papers.revoked)]))
    _, line = is_refused(scenario, gateway, 10, AUTH="cert", pki=issued.guest)
    assert line.slug == "cert-revoked"


# --- algorithms ---------------------------------------------------------------------------------------------------------------


def test_gcm(scenario: Scenario) -> None:
    """AES-GCM in ESP, elliptic curves in IKE and for perfect forward secrecy, policy modern."""
    gateway = scenario.gateway(gateway={"policy": "modern"}, esp={"pfs": True, "proposals": ["aes128gcm16-ecp256"]})
    up = connects(scenario, gateway, IKE_PROP="aes256-sha256-ecp384", ESP_PROP="aes128gcm16-ecp256")
    assert up.esp.startswith("aes128gcm16")
    assert "ecp384" in gateway.wait_line("peer-up").text


def test_legacy(scenario: Scenario) -> None:
    """3DES, SHA-1 and MODP-1024, which policy legacy permits."""
    gateway = scenario.gateway(gateway={"policy": "legacy"})
    up = connects(scenario, gateway, IKE_PROP="3des-sha1-modp1024", ESP_PROP="3des-sha1")
    assert up.esp == "3des-sha1"


def test_legacy_refused(scenario: Scenario) -> None:
    """The same under the policy that is usual: error 788, and the log names what was offered."""
    _, line = is_refused(scenario, scenario.gateway(), 10, IKE_PROP="3des-sha1-modp1024", ESP_PROP="3des-sha1")
    assert (line.ras, line.slug) == ("788", "ike-no-proposal")
    assert "3DES, SHA-1, MODP-1024" in line.detail


def test_no_esp_proposal(scenario: Scenario) -> None:
    """Phase 1 fits, phase 2 does not."""
    gateway = scenario.gateway(esp={"proposals": ["aes256gcm16"]})
    _, line = is_refused(scenario, gateway, 11, ESP_PROP="aes128-sha1")
    assert line.slug == "esp-no-proposal" and line.rung == "esp"
    assert "AES-128, SHA-1" in line.detail


def test_wrong_psk(scenario: Scenario) -> None:
    """Pre-shared keys differ: error 789, and the log says what that most likely is."""
    scenario.garbled = True
    _, line = is_refused(scenario, scenario.gateway(), 10, PSK="another-secret-of-20-octets")
    assert (line.ras, line.slug, line.rung) == ("789", "psk-mismatch", "ike-auth")


# --- who the user is ----------------------------------------------------------------------------------------------------------


def test_wrong_password(scenario: Scenario) -> None:
    """Error 691, in the log and in pppd's."""
    outcome, line = is_refused(scenario, scenario.gateway(), 13, PPP_PASS="looking-glass")
    assert (line.ras, line.slug, line.user) == ("691", "auth-failed", "alice")
    assert "E=691" in outcome.log("client.pppd.log")


def test_unknown_user(scenario: Scenario) -> None:
    """The log tells an unknown name from a wrong password; the wire does not."""
    outcome, line = is_refused(scenario, scenario.gateway(), 13, PPP_USER="mallory")
    assert (line.ras, line.slug, line.user) == ("691", "user-unknown", "mallory")
    assert "E=691" in outcome.log("client.pppd.log")


def test_pap(scenario: Scenario) -> None:
    """PAP, where the configuration permits it."""
    gateway = scenario.gateway(ppp={"auth": ["pap"]})
    assert connects(scenario, gateway).auth == "pap"


def test_chap_md5(scenario: Scenario) -> None:
    """CHAP-MD5, with an account whose password is kept readable."""
    gateway = scenario.gateway(ppp={"auth": ["chap-md5"]})
    assert connects(scenario, gateway, PPP_USER="carol").auth == "chap-md5"


def test_no_common_authentication(scenario: Scenario) -> None:
    """The gateway wants MS-CHAPv2, the client does PAP only."""
    gateway = scenario.gateway()
    _, line = is_refused(scenario, gateway, 13, PPP_OPTIONS="nomppe;refuse-mschap-v2;refuse-mschap;refuse-chap")
    assert line.slug == "auth-no-common"


# --- MPPE ---------------------------------------------------------------------------------------------------------------------


def test_mppe_128(scenario: Scenario) -> None:
    """Both sides require MPPE-128: stateless, keys from MS-CHAPv2."""
    gateway = scenario.gateway(ppp=REQUIRED)
    up = connects(scenario, gateway, PPP_OPTIONS="require-mppe-128")
    assert up.mppe == "128-bit stateless"
    assert scenario.capture.count("comp_data") >= 14


def test_mppe_optional(scenario: Scenario) -> None:
    """Only the client requires MPPE; encryption = "optional" gives it."""
    assert connects(scenario, scenario.gateway(), PPP_OPTIONS="require-mppe-128", NATT="yes").mppe == "128-bit stateless"


def test_mppe_stateful_allowed(scenario: Scenario) -> None:
    """The client permits stateful MPPE; both still choose stateless."""
    up = connects(scenario, scenario.gateway(ppp=REQUIRED), PPP_OPTIONS="require-mppe-128;mppe-stateful")
    assert up.mppe == "128-bit stateless"


def test_mppe_stateful_loss(scenario: Scenario) -> None:
    """Stateful MPPE both ways, every eleventh packet lost each way: each side asks the other for resets, and traffic goes on."""
    gateway = scenario.gateway(launcher=STATEFUL, ppp={**REQUIRED, "mppe_stateless": False})
    outcome = scenario.client(PPP_OPTIONS="require-mppe-128;mppe-stateful", HOLD="15", LOSS="11")
    assert outcome.code == 0, f"{outcome}\n{gateway.log()}"
    assert gateway.session_up().mppe == "128-bit stateful"
    assert scenario.capture.count("ccp.opt.type == 18 && ppp.code == 2 && ccp.opt.supported_bits == 0x00000040") == 2
    sent, received = held(outcome)
    assert received > sent / 4, outcome.line
    sent, received = held(outcome, "after")  # some seconds later: pppd asks again for a reset whose answer was lost
    assert sent == received == 10, outcome.log("client.after.txt")
    resets = [scenario.capture.count(f"ccp && ppp.code == 14 && ip.src {sign} {OUR_IP}") for sign in ("==", "!=")]
    assert min(resets) >= 2, resets
    scenario.note = f"{resets[0]} Reset-Requests by us, {resets[1]} by pppd; {outcome.line}"


def test_mppe_40(scenario: Scenario) -> None:
    """MPPE-40, where the configuration permits it."""
    gateway = scenario.gateway(ppp={"encryption": "required", "mppe_bits": [128, 40]})
    assert connects(scenario, gateway, PPP_OPTIONS="require-mppe-40;nomppe-128").mppe == "40-bit stateless"


def test_mppe_40_refused(scenario: Scenario) -> None:
    """The gateway requires 128 bits, the client has 40: error 742, and the log says that it is about the strength."""
    _, line = is_refused(scenario, scenario.gateway(ppp=REQUIRED), 13, PPP_OPTIONS="require-mppe-40;nomppe-128")
    assert (line.ras, line.slug) == ("742", "encryption-strength")
    assert "40 bits" in line.detail


def test_mppe_refused(scenario: Scenario) -> None:
    """The gateway requires MPPE, the client has none: error 742, told in a Terminate-Request as Windows lays it out."""
    _, line = is_refused(scenario, scenario.gateway(ppp=REQUIRED), 13, PPP_OPTIONS="nomppe")
    assert (line.ras, line.slug, line.rung, line.user) == ("742", "encryption-refused", "encryption", "alice")
    assert farewells(scenario) == {windows_terminate(742)}


# --- IPv6 inside ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", ["nomppe", "require-mppe-128"])
def test_ipv6(scenario: Scenario, options: str) -> None:
    """IPV6CP with pppd, an address by router advertisement to the kernel, a prefix by DHCPv6 to dhcpcd, pings of either size."""
    gateway = scenario.gateway(network={"ipv6_prefixes": ["2001:db8:99::/48"], "ipv6_delegate": 56})
    job = scenario.start(CLIENT, PPP_OPTIONS=f"{options};+ipv6", PING6="2001:db8:99::1", BARRIER="yes")
    job.await_mark("client.up")
    (session,) = gateway.ask("sessions")
    job.tell("go")
    outcome = job.wait()
    assert outcome.code == 0, f"{outcome}\n{gateway.log()}"
    hung_up(gateway)
    assert session["prefix6"] == "2001:db8:99:200::/55"
    assert " ip6=2001:db8:99:200:" in outcome.line
    answered = re.findall(r"(\d) packets transmitted, (\d) received", outcome.log("client.ping6.txt"))
    assert answered == [("4", "4"), ("3", "3")]
    assert "delegated prefix 2001:db8:99:300::/56" in outcome.log("client.dhcpcd.log")
    scenario.note = outcome.line


# --- L2TP ---------------------------------------------------------------------------------------------------------------------


def test_tunnel_secret(scenario: Scenario) -> None:
    """Both sides prove that they know the tunnel secret."""
    secret = secret_file(scenario.folder / "l2tp-secret", "a-tunnel-secret-of-ours")
    gateway = scenario.gateway(l2tp={"secret_file": str(secret)})
    connects(scenario, gateway, L2TP_SECRET="a-tunnel-secret-of-ours")


def test_tunnel_secret_wrong(scenario: Scenario) -> None:
    """Tunnel secrets differ."""
    secret = secret_file(scenario.folder / "l2tp-secret", "a-tunnel-secret-of-ours")
    gateway = scenario.gateway(l2tp={"secret_file": str(secret)})
    outcome = scenario.client(L2TP_SECRET="another-one-of-the-guest", L2TP_WAIT="8")
    assert outcome.code == 12, outcome
    # The guest checks first, and says so in its StopCCN.
    line = gateway.refused()
    assert line.rung == "l2tp" and "Invalid challenge authentication" in line.detail


def test_clear_refused(scenario: Scenario) -> None:
    """L2TP without IPsec finds nobody."""
    gateway = scenario.gateway()
    outcome = scenario.client(IPSEC="off", L2TP_WAIT="6")
    assert outcome.code == 12, outcome
    assert not gateway.lines("peer-up|session-up")


def test_clear_allowed(scenario: Scenario) -> None:
    """L2TP without IPsec, where the configuration permits it and MPPE is required."""
    gateway = scenario.gateway(gateway={"allow_clear_l2tp": True}, ppp=REQUIRED)
    up = connects(scenario, gateway, IPSEC="off", PPP_OPTIONS="require-mppe-128")
    assert (up.machine, up.mppe) == ("none", "128-bit stateless")


def test_clear_naked(scenario: Scenario) -> None:
    """L2TP without any encryption, in a laboratory."""
    gateway = scenario.gateway(gateway={"allow_clear_l2tp": True, "insecure_lab_mode": True})
    up = connects(scenario, gateway, IPSEC="off")
    assert (up.machine, up.esp, up.mppe) == ("none", "none", "none")
    assert scenario.capture.count("icmp.type == 0") >= 7  # anybody reads them


# --- what a session goes through ------------------------------------------------------------------------------------------------


def held(outcome: Outcome, when: str = "held") -> tuple[int, int]:
    """Pings sent and answered while the session was held, or after that."""
    found = re.search(r"(\d+) packets transmitted, (\d+) received", outcome.log(f"client.{when}.txt"))
    assert found is not None, outcome
    return int(found[1]), int(found[2])


def survives(scenario: Scenario, gateway: Gateway, outcome: Outcome, *, lost: int = 1) -> None:
    """The session lived through it, and not more pings were lost than said: by default one, under way at the end."""
    assert outcome.code == 0, f"{outcome}\n{gateway.log()}"
    sent, received = held(outcome)
    assert sent - received <= lost, outcome.line
    gateway.session_up()
    hung_up(gateway)
    scenario.note = f"{received} of {sent} pings answered; {outcome.line}"


@pytest.mark.parametrize("natt", ["raw", "natt"])
def test_rekey_by_guest(scenario: Scenario, natt: str) -> None:
    """The client renews ISAKMP SA and ESP SAs while pings pass."""
    gateway = scenario.gateway()
    encap = "yes" if natt == "natt" else "no"
    outcome = scenario.client(IKE_REKEY="14s", ESP_REKEY="9s", ESP_LIFE="60s", HOLD="26", NATT=encap)
    survives(scenario, gateway, outcome)
    assert len(set(scenario.capture.rows(f"isakmp.exchangetype == 2 && ip.src != {OUR_IP}", ["isakmp.ispi"]))) >= 2
    assert len(set(scenario.capture.rows(f"esp && ip.src == {OUR_IP}", ["esp.spi"]))) >= 3


def test_rekey_by_gateway(scenario: Scenario) -> None:
    """The gateway renews ISAKMP SA and ESP SAs while pings pass."""
    gateway = scenario.gateway(launcher=IMPATIENT, ike={"rekey_time": 14}, esp={"rekey_time": 9})
    outcome = scenario.client(HOLD="26")
    # We send on a new SA as soon as message 3 is out; the guest, slow as it is, may not have read that when a reply comes.
    survives(scenario, gateway, outcome, lost=3)
    first = f"isakmp.exchangetype == 2 && ip.src == {OUR_IP} && isakmp.rspi == 00:00:00:00:00:00:00:00"
    assert scenario.capture.count(first), "the gateway began no main mode"
    assert len(set(scenario.capture.rows(f"esp && ip.src == {OUR_IP}", ["esp.spi"]))) >= 3


def test_rekey_by_volume(scenario: Scenario) -> None:
    """The gateway renews ESP SAs when a volume has passed."""
    gateway = scenario.gateway(esp={"rekey_bytes": 8_000})
    outcome = scenario.client(HOLD="12")
    survives(scenario, gateway, outcome, lost=3)
    assert len(set(scenario.capture.rows(f"esp && ip.src == {OUR_IP}", ["esp.spi"]))) >= 2


def test_rekey_by_volume_of_guest(scenario: Scenario) -> None:
    """The client renews ESP SAs when a volume has passed."""
    gateway = scenario.gateway()
    outcome = scenario.client(ESP_BYTES="8000", HOLD="16")
    survives(scenario, gateway, outcome, lost=2)
    assert len(set(scenario.capture.rows(f"esp && ip.src == {OUR_IP}", ["esp.spi"]))) >= 2


def test_gateway_restarts(scenario: Scenario) -> None:
    """The gateway's process is killed and started anew: the client's DPD and LCP echoes notice, and it is in again after seconds."""
    gateway = scenario.gateway()
    job = scenario.start(CLIENT, BARRIER="yes", REDIAL="60", **RESTLESS)
    job.await_mark("client.up")
    gateway.kill()
    again = scenario.gateway()
    job.tell("go")
    outcome = job.wait()
    assert outcome.code == 0, f"{outcome}\n{again.log()}"
    up = again.session_up()
    assert up.user == "alice"
    hung_up(again)
    scenario.note = f"{outcome.line}; {up.text}"


def test_guest_returns(scenario: Scenario) -> None:
    """The client's power fails, it boots and dials again before anybody noticed: INITIAL-CONTACT ends what was left of it."""
    gateway = scenario.gateway()
    job = scenario.start(CLIENT, BARRIER="yes", UNIQUE="replace")
    job.await_mark("client.up")
    scenario.lab.guest.kill()
    job = scenario.start(CLIENT, BARRIER="yes", UNIQUE="replace")
    job.await_mark("client.up")
    down = gateway.wait_line(r"session-down .* replaced")
    (session,) = gateway.ask("sessions")
    assert session["user"] == "alice"
    assert gateway.ask("status")["peers"] == 1
    job.tell("go")
    outcome = job.wait()
    assert outcome.code == 0, outcome
    scenario.note = down.text


def test_disconnect(scenario: Scenario) -> None:
    """`headrace disconnect` ends a session: the client is told why, and goes."""
    gateway = scenario.gateway()
    job = scenario.start(CLIENT, BARRIER="yes")
    job.await_mark("client.up")
    gateway.command("disconnect", "--user", "alice")
    down = gateway.session_down()
    assert (down.slug, down.who) == ("admin", "us")
    scenario.note = down.text
    job.tell("go")
    outcome = job.wait()
    assert "rcvd [LCP TermReq" in outcome.log("client.pppd.log")
    assert farewells(scenario) == {windows_terminate(ADMIN_NUMBER)}


def test_gateway_ends(scenario: Scenario) -> None:
    """The gateway ends with a session up: the client is told on every layer and goes at once."""
    gateway = scenario.gateway()
    job = scenario.start(CLIENT, BARRIER="yes")
    job.await_mark("client.up")
    gateway.stop()
    job.tell("go")
    outcome = job.wait()
    assert "rcvd [LCP TermReq" in outcome.log("client.pppd.log")
    charon = outcome.log("client.charon.log")
    assert "received DELETE for ESP CHILD_SA" in charon and "received DELETE for IKE_SA" in charon
    scenario.note = gateway.session_down().text


def test_guest_vanishes(scenario: Scenario) -> None:
    """The client's power fails: the gateway notices, and nothing of it is left."""
    gateway = scenario.gateway(ike={"dpd_delay": 5, "dpd_timeout": 8}, ppp={"lcp_echo_interval": 3, "lcp_echo_failure": 3})
    job = scenario.start(CLIENT, BARRIER="yes")
    job.await_mark("client.up")
    scenario.lab.guest.kill()
    down = gateway.wait_line(r"session-down .*829 echo-lost|session-down .*dpd-lost", 60)
    gateway.wait_line("peer-down", 60)
    assert gateway.ask("status")["sessions"] == 0
    assert gateway.ask("status")["peers"] == 0
    scenario.note = down.text
