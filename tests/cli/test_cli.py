"""The command line: exit codes, one line on standard error, no secrets, no tracebacks."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from headrace.access import store
from headrace.cli import explain
from headrace.cli.app import run
from headrace.errors import Slug
from headrace.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store, "_ARGON2_MEMORY", 64)
    monkeypatch.chdir(tmp_path)
    for name in (
        "HEADRACE_CONFIG",
        "HEADRACE_SOCKET",
        "HEADRACE_PSK",
        "HEADRACE_PASSWORD",
        "HEADRACE_PKI",
        "HEADRACE_CA_PASSPHRASE",
    ):
        monkeypatch.delenv(name, raising=False)


class Shell:
    """Runs command lines, and keeps what they printed."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys
        self.out = ""
        self.err = ""

    def __call__(self, *words: str) -> int:
        code = run(words)
        self.out, self.err = self.capsys.readouterr()
        assert "Traceback" not in self.err
        return code

    def json(self, *words: str) -> Any:
        assert self(*words, "--json") == 0, self.err
        return json.loads(self.out)


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(capsys)


def write(name: str, text: str, mode: int = 0o600) -> Path:
    path = Path(name)
    path.write_text(text)
    path.chmod(mode)
    return path


# --- the whole ------------------------------------------------------------------------------------------------------------------


def test_version(shell: Shell) -> None:
    assert shell("--version") == 0
    assert shell.out == f"headrace {__version__}\n"


def test_no_arguments_show_the_help(shell: Shell) -> None:
    assert shell() == 2
    assert "headrace demo" in shell.out
    assert "Exit codes:" in shell.out


COMMANDS = (
    "",
    "serve",
    "dial",
    "demo",
    "check",
    "status",
    "sessions",
    "disconnect",
    "events",
    "explain",
    "inspect",
    "troubleshoot",
    "account",
    *(
        f"account {name}"
        for name in ("add", "set", "passwd", "list", "show", "disable", "enable", "remove", "export", "import", "group")
    ),
    *(f"account group {name}" for name in ("add", "set", "list", "remove")),
    "pki",
    *(f"pki {name}" for name in ("init", "issue", "export", "revoke", "crl", "list")),
)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(shell: Shell, command: str) -> None:
    assert shell(*command.split(), "--help") == 0
    assert "Usage: headrace" in shell.out
    assert shell.err == ""


def test_command_line_is_documented() -> None:
    import typer

    from headrace.cli.app import app

    page = (Path(__file__).parents[2] / "docs" / "cli.md").read_text("utf-8")
    missing: list[str] = []
    common = {"--help", "-h", "--install-completion", "--show-completion"}

    def told(words: str) -> bool:
        return re.search(rf"(?<![\w-]){re.escape(words)}(?![\w-])", page) is not None

    def walk(command: Any, name: str) -> None:
        if not told(name):
            missing.append(name)
        for parameter in command.params:
            if getattr(parameter, "hidden", False) or parameter.param_type_name != "option":
                continue
            missing.extend(
                f"{name} {o}" for o in (*parameter.opts, *parameter.secondary_opts) if o not in common and not told(o)
            )
        for child, sub in getattr(command, "commands", {}).items():
            walk(sub, f"{name} {child}")

    walk(typer.main.get_command(app), "headrace")
    assert missing == []


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("explode",), "headrace: No such command 'explode'"),
        (("serve", "--colour"), "headrace: No such option"),
        (("dial",), "headrace: Missing argument"),
        (("dial", "x"), "headrace: Missing option"),
        (("dial", "x", "--user", "u", "--mtu", "9"), "headrace: Invalid value for '--mtu'"),
        (("disconnect",), "headrace: say whom to disconnect; "),
        (("disconnect", "x"), "headrace: Invalid value"),
        (("account", "set", "x"), "headrace: say what to change; "),
        (("explain",), "headrace: say what to explain; "),
    ],
)
def test_wrong_usage_is_one_line_and_2(shell: Shell, words: tuple[str, ...], text: str) -> None:
    assert shell(*words) == 2
    assert shell.err.startswith(text)
    assert shell.err.count("\n") == 1


