"""The configuration: what is read, what is refused, and in which words."""

from __future__ import annotations

import dataclasses
import tomllib
from ipaddress import IPv4Address, ip_network
from pathlib import Path
from typing import Any

import pytest

from headrace.access.pools import AddressRange
from headrace.errors import ConfigError
from headrace.model import Encryption, Endpoint
from headrace.ppp.config import AuthMethod
from headrace.shell import config as values
from headrace.shell.config import GatewayConfig, IkeAuth, Policy, load_config
from headrace.shell.mistakes import ConfigMistakes, Mistake
from headrace.shell.schema import schema

GOOD_PSK = b"a-long-and-quite-random-key-0"
POOLS = '[network.pools]\nclients = ["10.99.0.2-10.99.0.254"]\n'
GOOD = f'[ike]\npsk_file = "psk"\n{POOLS}'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    secret(tmp_path / "psk", GOOD_PSK + b"\n")
    return tmp_path


def secret(path: Path, data: bytes, mode: int = 0o600) -> Path:
    path.write_bytes(data)
    path.chmod(mode)
    return path


def load(folder: Path, text: str | bytes) -> GatewayConfig:
    path = folder / "gateway.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_config(path)


def mistakes(folder: Path, text: str | bytes) -> tuple[Mistake, ...]:
    with pytest.raises(ConfigMistakes) as caught:
        load(folder, text)
    for mistake in caught.value.mistakes:
        assert str(mistake).startswith(f"{folder / 'gateway.toml'}:{mistake.line}: {mistake.key}: ")
        assert "\n" not in str(mistake)
    assert GOOD_PSK.decode() not in str(caught.value)
    return caught.value.mistakes


def only(folder: Path, text: str | bytes) -> Mistake:
    found = mistakes(folder, text)
    assert len(found) == 1, found
    return found[0]


# --- what is read ---------------------------------------------------------------------------------------------------------------


def test_least_configuration_has_the_defaults(folder: Path) -> None:
    config = load(folder, GOOD)
    assert config.ike.auth == (IkeAuth.PSK,)
    assert config.ike.psk == GOOD_PSK
    assert config.gateway == values.GatewaySection()
    assert config.esp == values.EspSection()
    assert config.l2tp == values.L2tpSection()
    assert config.ppp == values.PppSection()
    assert config.limits == values.LimitsSection()
    assert config.accounts == values.AccountsSection()
    assert config.network.address == IPv4Address("10.99.0.1")
    assert config.network.pools[0].name == "clients"
    assert config.network.pools[0].ranges == (AddressRange(IPv4Address("10.99.0.2"), IPv4Address("10.99.0.254")),)
    assert config.warnings == ()
    assert config.path == folder / "gateway.toml"


def test_schema_and_values_agree_on_keys_and_defaults() -> None:
    renamed = {
        "ike": {"psk_file": "psk", "psk": "psks", "private_key_passphrase_file": "private_key_passphrase"},
        "l2tp": {"secret_file": "secret"},
        "radius": {"server": "servers"},
        "eap": {"private_key_passphrase_file": "private_key_passphrase"},
    }
    sections = {f.name: f for f in dataclasses.fields(GatewayConfig) if f.name not in {"path", "warnings"}}
    assert set(schema()["properties"]) == set(sections)
    for name, section in schema()["properties"].items():
        made: Any = getattr(GatewayConfig(), name)
        keys = {renamed.get(name, {}).get(key, key) for key in section["properties"]}
        assert keys == {f.name for f in dataclasses.fields(made)}, name
        for key, node in section["properties"].items():
            assert node.get("description"), (name, key)
            if "default" in node:
                value = getattr(made, key)
                plain = [str(v) if not isinstance(v, int) else v for v in value] if isinstance(value, tuple) else value
                plain = str(plain) if isinstance(plain, Path | IPv4Address) else plain
                plain = plain.hex(":") if isinstance(plain, bytes) else plain
                assert plain == node["default"], (name, key)


