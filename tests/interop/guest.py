"""The QEMU guest as a peer: booted once on a tap of a namespace, it takes one job after another and gives back results and logs."""

from __future__ import annotations

import fcntl
import os
import shlex
import shutil
import struct
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from headrace.shell.netns import Namespace

HERE: Final = Path(__file__).parent / "guest"
CACHE: Final = Path(os.environ.get("HEADRACE_GUEST_CACHE", ".cache/interop/guest")).resolve()

OUR_IP: Final = "192.0.2.1"
GUEST_IP: Final = "192.0.2.2"
PSK: Final = "interop-secret-of-20-octets"
USER: Final = "alice"
PASSWORD: Final = "wonderland"

PARAMETERS: Final = {
    "AUTH": "psk",
    "PSK": PSK,
    "NATT": "no",
    "IPSEC": "on",
    "IKE_PROP": "aes256-sha256-modp2048,aes128-sha1-modp2048",
    "ESP_PROP": "aes256-sha256,aes128-sha1",
    "IKE_REKEY": "8h",
    "ESP_REKEY": "1h",
    "ESP_LIFE": "70m",
    "ESP_BYTES": "0",
    "DPD_DELAY": "30",
    "DPD_TIMEOUT": "150s",
    "DPD_ACTION": "clear",
    "UNIQUE": "never",
    "FRAGMENT_SIZE": "1280",
    "PPP_USER": USER,
    "PPP_PASS": PASSWORD,
    "PPP_BASE": "mtu 1400;mru 1400;lcp-echo-interval 5;lcp-echo-failure 4",
    "PPP_OPTIONS": "nomppe",
    "L2TP_OPTIONS": "ppp debug = yes;length bit = yes",
    "L2TP_GLOBAL": "",
    "L2TP_SECRET": "",
    "L2TP_WAIT": "24",
    "GUEST_IP": GUEST_IP,
    "PEER_IP": OUR_IP,
    "SERVER_TIME": "120",
    "HOLD": "",
    "LOSS": "",
    "REDIAL": "",
    "PPP_EAP": "",
    "FETCH": "",
    "SERVE": "",
    "PING6": "",
    "PREFIX6": "",
    "BARRIER": "",
    "CLIENTS": "",
    "ACCOUNT": "",
    "STAGGER": "1",
}
"""What a job may set, with its defaults. ``;`` separates several options of pppd or xl2tpd."""

EXIT_MEANING: Final = {0: "up", 10: "ike phase 1", 11: "quick mode", 12: "l2tp", 13: "ppp", 14: "data"}

_ROLE: Final = ". $J/params; ip addr add $GUEST_IP/24 dev eth0; sh /lab/boot/role.sh "
CLIENT: Final = f"{_ROLE} client\n"
SERVER: Final = f"{_ROLE} server\n"
NATTED_CLIENTS: Final = "sh /lab/boot/nat.sh\n"

BOOT_TIMEOUT: Final = 180.0
"""Seconds. 8 to 15 is usual with two cores to itself; a busy machine emulates slowly."""

_EMULATED: Final = "-accel tcg,thread=multi,tb-size=256 -cpu max,la57=off"
_NATIVE: Final = "-accel kvm -cpu host"
_MACHINE: Final = (
    f"-M pc -m 512 -smp 1 {_NATIVE if os.environ.get('HEADRACE_GUEST_KVM') else _EMULATED} "
    "-display none -no-reboot -no-user-config -nodefaults"
).split()

_CLOCK: Final = "tsc=reliable" if os.environ.get("HEADRACE_GUEST_KVM") else "tsc=unstable clocksource=hpet"
"""On a busy machine an emulated guest finds a wrong frequency for its TSC, and all its seconds are then many times too short."""

_TUNSETIFF: Final = 0x400454CA
_TUNSETPERSIST: Final = 0x400454CB
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_IFF_VNET_HDR: Final = 0x4000


class GuestTrouble(Exception):
    """The guest itself did not do what it should: no word about the stack under test."""


def make_tap(namespace: Namespace, name: str) -> None:
    """A persistent tap device for QEMU in a namespace, up."""

    def make() -> None:
        fd = os.open("/dev/net/tun", os.O_RDWR)
        try:
            fcntl.ioctl(fd, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR))
            fcntl.ioctl(fd, _TUNSETPERSIST, 1)
        finally:
            os.close(fd)

    namespace.call(make)
    with namespace.netlink() as ip:
        ip.link("set", index=ip.link_lookup(ifname=name)[0], state="up")


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    code: int
    lines: tuple[str, ...]
    """What each role said."""
    folder: Path

    @property
    def meaning(self) -> str:
        return EXIT_MEANING.get(self.code, f"guest trouble ({self.code})")

    @property
    def line(self) -> str:
        return " / ".join(self.lines)

    def log(self, name: str) -> str:
        """One of the guest's logs, such as ``client.pppd.log``; empty if it was not written."""
        path = self.folder / "out" / name
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def __str__(self) -> str:
        return f"{self.code} ({self.meaning}): {self.line}"


