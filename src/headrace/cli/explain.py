"""``headrace explain``."""

from __future__ import annotations

import difflib
import sys
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.common import JsonOption, print_json, table
from headrace.cli.exits import REFUSED, CommandError
from headrace.errors import IkeStatus, ike_statuses
from headrace.errors import explain as reason_of
from headrace.errors import number as number_of
from headrace.errors import table as reasons
from headrace.model import Rung

if TYPE_CHECKING:
    from headrace.errors import Explanation, NumberRecord
    from headrace.inspect.logfile import Finding, Verdict

_WIDTH = 100


def explain(
    what: Annotated[str | None, typer.Argument(metavar="NUMBER|NAME", help="742, psk-mismatch, OAKLEY_AUTH_FAIL ...")] = None,
    everything: Annotated[bool, typer.Option("--list", help="List every reason that headrace gives.")] = False,
    log: Annotated[
        Path | None,
        typer.Option(
            "--log", help="Find the reason in a log of headrace, strongSwan, Libreswan, xl2tpd or pppd; - is standard input."
        ),
    ] = None,
    json: JsonOption = False,
) -> int:
    """Say what an error means here, why it happens, and what to do.

    Takes the number that a Windows client shows, the name in the gateway's log, a constant of raserror.h, or one of the IKE states
    (13801 ...) in Windows' event log; with --log a whole log.
    """
    if log is not None:
        return _explain_log(log, json=json)
    if everything:
        rows = [(r.ras or "", r.slug, _rung(r.rung), r.title) for r in reasons().values()]
        if json:
            print_json([asdict(r) for r in reasons().values()])
        else:
            table(("RAS", "REASON", "RUNG", "TITLE"), rows, right=(0,))
        return 0
    if what is None:
        raise CommandError("say what to explain", "for example: headrace explain 742")
    found = _find(what)
    if json:
        print_json(_plain(found))
    elif isinstance(found, list):
        for record in found:
            _print_reason(record)
    elif isinstance(found, IkeStatus):
        _print_status(found)
    else:
        _print_number(found)
    return 0


def _find(what: str) -> NumberRecord | IkeStatus | list[Explanation]:
    """A number's record, or the reasons of a name. Raises ``CommandError``."""
    word = what.strip().lower().removeprefix("error_").removeprefix("error ").removeprefix("ras ")
    if word.isascii() and word.isdigit() and len(word) < 6:
        if int(word) in ike_statuses():
            return ike_statuses()[int(word)]
        try:
            return number_of(int(word))
        except KeyError:
            raise CommandError(
                f"{word} is no error number of Windows dial-up and VPN (600 to 877, 900 to 956)", "", REFUSED
            ) from None
    slug = word.replace("_", "-")
    if slug in reasons():
        return [reason_of(slug)]
    constant = word.upper().replace("-", "_")
    for ras in range(600, 957):
        try:
            record = number_of(ras)
        except KeyError:
            continue
        if constant and record.name == constant:
            return record
    near = difflib.get_close_matches(slug, list(reasons()), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else "`headrace explain --list` shows them all"
    raise CommandError(f"{what!r} is no reason and no number", hint, REFUSED)


def _plain(found: NumberRecord | IkeStatus | list[Explanation]) -> Any:
    if isinstance(found, list):
        return asdict(found[0])
    return asdict(found)


def _rung(rung: int) -> str:
    return Rung(rung).name.lower().replace("_", "-") if rung else "-"


def _print_number(record: NumberRecord) -> None:
    print(f"{record.ras} {record.name}".rstrip())
    print(f"{record.title}.")
    if record.rung:
        print(f"It happens on rung {record.rung} of 11, {_rung(record.rung)}.")
    if record.hint:
        _paragraph("Note: ", record.hint)
    if record.reasons:
        print("\nThe gateway's log tells which of these it is:")
    for reason in record.reasons:
        _print_body(reason, title=True)


def _print_status(state: IkeStatus) -> None:
    print(f"{state.status} IKE_{state.name}")
    print("An IKE state in Windows' event log or Oakley log.\n")
    for ras in state.shows:
        record = number_of(ras)
        print(f"Windows shows it as {ras} {record.name}: {record.title}.")
    print(f"\n`headrace explain {state.shows[0]}` says more.")


def _print_reason(record: Explanation) -> None:
    number = f"Windows shows {record.ras} {record.name}" if record.ras else "a normal end: Windows shows nothing"
    print(f"{record.slug}: {record.title}.")
    print(f"Rung {record.rung} of 11, {_rung(record.rung)}; {number}.")
    _print_body(record, title=False)


def _print_body(record: Explanation, *, title: bool) -> None:
    print()
    if title:
        print(f"{record.slug}: {record.title}.")
    _paragraph("  ", record.meaning)
    print("  Causes:")
    for cause in record.causes:
        _paragraph("    - ", cause)
    _paragraph("  How it is told: ", record.detect)
    _paragraph("  On the client:  ", record.remedy_client)
    _paragraph("  On the gateway: ", record.remedy_gateway)


def _paragraph(prefix: str, text: str) -> None:
    print(textwrap.fill(text, _WIDTH, initial_indent=prefix, subsequent_indent=" " * len(prefix), break_on_hyphens=False))


def _explain_log(path: Path, *, json: bool) -> int:
    """Name the reason that a log tells of, with the line that says it; exit code 1 if it tells of none."""
    from headrace.inspect.logfile import read_log

    if str(path) == "-":
        verdict = read_log(sys.stdin)
    else:
        with path.open(encoding="utf-8", errors="backslashreplace") as stream:
            verdict = read_log(stream)
    if json:
        print_json(
            {
                "lines": verdict.lines,
                "reason": _finding(verdict.reason) if verdict.reason else None,
                "findings": [_finding(found) for found in verdict.findings],
            }
        )
    else:
        _print_verdict(verdict)
    return 0 if verdict.reason else REFUSED


def _finding(found: Finding) -> dict[str, Any]:
    return {
        "line": found.line,
        "text": found.text,
        "program": found.program,
        "cause": found.cause,
        "count": found.count,
        **asdict(found.record),
    }


def _print_verdict(verdict: Verdict) -> None:
    reason = verdict.reason
    if reason is None:
        print(f"{verdict.lines} lines, and none tells of a failure that is known here")
        return
    print(f"line {reason.line} ({reason.program}): {reason.text}")
    if not reason.cause:
        print("It says that something ended, not why: the other side's log, or one with more detail, may have the reason.")
    print()
    _print_reason(reason.record)
    others = [found for found in verdict.findings if found is not reason]
    if others:
        print("\nAlso in this log:")
        for found in others:
            times = f", {found.count} times" if found.count > 1 else ""
            print(f"  line {found.line} ({found.program}{times}): {found.slug}: {found.text[:80]}")