def test_help_needs_nothing_heavy() -> None:
    code = (
        "import sys; from headrace.cli.app import run; run(['--help']); "
        "print([m for m in ('sqlalchemy', 'cryptography', 'jsonschema', 'rich', 'asyncio', 'numpy', 'pyroute2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "src"},
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_reader_that_has_gone_is_told_nothing() -> None:
    done = subprocess.run(
        f"{sys.executable} -m headrace explain --list | head -1",
        shell=True,
        executable="/bin/bash",
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": "src"},
        cwd=Path(__file__).parents[2],
    )
    assert done.stderr == ""
    assert done.stdout.count("\n") == 1


# --- explain --------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "text"),
    [
        ("742", "The remote computer does not support the required data encryption type"),
        ("789", "psk-mismatch: The pre-shared keys differ."),
        ("psk-mismatch", "Windows shows 789 OAKLEY_GENERAL_PROCESSING"),
        ("PSK_MISMATCH", "Windows shows 789 OAKLEY_GENERAL_PROCESSING"),
        ("OAKLEY_AUTH_FAIL", "787 OAKLEY_AUTH_FAIL"),
        ("ERROR_OAKLEY_AUTH_FAIL", "787 OAKLEY_AUTH_FAIL"),
        ("user-request", "a normal end"),
        ("610", "does not come from L2TP/IPsec"),
        ("678", "Windows XP's wording of 809"),
    ],
)
def test_explain(shell: Shell, what: str, text: str) -> None:
    assert shell("explain", what) == 0
    assert text in shell.out


@pytest.mark.parametrize("what", ["599", "99999", "-1", "psk-mismash", "", "٧٤٢"])
def test_explain_what_does_not_exist(shell: Shell, what: str) -> None:
    assert shell("explain", "--", what) == 1
    assert shell.err.count("\n") == 1


def test_explain_every_reason(shell: Shell) -> None:
    assert len(shell.json("explain", "--list")) == len(Slug)
    assert shell("explain", "--list") == 0
    assert shell.out.count("\n") == len(Slug) + 1
    for slug in Slug:
        assert explain.explain(slug.value) == 0
        assert f"{slug}: " in shell.capsys.readouterr().out
    assert shell.json("explain", "742")["reasons"][0]["slug"] == "encryption-refused"
    assert shell.json("explain", "admin")["ras"] == 629


# --- N205 -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ("dial", "gw", "--user", "u", "--psk", "very-secret"),
        ("dial", "gw", "--user", "u", "--password", "very-secret"),
        ("account", "add", "alice", "--password", "very-secret"),
        ("account", "passwd", "alice", "--password", "very-secret"),
        ("pki", "export", "x", "--out", "x.p12", "--password", "very-secret"),
    ],
)
def test_n205_secret_on_the_command_line_is_refused_with_the_safe_way_named(shell: Shell, words: tuple[str, ...]) -> None:
    assert shell(*words) == 2
    assert "everyone on this machine can read a command line; use " in shell.err
    assert "-file FILE" in shell.err
    assert "very-secret" not in shell.err + shell.out


def test_n205_secret_file_readable_by_others(shell: Shell) -> None:
    write("psk", "a-long-and-quite-random-key-0", 0o644)
    assert shell("dial", "gw", "--user", "u", "--psk-file", "psk") == 2
    assert "can be read or changed by others" in shell.err


# --- check ----------------------------------------------------------------------------------------------------------------------

CONFIG = """
[gateway]
state_dir = "."
control_socket = "control.sock"
[ike]
psk_file = "psk"
[network.pools]
clients = ["10.99.0.2-10.99.0.254"]
"""


@pytest.fixture
def config() -> str:
    write("psk", "a-long-and-quite-random-key-0\n")
    write("gateway.toml", CONFIG)
    return "gateway.toml"


