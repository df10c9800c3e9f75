"""What PPP has beside the usual, with pppd at the other end of either role: compression, and EAP.

A file goes through the tunnel and must come out as it was; the capture must show that it went as agreed.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from tests.interop.guest import OUR_IP
from tests.interop.lab import INNER_IP, end, wait_for

if TYPE_CHECKING:
    from pathlib import Path

    from tests.interop.guest import Outcome
    from tests.interop.lab import Dialled, Scenario
    from tests.interop.pki import Papers

LINES = 40_000
FILE = "".join(f"{number}\n" for number in range(1, LINES + 1)).encode()
DIGEST = hashlib.sha256(FILE).hexdigest()
URL = f"http://{INNER_IP}:8080/file"
PLACE = f"{INNER_IP}/8080"

FETCH = "import hashlib, sys, urllib.request as u; print(hashlib.sha256(u.urlopen(sys.argv[1], timeout=20).read()).hexdigest())"

PTY = "force userspace = yes"
"""xl2tpd carries the packets itself, and pppd is on a pty: with the kernel's L2TP it switches header compression off."""

VJ = "ppp.protocol == 0x002d"
COMPRESSED = "ppp.protocol == 0x00fd"


@contextmanager
def web(scenario: Scenario) -> Iterator[None]:
    """The file at our inner address, for the guest."""
    (scenario.folder / "www").mkdir()
    (scenario.folder / "www" / "file").write_bytes(FILE)
    command = [sys.executable, "-m", "http.server", "8080", "--bind", INNER_IP, "--directory", str(scenario.folder / "www")]
    with (scenario.folder / "www.log").open("wb") as log:
        process = scenario.lab.namespace.popen(command, stdout=log, stderr=log)
    try:
        yield
    finally:
        end(process)


def fetched(outcome: Outcome) -> None:
    """The guest came up, and got the file as it is."""
    assert outcome.code == 0, outcome
    assert outcome.log("client.fetch.txt").split()[0] == DIGEST, outcome.log("client.wget.log")


def octets(scenario: Scenario, display_filter: str = "esp") -> int:
    """How many octets of frames pass a display filter."""
    return sum(int(length) for (length,) in scenario.capture.rows(display_filter, ["frame.len"]))


def seen_both_ways(scenario: Scenario, display_filter: str) -> list[int]:
    """How many packets of a kind went from us, and to us; of either at least one."""
    counts = [scenario.capture.count(f"({display_filter}) && ip.src {sign} {OUR_IP}") for sign in ("==", "!=")]
    assert all(counts), (display_filter, counts)
    return counts


def headers_agreed(log: str) -> None:
    """pppd's log has acknowledgements of header compression both ways: MPPE hides it from tshark."""
    for direction in ("sent", "rcvd"):
        assert re.search(rf"^{direction} \[IPCP ConfAck .*<compress VJ", log, re.MULTILINE), log


# --- compression: the guest dials ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["", "40"], ids=["whole", "lossy"])
def test_deflate_client(scenario: Scenario, loss: str) -> None:
    """Deflate both ways with the guest's kernel; in the second case packets get lost, and both sides ask for resets."""
    gateway = scenario.gateway(ppp={"compression": ["deflate"]})
    with web(scenario):
        outcome = scenario.client(
            PPP_OPTIONS="nomppe;deflate 15;nobsdcomp;novj", FETCH=PLACE, LOSS=loss, HOLD="15" if loss else ""
        )
    assert outcome.code == 0, f"{outcome}\n{gateway.log()}"
    if not loss:
        fetched(outcome)
        assert octets(scenario) < len(FILE) * 0.8
    counts = seen_both_ways(scenario, COMPRESSED)
    scenario.note = f"{len(FILE)} octets of text in {octets(scenario)} of ESP; {counts[0]} packets by us, {counts[1]} by pppd"
    if loss:
        resets = seen_both_ways(scenario, "ccp && ppp.code == 14")
        answered = re.search(r"10 packets transmitted, (\d+) received", outcome.log("client.after.txt"))
        assert answered is not None and answered[1] == "10"
        scenario.note = f"{resets[0]} Reset-Requests by us, {resets[1]} by pppd; {outcome.line}"


def test_headers_client(scenario: Scenario) -> None:
    """Van Jacobson's TCP/IP header compression both ways."""
    scenario.gateway(ppp={"header_compression": True})
    with web(scenario):
        fetched(scenario.client(L2TP_GLOBAL=PTY, FETCH=PLACE))
    counts = seen_both_ways(scenario, VJ)
    scenario.note = f"compressed headers: {counts[0]} by us, {counts[1]} by pppd"


