"""Finds the reason in a log: headrace's own lines (human and JSON), and those of strongSwan, Libreswan, xl2tpd, pppd and Windows.

A log is read as a stream, a line at a time, and whatever its length only the first line of each reason is kept.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final, TextIO

from headrace.errors import Explanation, Slug, explain, ike_statuses, number, table

LINE_MAX: Final = 8192
"""Characters of a line that are looked at; real ones have a few hundred."""
SHOWN_MAX: Final = 300
"""Characters of a line that are shown."""


@dataclass(slots=True)
class Finding:
    """One reason that a log tells of."""

    slug: Slug
    line: int
    """Number of the first line that says it, from 1."""
    text: str
    """That line, printable."""
    program: str
    """Who wrote it."""
    cause: bool
    """False for what only follows from another reason."""
    count: int = 1
    """Lines that say it."""

    @property
    def record(self) -> Explanation:
        """The table's record."""
        return explain(self.slug)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a log says in the end."""

    lines: int
    findings: tuple[Finding, ...]
    """In the order of their first lines."""

    @property
    def reason(self) -> Finding | None:
        """The reason to look at: the first cause, else the first effect, else nothing."""
        return next((f for f in self.findings if f.cause), self.findings[0] if self.findings else None)


def read_log(stream: TextIO) -> Verdict:
    """Read a whole log. Never raises for what is in it."""
    found: dict[Slug, Finding] = {}
    total = 0
    for total, line in enumerate(_lines(stream), 1):
        for program, slug, cause in classify(line):
            known = found.get(slug)
            if known is None:
                found[slug] = Finding(slug, total, _shown(line), program, cause)
            else:
                known.count += 1
                if cause and not known.cause:
                    found[slug] = Finding(slug, total, _shown(line), program, cause, known.count)
    return Verdict(total, tuple(sorted(found.values(), key=lambda f: f.line)))


def _lines(stream: TextIO) -> Iterator[str]:
    """Lines without their ends; one that is too long counts once, cut."""
    while line := stream.readline(LINE_MAX):
        rest = line
        while rest and not rest.endswith("\n"):
            rest = stream.readline(LINE_MAX)
        yield line.rstrip("\r\n")


def _shown(line: str) -> str:
    text = "".join(c if c.isprintable() else " " if c == "\t" else "?" for c in line.strip())
    return text if len(text) <= SHOWN_MAX else f"{text[:SHOWN_MAX]}..."


def classify(line: str) -> Iterable[tuple[str, Slug, bool]]:
    """(program, reason, whether it is a cause) of one line: none, one, rarely more."""
    own = _own(line)
    if own is not None:
        return () if own in _NORMAL else (("headrace", own, True),)
    terminated = _windows_terminate(line)
    if terminated is not None:
        return (("pppd", terminated, True),)
    found = [(program, slug, cause) for program, cause, slug, pattern in _patterns() if pattern.search(line)]
    causes = [item for item in found if item[2]]
    if found:
        return causes[:1] or found[:1]
    return _windows(line)


@cache
def _patterns() -> tuple[tuple[str, bool, Slug, re.Pattern[str]], ...]:
    data = tomllib.loads(files("headrace.inspect").joinpath("log_lines.toml").read_text("utf-8"))
    return tuple(
        (program, kind == "cause", Slug(slug), re.compile("|".join(f"(?:{p})" for p in texts), re.IGNORECASE))
        for program, kinds in data.items()
        for kind in ("cause", "effect")
        for slug, texts in kinds.get(kind, {}).items()
    )


# --- headrace's own --------------------------------------------------------------------------------------------------------

_HUMAN: Final = re.compile(r"\b(?:refused|session-down|peer-down) .*?: (?:\d{1,3} )?([a-z0-9-]+)(?=[:; ]|$)")
_NORMAL: Final = frozenset({Slug.USER_REQUEST, Slug.PEER_DELETED, Slug.PEER_CLOSED})
"""Ends that are no failures."""
_ERROR_LINE: Final = re.compile(r"\berror \d{1,3}: .*?\[([a-z0-9-]+), ")


def _own(line: str) -> Slug | None:
    if line.lstrip().startswith("{"):
        return _json(line)
    for pattern in (_HUMAN, _ERROR_LINE):
        match = pattern.search(line)
        if match and match[1] in table():
            return Slug(match[1])
    return None


def _json(line: str) -> Slug | None:
    try:
        body = json.loads(line)
    except (ValueError, RecursionError):
        return None
    slug = body.get("slug") if isinstance(body, dict) else None
    return Slug(slug) if isinstance(slug, str) and slug in table() else None


# --- numbers of Windows: in a Terminate-Request that pppd prints, in an event log ---------------------------------------------

_TERMINATE: Final = re.compile(r"(?:LCP terminated by peer \((.*)\)|rcvd \[LCP TermReq id=\w+ \"(.*)\"\])\s*$")
_MARK: Final = b"\x00\x3c\xcd\x74"


def _windows_terminate(line: str) -> Slug | None:
    """The reason in pppd's rendering of a Windows Terminate-Request: magic, 00 3c cd 74, RAS number (see ``ppp/terminate.py``)."""
    match = _TERMINATE.search(line)
    if match is None:
        return None
    data = _caret(match[1]) if match[1] is not None else _octal(match[2])
    where = data.find(_MARK)
    if where < 0 or len(data) < where + 8:
        return None
    return _slug_of(int.from_bytes(data[where + 4 : where + 8], "big"))


