"""Our EAP against other people's: ``eapol_test`` (wpa_supplicant's peer) and FreeRADIUS (a server), with EAP inside of RADIUS.

``make foreign`` installs both. Without them the tests are skipped.
"""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from tests.foreign import radius
from tests.foreign.radius import Message
from tests.pki import kit
from tests.ppp.eap_kit import (
    SERVER_NAME,
    EapStore,
    authority,
    client_tls,
    eap_client,
    eap_server,
    server_certificate,
    server_tls,
    user_certificate,
)
from tests.ppp.harness import seeded

from headrace.model import Failure
from headrace.ppp import eap_tls, peap
from headrace.ppp.auth import Keys
from headrace.ppp.config import AuthAccept, AuthMethod, LinkConfig
from headrace.ppp.eap_link import EapAuthClient, EapAuthServer
from headrace.ppp.events import AuthRequest

M = AuthMethod
EAPOL_TEST = shutil.which("eapol_test")
FREERADIUS = shutil.which("freeradius", path="/usr/sbin:/usr/bin")

needs_eapol_test = pytest.mark.skipif(
    EAPOL_TEST is None, reason="needs eapol_test (Debian: eapoltest); `make foreign` installs it"
)
needs_freeradius = pytest.mark.skipif(
    FREERADIUS is None, reason="needs FreeRADIUS (Debian: freeradius); `make foreign` installs it"
)


class Port:
    """A link that is a RADIUS packet."""

    def __init__(self, store: EapStore | None = None) -> None:
        self.store = store
        self.out: list[bytes] = []
        self.questions: list[AuthRequest] = []
        self.grant: AuthAccept | None = None
        self.failure: Failure | None = None
        self.keys: Keys | None = None
        self.accepted = False
        self.drops: list[str] = []

    def send(self, _protocol: int, information: bytes) -> None:
        self.out.append(information)

    def send_limit(self) -> int:
        return 1024

    def drop(self, reason: str) -> None:
        self.drops.append(reason)

    def fail(self, failure: Failure, by_peer: bool = False) -> None:
        self.failure = failure

    def ask(
        self, method: AuthMethod, username: bytes, identifier: int, challenge: bytes, response: bytes, change: bytes = b""
    ) -> None:
        self.questions.append(AuthRequest(1, method, username, identifier, challenge, response, change))

    def admitted(self, grant: AuthAccept) -> None:
        self.grant = grant

    def recognised(self, _server_name: bytes, keys: Keys | None) -> None:
        self.accepted, self.keys = True, keys


# --- their peer, our server ---------------------------------------------------------------------------------------------------


class RadiusServer:
    """Our EAP server behind RADIUS: one conversation at a time."""

    def __init__(self, config: LinkConfig, store: EapStore) -> None:
        self.config = config
        self.port = Port(store)
        self.msk = b""
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.socket.settimeout(0.2)
        self.number = self.socket.getsockname()[1]
        self.eap: EapAuthServer | None = None
        self.stop = threading.Event()

    def serve(self) -> None:
        while not self.stop.is_set():
            try:
                data, peer = self.socket.recvfrom(4096)
            except TimeoutError:
                continue
            self.socket.sendto(self.answer(Message.parse(data)), peer)
        self.socket.close()

    def answer(self, request: Message) -> bytes:
        packet, port = request.eap, self.port
        if self.eap is None:
            first = bytes((packet[1],))  # whoever is asked by RADIUS has been asked for the identity before
            chance = seeded(4)
            self.eap = EapAuthServer(port, self.config, lambda n: first if n == 1 else chance(n))
            self.eap.start(0.0)
            port.out.clear()
        self.eap.receive(packet, 0.0)
        while port.questions:
            assert port.store is not None
            self.eap.result(port.store.check(port.questions.pop(0)), 0.0)
        code = radius.ACCEPT if port.grant else radius.REJECT if port.failure else radius.CHALLENGE
        reply = Message(code, request.identifier, bytes(16), [(radius.STATE, b"one")] if code == radius.CHALLENGE else [])
        reply.add_eap(port.out.pop(0))
        if port.grant is not None and port.grant.mppe_recv_key and port.grant.mppe_send_key:
            receive, send = (
                (self.msk[:32], self.msk[32:64]) if self.msk else (port.grant.mppe_recv_key, port.grant.mppe_send_key)
            )
            reply.add_key(radius.RECV_KEY, receive, request.authenticator)
            reply.add_key(radius.SEND_KEY, send, request.authenticator)
        return reply.emit(request.authenticator)