def test_everything_set(folder: Path) -> None:
    text = """
[gateway]
name = "vpn"
listen = ["203.0.113.1", "2001:db8::1"]
policy = "modern"
state_dir = "state"
workers = 4
[log]
level = "debug"
[ike]
psk_file = "psk"
proposals = ["aes256-sha256-ecp384"]
rekey_time = 600.5
[[ike.psk]]
remote = ["198.51.100.0/24"]
file = "psk"
[esp]
proposals = ["aes256gcm16"]
replay_window = 64
[ppp]
auth = ["mschap-v2", "pap"]
encryption = "off"
[network]
address = "10.1.0.1"
dns = ["9.9.9.9"]
[network.pools]
staff = ["10.1.0.2-10.1.0.9", "10.1.2.0/24"]
guests = ["10.2.0.0/24"]
"""
    config = load(folder, text)
    assert config.gateway.policy is Policy.MODERN
    assert [str(a) for a in config.gateway.listen] == ["203.0.113.1", "2001:db8::1"]
    assert config.accounts.database == folder / "state" / "accounts.db"
    assert config.ike.rekey_time == 600.5
    assert config.ike.psks[0].remote == (ip_network("198.51.100.0/24"),)
    assert config.ike.proposals == ("aes256-sha256-ecp384",)
    assert config.ppp.auth == (AuthMethod.MSCHAP_V2, AuthMethod.PAP)
    assert config.ppp.encryption is Encryption.OFF
    assert [p.name for p in config.network.pools] == ["staff", "guests"]
    assert str(config.network.pools[0].ranges[1]) == "10.1.2.1-10.1.2.254"
    assert any("pap" in w for w in config.warnings)


def test_secrets_are_not_in_the_repr(folder: Path) -> None:
    assert GOOD_PSK.decode() not in repr(load(folder, GOOD))


def test_psk_by_network_longest_prefix_first(folder: Path) -> None:
    secret(folder / "near", b"another-long-and-random-key-1")
    secret(folder / "host", b"another-long-and-random-key-2")
    text = GOOD.replace(
        POOLS,
        '[[ike.psk]]\nremote = ["198.51.100.0/24", "2001:db8::/32"]\nfile = "near"\n'
        f'[[ike.psk]]\nremote = ["198.51.100.7"]\nfile = "host"\n{POOLS}',
    )
    ike = load(folder, text).ike
    assert ike.psk_for(Endpoint.of("203.0.113.9", 500)) == GOOD_PSK
    assert ike.psk_for(Endpoint.of("198.51.100.8", 500)) == b"another-long-and-random-key-1"
    assert ike.psk_for(Endpoint.of("2001:db8::7", 500)) == b"another-long-and-random-key-1"
    assert ike.psk_for(Endpoint.of("198.51.100.7", 500)) == b"another-long-and-random-key-2"
    assert dataclasses.replace(ike, auth=(IkeAuth.CERT,)).psk_for(Endpoint.of("203.0.113.9", 500)) is None


def test_example_loads(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "gateway.toml"
    secret(tmp_path / "psk", GOOD_PSK)
    config = load(tmp_path, example.read_bytes())
    assert config.warnings == ()
    assert config.network.pools[0].name == "clients"


def test_systemd_credential(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "creds").mkdir()
    secret(folder / "creds" / "vpn-psk", b"a-credential-of-enough-length", 0o400)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(folder / "creds"))
    assert load(folder, GOOD.replace('"psk"', '"credential:vpn-psk"')).ike.psk == b"a-credential-of-enough-length"
    monkeypatch.delenv("CREDENTIALS_DIRECTORY")
    assert "LoadCredential=vpn-psk" in str(only(folder, GOOD.replace('"psk"', '"credential:vpn-psk"')))
    assert "not the name of a credential" in str(only(folder, GOOD.replace('"psk"', '"credential:../psk"')))


# --- N199: the file itself ------------------------------------------------------------------------------------------------------


def test_n199_empty_file(folder: Path) -> None:
    for text in ("", " \n\n", "\ufeff"):
        assert only(folder, text).reason == "is empty"


