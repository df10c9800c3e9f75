"""Profiles: what clients import is well-formed whatever the names, holds what it must, and is taken by the programs that read it."""

from __future__ import annotations

import base64
import plistlib
import re
import shlex
import subprocess
from html.parser import HTMLParser
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.shell.site import CONFIG, PASSWORD, PSK, toml

from headrace.access import store
from headrace.cli.app import run
from headrace.errors import ConfigError
from headrace.ppp.config import AuthMethod
from headrace.profiles import apple, linux, sheet, windows
from headrace.profiles.facts import Facts, Machine, gather, read_bundle
from headrace.shell.config import GatewayConfig, GatewaySection, IkeAuth, IkeSection, PppSection

CONFIGURATION = GatewayConfig(
    gateway=GatewaySection(listen=(IPv4Address("192.0.2.1"),)),
    ike=IkeSection(auth=(IkeAuth.PSK,), psk=PSK.encode()),
    ppp=PppSection(auth=(AuthMethod.MSCHAP_V2,)),
)
IKE = ["aes256-sha256-ecp384", "aes256-sha1-modp2048"]
ESP = ["aes256gcm16", "aes256-sha1"]
CROOKED = 'O\'Neill \u2019; "$(reboot)" `x` & <b> %d {0} \\'


def facts(**changes: Any) -> Facts:
    return gather(CONFIGURATION, **{"user": "alice", "ike": IKE, "esp": ESP, **changes})


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    secret = folder / "secret"
    secret.touch(mode=0o600)
    secret.write_text(PASSWORD)
    for words in (
        ["init", "--dir", "ca"],
        ["issue", "laptop", "--dir", "ca"],
        ["export", "laptop", "--dir", "ca", "--out", "laptop.p12", "--password-file", "secret"],
    ):
        done = [str(folder / word) if word in {"ca", "laptop.p12", "secret"} else word for word in words]
        assert run(["pki", *done]) == 0
    return folder / "laptop.p12"


@pytest.fixture(scope="module")
def machine(bundle: Path) -> Machine:
    return read_bundle(bundle, PASSWORD)


def with_certificate(machine: Machine) -> Facts:
    config = GatewayConfig(ike=IkeSection(auth=(IkeAuth.CERT,)), gateway=CONFIGURATION.gateway)
    return gather(config, user="alice", ike=IKE, esp=ESP, certificate_names=["vpn.example.net"], machine=machine)


# --- facts ------------------------------------------------------------------------------------------------------------


def test_what_is_dialled() -> None:
    assert facts().server == "192.0.2.1"
    assert facts(certificate_names=["*.example.net", "vpn.example.net"]).server == "vpn.example.net"
    assert facts(server="other.example.net").name == "other.example.net"
    with pytest.raises(ConfigError, match="--server"):
        gather(GatewayConfig(ike=CONFIGURATION.ike), user="alice", ike=IKE, esp=ESP)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"server": "a b"}, "--server"),
        ({"server": "$(reboot)"}, "--server"),
        ({"name": "a/b"}, "name of a connection"),
        ({"name": "x" * 61}, "name of a connection"),
        ({"user": "a\nb"}, "control characters"),
        ({"user": ""}, "control characters"),
    ],
)
def test_what_no_profile_can_hold(changes: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=text):
        facts(**changes)


def test_what_keeps_clients_out_is_said(machine: Machine) -> None:
    assert facts().warnings == ()
    odd = GatewayConfig(
        gateway=GatewaySection(listen=(IPv4Address("192.0.2.1"),), natt_port=4501),
        ike=IkeSection(auth=(IkeAuth.CERT,)),
        ppp=PppSection(auth=(AuthMethod.PAP,)),
    )
    warnings = gather(
        odd, user="u", ike=IKE, esp=ESP, certificate_names=["a.example"], server="b.example", machine=machine
    ).warnings
    assert [re.search(r"natt_port|835|mschap-v2", text) is not None for text in warnings] == [True] * 3


def test_machine_that_cannot_prove_itself(bundle: Path, machine: Machine, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="takes no certificates"):
        facts(machine=machine)
    with pytest.raises(ConfigError, match="--bundle"):
        gather(GatewayConfig(ike=IkeSection(auth=(IkeAuth.CERT,))), user="u", ike=IKE, esp=ESP, server="a.example")
    with pytest.raises(ConfigError, match="password"):
        read_bundle(bundle, "another")
    junk = tmp_path / "junk.p12"
    junk.write_bytes(b"0\x80junk")
    with pytest.raises(ConfigError, match=r"no \.p12"):
        read_bundle(junk, "")


