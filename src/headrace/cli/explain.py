"""``headrace explain``."""

from __future__ import annotations

import difflib
import textwrap
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.common import JsonOption, print_json, table
from headrace.cli.exits import REFUSED, CommandError
from headrace.errors import explain as reason_of
from headrace.errors import number as number_of
from headrace.errors import table as reasons
from headrace.model import Rung

if TYPE_CHECKING:
    from headrace.errors import Explanation, NumberRecord

_WIDTH = 100


def explain(
    what: Annotated[str | None, typer.Argument(metavar="NUMBER|NAME", help="742, psk-mismatch, OAKLEY_AUTH_FAIL ...")] = None,
    everything: Annotated[bool, typer.Option("--list", help="List every reason that headrace gives.")] = False,
    json: JsonOption = False,
) -> int:
    """Say what an error means here, why it happens, and what to do.

    Takes the number that a Windows client shows, the name in the gateway's log, or a constant of raserror.h.
    """
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
    else:
        _print_number(found)
    return 0


def _find(what: str) -> NumberRecord | list[Explanation]:
    """A number's record, or the reasons of a name. Raises ``CommandError``."""
    word = what.strip().lower().removeprefix("error_").removeprefix("error ").removeprefix("ras ")
    if word.isascii() and word.isdigit() and len(word) < 6:
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


def _plain(found: NumberRecord | list[Explanation]) -> Any:
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
    _paragraph("  On the client:  ", record.remedy_client)
    _paragraph("  On the gateway: ", record.remedy_gateway)


def _paragraph(prefix: str, text: str) -> None:
    print(textwrap.fill(text, _WIDTH, initial_indent=prefix, subsequent_indent=" " * len(prefix), break_on_hyphens=False))
