"""A page to print: what goes into which field of each client's form, with the long key as a QR code to be read by a telephone."""

from __future__ import annotations

import html
import io
from typing import TYPE_CHECKING, Final

import segno

if TYPE_CHECKING:
    from headrace.profiles.facts import Facts

_STYLE: Final = """
:root { color-scheme: light dark; }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0 1.5rem; }
th, td { border: 1px solid #888; padding: .35rem .6rem; text-align: left; vertical-align: top; }
th { width: 40%; font-weight: 600; }
code { font: 1em ui-monospace, monospace; overflow-wrap: anywhere; }
.qr { background: #fff; padding: .5rem; width: 11rem; height: auto; display: block; }
.secret { border-left: .3rem solid #b00; padding-left: .8rem; }
@media print { h2 { break-after: avoid; } table { break-inside: avoid; } body { margin: 0; max-width: none; } }
"""


def page(facts: Facts) -> str:
    """The whole page, HTML, with nothing outside of itself."""
    name = html.escape(facts.name)
    secret = "the pre-shared key" if facts.psk is not None else "the certificate's file"
    parts = [
        (
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>VPN {name}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
            f"<h1>VPN connection {name}</h1>\n"
            f'<p class="secret">This page holds {secret}. Keep it as you keep a key. The password of {html.escape(facts.user)} '
            "is not on it.</p>\n"
        ),
        _qr(facts),
    ]
    for title, note, fields in forms(facts):
        parts.append(f"<h2>{html.escape(title)}</h2>\n" + (f"<p>{html.escape(note)}</p>\n" if note else "") + "<table>\n")
        parts += [
            f"<tr><th>{html.escape(field)}</th><td><code>{html.escape(value)}</code></td></tr>\n" for field, value in fields
        ]
        parts.append("</table>\n")
    parts.append("</body>\n</html>\n")
    return "".join(parts)


def _qr(facts: Facts) -> str:
    if facts.psk is None:
        return ""
    drawing = io.BytesIO()
    segno.make(facts.psk, micro=False, error="m").save(
        drawing, kind="svg", xmldecl=False, svgclass="qr", lineclass=None, omitsize=True, title="Pre-shared key"
    )
    return (
        "<p>The pre-shared key, to be read by a telephone's camera and pasted:</p>\n"
        + drawing.getvalue().decode()
        + f"\n<p><code>{html.escape(facts.psk)}</code></p>\n"
    )


def forms(facts: Facts) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Title, note, and fields with their values, of every client's form."""
    secret = facts.psk if facts.psk is not None else ""
    with_key = facts.psk is not None
    everything = "all traffic" if not facts.routes else ", ".join(map(str, facts.routes))
    android = [
        ("Name", facts.name),
        ("Type", "L2TP/IPSec PSK" if with_key else "L2TP/IPSec RSA"),
        ("Server address", facts.server),
        ("L2TP secret", "leave empty"),
        ("IPSec identifier", "leave empty"),
        *(
            [("IPSec pre-shared key", secret)]
            if with_key
            else [("IPSec user certificate", "the one you installed"), ("IPSec CA certificate", "the one you installed")]
        ),
        ("Forwarding routes", "leave empty" if not facts.routes else everything),
        ("Username", facts.user),
        ("Password", "yours"),
    ]
    chromeos = [
        ("Service name", facts.name),
        ("Provider type", "L2TP/IPsec"),
        ("Server hostname", facts.server),
        ("Authentication type", "Pre-shared key" if with_key else "User certificate"),
        *(
            [("Pre-shared key", secret)]
            if with_key
            else [("Server CA certificate", "the one you imported"), ("User certificate", "the one you imported")]
        ),
        ("Username", facts.user),
        ("Password", "yours"),
        ("Group name", "leave empty"),
    ]
    windows = [
        ("VPN provider", "Windows (built-in)"),
        ("Connection name", facts.name),
        ("Server name or address", facts.server),
        ("VPN type", f"L2TP/IPsec with {'pre-shared key' if with_key else 'certificate'}"),
        *([("Pre-shared key", secret)] if with_key else []),
        ("Type of sign-in info", "User name and password"),
        ("User name", facts.user),
        ("Password", "yours"),
    ]
    apple = [
        ("Type (iOS) / Interface VPN type (macOS)", "L2TP over IPSec"),
        ("Description", facts.name),
        ("Server", facts.server),
        ("Account", facts.user),
        ("Password", "yours"),
        ("Secret (shared secret)" if with_key else "Machine authentication", secret or "Certificate: the one you installed"),
        ("Send All Traffic", "on" if not facts.routes else "off"),
    ]
    return [
        ("Android 4 to 11", "Android 12 and later cannot make new connections of this kind.", android),
        ("ChromeOS", "", chromeos),
        (
            "Windows 10 and 11",
            "The gateway is behind a NAT: use the script instead, which also sets the registry." if facts.behind_nat else "",
            windows,
        ),
        ("iPhone, iPad, Mac", "" if with_key else "iPhone and iPad take no certificates for L2TP.", apple),
    ]