def test_secrets_are_not_shown(machine: Machine) -> None:
    assert PSK not in repr(facts())
    assert "PRIVATE KEY" not in repr(with_certificate(machine))
    assert PASSWORD not in repr(with_certificate(machine))


# --- Windows ----------------------------------------------------------------------------------------------------------


def powershell_string(text: str) -> tuple[str, str]:
    """Read one single-quoted string as PowerShell does: any of four quotes ends it, two of them are one. Value and rest."""
    quotes = "'\u2018\u2019\u201a\u201b"
    assert text[0] in quotes
    value, at = "", 1
    while True:
        if text[at] in quotes:
            if at + 1 == len(text) or text[at + 1] not in quotes:
                return value, text[at + 1 :]
            at += 1
        value += text[at]
        at += 1


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
def test_powershell_strings_end_where_they_should(text: str) -> None:
    assert powershell_string(windows.quoted(text) + " | Remove-Item *") == (text, " | Remove-Item *")


def test_windows_script() -> None:
    script = windows.script(facts(name="O'Neill", behind_nat=True, routes=[IPv4Network("10.0.0.0/8")]))
    assert script.count("\n") == script.count("\r\n")
    assert "$Name = 'O''Neill'" in script
    assert f"-L2tpPsk '{PSK}'" in script
    assert "-TunnelType L2tp" in script
    assert "-AuthenticationMethod MSChapv2 -EncryptionLevel Required" in script
    assert "-SplitTunneling" in script
    assert "-DestinationPrefix '10.0.0.0/8'" in script
    assert "AssumeUDPEncapsulationContextOnSendRule 2 -Type DWord" in script
    undo = script.split("exit", 1)[0]
    assert "Remove-VpnConnection" in undo
    assert "AssumeUDPEncapsulationContextOnSendRule" in undo
    assert script.count("{") == script.count("}")


def test_windows_script_brings_the_certificates_and_takes_them_away(machine: Machine) -> None:
    script = windows.script(with_certificate(machine))
    encoded = script.split("$Bundle = @'")[1].split("'@")[0]
    assert base64.b64decode(encoded) == machine.bundle
    assert "Import-PfxCertificate" in script
    assert "L2tpPsk" not in script
    assert f"Cert:\\LocalMachine\\My\\{machine.thumbprint}" in script
    assert PASSWORD not in script
    assert "AssumeUDP" not in script


# --- Apple ------------------------------------------------------------------------------------------------------------


def test_apple_profile() -> None:
    profile = plistlib.loads(
        apple.mobileconfig(facts(name=CROOKED.translate({ord(c): "" for c in '/\\:*?"<>|'}), user=CROOKED))
    )
    (vpn,) = profile["PayloadContent"]
    assert vpn["VPNType"] == "L2TP"
    assert vpn["PPP"] == {"AuthName": CROOKED, "CommRemoteAddress": "192.0.2.1", "TokenCard": False}
    assert vpn["IPSec"] == {"AuthenticationMethod": "SharedSecret", "SharedSecret": PSK.encode()}
    assert vpn["IPv4"] == {"OverridePrimary": 1}


def test_apple_profile_replaces_its_older_self() -> None:
    old, new, other = (plistlib.loads(apple.mobileconfig(facts(user=user))) for user in ("alice", "alice", "bob"))
    assert old["PayloadUUID"] == new["PayloadUUID"] != other["PayloadUUID"]


def test_apple_profile_with_certificates(machine: Machine) -> None:
    profile = plistlib.loads(apple.mobileconfig(with_certificate(machine)))
    vpn, identity, *roots = profile["PayloadContent"]
    assert vpn["IPSec"] == {"AuthenticationMethod": "Certificate", "PayloadCertificateUUID": identity["PayloadUUID"]}
    assert identity["PayloadContent"] == machine.bundle
    assert [root["PayloadContent"] for root in roots] == list(machine.authorities)
    assert len({part["PayloadUUID"] for part in (profile, vpn, identity, *roots)}) == 3 + len(roots)


# --- Linux ------------------------------------------------------------------------------------------------------------


