"""Log lines: their form, their limit, and what never gets into them."""

from __future__ import annotations

import io
import json
import logging
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.errors import Slug
from headrace.model import Endpoint, Failure, Rung
from headrace.shell import logs
from headrace.shell.config import LogLevel, LogSection
from headrace.shell.events import Notice, Refused, SessionRecord, SessionUp
from headrace.shell.logs import EventLog, RateLimit, one_line

if TYPE_CHECKING:
    from collections.abc import Iterator

T0 = 1_800_000_000.0


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def refusal(slug: Slug = Slug.PSK_MISMATCH, detail: str = "message 5 does not decrypt", host: int = 9) -> Refused:
    return Refused(time=T0, remote=Endpoint.of(f"203.0.113.{host}", 4500), rung=Rung.IKE_AUTH, failure=Failure(slug, detail))


def session(user: str) -> SessionUp:
    record = SessionRecord(
        session=1, peer=1, user=user, outer=Endpoint.of("203.0.113.9", 4500), gateway=Endpoint.of("192.0.2.1", 4500)
    )
    return SessionUp(time=T0, session=record)


@pytest.fixture(autouse=True)
def _logger() -> Iterator[None]:
    logger = logging.getLogger("headrace")
    before = (list(logger.handlers), logger.level, logger.propagate)
    yield
    logger.handlers[:], logger.level, logger.propagate = before[0], before[1], before[2]


def test_refusal_has_one_shape() -> None:
    out = io.StringIO()
    EventLog(out)(refusal())
    assert out.getvalue().count("\n") == 1
    assert (
        "warning refused 203.0.113.9: 789 psk-mismatch (ike-auth): message 5 does not decrypt; remedy: compare the key"
        in out.getvalue()
    )


def test_json_form_has_the_same() -> None:
    out = io.StringIO()
    EventLog(out, as_json=True)(refusal())
    record = json.loads(out.getvalue())
    assert record["event"] == "refused"
    assert (record["ras"], record["slug"], record["rung"], record["level"]) == (789, "psk-mismatch", "ike-auth", "warning")
    assert record["remote"] == "203.0.113.9:4500"
    assert record["time"] == "2027-01-15T08:00:00.000Z"
    assert record["detail"] == "message 5 does not decrypt"
    assert record["remedy"]


def test_colour_only_on_a_terminal() -> None:
    plain, coloured = io.StringIO(), io.StringIO()
    EventLog(plain)(refusal())
    EventLog(coloured, colour=True)(refusal())
    EventLog(coloured, colour=True, as_json=True)(refusal())
    assert "\x1b" not in plain.getvalue()
    human, machine = coloured.getvalue().splitlines()
    assert "\x1b[33m" in human
    assert "\x1b" not in machine


def test_levels() -> None:
    out = io.StringIO()
    log = EventLog(out, level="warning")
    log(session("alice"))
    assert out.getvalue() == ""
    log(refusal())
    assert out.getvalue()


def test_ten_lines_a_second_for_the_same_reason_and_the_rest_is_counted() -> None:
    out, clock = io.StringIO(), Clock()
    log = EventLog(out, clock=clock)
    for i in range(1000):
        log(refusal(host=i % 250))
    assert out.getvalue().count("\n") == 10
    log(refusal(Slug.IKE_NO_PROPOSAL, "other reason"))
    assert out.getvalue().count("\n") == 11
    clock.now = 1.0
    log(refusal())
    assert out.getvalue().splitlines()[-1].endswith("(990 more like it held back)")


def test_held_back_is_told_in_json_too() -> None:
    out, clock = io.StringIO(), Clock()
    log = EventLog(out, as_json=True, rate=1, clock=clock)
    log(refusal())
    log(refusal())
    clock.now = 5.0
    log(refusal())
    assert [json.loads(line).get("held_back") for line in out.getvalue().splitlines()] == [None, 1]


def test_no_log_in_goes_unseen_because_others_log_in_too() -> None:
    out = io.StringIO()
    log = EventLog(out, clock=Clock())
    for i in range(300):
        log(session(f"user{i}"))
    assert out.getvalue().count("\n") == 300


def test_reasons_are_bounded() -> None:
    limit = RateLimit(10)
    for i in range(10_000):
        assert limit.admit(f"reason {i}", 0.0) == 0
    assert len(limit._windows) <= logs.REASONS_MAX


@pytest.mark.parametrize(
    "hostile",
    ["a\nb", "\r\x1b[2J", "\x07", "\u202eevil", "\x00", "\u2028", "\x9b31m"],
)
def test_peer_text_stays_on_one_line_and_moves_no_cursor(hostile: str) -> None:
    out = io.StringIO()
    EventLog(out)(refusal(detail=hostile))
    assert out.getvalue().count("\n") == 1
    assert out.getvalue()[:-1].isprintable()


@given(st.text(max_size=300))
def test_any_text_becomes_one_printable_line(text: str) -> None:
    assert one_line(text).isprintable()


def test_endless_line_is_cut() -> None:
    assert len(one_line("x" * 100_000)) < 5000


def test_closed_stream_stops_nothing() -> None:
    out = io.StringIO()
    log = EventLog(out)
    out.close()
    log(refusal())


def test_what_the_code_says_goes_the_same_way() -> None:
    out = io.StringIO()
    logs.configure(LogSection(level=LogLevel.DEBUG), stream=out)
    logs.configure(LogSection(), stream=out)  # set up twice: still one line each
    logging.getLogger("headrace.gateway").warning("pool %s is empty", "clients\n")
    logging.getLogger("headrace.gateway").debug("too fine")
    try:
        raise ValueError("secretly bad")  # noqa: TRY301
    except ValueError:
        logging.getLogger("headrace.gateway").exception("it failed")
    first, second = out.getvalue().splitlines()
    assert first.endswith("warning pool clients\\n is empty")
    assert "error   it failed: ValueError: secretly bad (in test_what_the_code_says_goes_the_same_way, test_logs.py:" in second


def test_configuration_and_override() -> None:
    out = io.StringIO()
    log = logs.configure(LogSection(json=True), stream=out)
    log(Notice(time=T0, text="hello"))
    assert json.loads(out.getvalue())["text"] == "hello"
    out = io.StringIO()
    logs.configure(LogSection(json=True), stream=out, as_json=False)(Notice(time=T0, text="hello"))
    assert out.getvalue().rstrip().endswith("warning hello")


def test_line_for_notices() -> None:
    out = io.StringIO()
    log = EventLog(out)
    log.line("warning", "gateway.policy: legacy", when=T0)
    assert "warning gateway.policy: legacy" in out.getvalue()
