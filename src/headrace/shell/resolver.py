"""What a client changes on its machine while connected: routes and name servers, with a way back that survives a crash.

Everything that will have to be undone is written to a small journal first; ``restore`` works through what an earlier run left behind.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from ipaddress import IPv4Network, IPv6Network

    from headrace.model import IPAddress

RESOLV_CONF = Path("/etc/resolv.conf")
STATE = Path("/run/headrace")


@dataclass(slots=True)
class HostChanges:
    """The changes of one connection. ``undo`` is idempotent."""

    name: str
    """The TUN's name: also the journal's."""
    state: Path = STATE
    resolv_conf: Path = RESOLV_CONF

    @property
    def journal(self) -> Path:
        """Where the way back is written down."""
        return self.state / f"dial-{self.name}.json"

    def _record(self, **entry: Any) -> None:
        self.state.mkdir(mode=0o755, parents=True, exist_ok=True)
        known = json.loads(self.journal.read_text("utf-8")) if self.journal.exists() else []
        fresh = self.journal.with_suffix(".new")
        fresh.write_text(json.dumps([*known, {"pid": os.getpid(), **entry}]), "utf-8")
        fresh.replace(self.journal)

    def pin_server(self, server: IPAddress) -> None:
        """Keep the path to the gateway outside of the tunnel that leads to it."""
        if server.is_loopback:
            return
        with IPRoute() as ip:
            found = ip.route("get", dst=str(server))[0]
            route: dict[str, Any] = {"dst": f"{server}/{server.max_prefixlen}", "oif": found.get_attr("RTA_OIF")}
            gateway = found.get_attr("RTA_GATEWAY")
            if gateway:
                route["gateway"] = gateway
            self._record(kind="route", route=route)
            with suppress(NetlinkError):  # it is there already: then it is not ours to change
                ip.route("add", **route)

    def routes(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        """Send networks through the tunnel. They vanish with the TUN."""
        with IPRoute() as ip:
            index = ip.link_lookup(ifname=self.name)[0]
            for network in networks:
                ip.route("replace", dst=str(network), oif=index, family=2 if network.version == 4 else 10)

    def default_route(self) -> None:
        """Send everything through the tunnel: two halves beat the default route without touching it."""
        with IPRoute() as ip:
            index = ip.link_lookup(ifname=self.name)[0]
            for half in ("0.0.0.0/1", "128.0.0.0/1"):
                ip.route("replace", dst=half, oif=index)

    def name_servers(self, servers: Sequence[IPAddress]) -> None:
        """Use these name servers, keeping the file as it was for the way back."""
        if not servers:
            return
        before = self.resolv_conf.read_text("utf-8") if self.resolv_conf.exists() else None
        self._record(kind="resolv.conf", before=before)
        text = "".join(f"nameserver {server}\n" for server in servers)
        # In place, for it is often a bind mount or a link that must stay one.
        self.resolv_conf.write_text(f"# while the tunnel {self.name} is up\n{text}", "utf-8")

    def undo(self) -> None:
        """Take everything back, last change first."""
        if not self.journal.exists():
            return
        for entry in reversed(json.loads(self.journal.read_text("utf-8"))):
            if entry["kind"] == "route":
                with IPRoute() as ip, suppress(NetlinkError):
                    ip.route("del", **entry["route"])
            elif entry["kind"] == "resolv.conf" and entry["before"] is not None:
                self.resolv_conf.write_text(entry["before"], "utf-8")
        self.journal.unlink(missing_ok=True)


def restore(state: Path = STATE, resolv_conf: Path = RESOLV_CONF) -> list[str]:
    """Undo what runs that did not end cleanly have left behind; the names of their tunnels."""
    names: list[str] = []
    for journal in sorted(state.glob("dial-*.json")) if state.is_dir() else []:
        entries = json.loads(journal.read_text("utf-8"))
        if any(Path(f"/proc/{entry['pid']}").exists() for entry in entries):
            continue
        name = journal.stem.removeprefix("dial-")
        HostChanges(name, state, resolv_conf).undo()
        names.append(name)
    return names