def test_n199_missing_directory_and_permission(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml:1: file: does not exist; "):
        load_config(folder / "absent.toml")
    with pytest.raises(ConfigError, match=r":1: file: is a directory; "):
        load_config(folder)


def test_n199_no_permission(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"cannot be read: Permission denied; "):
        load_config(folder / "gateway.toml")


def test_n199_not_utf8_names_the_line(folder: Path) -> None:
    mistake = only(folder, b'[gateway]\nname = "v\xe4"\n')
    assert (mistake.line, mistake.reason) == (2, "octet 0xe4 is not UTF-8")


def test_n199_too_large(folder: Path) -> None:
    path = folder / "gateway.toml"
    with path.open("wb") as stream:
        stream.truncate(100 << 20)
    with pytest.raises(ConfigError, match=r"larger than 1 MiB"):
        load_config(path)


def test_n199_byte_order_mark_and_crlf_are_accepted(folder: Path) -> None:
    assert load(folder, "\ufeff" + GOOD.replace("\n", "\r\n")).ike.psk == GOOD_PSK


@pytest.mark.parametrize(
    ("text", "line", "key"),
    [
        ("[gateway]\nname vpn\n", 2, "name vpn"),
        ("[gateway]\nname = vpn\n", 2, "name"),
        ("[gateway\n", 1, "[gateway"),
        ('[gateway]\nname = "vpn\n', 2, "name"),
        ("[gateway]\nlisten = [", 2, "listen"),
        ("x = " + "[" * 5000, 1, ""),
    ],
)
def test_n199_not_toml(folder: Path, text: str, line: int, key: str) -> None:
    mistake = only(folder, text)
    assert mistake.line == line
    if key:
        assert mistake.key == key


# --- N200: keys -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "key", "remedy"),
    [
        ("[gateway]\nnmae = 1\n", 2, "gateway.nmae", "did you mean name?"),
        ("[gateway]\nike-port = 1\n", 2, "gateway.ike-port", "did you mean ike_port?"),
        ("[gateway]\ndpd_delay = 30\n", 2, "gateway.dpd_delay", "it belongs in [ike]"),
        ("[gatway]\nname = 'x'\n", 1, "gatway", "did you mean gateway?"),
        ("mru = 1400\n", 1, "mru", "it belongs in [ppp]"),
        ("[ike.certificates]\n", 1, "ike.certificates", "did you mean certificate?"),
        ("[[ike.psk]]\nremote = ['1.2.3.4']\nfile = 'psk'\nkey = 'x'\n", 4, "ike.psk[0].key", "known here: file, remote"),
        ("[l2tp]\nhelo_interval = 3\n", 2, "l2tp.helo_interval", "did you mean hello_interval?"),
        ("[l2tp]\nreky_time = 3\n", 2, "l2tp.reky_time", "did you mean rekey_time in "),
        ("[gateway]\nxyzzy = 3\n", 2, "gateway.xyzzy", "known here: allow_clear_l2tp, "),
    ],
)
def test_n200_unknown_key(folder: Path, text: str, line: int, key: str, remedy: str) -> None:
    found = [m for m in mistakes(folder, text) if m.key == key]
    assert [(m.line, m.reason) for m in found] == [(line, "is not a known key")]
    assert found[0].remedy.startswith(remedy)


@pytest.mark.parametrize(
    ("text", "line", "key", "first"),
    [
        ('[gateway]\nname = "a"\nname = "b"\n', 3, "gateway.name", 2),
        ("[gateway]\n[log]\n[gateway]\n", 3, "gateway", 1),
        ("gateway.name = 'a'\ngateway.name = 'b'\n", 2, "gateway.name", 1),
        ("[network]\npools = {a = ['10.0.0.0/24'], a = ['10.1.0.0/24']}\n", 2, "network.pools.a", 2),
    ],
)
def test_n200_key_twice(folder: Path, text: str, line: int, key: str, first: int) -> None:
    mistake = only(folder, text)
    assert (mistake.line, mistake.key) == (line, key)
    assert mistake.reason == f"stands here for the second time; the first is in line {first}"


