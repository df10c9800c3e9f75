"""The small CA: what it issues is taken by our own judge and by OpenSSL, what it revokes is not, and its files are safe."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import stat
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key, pkcs12

from headrace.errors import LocalError, Slug
from headrace.ike.config import CertificateRefused
from headrace.pki import ca as ca_module
from headrace.pki.ca import Authority, Issued, KeyType, Pkcs12Encryption, Reason, alternative_name, load_key
from headrace.pki.store import Index, read_index, write_atomically
from headrace.pki.verify import ChainVerifier

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime.now(UTC)
EC = KeyType.ECDSA_256
OPENSSL = shutil.which("openssl") or "openssl"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.create(tmp_path / "ca", "Test CA", key_type=EC)


def judge(authority: Authority, purpose: str, *, at: datetime = NOW, policy: str = "strict") -> ChainVerifier:
    crl = x509.load_pem_x509_crl((authority.directory / "crl.pem").read_bytes())
    return ChainVerifier([authority.certificate], [crl], clock=lambda: at, purpose=purpose, crl_policy=policy)


def der(issued: Issued) -> bytes:
    return issued.certificate.public_bytes(Encoding.DER)


def openssl(*args: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([OPENSSL, *map(str, args)], capture_output=True, text=True, check=False, timeout=30)


def verdict(authority: Authority, issued: Issued, *more: str) -> subprocess.CompletedProcess[str]:
    """What OpenSSL says of a certificate, with the revocation list."""
    directory = authority.directory
    files = ("-CAfile", directory / "ca.crt", "-CRLfile", directory / "crl.pem")
    return openssl("verify", "-x509_strict", "-crl_check", *files, *more, directory / "issued" / f"{issued.record.serial}.crt")


def test_certificates_of_both_kinds_are_taken_here_and_by_openssl(authority: Authority) -> None:
    gateway = authority.issue_gateway(["VPN.example.com", "192.0.2.1", "2001:db8::1"], key_type=EC)
    client = authority.issue_client("laptop.example.com", key_type=EC)
    judge(authority, "gateway").verify([der(gateway)], ["vpn.example.com"])
    judge(authority, "gateway").verify([der(gateway)], ["2001:db8::1"])
    judge(authority, "client").verify([der(client)], ["laptop.example.com"])
    with pytest.raises(CertificateRefused):
        judge(authority, "gateway").verify([der(gateway)], ["192.0.2.2"])
    for issued, purpose, name in ((gateway, "sslserver", "vpn.example.com"), (client, "sslclient", "laptop.example.com")):
        result = verdict(authority, issued, "-purpose", purpose, "-verify_hostname", name)
        assert (result.returncode, result.stderr) == (0, "")
    assert verdict(authority, gateway, "-purpose", "sslclient").returncode != 0
    assert verdict(authority, gateway, "-verify_ip", "192.0.2.1").returncode == 0


def test_what_windows_and_apple_look_for(tmp_path: Path) -> None:
    """RSA, SHA-256, digitalSignature, serverAuth and IKE intermediate, subjectAltName, at most 825 days."""
    authority = Authority.create(tmp_path, "RSA CA", key_type=KeyType.RSA_2048)
    certificate = authority.issue_gateway(["vpn.example.com"]).certificate
    key = certificate.public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    assert key.key_size == 2048
    assert certificate.signature_hash_algorithm is not None
    assert certificate.signature_hash_algorithm.name == "sha256"
    purposes = {oid.dotted_string for oid in certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value}
    assert purposes == {"1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.8.2.2", "1.3.6.1.5.5.7.3.17"}
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert usage.digital_signature
    assert usage.key_encipherment
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["vpn.example.com"]
    assert certificate.not_valid_after_utc - NOW < timedelta(days=826)
    assert certificate.not_valid_before_utc < NOW
    assert certificate.serial_number.bit_length() > 64
    assert authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(
        ca=True, path_length=0
    )


def test_the_default_ca_is_rsa_3072() -> None:
    import inspect

    assert inspect.signature(Authority.create).parameters["key_type"].default is KeyType.RSA_3072
    assert inspect.signature(Authority.issue_client).parameters["key_type"].default is KeyType.RSA_2048


@pytest.mark.parametrize("kind", [KeyType.ECDSA_256, KeyType.ECDSA_384])
def test_ecdsa_on_both_curves(tmp_path: Path, kind: KeyType) -> None:
    authority = Authority.create(tmp_path, "EC CA", key_type=kind)
    issued = authority.issue_client("x", key_type=kind)
    assert isinstance(issued.key, ec.EllipticCurvePrivateKey)
    judge(authority, "client").verify([der(issued)], [])
    assert verdict(authority, issued).returncode == 0


def test_revocation(authority: Authority) -> None:
    one = authority.issue_client("one", key_type=EC)
    two = authority.issue_client("two", key_type=EC)
    record = authority.revoke("one", Reason.KEY_COMPROMISE)
    assert record.revoked
    with pytest.raises(CertificateRefused) as caught:
        judge(authority, "client").verify([der(one)], [])
    assert caught.value.slug is Slug.CERT_REVOKED
    assert "keyCompromise" in caught.value.detail
    judge(authority, "client").verify([der(two)], [])
    assert "certificate revoked" in verdict(authority, one).stderr
    assert verdict(authority, two).returncode == 0
    with pytest.raises(LocalError, match="already"):
        authority.revoke("one")
    with pytest.raises(LocalError, match="already"):
        authority.revoke(one.record.serial)
    authority.revoke(two.record.serial)
    crl = x509.load_der_x509_crl((authority.directory / "crl.der").read_bytes())
    assert {entry.serial_number for entry in crl} == {one.certificate.serial_number, two.certificate.serial_number}
    assert crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 3
    assert [record.reason for record in authority.records()] == ["keyCompromise", "unspecified"]


def test_a_revocation_list_grows_old(authority: Authority) -> None:
    issued = authority.issue_client("one", key_type=EC)
    later = NOW + timedelta(days=31)
    with pytest.raises(CertificateRefused) as caught:
        judge(authority, "client", at=later).verify([der(issued)], [])
    assert caught.value.slug is Slug.CERT_CRL
    authority.write_crl(60)
    judge(authority, "client", at=later).verify([der(issued)], [])
    for days in (0, -1, 40000):
        with pytest.raises(LocalError):
            authority.write_crl(days)


@pytest.mark.parametrize("encryption", list(Pkcs12Encryption))
def test_pkcs12_opens_here_and_with_openssl(authority: Authority, tmp_path: Path, encryption: Pkcs12Encryption) -> None:
    issued = authority.issue_client("Anna's laptop", names=["anna@example.com"], key_type=EC)
    data = authority.export_pkcs12("Anna's laptop", "p\u00e4ss", encryption)
    bundle = pkcs12.load_pkcs12(data, "p\u00e4ss".encode())
    assert bundle.cert is not None
    assert bundle.cert.certificate == issued.certificate
    assert bundle.cert.friendly_name == b"Anna's laptop"
    assert [extra.certificate for extra in bundle.additional_certs] == [authority.certificate]
    path = tmp_path / "anna.p12"
    write_atomically(path, authority.export_pkcs12(issued.record.serial, "secret", encryption), 0o600)
    result = openssl("pkcs12", "-in", path, "-passin", "pass:secret", "-info", "-nodes")
    assert result.returncode == 0
    assert "PRIVATE KEY" in result.stdout
    assert ("SHA1And3-KeyTripleDES" in result.stderr.replace("pbeWithSHA1And3-KeyTripleDES", "SHA1And3-KeyTripleDES")) is (
        encryption is Pkcs12Encryption.COMPATIBLE
    )
    assert openssl("pkcs12", "-in", path, "-passin", "pass:wrong", "-nodes").returncode != 0
    with pytest.raises(LocalError, match="password"):
        authority.export_pkcs12("Anna's laptop", "", encryption)


def test_pem_export(authority: Authority) -> None:
    issued = authority.issue_client("x", key_type=EC)
    certificate, key, root = authority.export_pem("x")
    assert x509.load_pem_x509_certificate(certificate) == issued.certificate
    assert load_pem_private_key(key, None).public_key() == issued.certificate.public_key()
    assert x509.load_pem_x509_certificate(root) == authority.certificate
    _, key, _ = authority.export_pem("x", b"secret")
    assert b"ENCRYPTED" in key
    with pytest.raises(TypeError):
        load_pem_private_key(key, None)


def test_files_hold_no_more_rights_than_they_need(authority: Authority) -> None:
    issued = authority.issue_client("x", key_type=EC)
    directory = authority.directory
    for name in ("ca.key", "index.json", f"issued/{issued.record.serial}.key"):
        assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600, name
    for folder in (directory, directory / "issued"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert "PRIVATE" not in repr(issued)
    assert not list(directory.rglob("*.new"))


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x"
    write_atomically(path, b"old")

    def fail(_descriptor: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [item.name for item in tmp_path.iterdir()] == ["x"]


def test_opening_again(authority: Authority) -> None:
    issued = authority.issue_client("x", key_type=EC)
    again = Authority.open(authority.directory)
    assert again.certificate == authority.certificate
    assert again.records() == (issued.record,)
    assert again.load("x").certificate == issued.certificate
    again.revoke("x")
    assert authority.records()[0].revoked


def test_a_passphrase_for_the_ca(tmp_path: Path) -> None:
    Authority.create(tmp_path, "CA", key_type=EC, passphrase=b"secret")
    Authority.open(tmp_path, passphrase=b"secret")
    with pytest.raises(LocalError, match="give its passphrase"):
        Authority.open(tmp_path)
    with pytest.raises(LocalError, match="passphrase is wrong"):
        Authority.open(tmp_path, passphrase=b"wrong")


def test_n196_keys_that_cannot_be_used(authority: Authority, tmp_path: Path) -> None:
    directory = authority.directory
    key_file = directory / "ca.key"
    key_file.chmod(0o640)
    with pytest.raises(LocalError, match=r"ca\.key may be read by others"):
        Authority.open(directory)
    key_file.chmod(0o600)
    other = Authority.create(tmp_path / "other", "Other", key_type=EC)
    key = key_file.read_bytes()
    write_atomically(key_file, (other.directory / "ca.key").read_bytes(), 0o600)
    with pytest.raises(LocalError, match=r"is not the key of .*ca\.crt"):
        Authority.open(directory)
    write_atomically(key_file, b"junk", 0o600)
    with pytest.raises(LocalError, match="holds no private key"):
        Authority.open(directory)
    write_atomically(key_file, key, 0o600)
    with pytest.raises(LocalError, match="leave the passphrase away"):
        load_key(key_file, b"secret")
    ed25519 = openssl("genpkey", "-algorithm", "ed25519").stdout.encode()
    write_atomically(key_file, ed25519, 0o600)
    with pytest.raises(LocalError, match="RSA and ECDSA are used"):
        Authority.open(directory)


def test_a_directory_that_holds_none_or_one_already(authority: Authority, tmp_path: Path) -> None:
    with pytest.raises(LocalError, match="holds a CA already"):
        Authority.create(authority.directory, "Again", key_type=EC)
    with pytest.raises(LocalError, match=r"ca\.key is missing; `headrace pki init`"):
        Authority.open(tmp_path)
    (authority.directory / "ca.crt").write_bytes(b"junk")
    with pytest.raises(LocalError, match=r"ca\.crt cannot be read"):
        Authority.open(authority.directory)


@pytest.mark.parametrize("damage", ["{", "[]", '{"version": 1}', '{"version": 9, "issued": [], "crl_number": 0}', "\xff"])
def test_a_damaged_book_is_told_and_kept(authority: Authority, damage: str) -> None:
    path = authority.directory / "index.json"
    path.write_bytes(damage.encode("latin-1"))
    with pytest.raises(LocalError, match=r"damaged|version 9"):
        authority.records()
    with pytest.raises(LocalError):
        authority.issue_client("x", key_type=EC)
    assert path.read_bytes() == damage.encode("latin-1")


@pytest.mark.parametrize(
    "names", [[], ["*.example.com"], ["a b"], ["x@example.com"], ["-a.example"], ["a..b"], ["x" * 64], ["1.2.3"], [""], ["\n"]]
)
def test_names_that_no_gateway_can_have(authority: Authority, names: list[str]) -> None:
    with pytest.raises(LocalError):
        authority.issue_gateway(names, key_type=EC)
    assert authority.records() == ()


@pytest.mark.parametrize("name", ["", " ", "x" * 65, "a\nb", "\u202e"])
def test_names_that_no_client_can_have(authority: Authority, name: str) -> None:
    with pytest.raises(LocalError):
        authority.issue_client(name, key_type=EC)


def test_names_in_their_forms() -> None:
    assert alternative_name("B\u00fccher.example") == x509.DNSName("xn--bcher-kva.example")
    assert alternative_name("A@EXAMPLE.com") == x509.RFC822Name("A@example.com")
    assert str(alternative_name("[2001:db8::1]").value) == "2001:db8::1"
    with pytest.raises(LocalError):
        alternative_name("\u2024" * 300)


def test_nothing_outlives_the_ca(tmp_path: Path) -> None:
    authority = Authority.create(tmp_path, "Short", days=10, key_type=EC)
    with pytest.raises(LocalError, match="valid for"):
        authority.issue_client("x", key_type=EC)
    authority.issue_client("x", days=5, key_type=EC)
    with pytest.raises(LocalError, match="no life"):
        authority.issue_client("y", days=0, key_type=EC)


def test_the_newest_of_a_name_that_lives_is_found(authority: Authority) -> None:
    first = authority.issue_client("x", key_type=EC)
    second = authority.issue_client("x", key_type=EC)
    assert authority.load("X").record == second.record
    authority.revoke("x")
    assert authority.load("x").record == first.record
    colons = ":".join(f"{int(first.record.serial, 16):040x}"[i : i + 2] for i in range(0, 40, 2)).upper()
    assert authority.load(colons).record == first.record
    with pytest.raises(LocalError, match="no certificate has"):
        authority.load("nobody")
    assert not first.record.expired(NOW)
    assert first.record.expired(NOW + timedelta(days=1000))


def _issue(directory: Path, name: str) -> None:
    Authority.open(directory).issue_client(name, key_type=EC)


def test_several_processes_at_once_lose_nothing(authority: Authority) -> None:
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_issue, args=(authority.directory, f"c{n}")) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert sorted(record.name for record in authority.records()) == ["c0", "c1", "c2", "c3"]


def test_the_book_is_plain_json(authority: Authority) -> None:
    authority.issue_client("x", key_type=EC)
    raw = json.loads((authority.directory / "index.json").read_text())
    assert raw["version"] == 1
    assert raw["issued"][0]["name"] == "x"
    assert read_index(authority.directory / "index.json") != Index()
    assert ca_module.utc_now().tzinfo is UTC
