"""Write docs/errors/ out of src/headrace/errors.toml: an index, a page for each rung of the ladder, a page of numbers.

``make docs`` runs it; a test says when the pages are not those of the table.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from headrace import errors  # noqa: E402 - found through the line above
from headrace.errors import Explanation, NumberRecord  # noqa: E402
from headrace.model import Rung  # noqa: E402

PAGES = ROOT / "docs" / "errors"
_NOTE = "<!-- Written by tools/error_pages.py from src/headrace/errors.toml: change that, then run `make docs`. -->\n"
_PASSED = {
    Rung.NAME: "the server's name resolves",
    Rung.PATH: "UDP 500 and 4500 (or IP protocol 50) get an answer, large datagrams too",
    Rung.IKE_PROPOSAL: "main mode 1 and 2: a common transform",
    Rung.IKE_AUTH: "main mode 3 to 6: certificate or pre-shared key proven both ways",
    Rung.ESP: "quick mode: a common ESP transform, UDP 1701, transport mode",
    Rung.L2TP: "tunnel and call inside ESP",
    Rung.LCP: "PPP link options, the authentication protocol agreed",
    Rung.USER_AUTH: "the user proved, account and policy allow",
    Rung.ENCRYPTION: "CCP and MPPE as the policy wants",
    Rung.NETWORK: "IPCP: an address given",
    Rung.TRAFFIC: "packets of every size cross both ways, until the session ends",
}


def rung_name(rung: int) -> str:
    """Give a rung's name as logs spell it."""
    return Rung(rung).name.lower().replace("_", "-")


def page_of(rung: int) -> str:
    """Give the file that holds a rung's reasons."""
    return f"{rung:02}-{rung_name(rung)}.md"


def pages() -> dict[str, str]:
    """Make every page: its file name and its text."""
    made = {"README.md": _index(), "numbers.md": _numbers()}
    made.update({page_of(rung): _rung(rung) for rung in Rung})
    return made


def _index() -> str:
    ladder = [f"| {rung.value} | [{rung_name(rung)}]({page_of(rung)}) | {_PASSED[rung]} |" for rung in Rung]
    reasons = [f"| {_link(r)} | {r.ras or '-'} | {rung_name(r.rung)} | {r.title} |" for r in errors.table().values()]
    return "\n".join(
        [
            _NOTE,
            "# Why a connection broke\n",
            "A connection climbs eleven rungs; an error belongs to the rung on which it happens. Every refusal has a *reason*, which never",
            "changes its name, and the number that a Windows client (Vista or later) shows for it. Several reasons share a number:",
            "[numbers.md](numbers.md) has the way back. `headrace explain` says the same at a terminal, `headrace explain --log FILE`",
            "finds the reason in a log.\n",
            "| rung | name | passed when |",
            "| --- | --- | --- |",
            *ladder,
            "",
            "| reason | number | rung | what it is |",
            "| --- | --- | --- | --- |",
            *reasons,
            "",
        ]
    )


def _rung(rung: Rung) -> str:
    reasons = [r for r in errors.table().values() if r.rung == rung]
    return "\n".join(
        [
            _NOTE,
            f"# Rung {rung.value}: {rung_name(rung)}\n",
            f"Passed when: {_PASSED[rung]}.\n",
            *(_reason(record) for record in reasons),
        ]
    )


def _reason(record: Explanation) -> str:
    shown = f"Windows shows **{record.ras}** (`{record.name}`)." if record.ras else "A normal end: Windows shows nothing."
    return "\n".join(
        [
            f"## {record.slug}\n",
            f"**{record.title}.** {record.meaning} {shown}\n",
            "Causes:\n",
            *(f"* {cause}" for cause in record.causes),
            "",
            f"* How it is told: {record.detect}",
            f"* On the client: {record.remedy_client}",
            f"* On the gateway: {record.remedy_gateway}",
            "",
        ]
    )


def _numbers() -> str:
    rows = [f"| {n.ras} | `{n.name}` | {rung_name(n.rung) if n.rung else '-'} | {_about(n)} |" for n in errors.numbers()]
    states = [f"| {s.status} | `{s.name}` | {', '.join(map(str, s.shows))} |" for s in errors.ike_statuses().values()]
    return "\n".join(
        [
            _NOTE,
            "# Numbers on a Windows client's screen\n",
            "| number | constant | rung | what it is, and the reasons that show as it |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "All other numbers of 600 to 877 and 900 to 956 concern modems, ISDN, phone books and the client's own files.\n",
            "## IKE states in Windows' event log\n",
            "| state | constant | shown as |",
            "| --- | --- | --- |",
            *states,
            "",
        ]
    )


def _about(record: NumberRecord) -> str:
    parts = [f"{record.title}." + (f" {record.hint[0].upper()}{record.hint[1:]}." if record.hint else "")]
    if record.reasons:
        parts.append(", ".join(_link(reason) for reason in record.reasons))
    return " ".join(parts)


def _link(record: Explanation) -> str:
    return f"[`{record.slug}`]({page_of(record.rung)}#{record.slug})"


def main() -> None:
    """Write the pages, remove those that are no more."""
    PAGES.mkdir(parents=True, exist_ok=True)
    made = pages()
    for old in PAGES.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        (PAGES / name).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