def test_everything_client(scenario: Scenario) -> None:
    """pppd with nothing set but addresses, and all that we have allowed: Deflate and header compression."""
    scenario.gateway(ppp={"compression": ["mppc", "deflate"], "header_compression": True})
    with web(scenario):
        fetched(scenario.client(L2TP_GLOBAL=PTY, PPP_BASE="", PPP_OPTIONS="", FETCH=PLACE))
    counts = seen_both_ways(scenario, COMPRESSED)
    scenario.note = f"{len(FILE)} octets of text in {octets(scenario)} of ESP; {counts[0]} packets by us, {counts[1]} by pppd"


def test_headers_mppe_client(scenario: Scenario) -> None:
    """Header compression below MPPE."""
    gateway = scenario.gateway(ppp={"header_compression": True, "encryption": "required-128"})
    with web(scenario):
        outcome = scenario.client(L2TP_GLOBAL=PTY, PPP_OPTIONS="require-mppe-128", FETCH=PLACE)
    fetched(outcome)
    assert gateway.session_up().mppe.startswith("128-bit stateless")
    headers_agreed(outcome.log("client.pppd.log"))


# --- compression: we dial --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "l2tp", "arguments", "kind"),
    [
        ("nomppe;deflate 15;nobsdcomp;novj", "", ("--compress", "deflate", "--encryption", "off"), COMPRESSED),
        ("nomppe;nodeflate;nobsdcomp", PTY, ("--header-compression", "--encryption", "off"), VJ),
        ("nomppe", PTY, ("--compress", "mppc", "--compress", "deflate", "--header-compression"), COMPRESSED),
        ("require-mppe-128", PTY, ("--header-compression", "--encryption", "required-128"), COMPRESSED),
    ],
    ids=["deflate", "headers", "everything", "headers-mppe"],
)
def test_server(scenario: Scenario, options: str, l2tp: str, arguments: tuple[str, ...], kind: str) -> None:
    """The same with pppd as the server, from which our client fetches the file."""
    with (
        scenario.server(PPP_OPTIONS=options, L2TP_GLOBAL=l2tp, SERVE=str(LINES)) as job,
        scenario.dialling(*arguments, ping=False) as process,
    ):
        scenario.await_connected(process)
        script = [sys.executable, "-c", FETCH, URL]
        wait_for(lambda: scenario.lab.namespace.run(script, check=False).stdout.strip() == DIGEST, "the file", 60)
        job.tell("stop")
    if l2tp:
        headers_agreed(scenario.outcome.log("server.pppd.log"))
    counts = seen_both_ways(scenario, kind)
    scenario.note = f"{len(FILE)} octets of text in {octets(scenario)} of ESP; {counts[0]} packets by us, {counts[1]} by pppd"


# --- EAP and MS-CHAP version 1: the guest dials ----------------------------------------------------------------------------------


# pppd 2.4.9 leaves the context out of the exporter of TLS 1.3, and so has other keys than RFC 9190 says: no MPPE with that.
@pytest.mark.parametrize(("version", "mppe"), [("1.2", "nomppe"), ("1.2", "require-mppe-128"), ("1.3", "nomppe")])
def test_eap_tls_client(scenario: Scenario, papers: Papers, version: str, mppe: str) -> None:
    """EAP-TLS with pppd: the user alice by certificate, keys for MPPE from TLS."""
    certificate, key, ca = papers.small_ca.ours(scenario.folder)
    encryption = {"encryption": "required-128"} if mppe != "nomppe" else {}
    gateway = scenario.gateway(
        ppp={"auth": ["eap-tls"], **encryption}, eap={"certificate": str(certificate), "private_key": str(key), "ca": [str(ca)]}
    )
    options = f"{mppe};max-tls-version {version};need-peer-eap"
    outcome = scenario.client(PPP_EAP="tls", PPP_OPTIONS=options, pki=papers.alice)
    assert outcome.code == 0, f"{outcome}\n{gateway.log()}"
    up = gateway.session_up()
    assert (up.user, up.auth) == ("alice", "eap-tls")
    assert up.mppe == ("none" if mppe == "nomppe" else "128-bit stateless")
    assert scenario.capture.count("eap.type == 13") >= 4


def test_eap_tls_stranger_client(scenario: Scenario, papers: Papers) -> None:
    """The authority of alice's certificate is not one whose users may come in."""
    certificate, key, _ = papers.small_ca.ours(scenario.folder)
    (scenario.folder / "chain").mkdir()
    _, _, other = papers.long_chain.ours(scenario.folder / "chain")
    gateway = scenario.gateway(
        ppp={"auth": ["eap-tls"]}, eap={"certificate": str(certificate), "private_key": str(key), "ca": [str(other)]}
    )
    outcome = scenario.client(PPP_EAP="tls", pki=papers.alice)
    assert outcome.code == 13, outcome
    line = gateway.refused()
    assert line.rung == "user-auth" and "alice" in line.text


