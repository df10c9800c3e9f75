"""What `check` says beyond the file: this machine, our certificate, the clients."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headrace.access.pools import PoolSpec, parse_range
from headrace.esp.proposal import TIERS as ESP_TIERS
from headrace.ike.proposal import TIERS as IKE_TIERS
from headrace.shell.certcheck import advise
from headrace.shell.clients import CLIENTS, outlook
from headrace.shell.config import GatewayConfig, GatewaySection, IkeAuth, IkeSection, NetworkSection
from headrace.shell.hostcheck import check_host, host_routes, port_owner

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def config(tmp_path: Path, **gateway: Any) -> GatewayConfig:
    from headrace.shell.config import AccountsSection

    section = GatewaySection(
        **{
            "listen": (IPv4Address("127.0.0.1"),),
            "ike_port": 50500,
            "natt_port": 54500,
            "control_socket": tmp_path / "c.sock",
            **gateway,
        }
    )
    network = NetworkSection(pools=(PoolSpec("clients", (parse_range("10.99.0.2-10.99.0.254"),)),), tun_name="hr-absent0")
    return GatewayConfig(gateway=section, network=network, accounts=AccountsSection(database=tmp_path / "a.db"))


def fake_proc(tmp_path: Path, *, routes: str = "", capabilities: int = 0xFFFFFFFF, udp: str = "") -> Path:
    proc = tmp_path / "proc"
    (proc / "net").mkdir(parents=True, exist_ok=True)
    (proc / "self").mkdir(exist_ok=True)
    (proc / "self" / "status").write_text(f"Name:\tx\nCapEff:\t{capabilities:016x}\n")
    (proc / "net" / "route").write_text("Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT\n" + routes)
    (proc / "net" / "udp").write_text("  sl  local_address ...\n" + udp)
    return proc


def findings(config: GatewayConfig, proc: Path) -> list[str]:
    return [str(f) for f in check_host(config, proc=proc) if f.key != "tun"]


def test_machine_that_has_everything(tmp_path: Path) -> None:
    assert findings(config(tmp_path), fake_proc(tmp_path)) == []


def test_n203_address_that_is_not_this_machines(tmp_path: Path) -> None:
    (found,) = findings(config(tmp_path, listen=(IPv4Address("192.0.2.77"),)), fake_proc(tmp_path))
    assert found.startswith("gateway.listen[0]: 192.0.2.77 is no address of this machine; ")


def test_n203_port_in_use_and_by_whom(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        (found,) = findings(config(tmp_path, ike_port=port), fake_proc(tmp_path))
        assert found.startswith(f"gateway.ike_port: UDP port {port} of 127.0.0.1 is in use; ")
        assert "python" in port_owner(port) or "pytest" in port_owner(port)
    assert check_host(config(tmp_path, ike_port=port), running=True, proc=fake_proc(tmp_path))[:0] == []


def test_n203_port_owner_is_found_by_inode(tmp_path: Path) -> None:
    proc = fake_proc(tmp_path, udp=" 1: 00000000:01F4 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 4711 2 0\n")
    (proc / "812" / "fd").mkdir(parents=True)
    (proc / "812" / "comm").write_text("charon\n")
    (proc / "812" / "fd" / "9").symlink_to("socket:[4711]")
    assert port_owner(500, proc) == "charon (pid 812)"
    assert port_owner(501, proc) == ""
    assert port_owner(500, tmp_path / "nothing") == ""


def test_n202_pool_that_overlaps_a_route(tmp_path: Path) -> None:
    routes = (
        "eth0 00000000 0101A8C0 0003 0 0 0 00000000 0 0 0\n"
        "eth1 0000630A 00000000 0001 0 0 0 00FFFFFF 0 0 0\n"
        "hr-absent0 0000630A 00000000 0001 0 0 0 0000FFFF 0 0 0\n"
        "broken\n"
    )
    proc = fake_proc(tmp_path, routes=routes)
    assert [(str(n), d) for n, d in host_routes(proc)][:2] == [("0.0.0.0/0", "eth0"), ("10.99.0.0/24", "eth1")]
    pool, own = findings(config(tmp_path), proc)
    assert pool.startswith(
        "network.pools.clients: 10.99.0.2-10.99.0.254 overlaps 10.99.0.0/24, which this machine reaches through eth1; "
    )
    assert own.startswith("network.address: 10.99.0.1 is in 10.99.0.0/24")


def test_n208_rights_and_places(tmp_path: Path) -> None:
    (found,) = findings(config(tmp_path), fake_proc(tmp_path, capabilities=1 << 10 | 1 << 13))
    assert found.startswith("rights: this user lacks CAP_NET_ADMIN; run it as root")
    assert "setcap cap_net_admin+ep" in found


def test_n208_tun_name_taken(tmp_path: Path) -> None:
    from dataclasses import replace

    made = config(tmp_path)
    made = replace(made, network=replace(made.network, tun_name="lo"))
    (found,) = findings(made, fake_proc(tmp_path))
    assert found.startswith("network.tun_name: there is an interface lo already; ")


# --- the certificate ------------------------------------------------------------------------------------------------------------


def certificate(
    *,
    names: bool = True,
    purpose: x509.ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH,
    begin: datetime = NOW - timedelta(days=100),
    days: int = 825,
    bits: int = 0,
) -> bytes:
    key = rsa.generate_private_key(65537, bits) if bits else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vpn.example.org")])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key()).serial_number(1)
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=days))
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("vpn.example.org")]), critical=False)
    if purpose is not None:
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, ""),
        ({"purpose": None}, ""),
        ({"purpose": x509.ObjectIdentifier("1.3.6.1.5.5.8.2.2")}, ""),
        ({"purpose": ExtendedKeyUsageOID.CLIENT_AUTH}, "neither for server authentication nor an IKE intermediate"),
        ({"names": False}, "no subject alternative name"),
        ({"begin": NOW + timedelta(days=1)}, "is valid only from 2026-11-24 00:00 UTC"),
        ({"days": 99}, "expired 1 days ago"),
        ({"days": 110}, "expires in 10 days"),
        ({"days": 3650}, "Apple's systems take no more than 825"),
        ({"bits": 1024}, "RSA key of 1024 bits"),
    ],
)
def test_advice_on_our_certificate(options: dict[str, Any], words: str) -> None:
    advice = advise(certificate(**options), NOW)
    assert len(advice.warnings) == bool(words), advice.warnings
    assert words in "".join(advice.warnings)
    assert advice.subject == "CN=vpn.example.org"


# --- the clients ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policy", "good"),
    [
        ("modern", set()),
        ("compatible", {"Windows 7 to 11, Server 2008 R2 and later", "macOS", "iOS, iPadOS", "Linux, NetworkManager-l2tp"}),
        ("legacy", {client.name for client in CLIENTS}),
    ],
)
def test_who_can_connect_under_each_policy(policy: str, good: set[str]) -> None:
    made = GatewayConfig(ike=IkeSection(auth=(IkeAuth.PSK,)))
    found = outlook(made, IKE_TIERS[policy], ESP_TIERS[policy])
    assert {o.client for o in found if o.good} == good
    for one in found:
        assert one.reason
        assert bool(one.remedy) != one.good
        assert not one.good or (one.ike and one.esp)
        assert not one.good or "the pre-shared key" in one.settings


def test_who_can_connect_without_a_pre_shared_key() -> None:
    made = GatewayConfig(ike=IkeSection(auth=(IkeAuth.CERT,)))
    found = {o.client: o for o in outlook(made, IKE_TIERS["compatible"], ESP_TIERS["compatible"])}
    assert "786" in found["iOS, iPadOS"].reason
    assert "a computer certificate" in found["macOS"].settings


def test_without_ipsec_nobody_connects() -> None:
    assert not any(o.good for o in outlook(GatewayConfig(), IKE_TIERS["legacy"], ESP_TIERS["legacy"]))
