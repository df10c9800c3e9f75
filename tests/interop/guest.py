"""The QEMU guest as a peer: boots it on a tap of a namespace, runs one role in it, brings back the result and the logs."""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import shutil
import struct
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.shell.netns import Namespace

HERE = Path(__file__).parent / "guest"
CACHE = Path(os.environ.get("HEADRACE_GUEST_CACHE", ".cache/interop/guest")).resolve()

GATEWAY_IP = "192.0.2.1"
CLIENT_IP = "192.0.2.2"

DEFAULTS: dict[str, str] = {
    "AUTH": "psk",
    "PSK": "interop-secret-of-20-octets",
    "NATT": "no",
    "IPSEC": "on",
    "IKE_PROP": "aes256-sha256-modp2048,aes128-sha1-modp2048",
    "ESP_PROP": "aes256-sha256,aes128-sha1",
    "IKE_REKEY": "8h",
    "ESP_REKEY": "1h",
    "PPP_USER": "alice",
    "PPP_PASS": "wonderland",
    "PPP_OPTIONS": "nomppe",
    "L2TP_SECRET": "",
    "CLIENT_IP": CLIENT_IP,
    "SERVER_IP": GATEWAY_IP,
    "SERVER_TIME": "60",
    "HOLD": "",
    "BARRIER": "",
}

EXIT_MEANING = {0: "up", 10: "ike phase 1", 11: "quick mode", 12: "l2tp", 13: "ppp", 14: "data"}

_TUNSETIFF = 0x400454CA
_TUNSETPERSIST = 0x400454CB
_IFF_TAP = 0x0002
_IFF_NO_PI = 0x1000
_IFF_VNET_HDR = 0x4000


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
    """How a guest's role ended."""

    code: int
    line: str
    folder: Path

    @property
    def meaning(self) -> str:
        return EXIT_MEANING.get(self.code, f"guest trouble ({self.code})")

    def log(self, name: str) -> str:
        path = self.folder / "out" / name
        return path.read_text("utf-8", "replace") if path.exists() else ""


class Guest:
    """One boot of the guest."""

    def __init__(self, namespace: Namespace, folder: Path, tap: str = "tap0") -> None:
        self.namespace = namespace
        self.folder = folder
        self.tap = tap
        self._process: subprocess.Popen[Any] | None = None
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "out").mkdir(parents=True)

    def start(self, script: str, **parameters: str) -> None:
        """Boot and run ``script`` (shell, in the guest, with /lab shared)."""
        params = {**DEFAULTS, **parameters}
        (self.folder / "params").write_text("".join(f"{k}={shlex.quote(v)}\n" for k, v in params.items()))
        shutil.copy(HERE / "role.sh", self.folder / "role.sh")
        (self.folder / "run.sh").write_text(". /lab/params\n" + script)
        kvm = os.environ.get("HEADRACE_GUEST_KVM")
        command = ["qemu-system-x86_64", "-M", "pc", "-m", "512", "-smp", "1"]
        command += ["-accel", "kvm", "-cpu", "host"] if kvm else ["-accel", "tcg,thread=multi,tb-size=256", "-cpu", "max,la57=off"]
        command += ["-display", "none", "-no-reboot", "-no-user-config", "-nodefaults", "-serial", f"file:{self.folder}/console.log"]
        command += ["-kernel", str(CACHE / "vmlinuz"), "-initrd", str(CACHE / "initrd.gz")]
        command += ["-append", "console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable random.trust_cpu=on"]
        command += ["-drive", f"file={CACHE}/root.ext4,if=none,id=d0,format=raw,snapshot=on,cache=unsafe"]
        command += ["-device", "virtio-blk-pci,drive=d0", "-fsdev", f"local,id=f0,path={self.folder},security_model=none"]
        command += ["-device", "virtio-9p-pci,fsdev=f0,mount_tag=lab", "-device", "virtio-rng-pci"]
        command += ["-netdev", f"tap,id=n0,ifname={self.tap},script=no,downscript=no"]
        command += ["-device", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56,romfile="]
        self._process = self.namespace.popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def wait(self, timeout: float = 300) -> Outcome:
        """Wait for the guest to power off."""
        assert self._process is not None
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        exit_file = self.folder / "exit"
        code = int(exit_file.read_text()) if exit_file.exists() else 99
        console = (self.folder / "console.log").read_text("utf-8", "replace")
        lines = re.findall(r"RESULT .*", console)
        return Outcome(code, " / ".join(line.strip() for line in lines), self.folder)

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def ready(self, tag: str) -> bool:
        """Whether a role in the guest has said that it listens."""
        return (self.folder / f"{tag}.ready").exists()


CLIENT_SCRIPT = """
ip addr add $CLIENT_IP/24 dev eth0; ip link set eth0 up
unshare -m sh /lab/role.sh client
"""

SERVER_SCRIPT = """
ip addr add $SERVER_IP/24 dev eth0; ip link set eth0 up
unshare -m sh /lab/role.sh server
"""

NATTED_CLIENTS_SCRIPT = """
# Several clients behind one NAT, all with the same inner address and the same ports, each behind its own home router.
ip addr add $CLIENT_IP/24 dev eth0; ip link set eth0 up
echo 1 >/proc/sys/net/ipv4/ip_forward
iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE
n=0
for name in $CLIENTS; do
	n=$((n + 1))
	ip netns add r$n; ip netns add $name
	ip link add o$n type veth peer name wan netns r$n
	ip addr add 100.64.$n.1/24 dev o$n; ip link set o$n up
	ip -n r$n addr add 100.64.$n.2/24 dev wan; ip -n r$n link set wan up; ip -n r$n link set lo up
	ip -n r$n route add default via 100.64.$n.1
	ip -n r$n link add lan type veth peer name eth0 netns $name
	ip -n r$n addr add 192.168.1.1/24 dev lan; ip -n r$n link set lan up
	ip -n $name addr add 192.168.1.2/24 dev eth0; ip -n $name link set eth0 up; ip -n $name link set lo up
	ip -n $name route add default via 192.168.1.1
	ip netns exec r$n sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward; iptables -t nat -A POSTROUTING -o wan -j MASQUERADE'
done
CLIENT_IP=192.168.1.2
sed -i "s/^CLIENT_IP=.*/CLIENT_IP=192.168.1.2/" /lab/params
for name in $CLIENTS; do
	{ cat /lab/params; echo "TAG=$name PPP_USER=$name"; } >/tmp/params.$name
	ip netns exec $name unshare -m sh -c "mount --bind /tmp/params.$name /lab/params; sh /lab/role.sh client" &
	pids="$pids $!"
	sleep 1
done
rc=0
for p in $pids; do wait $p || rc=$?; done
exit $rc
"""
