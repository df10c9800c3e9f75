"""What commands share: prompts, tables, secrets, and the exit code of whatever may be raised."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest

from headrace.cli import app, common, explain
from headrace.cli.exits import CommandError
from headrace.errors import HeadraceError
from headrace.shell.control import ControlUnavailable


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def answers(monkeypatch: pytest.MonkeyPatch, *given: str) -> None:
    import getpass

    waiting = list(given)
    monkeypatch.setattr(getpass, "getpass", lambda _prompt: waiting.pop(0))
    monkeypatch.setattr(sys, "stdin", Terminal())


def test_password_is_asked_for_at_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_PASSWORD", raising=False)
    answers(monkeypatch, "secret", "secret", "secret", "secreT")
    assert common.password_from(None, "HEADRACE_PASSWORD", "Password", confirm=True) == "secret"
    with pytest.raises(CommandError, match="the two differ"):
        common.password_from(None, "HEADRACE_PASSWORD", "Password", confirm=True)


def test_secret_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"secret\r\n")))
    assert common.secret_from_file(Path("-")) == b"secret"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"\n")))
    with pytest.raises(CommandError, match="held no secret"):
        common.secret_from_file(Path("-"))


def test_password_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "pw"
    path.write_bytes(b"\xff\xfe")
    path.chmod(0o600)
    with pytest.raises(CommandError, match="is not UTF-8"):
        common.password_from(path, "HEADRACE_PASSWORD", "Password")


def test_table_at_a_terminal_is_the_same_without_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setenv("COLUMNS", "80")
    common.table(("NAME", "N"), [("[red]alice[/red]", 5), (None, 12)], right=(1,))
    assert "[red]alice[/red]" in screen.getvalue()
    assert screen.getvalue().count("\n") == 3


def test_table_in_a_pipe_is_never_cut(capsys: pytest.CaptureFixture[str]) -> None:
    common.table(("NAME", "N"), [("x" * 300, 5)], right=(1,))
    heading, row = capsys.readouterr().out.splitlines()
    assert row == "x" * 300 + "  5"
    assert heading == "NAME" + " " * 296 + "  N"


def test_facts_leave_out_what_is_empty(capsys: pytest.CaptureFixture[str]) -> None:
    common.facts((("name", "alice"), ("group", ""), ("n", 0), ("long name", None)))
    assert capsys.readouterr().out == "name  alice\nn     0\n"


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (ControlUnavailable("nobody there", "start it"), 3, "headrace: nobody there; start it"),
        (HeadraceError("no"), 1, "headrace: no"),
        (FileNotFoundError(2, "No such file or directory", "x.toml"), 3, "headrace: x.toml: No such file or directory"),
        (CommandError("no", "do", 1), 1, "headrace: no; do"),
        (BrokenPipeError(), 0, ""),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_whatever_a_command_raises_is_one_line_and_a_code(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], error: BaseException, code: int, text: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(explain, "_find", fail)
    monkeypatch.setattr("headrace.cli.app.os.dup2", lambda *_: None)
    assert app.run(["explain", "742"]) == code
    assert capfd.readouterr().err.strip() == text


def test_main_ends_the_process_with_the_code(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace import cli

    monkeypatch.setattr(sys, "argv", ["headrace", "explain", "599"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