class Job:
    """One job of the guest, from its start on."""

    def __init__(self, guest: Guest, folder: Path) -> None:
        self._guest = guest
        self.folder = folder

    def reached(self, mark: str) -> bool:
        """Whether a role has set a mark: ``server.ready``, ``client.up``."""
        return (self.folder / mark).exists()

    def await_mark(self, mark: str, timeout: float = 150) -> None:
        """Wait for a mark. Raises ``GuestTrouble`` if the job ends without it."""
        end = time.monotonic() + timeout
        while not self.reached(mark):
            if (self.folder / "exit").exists():
                raise GuestTrouble(f"the guest ended without {mark}: {self.wait()}")
            self._guest.check(end, f"{mark} of {self.folder.parent.name}")
            time.sleep(0.05)

    def tell(self, mark: str) -> None:
        """Set a mark for the roles: ``go``, ``stop``."""
        (self.folder / mark).touch()

    def wait(self, timeout: float = 240) -> Outcome:
        """Wait for the job's end."""
        end = time.monotonic() + timeout
        done = self.folder / "exit"
        while not done.exists():
            self._guest.check(end, f"the end of {self.folder.parent.name}")
            time.sleep(0.05)
        text = (self.folder / "job.log").read_text("utf-8", "replace")
        said = (line.removeprefix("RESULT ") for line in text.splitlines() if line.startswith("RESULT "))
        return Outcome(int(done.read_text()), tuple(" ".join(line.split()) for line in said), self.folder)


class Guest:
    """One boot of the guest. What is below ``shared`` it sees as /lab."""

    def __init__(self, namespace: Namespace, shared: Path, tap: str, *, serial: Path | None = None) -> None:
        """Boot it. ``serial`` is a Unix socket to be made: the other end of the guest's second serial port."""
        self._shared = shared
        self._boot = shared / "boot"
        self._count = 0
        shutil.rmtree(self._boot, ignore_errors=True)
        (self._boot / "queue").mkdir(parents=True)
        for name in ("role.sh", "nat.sh"):
            shutil.copy(HERE / name, self._boot / name)
        shutil.copy(HERE / "jobs.sh", shared / "run.sh")
        command = ["qemu-system-x86_64", *_MACHINE, "-serial", f"file:{self._boot}/console.log"]
        if serial is not None:
            command += ["-serial", f"unix:{serial},server=on,wait=off"]
        command += ["-kernel", str(CACHE / "vmlinuz"), "-initrd", str(CACHE / "initrd.gz")]
        command += ["-append", f"console=ttyS0 quiet panic=-1 mitigations=off random.trust_cpu=on {_CLOCK}"]
        command += ["-drive", f"file={CACHE}/root.ext4,if=none,id=d0,format=raw,snapshot=on,cache=unsafe"]
        command += ["-device", "virtio-blk-pci,drive=d0", "-fsdev", f"local,id=f0,path={shared},security_model=none"]
        command += ["-device", "virtio-9p-pci,fsdev=f0,mount_tag=lab", "-device", "virtio-rng-pci"]
        command += ["-netdev", f"tap,id=n0,ifname={tap},script=no,downscript=no"]
        command += ["-device", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56,romfile="]
        with (self._boot / "qemu.log").open("wb") as log:
            self._process: subprocess.Popen[Any] = namespace.popen(command, stdout=log, stderr=log)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def check(self, end: float, what: str) -> None:
        """Raise ``GuestTrouble`` if the guest has died, or the time is over: then it is ended, too."""
        if not self.alive:
            raise GuestTrouble(f"the guest died while {what} was awaited; see {self._boot}/console.log and qemu.log")
        if time.monotonic() > end:
            self.kill()
            raise GuestTrouble(f"{what} did not come in time")

    def await_boot(self) -> None:
        end = time.monotonic() + BOOT_TIMEOUT
        while not (self._boot / "ready").exists():
            self.check(end, "the boot")
            time.sleep(0.1)

    def versions(self) -> dict[str, str]:
        """Kernel and package versions, as the guest names them."""
        lines = (self._boot / "versions").read_text("utf-8", "replace").splitlines()
        return dict(line.split(" ", 1) for line in lines if " " in line)

    def start(self, folder: Path, script: str, **parameters: str) -> Job:
        """Queue a job. ``folder`` is below ``shared``; ``script`` runs in the guest with ``$J`` naming it."""
        if unknown := parameters.keys() - PARAMETERS.keys():
            raise ValueError(f"no such parameters: {', '.join(sorted(unknown))}")
        (folder / "out").mkdir(parents=True)
        values = {**PARAMETERS, **parameters}
        (folder / "params").write_text("".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items()))
        (folder / "job.sh").write_text(script)
        self._count += 1
        part = self._boot / f"{self._count:04}.part"
        part.write_text(str(folder.relative_to(self._shared)))
        part.rename(self._boot / "queue" / f"{self._count:04}")
        return Job(self, folder)

    def off(self) -> None:
        """Power off, politely first."""
        (self._boot / "off").touch()
        try:
            self._process.wait(8)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Pull the plug."""
        if self.alive:
            self._process.kill()
            self._process.wait()
