"""The finer settings of accounts on the command line, and accounts as CSV."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.access import store
from headrace.access.store import AccountStore
from headrace.cli.app import run
from headrace.cli.exits import CommandError
from headrace.cli.limits import parse_limits


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "_ARGON2_MEMORY", 64)


def test_limits_are_read_with_their_units() -> None:
    texts = ["session-time=8h", "quota-octets=50G", "rate-up=20M", "replace=yes", "filters=none", "idle-time=inherit"]
    assert parse_limits(texts) == {
        "session_time": 28800,
        "quota_octets": 50 * 10**9,
        "rate_up": 20_000_000,
        "replace": True,
        "filters": "none",
        "idle_time": None,
    }


@pytest.mark.parametrize(
    "text", ["replace", "replace=maybe", "unheard-of=1", "session-time=1w", "rate-up=fast", "prefix6=::/64"]
)
def test_limits_that_mean_nothing(text: str) -> None:
    with pytest.raises(CommandError):
        parse_limits([text])


def test_accounts_go_out_as_csv_and_come_in_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--database", str(tmp_path / "a.db")]
    with AccountStore(tmp_path / "a.db", tmp_path / "a.key") as accounts:
        accounts.add_group("staff")
        accounts.add_user("alice", "secret", group="staff", sessions=2, replace=True, rate_up=1000, filters="deny any")
    assert run(["account", "export", "--csv", *place]) == 0
    text = capsys.readouterr().out
    assert "secret" not in text
    (tmp_path / "in.csv").write_text(text.replace("alice,,", "bob,another,"), "utf-8")
    assert run(["account", "import", str(tmp_path / "in.csv"), *place]) == 0
    assert run(["account", "set", "bob", "--limit", "session-time=1h", "--limit", "prefix6=2001:db8:0:7::/64", *place]) == 0
    with AccountStore(tmp_path / "a.db", tmp_path / "a.key") as accounts:
        alice, bob = accounts.user("alice"), accounts.user("bob")
    assert bob.grants.session_time == 3600
    assert (bob.grants.replace, bob.grants.sessions, bob.grants.rate_up, bob.grants.filters) == (True, 2, 1000, "deny any")
    assert bob.group == alice.group
    assert str(bob.prefix6) == "2001:db8:0:7::/64"


@pytest.mark.parametrize("text", ["a,b\n1,2\n", "name,password,unheard-of\nx,y,z\n", "name\nx\n", 'name,password\n"x,y\n'])
def test_files_that_are_no_accounts(tmp_path: Path, text: str) -> None:
    path = tmp_path / "in.csv"
    path.write_text(text, "utf-8")
    assert run(["account", "import", str(path), "--database", str(tmp_path / "a.db")]) != 0
