"""FreeRADIUS 3.2 on loopback, with a configuration of its own and unprivileged ports."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECRET = b"a shared secret of some length"


def reason_to_skip() -> str:
    """Why it cannot be had here, empty if it can."""
    return "" if shutil.which("freeradius") else "needs FreeRADIUS (Debian: freeradius); `make radius` installs it"


@dataclass(frozen=True)
class FreeRadius:
    folder: Path
    auth: int
    acct: int

    def detail(self) -> str:
        """What accounting was told."""
        path = self.folder / "log" / "detail"
        return path.read_text("utf-8") if path.exists() else ""


def free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


CONFIG = """
prefix = /usr
name = headrace-test
logdir = {folder}/log
raddbdir = {folder}
run_dir = {folder}/run
libdir = /usr/lib/freeradius
pidfile = {folder}/run/radiusd.pid
max_request_time = 5
cleanup_delay = 0
security {{ max_attributes = 200  reject_delay = 0  status_server = yes }}
log {{ destination = files  file = {folder}/log/radius.log  auth = yes }}
thread pool {{ start_servers = 1  max_servers = 4  min_spare_servers = 1  max_spare_servers = 2  max_requests_per_server = 0 }}
client loopback {{ ipaddr = 127.0.0.1  secret = "{secret}"  require_message_authenticator = yes }}
modules {{
  pap {{ }}
  chap {{ }}
  mschap {{ use_mppe = yes  require_encryption = yes  require_strong = yes }}
  files {{ filename = {folder}/users }}
  detail {{ filename = {folder}/log/detail  permissions = 0600 }}
  eap {{ default_eap_type = md5  timer_expire = 60  md5 {{ }} }}
}}
server default {{
  listen {{ type = auth  ipaddr = 127.0.0.1  port = {auth} }}
  listen {{ type = acct  ipaddr = 127.0.0.1  port = {acct} }}
  authorize {{ files  eap {{ ok = return }}  chap  mschap  pap }}
  authenticate {{
    Auth-Type PAP {{ pap }}
    Auth-Type CHAP {{ chap }}
    Auth-Type MS-CHAP {{ mschap }}
    eap
  }}
  accounting {{ detail }}
  # Before 3.2.5 it has to be told to send a Message-Authenticator.
  post-auth {{
    update reply {{ Message-Authenticator := 0x00 }}
    Post-Auth-Type REJECT {{
      update reply {{ Message-Authenticator := 0x00 }}
    }}
  }}
}}
"""

USERS = """
alice   Cleartext-Password := "correct horse"
        Framed-IP-Address = 10.99.0.77,
        Session-Timeout = 3600,
        Idle-Timeout = 600,
        Acct-Interim-Interval = 60,
        Class = 0x0102ff00,
        Filter-Id = "staff",
        Framed-Pool = "guests",
        WISPr-Bandwidth-Max-Up = 1000000,
        WISPr-Bandwidth-Max-Down = 2000000,
        Reply-Message = "welcome"

printer Cleartext-Password := "x"
        Service-Type = Login-User
"""


@contextmanager
def freeradius(folder: Path, popen: Callable[..., subprocess.Popen[bytes]] = subprocess.Popen) -> Iterator[FreeRadius]:
    """Run it until the end of the block. ``popen`` may start it elsewhere: in a network namespace."""
    auth, acct = free_port(), free_port()
    for name in ("log", "run"):
        (folder / name).mkdir()
    (folder / "users").write_text(USERS, "utf-8")
    text = CONFIG.format(folder=folder, secret=SECRET.decode(), auth=auth, acct=acct)
    # Its parser wants a line for each setting.
    text = text.replace("{ ", "{\n").replace(" }", "\n}").replace("  ", "\n")
    (folder / "radiusd.conf").write_text(text, "utf-8")
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o700 if path.is_dir() else 0o600)
    process = popen(
        ["freeradius", "-f", "-d", str(folder), "-n", "radiusd"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    log = folder / "log" / "radius.log"
    deadline = time.monotonic() + 20
    try:
        while not (log.exists() and "Ready to process requests" in log.read_text("utf-8", "replace")):
            assert process.poll() is None, log.read_text("utf-8", "replace") if log.exists() else "it ended at once"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield FreeRadius(folder, auth, acct)
    finally:
        process.terminate()
        process.wait(10)