# --- N201: values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "line", "words"),
    [
        ("gateway", "ike_port = -1", "a whole number from 1 to 65535, got -1"),
        ("gateway", "ike_port = 0", "a whole number from 1 to 65535, got 0"),
        ("gateway", "natt_port = 65536", "a whole number from 1 to 65535, got 65536"),
        ("gateway", "ike_port = 500.0", "a whole number from 1 to 65535, got 500.0"),
        ("gateway", "workers = 1e9", "a whole number from 0 to 64, got 1000000000.0"),
        ("gateway", "workers = true", "a whole number from 0 to 64, got true"),
        ("gateway", "name = 5", "printable ASCII characters without blanks, in quotes, got 5"),
        ("gateway", 'name = "a b"', 'without blanks, in quotes, got "a b"'),
        ("gateway", 'policy = "compatibel"', 'one of modern, compatible, legacy, got "compatibel"; did you mean "compatible"?'),
        ("gateway", "insecure_lab_mode = 1", "true or false, got 1"),
        ("gateway", 'listen = "0.0.0.0"', 'a list of 1 to 16: addresses, each once, got "0.0.0.0"'),
        ("gateway", "listen = []", "a list of 1 to 16: addresses, each once, got a list"),
        (
            "ike2",
            'rekey_time = "10 minutes"',
            'a number of seconds from 300 to 86400, got "10 minutes"; write the number of seconds',
        ),
        ("ike2", "rekey_time = nan", "a number of seconds from 300 to 86400, got nan"),
        ("ike2", "rekey_time = inf", "a number of seconds from 300 to 86400, got inf"),
        ("ike2", "rekey_time = 1e9", "a number of seconds from 300 to 86400, got 1000000000.0"),
        ("ike2", "rekey_time = 2021-01-01", "a number of seconds from 300 to 86400, got 2021-01-01"),
        ("ike2", 'psk = "secret"', "a secret does not belong in this file; put it into a file of its own (chmod 600)"),
        ("esp", "replay_window = 100", "a whole number of packets from 32 to 4096 in steps of 32, got 100"),
        ("ppp", "mppe_bits = [64]", "one of 40, 56, 128, got 64"),
        ("ppp", 'auth = ["mschapv2"]', 'got "mschapv2"; did you mean "mschap-v2"?'),
        ("ppp", 'encryption = "none"', "one of off, optional, required, required-128"),
        ("network", "pools = 5", "a table, got 5"),
    ],
)
def test_n201_wrong_value(folder: Path, section: str, line: str, words: str) -> None:
    if section == "ike2":
        own = "" if line.startswith("psk") else "psk_file = 'psk'"
        text = f"[ike]\n{line}\n{own}\n{POOLS}"
    elif section == "network":
        text = f'[network]\n{line}\n[ike]\npsk_file = "psk"\n'
    else:
        text = f"[{section}]\n{line}\n{GOOD}"
    mistake = only(folder, text)
    assert mistake.line == 2
    assert mistake.reason.startswith("expected ") or "secret" in mistake.reason
    assert words in f"{mistake.reason}; {mistake.remedy}"


# --- N202: addresses ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pools", "line", "words"),
    [
        ('a = ["10.1.0.0/24"]\nb = ["10.1.0.128/25"]', 5, "10.1.0.129-10.1.0.254 overlaps 10.1.0.1-10.1.0.254 of pool a"),
        ('a = ["10.1.0.0/24", "10.1.0.9-10.1.0.10"]', 4, "10.1.0.9-10.1.0.10 overlaps 10.1.0.1-10.1.0.254 of pool a"),
        ('a = ["10.99.0.0/24"]', 4, 'holds 10.99.0.1, which is network.address; leave it out: "10.99.0.2-10.99.0.254"'),
        ('a = ["10.1.0.0/31"]', 4, "has no room for clients"),
        ('a = ["10.1.0.0/32"]', 4, "has no room for clients"),
        ('a = ["10.1.0.9-10.1.0.2"]', 4, '10.1.0.9-10.1.0.2 is reversed; write "10.1.0.2-10.1.0.9"'),
        ('a = ["10.1.0.5/24"]', 4, 'has host bits set; write "10.1.0.0/24"'),
        ('a = ["10.1.0.5"]', 4, "is neither a network nor a range"),
        ('a = ["10.1.0.0/33"]', 4, "is not an IPv4 network"),
        ('a = ["fd00::/64"]', 4, "is not an IPv4 network"),
        ('a = ["x-y"]', 4, "is not a range of IPv4 addresses"),
        ('a = ["127.0.0.0/24"]', 4, "loopback addresses"),
        ('a = ["224.0.0.0/24"]', 4, "multicast addresses"),
        ('a = ["0.0.0.0/0"]', 4, "unspecified addresses"),
        ('A = ["10.1.0.0/24"]', 4, "'A' cannot be the name of a pool"),
        ("a = []", 4, "a list of 1 to 256: networks or ranges"),
    ],
)
def test_n202_pools(folder: Path, pools: str, line: int, words: str) -> None:
    found = mistakes(folder, f'[ike]\npsk_file = "psk"\n[network.pools]\n{pools}\n')
    assert words in f"{found[0].reason}; {found[0].remedy}"
    assert found[0].line == line