def test_nmcli_gets_every_value_as_one_word() -> None:
    script = linux.nmcli(facts(user="a,b\\c $(reboot)", name="it's", routes=[IPv4Network("10.0.0.0/8")]))
    words = shlex.split(script.splitlines()[-1])
    data = words[words.index("vpn.data") + 1]
    assert "user = a\\,b\\\\c $(reboot)," in data
    assert words[words.index("con-name") + 1] == "it's"
    assert words[-3:] == ["yes", "ipv4.routes", "10.0.0.0/8"]
    secret = data.rpartition("ipsec-psk = 0s")[2]
    assert base64.b64decode(secret).decode() == PSK


@pytest.mark.parametrize("certificates", [False, True])
def test_shell_scripts_are_shell(certificates: bool, machine: Machine) -> None:
    about = with_certificate(machine) if certificates else facts(user=CROOKED, routes=[IPv4Network("10.0.0.0/8")])
    files = linux.strongswan(about)
    assert ("client.key" in files) is certificates
    for script in (files["install.sh"], linux.nmcli(about).encode()):
        done = subprocess.run(["sh", "-n"], input=script, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    if certificates:
        assert b"id = vpn.example.net" in files["swanctl.conf"]
    else:
        assert base64.b64encode(PSK.encode()) in files["swanctl.conf"]
    text = files["swanctl.conf"].decode()
    assert text.count("{") == text.count("}")


def test_password_reaches_the_secrets_of_pppd_as_typed(tmp_path: Path) -> None:
    """The part of the script that writes chap-secrets, run with everything else taken out of its way."""
    script = linux.strongswan(facts(user='a"b'))["install.sh"].decode()
    part = script.split("\nup)\n")[1].split("\t# The way")[0]
    secrets = tmp_path / "chap-secrets"
    secrets.write_text('"bob" * "x" *\n"a" * "old" * # headrace 192.0.2.1\n')
    for command in ("stty -echo; ", " stty echo;"):
        assert command in part
        part = part.replace(command, "")
    done = subprocess.run(
        ["sh", "-euc", f"name=192.0.2.1 secrets={secrets}\n{part}"],
        input='p"w\\ $x\n',
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert secrets.read_text().splitlines() == ['"bob" * "x" *', '"a\\"b" * "p\\"w\\\\ $x" * # headrace 192.0.2.1']


# --- the page ---------------------------------------------------------------------------------------------------------


class Words(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {name for name, _ in attrs} & {"src", "href", "onload"}, "the page stands alone"

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_page_to_print() -> None:
    read = Words()
    read.feed(sheet.page(facts(user=CROOKED)))
    assert "b" not in read.tags
    assert "script" not in read.tags
    assert CROOKED in read.texts
    assert PSK in read.texts
    assert read.tags.count("svg") == 1
    for form in ("Android 4 to 11", "ChromeOS", "Windows 10 and 11", "iPhone, iPad, Mac"):
        assert form in read.texts


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(store, "_ARGON2_MEMORY", 64)
    for name, text in (("psk", PSK), ("password", PASSWORD)):
        Path(name).touch(mode=0o600)
        Path(name).write_text(text)
    sections = {**CONFIG, "ike": {"auth": ["psk"], "psk_file": "psk"}}
    Path("gateway.toml").write_text(toml(sections))
    assert run(["account", "add", "alice", "--password-file", "password", "--config", "gateway.toml"]) == 0
    return tmp_path


def test_command_writes_files_for_their_owner_only(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):  # the second time in place of the first
        assert run(["profile", "all", "--user", "alice", "--config", "gateway.toml", "--name", "Office"]) == 0
    written = {Path(line) for line in capsys.readouterr().out.splitlines() if line.startswith("profiles/")}
    assert {path.name for path in written} >= {"Office.ps1", "Office.mobileconfig", "Office.html", "install.sh", "nmcli.sh"}
    assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
    assert (gateway / "profiles" / "Office.ps1").read_bytes().startswith(b"\xef\xbb\xbf#")
    for path in written:
        assert PASSWORD.encode() not in path.read_bytes()


def test_command_for_nobody(gateway: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["profile", "windows", "--user", "nobody", "--config", "gateway.toml"]) == 1
    assert "no account 'nobody'" in capsys.readouterr().err
    assert not (gateway / "profiles").exists()
