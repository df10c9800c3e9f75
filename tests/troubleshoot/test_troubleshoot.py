"""The walk against real cores on real sockets: whole, and broken on rung after rung."""

from __future__ import annotations

import socket
import threading
from dataclasses import replace
from typing import Any

import pytest
from tests.stack.harness import INNER, PSK, ike_config
from tests.troubleshoot.server import LOCAL, Server, quick

from headrace.errors import Slug
from headrace.esp.proposal import EspProposal
from headrace.ike.constants import AuthMethod
from headrace.ike.proposal import IkeProposal
from headrace.inspect.keys import EspKey
from headrace.l2tp.config import L2tpConfig
from headrace.model import Auth, Cipher, Encryption, EspKeys, Rung
from headrace.ppp.config import ClientCredentials, LinkConfig
from headrace.troubleshoot import probe
from headrace.troubleshoot.plane import seal
from headrace.troubleshoot.probe import Prober
from headrace.troubleshoot.walk import Report, State, Target, Walk


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "WAIT", 0.15)
    monkeypatch.setattr(probe, "RATE", 100.0)


def target(server: Server, *, psk: bytes = PSK, user: str = "alice", password: str = "wonderland", **changes: Any) -> Target:
    link = LinkConfig(server=False, credentials=ClientCredentials(user, password), **changes.pop("link", {}))
    values = {
        "ike_port": server.ike_port,
        "natt_port": server.natt_port,
        "family": 4,
        "scan": 0,
        "timeout": 10.0,
        "ike": quick(replace(ike_config(), psk_for=lambda _: psk, force_encapsulation=True)),
        "l2tp": L2tpConfig(host_name="client", accept_incoming=False, retransmit_tries=3),
        "link": link,
        "user": bool(user),
        **changes,
    }
    return Target(str(LOCAL), **values)


def walk(to: Target) -> Report:
    said: list[object] = []
    report = Walk(to, said.append).run()
    assert said == report.steps
    assert report.json()["verdict"] == report.verdict
    assert str(PSK) not in repr(to)
    return report


def passed(report: Report) -> set[Rung]:
    return {step.rung for step in report.steps if step.state is State.PASSED}


def test_everything_works() -> None:
    with Server(ike_config()) as server:
        report = walk(target(server))
    assert report.failure is None, report.steps
    assert report.code == 0
    assert passed(report) == set(Rung)
    texts = [step.text for step in report.steps]
    assert "no NAT on either side" in texts
    assert any(text.startswith("echoes of 64, 576, 1280, 1400 octets") for text in texts)
    assert any("a datagram of 1900 octets is answered" in text for text in texts)
    assert "alice, mschap-v2" in texts


def test_scan_finds_exactly_what_is_accepted() -> None:
    wanted = ("aes256-sha256-modp2048", "aes128-sha1-modp2048", "3des-sha1-modp1024")
    config = replace(ike_config(), proposals=tuple(IkeProposal.parse(text) for text in wanted))
    with Server(config) as server:
        report = walk(target(server, scan=16, ike=None))
        found = Prober(LOCAL).scan(server.ike_port, AuthMethod.PSK, 2)
    assert set(report.accepted["pre-shared key"]) == {IkeProposal.parse(text).label for text in wanted}
    assert report.accepted["certificate (RSA)"] == []
    assert len(found) == 2
    assert report.failure is None
    assert report.steps[-1].state is State.SKIPPED


def test_without_a_user_it_ends_when_ppp_is_open() -> None:
    with Server(ike_config()) as server:
        report = walk(target(server, user=""))
    assert report.failure is None
    assert Rung.LCP in passed(report)
    assert Rung.USER_AUTH not in passed(report)
    assert any("mschap-v2" in step.text for step in report.steps if step.rung is Rung.LCP)


def broken(name: str) -> tuple[Server, dict[str, Any]]:
    modern = (IkeProposal.parse("aes256-sha384-ecp384"),)
    match name:
        case "psk":
            return Server(ike_config()), {"psk": b"another key"}
        case "proposal":
            client = quick(replace(ike_config(), force_encapsulation=True, proposals=modern))
            return Server(replace(ike_config(), proposals=(IkeProposal.parse("aes128-sha1-modp2048"),))), {"ike": client}
        case "esp":
            return Server(replace(ike_config(), esp_proposals=(EspProposal.parse("aes256gcm16"),))), {
                "ike": quick(replace(ike_config(), force_encapsulation=True, esp_proposals=(EspProposal.parse("aes128-sha1"),)))
            }
        case "secret":
            return Server(ike_config(), l2tp=L2tpConfig(host_name="gateway", secret=b"tunnel secret")), {}
        case "password":
            return Server(ike_config()), {"password": "a wrong one"}
        case "encryption":
            link = LinkConfig(server=True, local_address=INNER, encryption=Encryption.REQUIRED_128)
            return Server(ike_config(), link), {"link": {"encryption": Encryption.OFF}}
        case "natt":
            return Server(ike_config(), deaf_natt=True), {}
        case _:
            raise AssertionError(name)