def test_n202_pool_holds_an_outer_address_or_a_server(folder: Path) -> None:
    text = f'[gateway]\nlisten = ["10.99.0.5"]\n[ike]\npsk_file = "psk"\n[network]\ndns = ["10.99.0.6"]\n{POOLS}'
    assert [m.reason.partition("holds ")[2] for m in mistakes(folder, text)] == [
        "10.99.0.5, which is gateway.listen[0]",
        "10.99.0.6, which is network.dns",
    ]


def test_n202_inner_address_is_never_an_outer_one(folder: Path) -> None:
    text = f'[gateway]\nlisten = ["203.0.113.1"]\n[ike]\npsk_file = "psk"\n[network]\naddress = "203.0.113.1"\n{POOLS}'
    mistake = only(folder, text)
    assert (mistake.line, mistake.key) == (6, "network.address")
    assert "route the tunnel into itself" in mistake.remedy


@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255", "fd00::1", "10.99.0.300", "x"])
def test_inner_address_must_be_a_hosts(folder: Path, address: str) -> None:
    assert only(folder, f'{GOOD}[network]\naddress = "{address}"\n'.replace(POOLS, "") + POOLS).key == "network.address"


def test_dns_server_may_be_the_gateway(folder: Path) -> None:
    assert load(folder, f'[ike]\npsk_file = "psk"\n[network]\ndns = ["10.99.0.1"]\n{POOLS}').network.dns


def test_missing_pools(folder: Path) -> None:
    assert "[network.pools] with clients = " in only(folder, '[ike]\npsk_file = "psk"\n').remedy
    assert "[network.pools] with clients = " in only(folder, '[ike]\npsk_file = "psk"\n[network]\nmtu = 1400\n').remedy


# --- N203: listen ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('listen = ["224.0.0.1"]', "cannot be an address of this machine"),
        ('listen = ["vpn.example.org"]', "is not an IP address"),
        ('listen = ["1.2.3.4", "1.2.3.4"]', "each once"),
        ("ike_port = 4500", "is the same as ike_port (4500)"),
        ("allow_clear_l2tp = true\ninsecure_lab_mode = true\nl2tp_port = 4500", "is also a port of IKE"),
    ],
)
def test_n203_listen(folder: Path, line: str, words: str) -> None:
    assert words in str(only(folder, f"[gateway]\n{line}\n{GOOD}"))


# --- N204: pre-shared keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"vpn", "one of the first that a scanner tries"),
        (b"1234", "one of the first that a scanner tries"),
        (b"PassWord1", "one of the first that a scanner tries"),
        (b" a-long-and-quite-random-key-0", "begins or ends with a blank"),
        (b"a-long-and-quite-random-key-0 ", "begins or ends with a blank"),
        (b"a-long-and-quite-random-key-0\n\n", "control characters or several lines"),
        (b"a-long-and-quite\x00random-key-0", "control characters"),
        (b"x" * 5000, "longer than 4096"),
    ],
)
def test_n204_bad_psk_is_refused(folder: Path, key: bytes, words: str) -> None:
    secret(folder / "psk", key)
    mistake = only(folder, GOOD)
    assert (mistake.line, mistake.key) == (2, "ike.psk_file")
    assert words in mistake.reason
    if len(key) > 4:
        assert key.decode("latin-1").strip() not in str(mistake)


@pytest.mark.parametrize(
    ("key", "words"),
    [(b"correct horse", "13 characters"), ("schlüssel-mit-umlauten".encode(), "outside of ASCII")],
)
def test_n204_weak_psk_is_warned_of_and_never_trimmed(folder: Path, key: bytes, words: str) -> None:
    secret(folder / "psk", key + b"\r\n")
    config = load(folder, GOOD)
    assert config.ike.psk == key
    assert len(config.warnings) == 1
    assert words in config.warnings[0]


def test_n204_lab_mode_takes_a_trivial_psk_with_a_warning(folder: Path) -> None:
    secret(folder / "psk", b"vpn")
    config = load(folder, f"[gateway]\ninsecure_lab_mode = true\n{GOOD}")
    assert config.ike.psk == b"vpn"
    assert any("scanner" in w for w in config.warnings)


