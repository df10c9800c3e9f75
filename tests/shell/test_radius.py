"""The whole way: our client, our gateway, FreeRADIUS behind it; MPPE with keys from there, accounting, and a Disconnect that ends it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from tests.radius.freeradius import SECRET, freeradius
from tests.radius.freeradius import reason_to_skip as no_radius
from tests.shell.site import Site, prepare, reason_to_skip, wait

REASON = reason_to_skip() or no_radius()
pytestmark = [pytest.mark.root, pytest.mark.timeout(120), pytest.mark.skipif(bool(REASON), reason=REASON or "-")]

DISCONNECT = """
import socket, sys
from headrace.radius.names import Attr, Code
from headrace.radius.packet import Packet, sign_computed, text
secret, user = sys.argv[1].encode(), sys.argv[2]
door = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
door.settimeout(5)
packet = Packet(Code.DISCONNECT_REQUEST, 1, bytes(16), (text(Attr.USER_NAME, user),))
door.sendto(sign_computed(packet, secret), ("127.0.0.1", 3799))
print(door.recv(4096)[0])
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    prepare(tmp_path)
    with ExitStack() as stack:
        yield Site(tmp_path, stack)


def test_mppe_by_radius_accounting_and_disconnect(site: Site, tmp_path: Path) -> None:
    client = site.client()
    with site.gateway.netlink() as ip:
        ip.link("set", index=1, state="up")
    raddb = tmp_path / "raddb"
    raddb.mkdir()
    (tmp_path / "radius.secret").touch(mode=0o600)
    (tmp_path / "radius.secret").write_bytes(SECRET)
    (tmp_path / "horse").touch(mode=0o600)
    (tmp_path / "horse").write_text("correct horse", "utf-8")
    with freeradius(raddb, site.gateway.popen) as radius:
        server = {"address": "127.0.0.1", "port": radius.auth, "accounting_port": radius.acct, "secret_file": "radius.secret"}
        radius_sections: dict[str, dict[str, Any]] = {
            "radius": {"users": "all", "dynauth_port": 3799},
            "[radius.server]": server,
            "radius.filters": {"staff": ["allow any"]},
        }
        site.serve(network_pools={"guests": ["10.98.0.2-10.98.0.254"]}, **radius_sections)
        dial = site.dial(client, "--encryption", "required-128", user="alice", password="horse")
        connected = dial.wait_for("connected")
        assert connected["address"] == "10.99.0.77"
        (session,) = site.control("sessions")
        assert (session["user"], session["mppe"]) == ("alice", "128-bit stateless")
        wait(lambda: "Acct-Status-Type = Start" in radius.detail(), 10, radius.detail)
        done = site.gateway.run([sys.executable, "-c", DISCONNECT, SECRET.decode(), "alice"])
        assert done.stdout.strip() == "41"
        line = site.logged("session-down alice")
        assert "629 coa-disconnect" in line
        wait(lambda: "Acct-Terminate-Cause = Admin-Reset" in radius.detail(), 10, radius.detail)
        assert "Class = 0x0102ff00" in radius.detail()