def test_check_says_who_can_connect(shell: Shell, config: str) -> None:
    assert shell("check", "-c", config, "--no-host") == 0
    assert "gateway.toml: good" in shell.out
    assert "yes  Windows 7 to 11" in shell.out
    assert "no   Windows XP" in shell.out
    found = shell.json("check", "-c", config, "--no-host")
    windows = next(c for c in found["clients"] if c["client"].startswith("Windows 7"))
    assert (windows["good"], windows["esp"]) == (True, "aes256-sha1")
    assert found["pools"] == {"clients": 253}


def test_check_names_what_a_client_will_show(shell: Shell, config: str) -> None:
    write(config, CONFIG + "[ppp]\nencryption = 'required'\n")
    assert shell("check", "-c", config, "--no-host") == 0
    assert "742: it refuses MPPE inside ESP" in shell.out
    write(config, CONFIG + "[ppp]\nauth = ['pap']\n")
    assert shell("check", "-c", config, "--no-host") == 0
    assert "919: no common user authentication" in shell.out
    write(config, CONFIG + "[esp]\nproposals = ['aes256gcm16']\n")
    assert shell("check", "-c", config, "--no-host") == 0
    assert "788: no common phase 2; it offers aes256-sha1" in shell.out
    write(config, CONFIG.replace("[gateway]", "[gateway]\npolicy = 'legacy'"))
    assert shell("check", "-c", config, "--no-host") == 0
    assert "no  " not in shell.out
    assert "warning: gateway.policy: legacy" in shell.out


def test_check_with_mistakes_is_2_and_one_line_each(shell: Shell, config: str) -> None:
    write(config, CONFIG + "[ppp]\nmru = 1\nmrru = 2\n")
    assert shell("check", "-c", config) == 2
    assert shell.out == ""
    assert shell.err.splitlines() == [
        "gateway.toml:10: ppp.mru: expected a whole number of octets from 576 to 1500, got 1; write mru = 1400",
        "gateway.toml:11: ppp.mrru: is not a known key; did you mean mru?",
    ]


def test_serve_with_mistakes_is_2(shell: Shell) -> None:
    assert shell("serve", "-c", "absent.toml") == 2
    assert shell.err.startswith("absent.toml:1: file: does not exist; ")


def test_n203_check_looks_at_this_machine(shell: Shell, config: str) -> None:
    write(config, CONFIG.replace("[gateway]", '[gateway]\nlisten = ["192.0.2.77"]\nike_port = 50500\nnatt_port = 54500'))
    assert shell("check", "-c", config) == 3
    assert "gateway.listen[0]: 192.0.2.77 is no address of this machine" in shell.out


# --- dial -----------------------------------------------------------------------------------------------------------------------


def keeping(calls: list[Any]) -> Callable[..., int]:
    """A ``run`` that keeps its configuration and is done."""

    def call(config: Any, _new_password: Any = None) -> int:
        calls.append(config)
        return 0

    return call