def pem(path: Path, *made: kit.Made, key: bool = False) -> Path:
    parts = [item.cert.public_bytes(Encoding.PEM) for item in made]
    if key:
        parts = [made[0].key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())]
    path.write_bytes(b"".join(parts))
    path.chmod(0o600)
    return path


@contextmanager
def served(config: LinkConfig, store: EapStore) -> Iterator[RadiusServer]:
    server = RadiusServer(config, store)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield server
    finally:
        server.stop.set()
        thread.join()


@pytest.fixture
def full_msk(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Keeps the whole MSK, of which a link needs half."""
    kept: list[bytes] = []
    real = eap_tls.with_keys

    def keep(grant: AuthAccept, msk: bytes) -> AuthAccept:
        kept.append(msk)
        return real(grant, msk)

    monkeypatch.setattr(eap_tls, "with_keys", keep)
    monkeypatch.setattr(peap, "with_keys", keep)
    return kept


def eapol_test(
    folder: Path, server: RadiusServer, network: str, *arguments: str, kept: list[bytes] | None = None
) -> tuple[int, str]:
    path = folder / "network.conf"
    path.write_text(f"ctrl_interface={folder}/control\nnetwork={{\n key_mgmt=IEEE8021X\n{network}\n}}\n")
    assert EAPOL_TEST is not None
    if kept is not None:
        original = server.answer

        def answer(request: Message) -> bytes:
            real = server.port.admitted

            def admitted(grant: AuthAccept) -> None:
                server.msk = kept[-1] if kept else b""
                real(grant)

            server.port.admitted = admitted  # type: ignore[method-assign]
            return original(request)

        server.answer = answer  # type: ignore[method-assign]
    command = [EAPOL_TEST, "-c", str(path), "-p", str(server.number), "-s", radius.SECRET.decode(), "-t", "10", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False, errors="replace")
    return done.returncode, done.stdout


@needs_eapol_test
@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("fragment", [400, 1300])
@pytest.mark.parametrize("method", [M.EAP_TLS, M.PEAP, M.EAP_MSCHAP_V2, M.EAP_MD5])
def test_their_peer_our_server(tmp_path: Path, full_msk: list[bytes], method: AuthMethod, version: str, fragment: int) -> None:
    name = {M.EAP_TLS: "TLS", M.PEAP: "PEAP", M.EAP_MSCHAP_V2: "MSCHAPV2", M.EAP_MD5: "MD5"}[method]
    ca = pem(tmp_path / "ca.pem", authority("Servers' CA"))
    cert, key = pem(tmp_path / "c.pem", user_certificate()), pem(tmp_path / "k.pem", user_certificate(), key=True)
    lines = [f"eap={name}", 'identity="alice"', 'password="wonderland"', f"fragment_size={fragment}"]
    lines += [f'ca_cert="{ca}"', f'client_cert="{cert}"', f'private_key="{key}"', f'domain_match="{SERVER_NAME}"']
    phase1 = "tls_disable_tlsv1_3=0" + (" crypto_binding=2" if method is M.PEAP else "")
    lines += [f'phase1="{phase1}"', 'phase2="auth=MSCHAPV2"']
    config = eap_server(method, tls=server_tls(minimum=version, maximum=version))
    arguments = ("-n",) if method is M.EAP_MD5 else ()
    with served(config, EapStore()) as server:
        code, out = eapol_test(tmp_path, server, "\n".join(lines), *arguments, kept=full_msk)
    assert (server.port.failure, code) == (None, 0), out[-3000:]
    assert server.port.grant is not None
    assert server.port.grant.username == "alice"
    if method is not M.EAP_MD5:
        assert "MPPE keys OK: 1  mismatch: 0" in out
    if method is M.PEAP:
        assert "crypto_binding" not in (server.port.failure.detail if server.port.failure else "")
        assert re.search(r"EAP-PEAP: Valid cryptobinding TLV received", out)


@needs_eapol_test
def test_their_peer_prefers_another_method(tmp_path: Path) -> None:
    with served(eap_server(M.EAP_TLS, M.PEAP, M.EAP_MSCHAP_V2), EapStore()) as server:
        code, out = eapol_test(tmp_path, server, 'eap=MSCHAPV2 GTC\n identity="alice"\n password="wonderland"')
    assert code == 0, out[-2000:]


@needs_eapol_test
def test_their_peer_changes_its_password(tmp_path: Path) -> None:
    store = EapStore(expired={b"alice"})
    ca = pem(tmp_path / "ca.pem", authority("Servers' CA"))
    network = f'eap=PEAP\n ca_cert="{ca}"\n phase2="auth=MSCHAPV2"\n identity="alice"\n password="wonderland"'
    user = threading.Thread(target=answer_new_password, args=(tmp_path, "looking-glass"))
    user.start()
    with served(eap_server(M.PEAP), store) as server:
        _, out = eapol_test(tmp_path, server, network, "-W")
    user.join()
    assert store.users[b"alice"] == "looking-glass", out[-3000:]
    assert server.port.grant is not None, out[-3000:]


@needs_eapol_test
def test_their_peer_understands_that_its_password_has_expired(tmp_path: Path) -> None:
    network = 'eap=MSCHAPV2\n identity="alice"\n password="wonderland"'
    with served(eap_server(M.EAP_MSCHAP_V2), EapStore(expired={b"alice"})) as server:
        _, out = eapol_test(tmp_path, server, network)
    assert "Password expired - password change required" in out


def answer_new_password(folder: Path, password: str) -> None:
    """Be the desktop that asks the user: over wpa_supplicant's control socket."""
    there, here = folder / "control" / "test", folder / "desktop"
    deadline = time.monotonic() + 10
    while not there.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as talk:
        talk.settimeout(10)
        talk.bind(str(here))
        talk.connect(str(there))
        talk.send(b"ATTACH")
        try:
            while b"CTRL-REQ-NEW_PASSWORD" not in (said := talk.recv(4096)):
                pass
        except TimeoutError:
            return
        number = re.search(rb"CTRL-REQ-NEW_PASSWORD-(\d+)", said)
        assert number is not None
        talk.send(b"CTRL-RSP-NEW_PASSWORD-" + number[1] + b":" + password.encode())
        time.sleep(0.3)


@needs_eapol_test
@pytest.mark.parametrize("wrong", ["password", "certificate"])
def test_their_peer_is_refused(tmp_path: Path, wrong: str) -> None:
    if wrong == "password":
        config, network = eap_server(M.EAP_MSCHAP_V2), 'eap=MSCHAPV2\n identity="alice"\n password="nope"'
    else:
        stranger = kit.make(authority("Stranger"), name="alice", purposes=("client",))
        ca = pem(tmp_path / "ca.pem", authority("Servers' CA"))
        cert, key = pem(tmp_path / "c.pem", stranger), pem(tmp_path / "k.pem", stranger, key=True)
        config = eap_server(M.EAP_TLS)
        network = f'eap=TLS\n identity="alice"\n ca_cert="{ca}"\n client_cert="{cert}"\n private_key="{key}"'
    with served(config, EapStore()) as server:
        code, out = eapol_test(tmp_path, server, network)
    assert code != 0
    assert server.port.grant is None
    assert server.port.failure is not None
    assert "CTRL-EVENT-EAP-FAILURE" in out


# --- their server, our peer ---------------------------------------------------------------------------------------------------

CONFIG = """
prefix = /usr
raddbdir = {folder}
logdir = {folder}
run_dir = {folder}
libdir = /usr/lib/freeradius
max_request_time = 30
security {{ allow_vulnerable_openssl = yes }}
log {{ destination = stdout }}
modules {{
  files {{ filename = {folder}/users }}
  mschap {{
    use_mppe = yes
  }}
  eap {{
    default_eap_type = {default}
    timer_expire = 60
    max_sessions = 256
    md5 {{ }}
    mschapv2 {{ send_error = yes }}
    tls-config common {{
      private_key_file = {folder}/server.key
      certificate_file = {folder}/server.pem
      ca_file = {folder}/users-ca.pem
      fragment_size = {fragment}
      cipher_list = "DEFAULT"
      tls_min_version = "{version}"
      tls_max_version = "{version}"
      ecdh_curve = ""
      cache {{ enable = no }}
    }}
    tls {{ tls = common }}
    peap {{ tls = common
      default_eap_type = mschapv2
      virtual_server = "inner" }}
  }}
}}
client here {{
  ipaddr = 127.0.0.1
  secret = testing123
}}
server default {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
  }}
  authorize {{
    eap {{
      ok = return
    }}
    files
  }}
  authenticate {{
    eap
    Auth-Type MS-CHAP {{
      mschap
    }}
  }}
}}
server inner {{
  authorize {{
    eap {{
      ok = return
    }}
    files
  }}
  authenticate {{
    eap
    Auth-Type MS-CHAP {{
      mschap
    }}
  }}
}}
"""


@contextmanager
def freeradius(folder: Path, default: str, version: str, fragment: int) -> Iterator[int]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    text = CONFIG.format(folder=folder, default=default, version=version, fragment=fragment, port=port)
    (folder / "radiusd.conf").write_text(text)
    (folder / "users").write_text('alice Cleartext-Password := "wonderland"\n')
    pem(folder / "server.pem", server_certificate())
    pem(folder / "server.key", server_certificate(), key=True)
    pem(folder / "users-ca.pem", authority())
    assert FREERADIUS is not None
    log = folder / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([FREERADIUS, "-X", "-d", str(folder), "-n", "radiusd"], stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 15
        while b"Ready to process requests" not in log.read_bytes():
            assert process.poll() is None, log.read_text(errors="replace")[-3000:]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield port
    finally:
        process.terminate()
        process.wait(10)


def converse(config: LinkConfig, number: int) -> tuple[Port, Message, bytes]:
    """Our peer through one conversation: its port, the last answer, and the authenticator of the last request."""
    port = Port()
    client = EapAuthClient(port, config, seeded(9))
    client.receive(bytes((1, 1, 0, 5, 1)), 0.0)
    state: list[tuple[int, bytes]] = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(5)
        for identifier in range(60):
            authenticator = seeded(identifier)(16)
            request = Message(
                radius.REQUEST,
                identifier,
                authenticator,
                [
                    (radius.USER_NAME, config.credentials.username.encode() if config.credentials else b""),
                    (radius.NAS_IDENTIFIER, b"test"),
                    *state,
                ],
            )
            udp.sendto(request.add_eap(port.out.pop(0)).emit(), ("127.0.0.1", number))
            answer = Message.parse(udp.recv(4096))
            if answer.eap:
                client.receive(answer.eap, 0.0)
            if answer.code != radius.CHALLENGE:
                client.tick(10.0)
                return port, answer, authenticator
            state = [(radius.STATE, answer.all(radius.STATE)[0])]
    raise AssertionError("no end")


@needs_freeradius
@pytest.mark.parametrize(
    ("method", "default", "version", "fragment"),
    [
        (M.EAP_TLS, "tls", "1.2", 1000),
        (M.EAP_TLS, "tls", "1.3", 1000),
        (M.EAP_TLS, "md5", "1.3", 300),
        (M.PEAP, "peap", "1.2", 1000),
        (M.PEAP, "peap", "1.3", 1000),
        (M.PEAP, "tls", "1.2", 300),
        (M.EAP_MSCHAP_V2, "mschapv2", "1.2", 1000),
        (M.EAP_MD5, "tls", "1.2", 1000),
    ],
)
def test_their_server_our_peer(tmp_path: Path, method: AuthMethod, default: str, version: str, fragment: int) -> None:
    with freeradius(tmp_path, default, version, fragment) as number:
        port, answer, authenticator = converse(eap_client(method, tls=client_tls(user_certificate())), number)
        said = (tmp_path / "log").read_text(errors="replace")[-3000:]
    assert answer.code == radius.ACCEPT, said
    assert port.accepted, port.failure
    if method is not M.EAP_MD5:
        assert port.keys is not None
        assert answer.key(radius.RECV_KEY, authenticator)[:16] == port.keys.send
        assert answer.key(radius.SEND_KEY, authenticator)[:16] == port.keys.receive


@needs_freeradius
@pytest.mark.parametrize("method", [M.PEAP, M.EAP_MSCHAP_V2])
def test_their_server_refuses_our_peer(tmp_path: Path, method: AuthMethod) -> None:
    with freeradius(tmp_path, "mschapv2", "1.2", 1000) as number:
        port, answer, _ = converse(eap_client(method, password="nope"), number)
    assert answer.code == radius.REJECT
    assert port.failure is not None
    assert str(port.failure.slug) == "auth-failed"


@needs_freeradius
@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_their_server_refuses_our_certificate(tmp_path: Path, version: str) -> None:
    stranger: Any = kit.make(authority("Stranger"), name="alice", purposes=("client",))
    with freeradius(tmp_path, "tls", version, 1000) as number:
        port, answer, _ = converse(eap_client(M.EAP_TLS, tls=client_tls(stranger)), number)
    assert answer.code == radius.REJECT
    assert port.failure is not None
    assert str(port.failure.slug) == "auth-failed"  # FreeRADIUS keeps TLS's alert to itself