# --- N205, N196: files of secrets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o602, 0o620, 0o666])
def test_n205_secret_readable_by_others_is_refused(folder: Path, mode: int) -> None:
    (folder / "psk").chmod(mode)
    mistake = only(folder, GOOD)
    assert "can be read or changed by others" in mistake.reason
    assert mistake.remedy == f"run chmod 600 {folder / 'psk'}"


def test_n205_group_may_read(folder: Path) -> None:
    (folder / "psk").chmod(0o640)
    assert load(folder, GOOD).ike.psk == GOOD_PSK


def test_n205_secret_missing_or_not_a_file(folder: Path) -> None:
    assert "does not exist" in only(folder, GOOD.replace('"psk"', '"absent"')).reason
    (folder / "dir").mkdir()
    assert "is not a file" in only(folder, GOOD.replace('"psk"', '"dir"')).reason


def test_n196_private_key_readable_by_others(folder: Path) -> None:
    for name in ("gw.crt", "gw.key", "ca.crt"):
        secret(folder / name, b"x", 0o644)
    text = f'[ike]\ncertificate = "gw.crt"\nprivate_key = "gw.key"\nca = ["ca.crt"]\n{POOLS}'
    mistake = only(folder, text)
    assert (mistake.line, mistake.key) == (3, "ike.private_key")
    assert "can be read or changed by others" in mistake.reason


# --- authentication material ----------------------------------------------------------------------------------------------------


def test_certificates_and_psk(folder: Path) -> None:
    for name in ("gw.crt", "gw.key", "ca.crt"):
        secret(folder / name, b"x")
    ike = 'certificate = "gw.crt"\nprivate_key = "gw.key"\nca = ["ca.crt"]\n'
    assert load(folder, f"[ike]\n{ike}{POOLS}").ike.auth == (IkeAuth.CERT,)
    assert load(folder, f'[ike]\n{ike}psk_file = "psk"\n{POOLS}').ike.auth == (IkeAuth.CERT, IkeAuth.PSK)
    config = load(folder, f'[ike]\n{ike}psk_file = "psk"\nauth = ["cert"]\n{POOLS}')
    assert config.ike.auth == (IkeAuth.CERT,)
    assert any("configured but not allowed" in w for w in config.warnings)


@pytest.mark.parametrize(
    ("ike", "key", "words"),
    [
        ("", "ike", "machines have no way to prove themselves"),
        ('certificate = "psk"\n', "ike.certificate", "certificates also need ike.private_key, ike.ca"),
        ('ca = ["psk"]\npsk_file = "psk"\n', "ike.ca", "certificates also need ike.certificate, ike.private_key"),
        ('auth = ["cert"]\npsk_file = "psk"\n', "ike.auth", '"cert" has nothing to work with'),
        ('auth = ["psk"]\n', "ike.auth", '"psk" has nothing to work with'),
        ('psk_file = "psk"\nca = ["absent"]\n', "ike.ca[0]", "No such file"),
        ('psk_file = "psk"\ndpd_delay = 60\ndpd_timeout = 60\n', "ike.dpd_timeout", "not more than dpd_delay"),
        ('[[ike.psk]]\nremote = ["1.2.3.4/24"]\nfile = "psk"\n', "ike.psk[0].remote[0]", "host bits"),
        ('[[ike.psk]]\nremote = ["x"]\nfile = "psk"\n', "ike.psk[0].remote[0]", "is not a network"),
        ('[[ike.psk]]\nfile = "psk"\n', "ike.psk[0].remote", "is missing"),
    ],
)
def test_machine_authentication(folder: Path, ike: str, key: str, words: str) -> None:
    found = [m for m in mistakes(folder, f"[ike]\n{ike}{POOLS}") if m.key == key]
    assert found
    assert words in found[0].reason


