"""What a running gateway takes over from a configuration that has changed, and what has to wait for its next start."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, Final

from headrace.shell.config import GatewayConfig

AT_START: Final = {
    "gateway": (
        "name",
        "listen",
        "ike_port",
        "natt_port",
        "l2tp_port",
        "state_dir",
        "control_socket",
        "control_group",
        "workers",
        "allow_clear_l2tp",
    ),
    "log": ("json", "keylog_dir"),
    "esp": ("replay_window",),
    "network": ("address", "ipv6_prefixes", "ipv6_delegate", "tun_name", "mtu", "forwarding"),
    "limits": ("max_sessions", "max_peers"),
    "accounts": ("database", "key_file"),
    "ipx": None,
    "bridge": None,
    "metrics": None,
    "radius": None,
}
"""Keys by section that are read once, when sockets, devices, tables and stores are opened; ``None`` is the whole section."""


def merge(old: GatewayConfig, new: GatewayConfig) -> tuple[GatewayConfig, tuple[str, ...]]:
    """Give the configuration to go on with, and the keys that have changed and count from the next start on."""
    waiting: list[str] = []
    sections: dict[str, Any] = {}
    for section, names in AT_START.items():
        before, after = getattr(old, section), getattr(new, section)
        every = [field.name for field in fields(after)]
        kept = {name: getattr(before, name) for name in names or every}
        waiting += [f"{section}.{name}" for name, value in kept.items() if getattr(after, name) != value]
        sections[section] = replace(after, **kept)
    return replace(new, **sections), tuple(waiting)
