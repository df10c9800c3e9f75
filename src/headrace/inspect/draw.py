"""One packet as the article of L2TP/IPsec draws it: a box for each header, its octets below, and what is encrypted and authenticated.

``|IP header|ESP header|UDP header|L2TP header|PPP header|PPP payload|ESP trailer|auth trailer|``
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from headrace.inspect.packet import Layer

_SPANS: Final = (
    # attribute, what is written below its boxes, the same where they are narrow
    ("encrypted", "encrypted by ESP", "ESP"),
    ("authenticated", "authenticated by ESP", "ICV"),
    ("mppe", "encrypted by MPPE", "MPPE"),
)


def boxes(layers: Sequence[Layer], width: int = 118) -> str:
    """Draw the layers as boxes in rows of at most ``width`` characters, the spans of ESP and MPPE below."""
    names = [max(len(layer.name), len(str(layer.octets))) for layer in layers]
    # With room on both sides of a name if all boxes then fit one row, else without.
    room = 2 if sum(names) + 3 * len(names) + 1 <= width else 0
    sizes = [size + room for size in names]
    rows: list[list[int]] = [[]]
    used = 1
    for index, size in enumerate(sizes):
        if rows[-1] and used + size + 1 > width:
            rows.append([])
            used = 1
        rows[-1].append(index)
        used += size + 1
    lines: list[str] = []
    for row in rows:
        top = "+" + "+".join("-" * sizes[i] for i in row) + "+"
        lines += [
            top,
            "|" + "|".join(layers[i].name.center(sizes[i]) for i in row) + "|",
            "|" + "|".join(str(layers[i].octets).center(sizes[i]) for i in row) + "|",
            top,
        ]
        for attribute, label, narrow in _SPANS:
            span = " ".join((("=" if getattr(layers[i], attribute) else " ") * sizes[i]) for i in row)
            if "=" in span:
                start, end = span.index("="), span.rindex("=") + 1
                shown = next((text for text in (label, narrow) if len(text) + 4 <= end - start), "")
                lines.append(" " + " " * start + (f" {shown} " if shown else "").center(end - start, "="))
    return "\n".join(lines)


def table(layers: Sequence[Layer]) -> str:
    """One line a layer: octets, name, what is in it."""
    name = max((len(layer.name) for layer in layers), default=0)
    return "\n".join(f"{layer.octets:6}  {layer.name.ljust(name)}  {layer.detail}".rstrip() for layer in layers)


_HEIGHT: Final = 56
_LETTER: Final = 7.2
"""Width of a letter of the drawing's font."""
_COLOURS: Final = {"plain": "#e8ecf1", "authenticated": "#dbe9f6", "encrypted": "#cfe8d5", "mppe": "#f6dfc8"}


def svg(layers: Sequence[Layer], title: str = "") -> str:
    """The same as a picture: boxes in one row, as wide as their names need, with braces for the spans. Stands alone."""
    widths = [max(len(layer.name), len(str(layer.octets)) + 7) * _LETTER + 18 for layer in layers]
    starts = [12 + sum(widths[:i]) for i in range(len(layers))]
    top = 40 if title else 14
    spans = [(attribute, label) for attribute, label, _ in _SPANS if any(getattr(layer, attribute) for layer in layers)]
    width = sum(widths) + 24
    height = top + _HEIGHT + 30 * len(spans) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">',
        "<style>text { font: 12px ui-monospace, Menlo, Consolas, monospace }</style>",
        f"<title>{escape(title or 'One packet, layer by layer')}</title>",
        f'<rect width="{width:.0f}" height="{height:.0f}" fill="#ffffff"/>',
    ]
    if title:
        parts.append(f'<text x="12" y="24">{escape(title)}</text>')
    for layer, start, wide in zip(layers, starts, widths, strict=True):
        kind = "mppe" if layer.mppe else "encrypted" if layer.encrypted else "authenticated" if layer.authenticated else "plain"
        middle = start + wide / 2
        parts += [
            f"<g><title>{escape(layer.detail or layer.name)}</title>",
            f'<rect x="{start:.1f}" y="{top}" width="{wide:.1f}" height="{_HEIGHT}" fill="{_COLOURS[kind]}" stroke="#33475b"/>',
            f'<text x="{middle:.1f}" y="{top + 24}" text-anchor="middle">{escape(layer.name)}</text>',
            f'<text x="{middle:.1f}" y="{top + 42}" text-anchor="middle" fill="#55606b">{layer.octets} octets</text></g>',
        ]
    for row, (attribute, label) in enumerate(spans):
        touched = [i for i, layer in enumerate(layers) if getattr(layer, attribute)]
        left, right = starts[touched[0]], starts[touched[-1]] + widths[touched[-1]]
        y = top + _HEIGHT + 12 + 30 * row
        parts += [
            f'<path d="M{left:.1f} {y - 6} V{y} H{right:.1f} V{y - 6}" fill="none" stroke="#33475b"/>',
            f'<text x="{(left + right) / 2:.1f}" y="{y + 14}" text-anchor="middle">{label}</text>',
        ]
    return "\n".join([*parts, "</svg>", ""])