# --- N206, N207 -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[ppp]\nauth = ['pap', 'mschap-v2']\n", "pap hands every password"),
        ("[ppp]\nauth = ['chap-md5', 'mschap-v2']\n", "chap-md5 needs passwords"),
        ("[ppp]\nmppe_bits = [40, 128]\n", "40 bits protect nothing"),
        ("[ppp]\nencryption = 'required'\n", "Windows clients refuse that with error 742"),
        ("[gateway]\npolicy = 'legacy'\n", "legacy allows 3DES, DES, MD5 and MODP-1024"),
        ("[esp]\nproposals = ['3des-sha1']\n", "3des-sha1 uses 3DES"),
        ("[log]\nkeylog_dir = '/var/lib/headrace/keys'\n", "whoever reads /var/lib/headrace/keys reads all traffic"),
        ("[gateway]\ninsecure_lab_mode = true\n", "never outside of a laboratory"),
    ],
)
def test_n206_weak_things_are_named_and_warned_of(folder: Path, text: str, words: str) -> None:
    assert any(words in w for w in load(folder, text + GOOD).warnings)


def test_n206_weak_ike_proposal(folder: Path) -> None:
    config = load(folder, f'[ike]\npsk_file = "psk"\nproposals = ["3des-sha1-modp1024"]\n{POOLS}')
    assert [w for w in config.warnings if "MODP-1024" in w]
    assert [w for w in config.warnings if "3DES" in w]


def test_n206_aggressive_mode_cannot_be_turned_on(folder: Path) -> None:
    assert only(folder, f'[ike]\npsk_file = "psk"\naggressive = true\n{POOLS}').reason == "is not a known key"


@pytest.mark.parametrize("encryption", ["off", "optional"])
def test_n207_no_encryption_at_all_is_refused(folder: Path, encryption: str) -> None:
    text = f"[gateway]\nallow_clear_l2tp = true\n[ppp]\nencryption = '{encryption}'\n"
    assert "may cross in clear text" in only(folder, text + GOOD).reason
    config = load(folder, text.replace("true\n", "true\ninsecure_lab_mode = true\n") + GOOD)
    assert any("insecure_lab_mode" in w for w in config.warnings)
    assert config.clear_text
    assert not load(folder, GOOD).clear_text


def test_n207_lab_mode_needs_no_ipsec(folder: Path) -> None:
    config = load(folder, f"[gateway]\nallow_clear_l2tp = true\ninsecure_lab_mode = true\n{POOLS}")
    assert config.ike.auth == ()


def test_n207_null_cipher_only_in_lab_mode(folder: Path) -> None:
    assert "does not encrypt" in only(folder, f"[esp]\nproposals = ['null-sha1']\n{GOOD}").reason


@pytest.mark.parametrize(
    ("section", "text", "key", "words"),
    [
        ("ike", 'proposals = ["aes256-sha1"]', "ike.proposals[0]", "needs a cipher, a hash and a group"),
        ("ike", 'proposals = ["aes256-sha1-modp2048", "rot13-sha1-modp2048"]', "ike.proposals[1]", "'rot13' is unknown"),
        ("esp", 'proposals = ["aes256"]', "esp.proposals[0]", ""),
        ("l2tp", "hide_avps = true", "l2tp.hide_avps", "needs a tunnel secret"),
        ("ppp", 'encryption = "required-128"\nmppe_bits = [40]', "ppp.mppe_bits", "does not hold 128"),
        ("ppp", 'encryption = "required"\nauth = ["pap"]', "ppp.auth", "none of these gives keys"),
        ("ppp", 'encryption = "off"\nprefer_mppe = true', "ppp.prefer_mppe", "means nothing"),
    ],
)
def test_combinations_that_cannot_work(folder: Path, section: str, text: str, key: str, words: str) -> None:
    body = f"[ike]\n{text}\npsk_file = 'psk'\n{POOLS}" if section == "ike" else f"[{section}]\n{text}\n{GOOD}"
    mistake = only(folder, body)
    assert mistake.key == key
    assert words in mistake.reason


def test_all_mistakes_are_found_in_one_go(folder: Path) -> None:
    text = "[gateway]\nnmae = 1\nike_port = 0\n[ppp]\nmru = 9\n" + GOOD
    assert [m.line for m in mistakes(folder, text)] == [2, 3, 5]


def test_schema_is_valid_json_schema() -> None:
    import jsonschema

    jsonschema.Draft202012Validator.check_schema(schema())


def test_example_and_tests_use_toml_that_others_read() -> None:
    example = Path(__file__).parents[2] / "examples" / "gateway.toml"
    assert set(tomllib.loads(example.read_text())) <= set(schema()["properties"])