@pytest.fixture
def dialled(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Keeps configurations instead of dialling."""
    import types

    calls: list[Any] = []
    fake = types.ModuleType("headrace.shell.client")
    fake.run = keeping(calls)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "headrace.shell.client", fake)
    import headrace.shell

    monkeypatch.setattr(headrace.shell, "client", fake, raising=False)
    return calls


def test_dial_builds_its_configuration(shell: Shell, dialled: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    write("psk", "a-long-and-quite-random-key-0\n")
    write("pw", "päss word\n")
    words = "dial vpn.example.org -u CORP\\alice --psk-file psk --password-file pw --policy modern --encryption required --route 10.0.0.0/8"
    more = "--route 192.168.0.0/16 --dns --ping 10.99.0.1 --ping-count 2 --source 192.0.2.1 -4 --json --mtu 1300 --proposal aes256-sha1-modp2048"
    assert shell(*words.split(), *more.split()) == 0, shell.err
    (config,) = dialled
    assert (config.server, config.user, config.password) == ("vpn.example.org", "CORP\\alice", "päss word")
    assert config.psk == b"a-long-and-quite-random-key-0"
    assert [str(r) for r in config.routes] == ["10.0.0.0/8", "192.168.0.0/16"]
    assert (str(config.ping), config.ping_count, config.family, config.mtu, config.json) == ("10.99.0.1", 2, 4, 1300, True)
    assert (config.policy.value, config.encryption.value, config.proposals) == ("modern", "required", ("aes256-sha1-modp2048",))
    assert "päss" not in repr(config)
    assert "random-key" not in repr(config)
    monkeypatch.setenv("HEADRACE_PSK", "another-long-and-random-key-0")
    monkeypatch.setenv("HEADRACE_PASSWORD", "secret")
    assert shell("dial", "gw", "-u", "u") == 0
    assert (dialled[1].psk, dialled[1].password) == (b"another-long-and-random-key-0", "secret")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("", "this machine has no way to prove itself"),
        ("--certificate x", "certificates also need --private-key, --ca"),
        ("--psk-file absent", "absent does not exist"),
        ("--psk-file psk --policy none", "--policy 'none'; write one of modern, compatible, legacy"),
        ("--psk-file psk --auth eap", "--auth 'eap'"),
        ("--psk-file psk --mppe-bits 64", "--mppe-bits 64"),
        ("--psk-file psk --route 10.0.0.1/8", "--route '10.0.0.1/8' is not a network"),
        ("--psk-file psk --ping x", "--ping 'x' is not an IPv4 address"),
        ("--psk-file psk --source x", "--source 'x' is not an IP address"),
        ("--psk-file psk -4 -6", "-4 and -6 exclude each other"),
        ("--psk-file psk --source ::1 -4", "contradict each other"),
        ("--psk-file psk --proposal rot13", "'rot13' is unknown"),
        ("--psk-file psk --encryption required --auth pap", "none of --auth gives keys"),
        ("--psk-file psk --encryption required-128 --mppe-bits 40", "without 128"),
        ("--psk-file psk --dpd-timeout 20", "--dpd-timeout is not more than"),
        ("--psk-file blank", "begins or ends with a blank"),
        ("--psk-file psk", "there is no password and no terminal"),
    ],
)
def test_dial_refuses_what_cannot_work(
    shell: Shell, dialled: list[Any], words: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import io

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO()))
    write("psk", "a-long-and-quite-random-key-0\n")
    write("blank", "a-long-and-quite-random-key-0 \n")
    assert shell("dial", "gw", "-u", "u", *words.split()) == 2
    assert text in shell.err
    assert shell.err.count("\n") == 1
    assert dialled == []


def test_n204_dial_warns_of_a_weak_psk_but_dials(shell: Shell, dialled: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_PASSWORD", "x")
    write("psk", "vpn\n")
    assert shell("dial", "gw", "-u", "u", "--psk-file", "psk") == 0
    assert "warning: the pre-shared key is one of the first" in shell.err
    assert dialled[0].psk == b"vpn"


# --- accounts -------------------------------------------------------------------------------------------------------------------


def test_account_from_add_to_remove(shell: Shell, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_PASSWORD", "first-password")
    c = ("-c", config)
    assert shell("account", "list", *c) == 1
    assert "add an account first" in shell.err
    assert shell("account", "group", "add", "staff", "--pool", "clients", "--sessions", "3", *c) == 0
    assert shell("account", "add", "alice", "--group", "staff", "--expires", "2040-12-31", "--address", "10.99.0.7", *c) == 0
    assert (Path("accounts.db").stat().st_mode & 0o777, Path("accounts.key").stat().st_mode & 0o777) == (0o600, 0o600)
    assert shell("account", "add", "Alice", *c) == 1
    assert "there is an account 'Alice' already" in shell.err
    found = shell.json("account", "show", "ALICE", *c)
    assert (found["name"], found["group"], found["address"], found["methods"]) == (
        "alice",
        "staff",
        "10.99.0.7",
        ["mschap-v2", "pap"],
    )
    assert found["expires"].startswith("2040-12-31T23:59")
    assert (
        shell("account", "set", "alice", "--dialin", "deny", "--address", "none", "--expires", "never", "--sessions", "0", *c)
        == 0
    )
    assert "deny (by account alice)" in shell.out
    assert (
        shell("account", "set", "alice", "--dialin", "inherit", "--hours", "mon-fri 08:00-18:00", "--encryption", "off", *c)
        == 0
    )
    found = shell.json("account", "show", "alice", *c)
    assert (found["dialin"], found["address"], found["expires"], found["sessions"]) == (None, None, None, 0)
    assert found["encryption"] == "off"
    assert shell("account", "passwd", "alice", "--generate", "--recoverable", *c) == 0
    assert len(shell.out.split("password: ")[1].strip()) == 20
    assert shell.json("account", "show", "alice", *c)["methods"] == ["mschap-v2", "pap", "chap-md5"]
    assert shell("account", "disable", "alice", *c) == 0
    assert shell("account", "list", *c) == 0
    assert "alice" in shell.out
    assert "disabled" in shell.out
    assert shell("account", "enable", "alice", "nobody", *c) == 1
    assert "there is no account 'nobody'" in shell.err
    exported = shell("account", "export", *c), json.loads(shell.out)
    assert exported[1]["groups"][0]["pool"] == "clients"
    assert "hash" not in shell.out
    assert shell("account", "group", "remove", "staff", *c) == 1
    assert shell("account", "set", "alice", "--group", "", *c) == 0
    assert shell("account", "group", "remove", "staff", *c) == 0
    assert shell("account", "remove", "alice", "--yes", *c) == 0
    assert shell("account", "list", *c) == 0
    assert "no accounts yet" in shell.out


def test_groups(shell: Shell) -> None:
    d = ("--database", "a.db")
    assert shell("account", "group", "add", "staff", "--dialin", "deny", "--comment", "us", *d) == 0
    assert shell("account", "group", "set", "staff", "--disable", "--hours", "always", *d) == 0
    assert shell("account", "group", "list", *d) == 0
    assert "dialin deny, hours always" in shell.out
    assert shell.json("account", "group", "list", *d)[0]["disabled"] is True
    assert shell("account", "group", "set", "staff", *d) == 2


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("--dialin maybe", "--dialin 'maybe'; write allow, deny or inherit"),
        ("--encryption strong", "--encryption 'strong'"),
        ("--sessions many", "--sessions 'many'"),
        ("--expires tomorrow", "'tomorrow' is not a date"),
        ("--hours nine-to-five", "is not a span of time"),
        ("--address 10.0.0", "is not an IPv4 address"),
        ("--address 127.0.0.1", "cannot be the address of a host"),
        ("--pool Clients", "name of a pool"),
        ("--group none", "there is no group 'none'"),
        ("--key-file k", "--key-file goes with --database"),
    ],
)
def test_account_settings_that_mean_nothing(shell: Shell, words: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_PASSWORD", "x")
    database = () if "--key-file" in words else ("--database", "a.db")
    assert shell("account", "add", "alice", *words.split(), *database) in {1, 2}
    assert text in shell.err
    assert shell.err.count("\n") == 1


def test_account_can_be_added_before_the_rest_of_the_configuration_is_right(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_PASSWORD", "x")
    write("gateway.toml", '[gateway]\nstate_dir = "state"\n')
    assert shell("account", "add", "alice", "-c", "gateway.toml") == 0
    assert Path("state/accounts.db").exists()


def test_import_of_chap_secrets(shell: Shell) -> None:
    write(
        "chap-secrets",
        '# client server secret addresses\nalice * "pass word" 10.0.0.7\nbob l2tpd secret *\n* * nobody *\n"CORP\\\\carol" * s3cret\ndave * @/file\n',
    )
    d = ("--database", "a.db")
    assert shell("account", "import", "chap-secrets", *d) == 0
    assert shell.out.endswith("added 3 of 3 accounts\n")
    users = shell.json("account", "list", *d)
    assert [(u["name"], u["address"]) for u in users] == [("alice", "10.0.0.7"), ("bob", None), ("CORP\\carol", None)]
    assert shell("account", "import", "chap-secrets", *d) == 0
    assert "alice: exists, left alone" in shell.out
    write("bad", "alice *\n")
    assert shell("account", "import", "bad", *d) == 2
    assert "bad:1: fewer than three words" in shell.err
    write("bad", 'alice * "open\n')
    assert shell("account", "import", "bad", *d) == 2
    write("bad", "erin * pw 10.0.0.7\n")
    assert shell("account", "import", "bad", *d) == 2
    assert "bad:1: 10.0.0.7 belongs to account 'alice'" in shell.err
    assert shell("account", "import", "absent", *d) == 3


# --- the CA ---------------------------------------------------------------------------------------------------------------------


def test_pki_from_init_to_revoke(shell: Shell, config: str) -> None:
    d = ("-d", "ca")
    assert shell("pki", "list", *d) == 1
    assert "`headrace pki init` makes one" in shell.err
    assert shell("pki", "init", "--key", "ecdsa-256", *d) == 0
    assert shell("pki", "init", *d) == 1
    found = shell.json(
        "pki", "issue", "--gateway", "--dns", "vpn.example.org", "--ip", "203.0.113.1", "--key", "ecdsa-256", "-o", "gw", *d
    )
    assert found["names"] == ["vpn.example.org", "203.0.113.1"]
    assert Path("gw/gateway.key").stat().st_mode & 0o777 == 0o600
    assert shell("pki", "issue", "laptop", "--key", "ecdsa-256", *d) == 0
    assert shell("pki", "issue", *d) == 2
    assert shell("pki", "issue", "--gateway", *d) == 2
    assert shell("pki", "issue", "x", "--key", "dsa", *d) == 2
    assert shell("pki", "export", "laptop", "-o", "laptop.p12", *d) == 0
    assert "password  " in shell.out
    assert Path("laptop.p12").stat().st_mode & 0o777 == 0o600
    write("pw", "export-password\n")
    assert shell("pki", "export", "laptop", "-o", "pem", "--password-file", "pw", *d) == 0
    assert b"ENCRYPTED" in Path("pem/laptop.key").read_bytes()
    assert shell("pki", "revoke", "laptop", "--reason", "superseded", *d) == 0
    assert shell("pki", "revoke", "laptop", *d) == 1
    assert shell("pki", "revoke", "laptop", "--reason", "boredom", *d) == 2
    assert shell("pki", "crl", "--days", "7", "-o", "crl.pem", *d) == 0
    assert {r["name"]: r["state"] for r in shell.json("pki", "list", *d)} == {"vpn.example.org": "good", "laptop": "revoked"}
    assert shell("pki", "list", *d) == 0
    text = CONFIG.replace(
        'psk_file = "psk"',
        'certificate = "gw/gateway.crt"\nprivate_key = "gw/gateway.key"\nca = ["gw/ca.crt"]\ncrl = ["crl.pem"]',
    )
    write(config, text)
    assert shell("check", "-c", config, "--no-host") == 0
    assert "certificate of vpn.example.org, 203.0.113.1: good until" in shell.out
    assert "with a computer certificate" in shell.out


def test_pki_with_a_passphrase(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    write("pass", "ca-passphrase\n")
    d = ("-d", "ca")
    assert shell("pki", "init", "--key", "ecdsa-256", "--passphrase-file", "pass", *d) == 0
    assert shell("pki", "issue", "laptop", *d) == 1
    assert "passphrase" in shell.err
    monkeypatch.setenv("HEADRACE_CA_PASSPHRASE", "ca-passphrase")
    assert shell("pki", "issue", "laptop", "--key", "ecdsa-256", *d) == 0


def test_n196_key_that_does_not_match_the_certificate(shell: Shell, config: str) -> None:
    d = ("-d", "ca")
    assert shell("pki", "init", "--key", "ecdsa-256", *d) == 0
    for name in ("a", "b"):
        assert shell("pki", "issue", "--gateway", "--dns", f"{name}.example.org", "--key", "ecdsa-256", "-o", name, *d) == 0
    text = CONFIG.replace('psk_file = "psk"', 'certificate = "a/gateway.crt"\nprivate_key = "b/gateway.key"\nca = ["a/ca.crt"]')
    write(config, text)
    assert shell("check", "-c", config, "--no-host") == 2
    assert "is not the key of" in shell.err


# --- a running gateway ----------------------------------------------------------------------------------------------------------


def test_no_gateway_runs(shell: Shell) -> None:
    for command in ("status", "sessions"):
        assert shell(command, "--socket", "absent.sock") == 3
        assert shell.err == "headrace: no gateway runs here (absent.sock does not exist); start it: headrace serve\n"


def test_socket_comes_from_the_configuration(shell: Shell, config: str) -> None:
    assert shell("status", "-c", config) == 3
    assert "control.sock does not exist" in shell.err


SESSION = {
    "session": 7,
    "user": "alice",
    "inner": "10.99.0.7",
    "outer": "203.0.113.9:4500",
    "client": "Windows",
    "nat": "client",
    "esp": "aes256-sha1",
    "mppe": "",
    "mtu": 1400,
    "since": "2026-11-23T07:35:41.123Z",
    "rx_bytes": 1500,
    "tx_bytes": 2_500_000,
}


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A gateway that answers what the test says."""
    import headrace.shell.control

    said: dict[str, Any] = {}

    class Fake:
        def __init__(self, *_: Any, **__: Any) -> None:
            pass

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def request(self, verb: str, **arguments: Any) -> Any:
            said["asked"] = (verb, arguments)
            return said[verb]

        def events(self, kinds: tuple[str, ...]) -> Any:
            said["asked"] = ("events", kinds)
            yield {"event": "refused", "ras": 691}

    monkeypatch.setattr(headrace.shell.control, "ControlClient", Fake)
    return said


def test_sessions(shell: Shell, answers: dict[str, Any]) -> None:
    answers["sessions"] = {"sessions": [SESSION, {**SESSION, "session": 8, "user": "bob"}]}
    assert shell("sessions") == 0
    heading, first, _ = shell.out.splitlines()
    assert heading.split() == ["ID", "USER", "INNER", "OUTER", "CLIENT", "NAT", "ESP", "MPPE", "MTU", "SINCE", "IN", "OUT"]
    assert (
        "alice  10.99.0.7  203.0.113.9:4500  Windows  client  aes256-sha1  -     1400  2026-11-23 07:35:41  1.5 kB  2.5 MB"
        in first
    )
    assert [s["session"] for s in shell.json("sessions", "--user", "BOB")] == [8]
    assert shell("sessions", "-u", "carol") == 0
    assert shell.out == "carol is not connected\n"
    answers["sessions"] = []
    assert shell("sessions") == 0
    assert shell.out == "nobody is connected\n"


LADDER = [
    {"rung": "path", "number": 2, "at": "2026-11-23T07:35:40.100Z", "seconds": 0.0, "agreed": "no NAT"},
    {"rung": "ike-auth", "number": 4, "at": "2026-11-23T07:35:40.350Z", "seconds": 0.25, "agreed": "psk, 192.168.1.2"},
]


def test_one_session_with_its_ladder(shell: Shell, answers: dict[str, Any]) -> None:
    answers["sessions"] = {"sessions": [{**SESSION, "ladder": LADDER}]}
    assert shell("sessions", "7") == 0
    assert "user" in shell.out
    assert "07:35:40.350    0.250  psk, 192.168.1.2" in shell.out
    assert shell.json("sessions", "7")[0]["ladder"] == LADDER
    assert shell("sessions", "9") == 1
    assert shell.err == "headrace: there is no session 9; `headrace sessions` lists them\n"


def test_who_was_refused(shell: Shell, answers: dict[str, Any]) -> None:
    answers["refusals"] = {"refusals": []}
    assert shell("sessions", "--refused") == 0
    assert shell.out == "nobody was refused\n"
    refusal = {
        "time": "2026-11-23T07:35:41.000Z", "remote": "203.0.113.9:500", "user": "bob", "rung": "ike-proposal",
        "slug": "ike-no-proposal", "ras": 788, "detail": 'nearest: 3DES; policy = "legacy" would accept it',
        "remedy": "compare both lists", "remedy_client": "update the client", "ladder": LADDER[:1],
    }  # fmt: skip
    answers["refusals"] = {"refusals": [refusal]}
    assert shell("sessions", "--refused") == 0
    assert "203.0.113.9:500 bob: 788 ike-no-proposal (ike-proposal)" in shell.out
    assert 'policy = "legacy" would accept it' in shell.out
    assert "update the client" in shell.out
    assert shell.json("sessions", "--refused", "--user", "carol") == []


def test_status(shell: Shell, answers: dict[str, Any]) -> None:
    answers["status"] = {
        "version": "1",
        "listen": ["0.0.0.0"],
        "sessions": 2,
        "pools": {"clients": [2, 253]},
        "packets": {"ok": {"packets": 5, "bytes": 9}},
        "control_drops": {},
        "warnings": ["gateway.policy: legacy"],
    }
    assert shell("status") == 0
    assert "clients  2 of 253" in shell.out
    assert "ok  5 packets, 9 bytes" in shell.out
    assert "warnings:\n  gateway.policy: legacy" in shell.out
    assert shell.json("status")["sessions"] == 2


def test_disconnect(shell: Shell, answers: dict[str, Any]) -> None:
    answers["disconnect"] = {"disconnected": 2}
    assert shell("disconnect", "--user", "alice") == 0
    assert answers["asked"] == ("disconnect", {"user": "alice"})
    assert shell.out == "disconnected 2 sessions\n"
    answers["disconnect"] = {"disconnected": 0}
    assert shell("disconnect", "9") == 1
    assert answers["asked"] == ("disconnect", {"session": 9})
    assert shell.err == "headrace: there is no session with session 9; `headrace sessions` lists them\n"


def test_events(shell: Shell, answers: dict[str, Any]) -> None:
    assert shell("events", "refused") == 0
    assert answers["asked"] == ("events", ("refused",))
    assert json.loads(shell.out) == {"event": "refused", "ras": 691}


# --- starting -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        ("ConfigError('gateway.listen: no such address')", 2, "gateway.listen: no such address"),
        ("LocalError('no /dev/net/tun; load it: modprobe tun')", 3, "headrace: no /dev/net/tun; load it: modprobe tun"),
        ("PermissionError(1, 'Operation not permitted', '/dev/net/tun')", 3, "headrace: /dev/net/tun: Operation not permitted"),
        ("KeyboardInterrupt()", 130, ""),
    ],
)
def test_n208_what_keeps_a_gateway_from_starting(
    shell: Shell, config: str, monkeypatch: pytest.MonkeyPatch, error: str, code: int, text: str
) -> None:
    import types

    import headrace.shell
    from headrace import errors

    fake = types.ModuleType("headrace.shell.gateway")

    def fail(_: object) -> int:
        raise eval(error, vars(errors))

    fake.run = fail  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "headrace.shell.gateway", fake)
    monkeypatch.setattr(headrace.shell, "gateway", fake, raising=False)
    assert shell("serve", "-c", config) == code
    assert shell.err.strip() == text


def test_log_json_overrides_the_configuration(shell: Shell, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    import headrace.shell

    seen: list[Any] = []
    fake = types.ModuleType("headrace.shell.gateway")
    fake.run = keeping(seen)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "headrace.shell.gateway", fake)
    monkeypatch.setattr(headrace.shell, "gateway", fake, raising=False)
    assert shell("serve", "-c", config, "--log-json") == 0
    assert seen[0].log.json is True
