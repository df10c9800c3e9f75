"""Network namespaces of our own: for the demo, the benchmarks and the tests.

A namespace lives as long as the process that holds it, and has no name in /run: whatever happens, nothing is left behind. As root the
namespaces are made directly; otherwise inside an unprivileged user namespace, where the system allows that.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Self, TypeVar

from pyroute2 import IPRoute, NetNS

from headrace.errors import HeadraceError

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000

T = TypeVar("T")

_libc = ctypes.CDLL(None, use_errno=True)


class NamespaceError(HeadraceError):
    """The system refused to make or enter a namespace; the message says what to do."""


def _call(name: str, *args: int) -> None:
    if getattr(_libc, name)(*args) != 0:
        code = ctypes.get_errno()
        raise NamespaceError(f"{name}: {os.strerror(code)}")


def become_root_in_user_namespace() -> None:
    """Enter a new user, mount and network namespace in which this process is root. Needs a single-threaded process.

    Raises ``NamespaceError`` where the system does not allow unprivileged user namespaces.
    """
    uid, gid = os.getuid(), os.getgid()
    try:
        _call("unshare", CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS)
    except NamespaceError as error:
        raise NamespaceError(
            f"{error}: this system lets only root make network namespaces; run as root, or allow unprivileged user namespaces "
            "(sysctl kernel.unprivileged_userns_clone=1, or an AppArmor profile that grants userns)"
        ) from error
    for path, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{path}", "w", encoding="ascii") as file:  # noqa: PTH123 (one write call, no rename)
            file.write(text)


class Namespace:
    """A network namespace with loopback up, held by a child process of ours."""

    def __init__(self, label: str) -> None:
        self.label = label
        ready, tell = os.pipe()
        child = os.fork()
        if child == 0:
            try:
                os.close(ready)
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: never outlive the maker
                _call("unshare", CLONE_NEWNET)
                os.write(tell, b"1")
                os.close(tell)
                while True:
                    signal.pause()
            finally:
                os._exit(1)
        os.close(tell)
        self.pid = child
        made = os.read(ready, 1)
        os.close(ready)
        if not made:
            os.waitpid(child, 0)
            raise NamespaceError("cannot make a network namespace: root (or CAP_SYS_ADMIN) is needed")
        self.path = f"/proc/{child}/ns/net"
        with self.netlink() as ip:
            ip.link("set", index=1, state="up")

    def close(self) -> None:
        """End the holder; the namespace goes when its last process and socket are gone."""
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def netlink(self) -> Iterator[Any]:
        """A pyroute2 handle inside the namespace."""
        with NetNS(self.path, flags=0) as ip:
            yield ip

    def enter(self) -> None:
        """Move the calling thread into the namespace."""
        fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            _call("setns", fd, CLONE_NEWNET)
        finally:
            os.close(fd)

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Run ``function`` in this namespace and come back: for opening sockets, which stay in the namespace they were made in."""
        home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.enter()
            try:
                return function(*args)
            finally:
                _call("setns", home, CLONE_NEWNET)
        finally:
            os.close(home)

    def popen(self, command: Sequence[str], **kwargs: Any) -> subprocess.Popen[Any]:
        """Start a command in the namespace. It dies with this process."""
        path = self.path

        def prepare() -> None:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            _call("setns", fd, CLONE_NEWNET)
            os.close(fd)
            _libc.prctl(1, signal.SIGTERM)

        return subprocess.Popen(list(command), preexec_fn=prepare, **kwargs)  # noqa: PLW1509 (single-threaded here)

    def run(self, command: Sequence[str], **kwargs: Any) -> subprocess.CompletedProcess[Any]:
        """Run a command in the namespace to its end."""
        timeout = kwargs.pop("timeout", 60)
        check = kwargs.pop("check", True)
        with self.popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kwargs) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                out, err = process.communicate()
                raise
        done = subprocess.CompletedProcess(command, process.returncode, out, err)
        if check and done.returncode:
            raise subprocess.CalledProcessError(done.returncode, command, out, err)
        return done

    def address(self, interface: str, address: str, prefix: int) -> None:
        """Give an interface an address."""
        with self.netlink() as ip:
            index = ip.link_lookup(ifname=interface)[0]
            ip.addr("add", index=index, address=address, prefixlen=prefix)

    def route(self, destination: str, gateway: str) -> None:
        """Add a route by a gateway."""
        with self.netlink() as ip:
            ip.route("add", dst=destination, gateway=gateway)

    def sysctl(self, name: str, value: str) -> None:
        """Set a network sysctl, for example ``net.ipv4.ip_forward``."""
        script = "import sys; open('/proc/sys/' + sys.argv[1].replace('.', '/'), 'w').write(sys.argv[2])"
        self.run([sys.executable, "-c", script, name, value])


def veth(a: Namespace, name_a: str, b: Namespace, name_b: str, mtu: int = 1500) -> None:
    """Join two namespaces by a pair of virtual Ethernet interfaces, both up, without addresses."""
    with IPRoute() as ip:
        # The pair appears in its namespaces at once: nothing of it is ever seen outside.
        ip.link(
            "add",
            ifname=name_a,
            kind="veth",
            net_ns_pid=a.pid,
            mtu=mtu,
            peer={"ifname": name_b, "net_ns_pid": b.pid, "mtu": mtu},
        )
    for namespace, name in ((a, name_a), (b, name_b)):
        with namespace.netlink() as ip:
            ip.link("set", index=ip.link_lookup(ifname=name)[0], state="up")


@contextmanager
def namespaces(*labels: str) -> Iterator[list[Namespace]]:
    """Several namespaces that go away together."""
    with ExitStack() as stack:
        yield [stack.enter_context(Namespace(label)) for label in labels]