def _caret(text: str) -> bytes:
    """Undo the ``^@`` and ``M-x`` notation."""
    out = bytearray()
    i = 0
    while i < len(text):
        high = 0
        if text.startswith("M-", i) and len(text) > i + 2:
            high, i = 0x80, i + 2
        if text[i] == "^" and len(text) > i + 1:
            out.append((ord(text[i + 1]) ^ 0x40) & 0x7F | high)
            i += 2
        else:
            out.append(ord(text[i]) & 0x7F | high)
            i += 1
    return bytes(out)


def _octal(text: str) -> bytes:
    r"""Undo ``\NNN`` (with as many digits as a signed char printed as a number has) and ``\\``."""
    out = bytearray()
    i = 0
    while i < len(text):
        if text[i] == "\\" and len(text) > i + 1:
            digits = re.match(r"(?:3777777[0-7]{4}|377777777[0-7]{2}|[0-7]{1,3})", text[i + 1 :])
            if digits:
                out.append(int(digits[0], 8) & 0xFF)
                i += 1 + len(digits[0])
                continue
            i += 1
        out.append(ord(text[i]) & 0xFF)
        i += 1
    return bytes(out)


_RAS: Final = re.compile(
    r"(?:error code returned on failure is|RasDial|\bRAS error|error(?: code)?:?) (\d{3})\b", re.IGNORECASE
)
_IKE: Final = re.compile(r"\b(138\d{2})\b")


def _windows(line: str) -> Iterable[tuple[str, Slug, bool]]:
    match = _RAS.search(line)
    slug = _slug_of(int(match[1])) if match else None
    if slug is None and (match := _IKE.search(line)) and (state := ike_statuses().get(int(match[1]))):
        slug = _slug_of(state.shows[0])
    return (("windows", slug, True),) if slug is not None else ()


def _slug_of(ras: int) -> Slug | None:
    """The commonest reason that shows as a number."""
    commonest = _COMMON.get(ras)
    if commonest is not None or not ras:
        return commonest
    try:
        reasons = number(ras).reasons
    except KeyError:
        return None
    return Slug(reasons[0].slug) if reasons else None


_COMMON: Final = {
    629: Slug.ADMIN, 691: Slug.AUTH_FAILED, 742: Slug.ENCRYPTION_REFUSED, 741: Slug.ENCRYPTION_LOCAL, 788: Slug.IKE_NO_PROPOSAL,
    789: Slug.PSK_MISMATCH, 809: Slug.IKE_NO_ANSWER, 678: Slug.IKE_NO_ANSWER, 792: Slug.IKE_TIMEOUT, 766: Slug.CERT_NONE,
    786: Slug.CERT_NONE, 787: Slug.OUR_CERT_REFUSED, 790: Slug.CERT_UNKNOWN_CA, 720: Slug.IPCP_REFUSED, 628: Slug.AUTH_NO_COMMON,
    734: Slug.AUTH_NO_COMMON, 812: Slug.AUTH_NO_COMMON, 793: Slug.IKE_NOTIFY, 649: Slug.DIALIN_DENIED, 718: Slug.AUTH_TIMEOUT,
}  # fmt: skip
