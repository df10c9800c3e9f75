"""Runs the matrix: a gateway for each group of cases, and a client with an address of its own for each case, so that they stay apart."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tests.matrix.table import SILENCE, Case, Group
from tests.shell.site import GATEWAY, NAME, Site, end, headrace, prepare, wait

from headrace.errors import explain
from headrace.pki.ca import Authority, KeyType
from headrace.shell.netns import Namespace

AT_ONCE: Final = 3
"""Walks side by side: most of their time is waiting."""
TIMEOUT: Final = "20"
PATIENCE: Final = 45.0
"""Seconds for the gateway to give up on a peer that fell silent."""


@dataclass(slots=True)
class Result:
    """What both sides said."""

    case: Case
    source: str
    gateway: str = ""
    troubleshoot: str = ""
    report: dict[str, Any] = field(default_factory=dict)
    refusals: list[dict[str, Any]] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def shown(self) -> bool:
        """The text is there that must be among the steps."""
        return any(self.case.shows in step["text"] for step in self.report.get("steps", ()))

    @property
    def right(self) -> bool:
        """Both sides said what the table says."""
        return (self.gateway, self.troubleshoot) == (self.case.gateway, self.case.troubleshoot) and self.shown

    def json(self) -> dict[str, Any]:
        return {**asdict(self), "right": self.right}


class Rig:
    """Namespaces and papers for all groups."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack
        prepare(folder)
        papers(folder)
        self.site = Site(folder, stack)
        self.client = self.site.client()
        self._next = 20
        accounts(folder)

    def run(self, group: Group) -> list[Result]:
        """All cases of a group."""
        with ExitStack() as stack:
            if group.gateway is not None:
                sections = {**group.gateway, "log": {"json": True, "rate": 1000}}
                stack.callback(end, self._serve(sections))
            results = []
            for case in group.cases:
                self._next += 1
                results.append(Result(case, f"192.0.2.{self._next}"))
                self.client.address("wan", results[-1].source, 24)
            for user in sorted({case.holds for case in group.cases if case.holds}):
                dial = self.site.dial(self.client, user=user)
                stack.callback(end, dial.process)
                dial.wait_for("connected")
            with ThreadPoolExecutor(AT_ONCE) as pool:
                list(pool.map(self._walk, results))
            if group.gateway is not None:
                self._judge(results)
            else:
                for result in results:
                    result.gateway = SILENCE
        return results

    def _serve(self, sections: dict[str, dict[str, Any]]) -> subprocess.Popen[Any]:
        process = self.site.launch(**sections)
        said = self.site.log
        wait(lambda: '"started"' in said.read_text("utf-8") or process.poll() is not None, 20, lambda: said.read_text("utf-8"))
        assert process.poll() is None, said.read_text("utf-8")
        return process

    def _walk(self, result: Result) -> None:
        case = result.case
        began = time.monotonic()
        server = case.server or GATEWAY
        firewall(self.site.gateway, case, result.source)
        server = translate(self.client, case, result.source) or server
        for arguments in case.before:
            self._troubleshoot(server, result.source, arguments)
        code, out, err = self._troubleshoot(server, result.source, case.arguments)
        try:
            result.report = json.loads(out)
        except ValueError:
            result.report = {"error": f"code {code}: {out[-300:]}{err[-2000:]}"}
            result.troubleshoot = "no report"
            return
        failure = result.report["failure"]
        result.troubleshoot = SILENCE if failure is None else f"{failure['rung']} {failure['slug']} {failure['ras']}"
        result.seconds = time.monotonic() - began

    def _troubleshoot(self, server: str, source: str, arguments: tuple[str, ...]) -> tuple[int, str, str]:
        command = headrace(
            "troubleshoot", server, *arguments, "--source", source, "--scan", "0", "--timeout", TIMEOUT, "--json"
        )
        process = self.client.popen(command, cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        out, err = process.communicate(timeout=90)
        return process.returncode, out, err

    def _judge(self, results: list[Result]) -> None:
        """Read what the gateway said; for those who fell silent wait until it gave up on them."""
        until = time.monotonic() + PATIENCE
        while True:
            log = [json.loads(line) for line in self.site.log.read_text("utf-8").splitlines() if line.startswith("{")]
            for result in results:
                result.refusals = [
                    entry for entry in log if entry.get("event") == "refused" and result.source in str(entry["remote"])
                ]
                said = [f"{entry['rung']} {entry['slug']} {entry['ras']}" for entry in result.refusals if counts(entry)]
                result.gateway = said[-1] if said else SILENCE
            if time.monotonic() > until or all(result.gateway == result.case.gateway for result in results):
                return
            time.sleep(0.5)


def counts(refusal: dict[str, Any]) -> bool:
    """A refusal of the call, not of a probe, which is a first message with nothing after it."""
    return not (refusal["slug"] == "ike-timeout" and "message 2" in refusal["detail"])


def firewall(gateway: Namespace, case: Case, source: str) -> None:
    """Set the rules of a case, before fragments are put together."""
    if case.rules:
        gateway.run(["nft", "add table ip matrix; add chain ip matrix early { type filter hook prerouting priority -450; }"])
    for rule in case.rules:
        chain = "early"
        if "reject" in rule:
            chain = "late"
            gateway.run(["nft", "add chain ip matrix late { type filter hook input priority 0; }"])
        gateway.run(["nft", f"add rule ip matrix {chain} {rule.replace('SRC', source)}"])


def translate(client: Namespace, case: Case, source: str) -> str:
    """Set the NAT of a case; the address to dial, if it is another one."""
    if not case.nat:
        return ""
    client.run(["nft", "add table ip matrix; add chain ip matrix out { type nat hook output priority -100; }"])
    client.run(["nft", "add chain ip matrix post { type nat hook postrouting priority 100; }"])
    if case.nat == "destination":
        client.run(["nft", f"add rule ip matrix out ip saddr {source} ip daddr 192.0.2.250 dnat to {GATEWAY}"])
        return "192.0.2.250"
    client.address("wan", "192.0.2.251", 24)
    client.run(["nft", f"add rule ip matrix post ip saddr {source} snat to 192.0.2.251"])
    return ""


def accounts(folder: Path) -> None:
    """Users who may not come in, each for a reason of his own."""
    tomorrow = (datetime.now(UTC) + timedelta(days=3)).strftime("%a").lower()
    for name, *options in (
        ("disabled",),
        ("expired", "--expires", "2020-01-01"),
        ("stale", "--password-expires", "2020-01-01"),
        ("hours", "--hours", f"{tomorrow} 08:00-18:00"),
        ("denied", "--dialin", "deny"),
        ("single", "--sessions", "1"),
        ("locked",),
        ("eap-only", "--auth", "eap-mschap-v2"),
        ("clear", "--encryption", "off"),
    ):
        add = ["account", "add", name, "--password-file", "password", *options, "--config", "gateway.toml"]
        subprocess.run(headrace(*add), cwd=folder, check=True, capture_output=True, timeout=60)
    subprocess.run(
        headrace("account", "disable", "disabled", "--config", "gateway.toml"),
        cwd=folder, check=True, capture_output=True, timeout=60,
    )  # fmt: skip


def papers(folder: Path) -> None:
    """Certificates, good and bad."""
    now = datetime.now(UTC)
    ca = Authority.open(folder / "ca")
    past = Authority.open(folder / "ca", clock=lambda: now - timedelta(days=90))
    future = Authority.open(folder / "ca", clock=lambda: now + timedelta(days=30))
    names = [NAME, GATEWAY]
    many = [f"host-{n}.department-{n}.example.net" for n in range(40)]
    for issued, name in (
        (ca.issue_client("good"), "good"),
        (past.issue_client("expired", days=30), "expired"),
        (future.issue_client("future", days=30), "future"),
        (ca.issue_client("revoked"), "revoked"),
        (
            ca.issue_client("big", names=many, key_type=KeyType.RSA_4096),
            "big",
        ),
        (ca.issue_gateway([*names, *many], key_type=KeyType.RSA_4096), "big-server"),
        (past.issue_gateway(names, days=30), "server-expired"),
        (future.issue_gateway(names, days=30), "server-future"),
        (ca.issue_gateway(names), "server-revoked"),
        (Authority.open(folder / "other-ca").issue_client("stranger"), "stranger"),
    ):
        key = issued.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        write(folder, name, issued.certificate.public_bytes(Encoding.PEM), key)
        if "revoked" in name:
            ca.revoke(issued.record.serial)
    (folder / "revoked.crl").write_bytes(ca.write_crl())
    shutil.copy(folder / "laptop" / "ca.crt", folder / "ca.crt")
    shutil.copy(folder / "stranger" / "ca.crt", folder / "other-ca.crt")
    authority = x509.load_pem_x509_certificate((folder / "ca.crt").read_bytes())
    signer = load_pem_private_key(next((folder / "ca").glob("*ca*.key")).read_bytes(), None)
    mail = [ExtendedKeyUsageOID.EMAIL_PROTECTION]
    by_hand(folder, "mail", authority.subject, signer, mail)
    by_hand(folder, "mail-server", authority.subject, signer, mail, dns=NAME)
    by_hand(folder, "weak", authority.subject, signer, [ExtendedKeyUsageOID.CLIENT_AUTH], bits=1024)
    by_hand(folder, "self-signed", None, None, [ExtendedKeyUsageOID.CLIENT_AUTH])
    (folder / "tunnel-secret").touch(mode=0o600)
    (folder / "tunnel-secret").write_text("a secret of the tunnel", "utf-8")


def by_hand(
    folder: Path, name: str, issuer: x509.Name | None, signer: Any, purposes: list[Any], *, bits: int = 2048, dns: str = ""
) -> None:
    """A certificate that ``headrace pki`` would not issue."""
    key = rsa.generate_private_key(65537, bits)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    alternative: list[x509.GeneralName] = [x509.DNSName(dns or f"{name}.example.net")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer or subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        .add_extension(x509.SubjectAlternativeName(alternative), critical=False)
        .sign(signer or key, hashes.SHA256())
    )
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    write(folder, name, certificate.public_bytes(Encoding.PEM), pem)


def write(folder: Path, name: str, certificate: bytes, key: bytes) -> None:
    (folder / f"{name}.crt").write_bytes(certificate)
    path = folder / f"{name}.key"
    path.touch(mode=0o600)
    path.write_bytes(key)


def number_of(slug: str) -> int:
    """The number that the product's table has for a slug: the matrix must not name one that nobody would see."""
    return explain(slug).ras