@pytest.mark.parametrize(
    ("name", "slugs", "rung"),
    [
        ("proposal", {Slug.IKE_NO_PROPOSAL}, 3),
        ("psk", {Slug.PSK_MISMATCH}, 4),
        ("natt", {Slug.IKE_TIMEOUT}, 4),
        ("esp", {Slug.ESP_NO_PROPOSAL}, 5),
        ("secret", {Slug.TUNNEL_AUTH}, 6),
        ("password", {Slug.AUTH_FAILED}, 8),
        ("encryption", {Slug.ENCRYPTION_REFUSED}, 9),
    ],
)
def test_broken_rung_is_named(name: str, slugs: set[Slug], rung: int) -> None:
    server, changes = broken(name)
    with server:
        report = walk(target(server, **changes))
    assert report.failure is not None, report.steps
    assert report.failure.slug in slugs, report.failure
    assert report.code == 10 + rung
    assert max(passed(report)) <= Rung(rung)  # the probes may pass where the call does not
    assert report.json()["failure"]["remedy_gateway"]


def test_small_mtu_is_seen() -> None:
    with Server(ike_config(), largest=1300) as server:
        report = walk(target(server))
    last = report.steps[-1]
    assert (last.rung, last.state) == (Rung.TRAFFIC, State.FAILED)
    assert "1400 octets do not come back" in last.text
    assert report.failure is not None
    assert (report.failure.slug, report.code) == (Slug.PATH_MTU, 21)


def test_nobody_there() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as deaf:
        deaf.bind((str(LOCAL), 0))
        report = walk(Target(str(LOCAL), ike_port=deaf.getsockname()[1], family=4))
    assert report.failure is not None
    assert report.failure.slug is Slug.IKE_NO_ANSWER
    assert (report.code, report.sent) == (12, probe.TRIES)
    report = walk(Target(str(LOCAL), ike_port=deaf_port(), family=4))
    assert report.failure is not None
    assert report.failure.slug is Slug.IKE_NO_ANSWER  # what a Windows client shows, which does not heed ICMP
    assert "nothing listens there" in report.failure.detail


def deaf_port() -> int:
    """A port that nobody has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((str(LOCAL), 0))
        return int(sock.getsockname()[1])


def test_name_without_an_address() -> None:
    report = walk(Target("no-such-name.invalid", family=4))
    assert report.failure is not None
    assert report.failure.slug is Slug.NAME_UNRESOLVED
    assert report.code == 11
    assert report.sent == 0


def test_server_that_answers_nonsense_and_floods() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((str(LOCAL), 0))
        sock.settimeout(0.1)
        over = threading.Event()

        def babble() -> None:
            while not over.is_set():
                try:
                    data, address = sock.recvfrom(65535)
                except TimeoutError:
                    continue
                for answer in (b"", b"\xff" * 5, bytes(300), data, data[:8] + b"\x02" * 400, data[:16] + b"\xff" * 12):
                    for _ in range(5):
                        sock.sendto(answer, address)

        thread = threading.Thread(target=babble)
        thread.start()
        try:
            report = walk(Target(str(LOCAL), ike_port=sock.getsockname()[1], family=4, scan=2))
        finally:
            over.set()
            thread.join()
    assert report.failure is not None
    assert report.sent <= 60


@pytest.mark.parametrize(
    ("cipher", "auth", "key", "auth_key"),
    [
        (Cipher.AES_CBC, Auth.HMAC_SHA2_256_128, 32, 32),
        (Cipher.AES_CBC, Auth.HMAC_SHA1_96, 16, 20),
        (Cipher.TRIPLE_DES_CBC, Auth.HMAC_MD5_96, 24, 16),
        (Cipher.DES_CBC, Auth.HMAC_SHA1_96, 8, 20),
        (Cipher.AES_GCM16, Auth.NONE, 20, 0),
        (Cipher.NULL, Auth.HMAC_SHA2_512_256, 0, 64),
    ],
)
def test_what_is_sealed_opens(cipher: Cipher, auth: Auth, key: int, auth_key: int) -> None:
    keys = EspKeys(0x1234, True, cipher, auth, bytes(range(key)), bytes(range(auth_key)))
    for size in range(40):
        opened = EspKey(0x1234, cipher, auth, None, keys.enc_key, keys.auth_key).open(seal(keys, 7, bytes(size)))
        assert (opened.payload, opened.next_header) == (bytes(size), 17)