@pytest.mark.parametrize("mppe", ["nomppe", "require-mppe-128"])
def test_eap_mschap_client(scenario: Scenario, mppe: str) -> None:
    """EAP-MSCHAPv2 with pppd, keys for MPPE from it."""
    encryption = {"encryption": "required-128"} if mppe != "nomppe" else {}
    gateway = scenario.gateway(ppp={"auth": ["eap-mschap-v2"], **encryption})
    outcome = scenario.client(PPP_EAP="yes", PPP_OPTIONS=mppe)
    assert outcome.code == 0, f"{outcome}\n{gateway.log()}"
    assert gateway.session_up().auth == "eap-mschap-v2"


def test_eap_mschap_wrong_password_client(scenario: Scenario) -> None:
    """EAP-MSCHAPv2 with a wrong password: 691, in the log and in pppd's."""
    gateway = scenario.gateway(ppp={"auth": ["eap-mschap-v2"]})
    outcome = scenario.client(PPP_EAP="yes", PPP_PASS="looking-glass")
    assert outcome.code == 13, outcome
    line = gateway.refused()
    assert (line.ras, line.slug, line.user) == ("691", "auth-failed", "alice")


def test_eap_md5_client(scenario: Scenario) -> None:
    """EAP's MD5-Challenge with pppd."""
    gateway = scenario.gateway(ppp={"auth": ["eap-md5"]})
    outcome = scenario.client(PPP_EAP="yes", PPP_USER="carol")
    assert outcome.code == 0, f"{outcome}\n{gateway.log()}"
    assert gateway.session_up().auth == "eap-md5"


def test_eap_falls_back_client(scenario: Scenario) -> None:
    """The gateway would like EAP, pppd refuses it: MS-CHAPv2, next in the list."""
    gateway = scenario.gateway(ppp={"auth": ["eap-mschap-v2", "mschap-v2"]})
    outcome = scenario.client()
    assert outcome.code == 0, f"{outcome}\n{gateway.log()}"
    assert gateway.session_up().auth == "mschap-v2"


@pytest.mark.parametrize("mppe", ["nomppe", "require-mppe-128"])
def test_mschap_1_client(scenario: Scenario, mppe: str) -> None:
    """MS-CHAP version 1 under policy legacy, and MPPE-128 with its keys."""
    encryption = {"encryption": "required-128", "mschap_mppe": True} if mppe != "nomppe" else {}
    gateway = scenario.gateway(gateway={"policy": "legacy"}, ppp={"auth": ["mschap"], **encryption})
    outcome = scenario.client(PPP_OPTIONS=mppe)
    assert outcome.code == 0, f"{outcome}\n{gateway.log()}"
    assert gateway.session_up().auth.startswith("mschap")


# --- EAP and MS-CHAP version 1: we dial ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mppe", ["nomppe", "require-mppe-128"])
def test_eap_tls_server(scenario: Scenario, papers: Papers, mppe: str) -> None:
    """EAP-TLS with pppd as the server; its certificate names the address that was dialled."""
    user = papers.alice
    options: list[str | Path] = ["--auth", "eap-tls", "--eap-ca", user / "ca.crt"]
    options += ["--eap-certificate", user / "guest.crt", "--eap-private-key", user / "guest.key"]
    options += ["--encryption", "off" if mppe == "nomppe" else "required-128"]
    wanted = f"{mppe};require-eap;max-tls-version 1.2"
    with scenario.server(PPP_EAP="tls", PPP_OPTIONS=wanted, pki=papers.small_ca.guest):
        dialled = scenario.dial(*options)
    connected(scenario, dialled, "eap-tls", mppe)


@pytest.mark.parametrize(
    ("method", "demand", "mppe"),
    [
        ("eap-md5", "require-eap", "nomppe"),
        ("eap-mschap-v2", "require-eap", "nomppe"),
        ("eap-mschap-v2", "require-eap", "require-mppe-128"),
        ("mschap", "require-mschap", "nomppe"),
        ("mschap", "require-mschap", "require-mppe-128"),
        ("chap-md5", "require-chap", "nomppe"),
        ("pap", "require-pap", "nomppe"),
    ],
)
def test_auth_server(scenario: Scenario, method: str, demand: str, mppe: str) -> None:
    """pppd as the server wants this method; our client was told to accept it."""
    options = ["--auth", method, "--encryption", "off" if mppe == "nomppe" else "required-128", "--policy", "legacy"]
    options += ["--mschap-mppe"] if method == "mschap" and mppe != "nomppe" else []
    with scenario.server(PPP_EAP="yes", PPP_OPTIONS=f"{mppe};{demand}"):
        dialled = scenario.dial(*options)
    connected(scenario, dialled, method, mppe)


def connected(scenario: Scenario, dialled: Dialled, method: str, mppe: str) -> None:
    """The call came up by this method, and its pings were answered."""
    assert dialled.code == 0, f"{dialled}\n{scenario.outcome.log('server.pppd.log')}"
    session = dialled.event("connected")["session"]
    assert session["user_auth"] == method
    assert session["mppe"] == ("" if mppe == "nomppe" else "128-bit stateless")
