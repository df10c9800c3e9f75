"""The filter that ships, read by fail2ban itself (Debian's package fail2ban)."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from headrace.errors import Slug, explain
from headrace.model import Endpoint, Failure, Rung
from headrace.shell.events import refusal_text

FILTER = Path(__file__).parents[2] / "contrib" / "fail2ban" / "filter.d" / "headrace.conf"


@pytest.mark.skipif(shutil.which("fail2ban-regex") is None, reason="needs fail2ban-regex (Debian: fail2ban)")
def test_filter_finds_guesses_and_nothing_else(tmp_path: Path) -> None:
    def line(address: str, slug: Slug, user: str = "") -> str:
        place = Endpoint.of(address, 4500).address
        text = refusal_text(place, Rung(explain(slug).rung), Failure(slug, "what was seen"), user=user)
        return f"2026-11-23T12:00:00Z warning {text}"

    guesses = [
        line("192.0.2.1", Slug.AUTH_FAILED, "alice"),
        line("192.0.2.2", Slug.USER_UNKNOWN, "x refused 203.0.113.9 user y: 646 hours (user-auth): z"),
        line("2001:db8::7", Slug.PSK_MISMATCH),
    ]
    others = [
        line("192.0.2.3", Slug.HOURS, "bob"),
        line("192.0.2.4", Slug.RADIUS_TIMEOUT, "bob"),
        "session-up alice 10.9.0.2 from 192.0.2.5",
    ]
    log = tmp_path / "log"
    log.write_text("\n".join([*guesses, *others]) + "\n", "utf-8")
    done = subprocess.run(
        ["fail2ban-regex", "--print-all-matched", str(log), str(FILTER)],
        check=False,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert re.search(r"Lines: 6 lines, 0 ignored, 3 matched, 3 missed", done.stdout), done.stdout + done.stderr
    for wanted in guesses:
        assert wanted in done.stdout
