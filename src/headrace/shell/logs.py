"""Log lines: short and aligned for a person, one JSON object a line for a machine; never more than some a second for the same reason.

A refusal reads ``refused 203.0.113.9: 789 psk-mismatch (ike-auth): ...; remedy: ...``. Whatever a peer sent is shown with its control
characters escaped, on one line. Keys and passwords do not come here: their types hide them.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import TYPE_CHECKING, Any, Final, TextIO

from headrace.shell.events import Event, PeerDown, PeerMoved, PeerUp, Refused, SessionDown, SessionUp, timestamp

if TYPE_CHECKING:
    from collections.abc import Callable

    from headrace.shell.config import LogSection

LINE_MAX: Final = 4096
"""Characters of one line; what is longer is cut, and says so."""
REASONS_MAX: Final = 1024
"""Reasons that are counted at once."""

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_COLOURS: Final = {"debug": "\x1b[2m", "info": "", "warning": "\x1b[33m", "error": "\x1b[31m"}
_RESET: Final = "\x1b[0m"


def one_line(text: str) -> str:
    """Make a text safe for one line of a terminal: nothing that moves the cursor, rings, or turns the writing around."""
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
    return safe if len(safe) <= LINE_MAX else f"{safe[:LINE_MAX]}... ({len(safe)} characters)"


class RateLimit:
    """At most ``rate`` lines a second for one reason. What is held back is counted and told with the next line that passes."""

    def __init__(self, rate: int) -> None:
        self.rate = rate
        self._windows: dict[str, tuple[float, int]] = {}
        """Reason: begin of its second, and lines in it."""

    def admit(self, reason: str, now: float) -> int | None:
        """Say whether a line may pass: ``None`` if not, else how many of its reason were held back since the last one that did."""
        begin, count = self._windows.get(reason, (now, 0))
        held = 0
        if now - begin >= 1.0:
            held = max(0, count - self.rate)
            begin, count = now, 0
        count += 1
        if reason not in self._windows and len(self._windows) >= REASONS_MAX:
            del self._windows[next(iter(self._windows))]  # the oldest: at worst its reason may speak again too soon
        self._windows[reason] = (begin, count)
        return held if count <= self.rate else None


class EventLog:
    """Writes the event stream, and what the code itself has to say, to one stream."""

    def __init__(
        self,
        stream: TextIO,
        *,
        as_json: bool = False,
        level: str = "info",
        rate: int = 10,
        colour: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._json = as_json
        self._level = _LEVELS[level]
        self._limit = RateLimit(rate)
        self._clock = clock
        self._colour = not as_json and (stream.isatty() and "NO_COLOR" not in os.environ if colour is None else colour)

    def change(self, section: LogSection) -> None:
        """Go on with another level and rate."""
        self._level = _LEVELS[section.level.value]
        self._limit.rate = section.rate
        logging.getLogger("headrace").setLevel(self._level)

    def __call__(self, event: Event) -> None:
        """Write one event."""
        reason = _reason(event)
        body = event.json() if self._json else {}
        self._write(event.level, event.time, reason, event.human(), body)

    def line(self, level: str, text: str, *, reason: str = "", when: float | None = None) -> None:
        """Write one line that is no event: a notice, a warning at start."""
        moment = time.time() if when is None else when
        body = {"time": timestamp(moment), "event": "log", "text": text} if self._json else {}
        self._write(level, moment, reason or text, text, body)

    def _write(self, level: str, moment: float, reason: str, text: str, body: dict[str, Any]) -> None:
        if _LEVELS[level] < self._level:
            return
        held = self._limit.admit(reason, self._clock())
        if held is None:
            return
        if self._json:
            record = {**body, "level": level, **({"held_back": held} if held else {})}
            line = json.dumps(record, ensure_ascii=True, separators=(",", ":"), default=str)
        else:
            more = f" ({held} more like it held back)" if held else ""
            line = self._human(level, moment, one_line(text) + more)
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            return  # nobody reads any more: no reason to stop serving

    def _human(self, level: str, moment: float, text: str) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(moment))
        mark = f"{level:<7}"
        if self._colour:
            mark = f"{_COLOURS[level]}{mark}{_RESET}" if _COLOURS[level] else mark
            clock = f"\x1b[2m{clock}{_RESET}"
        return f"{clock} {mark} {text}"


def _reason(event: Event) -> str:
    """What counts as the same reason. A refusal: its slug, whoever it is. Users and peers: their own, so that no log-in goes unseen."""
    if isinstance(event, Refused):
        return f"{event.kind}:{event.failure.slug}"
    if isinstance(event, SessionUp | SessionDown):
        return f"{event.kind}:{event.session.user}"
    if isinstance(event, PeerUp | PeerDown | PeerMoved):
        return f"{event.kind}:{event.peer.remote.address}"
    return event.kind


class _Bridge(logging.Handler):
    """Takes what the code says through ``logging`` to the event log, so that there is one form and one limit."""

    def __init__(self, target: EventLog) -> None:
        super().__init__()
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                error = record.exc_info[1]
                where = _place(record)
                text = f"{text}: {type(error).__name__}: {error}{where}"
            level = record.levelname.lower() if record.levelno <= logging.ERROR else "error"
            self._target.line(
                level if level in _LEVELS else "info", text, reason=f"{record.name}:{record.msg}", when=record.created
            )
        except Exception:  # noqa: BLE001 - a log line must never be what fails
            self.handleError(record)


def _place(record: logging.LogRecord) -> str:
    """Name where an exception arose, in place of a traceback of many lines."""
    trace = record.exc_info[2] if record.exc_info else None
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f" (in {code.co_qualname}, {code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})"


def configure(section: LogSection, *, stream: TextIO | None = None, as_json: bool | None = None) -> EventLog:
    """Set logging up as configured, to standard error unless told otherwise; returns what writes events.

    ``logging.getLogger("headrace.*")`` goes the same way. ``as_json`` overrides the configuration (``--log-json``).
    """
    target = EventLog(
        stream if stream is not None else sys.stderr,
        as_json=section.json if as_json is None else as_json,
        level=section.level.value,
        rate=section.rate,
    )
    logger = logging.getLogger("headrace")
    for handler in [h for h in logger.handlers if isinstance(h, _Bridge)]:
        logger.removeHandler(handler)
    logger.addHandler(_Bridge(target))
    logger.setLevel(_LEVELS[section.level.value])
    logger.propagate = False
    return target
