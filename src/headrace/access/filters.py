"""Where an account's packets may go: ``allow tcp 10.0.0.0/8 443, allow udp 10.0.0.53 53, deny any``.

Rules stand in the order in which they are tried, with commas between; each is an action (``allow``, ``deny``), perhaps a protocol
(``tcp``, ``udp``, ``icmp``, ``icmp6``), a destination (``any``, an address, a network), and with TCP and UDP perhaps a port or a range of
them. What no rule fits passes: ``deny any`` at the end makes a list of what is allowed.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Final

from headrace.model import FILTER_RULES, FilterAction, FilterRule

PROTOCOLS: Final = {"tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58}
_PORTS: Final = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", re.ASCII)


class FilterError(ValueError):
    """A text that is not a list of rules."""


def parse_filters(text: str) -> tuple[FilterRule, ...]:
    """Read the text form; ``none`` and nothing at all are no rules. Raises ``FilterError``."""
    plain = text.strip()
    if plain in {"", "none"}:
        return ()
    parts = plain.split(",")
    if len(parts) > FILTER_RULES:
        raise FilterError(f"more than {FILTER_RULES} filter rules")
    return tuple(parse_rule(part) for part in parts)


def parse_rule(text: str) -> FilterRule:
    """Read one rule. Raises ``FilterError``."""
    words = text.lower().split()
    if len(words) < 2 or words[0] not in {"allow", "deny"}:
        raise FilterError(f'{text.strip()!r} is not a filter rule; write "allow tcp 10.0.0.0/8 443"')
    action = FilterAction.ALLOW if words.pop(0) == "allow" else FilterAction.DENY
    protocol = PROTOCOLS.get(words[0], 0)
    if protocol:
        words.pop(0)
    if not 1 <= len(words) <= 2:
        raise FilterError(f"{text.strip()!r} must name one destination, and at most one port or range of ports")
    destination = None
    if words[0] != "any":
        try:
            destination = ip_network(words[0])
        except ValueError as error:
            raise FilterError(f"{words[0]!r} is not a destination: {error}") from None
    ports = (0, 65535)
    if len(words) == 2:
        if protocol not in {6, 17}:
            raise FilterError(f"{text.strip()!r}: ports belong to tcp and udp")
        found = _PORTS.fullmatch(words[1])
        ports = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if not 0 <= ports[0] <= ports[1] <= 65535:
            raise FilterError(f"{words[1]!r} is neither a port nor a range of ports")
    return FilterRule(action, destination, protocol, ports)
