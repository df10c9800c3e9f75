"""The C side of the benchmarks: compiled when they are run, into a directory that goes away with the process.

``harness.so`` frames packets and reads the clock; each peer is a library of its own, so that one that is not installed takes nothing
else away.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import cffi

from headrace.dataplane import native as plane
from headrace.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).resolve().parent
SOURCES: Final = HERE / "native"
HARNESS: Final = ("harness.c", "peer_headrace.c", "ports.c")
FLAGS: Final = ("-std=gnu11", "-O2", "-fno-strict-aliasing", "-shared", "-fPIC")


class BenchError(LocalError):
    """The benchmarks cannot run, or a result was wrong; the message says what to do."""


@dataclass(frozen=True, slots=True)
class PeerLibrary:
    """A library that is measured beside headrace."""

    name: str
    source: str
    flags: tuple[str, ...]
    package: str
    """Where Debian and Ubuntu have it."""


PEER_LIBRARIES: Final = (
    PeerLibrary("ipsec-mb", "peer_ipsec_mb.c", ("-lIPSec_MB",), "libipsec-mb-dev"),
    PeerLibrary("openssl", "peer_openssl.c", ("-lcrypto",), "libssl-dev"),
)


def include() -> Path:
    """The directory of ``headrace.h``: in the package, or in the checkout that the package runs from. Raises ``BenchError``."""
    for place in (HERE.parent / "include", HERE.parents[2] / "csrc"):
        if (place / "headrace.h").exists():
            return place
    raise BenchError(f"headrace.h is neither in the package nor beside it: reinstall headrace (looked around {HERE})")


def _between(text: str, begin: str, end: str) -> str:
    return text.partition(f"/* <{begin}> */")[2].partition(f"/* <{end}> */")[0]


@cache
def ffi() -> Any:
    """The declarations of ``headrace.h`` and ``bench.h``, in cffi's ABI mode."""
    made = cffi.FFI()
    made.cdef(_between((include() / "headrace.h").read_text("utf-8"), "border", "/border"))
    made.cdef(_between((SOURCES / "bench.h").read_text("utf-8"), "border", "/border"))
    return made


def pointer_of(name: str) -> Any:
    """The address of a function of headrace's own library, as the harness takes it."""
    address = int(plane.ffi.cast("uintptr_t", plane.ffi.addressof(plane.lib, name)))
    return ffi().cast("void *", address)


def pointer(native: Any) -> Any:
    """A pointer of the package's own binding, for calls of the harness."""
    return ffi().cast("void *", int(plane.ffi.cast("uintptr_t", native)))


def compiler() -> str:
    """The C compiler. Raises ``BenchError``."""
    for name in ("cc", "gcc", "clang"):
        if shutil.which(name):
            return name
    raise BenchError(
        "the benchmarks compile a small harness and found no C compiler: on Debian or Ubuntu, apt-get install gcc libc6-dev"
    )


def compile_library(out: Path, sources: Sequence[str], flags: Sequence[str] = ()) -> str | None:
    """Compile and link: ``None``, or what the compiler said."""
    command = [
        compiler(),
        *FLAGS,
        f"-I{SOURCES}",
        f"-I{include()}",
        *(str(SOURCES / name) for name in sources),
        "-o",
        str(out),
        *flags,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr


@dataclass(frozen=True, slots=True)
class Peer:
    """A peer's library, loaded."""

    name: str
    lib: Any
    version: str


class Toolbox:
    """Harness and peers, compiled and loaded. A context manager: the files go, the libraries stay as long as the process."""

    def __init__(self, *, peers: bool = True) -> None:
        """Compile. Raises ``BenchError`` if the harness does not; a peer that does not is in ``missing``."""
        plane.start()
        self.missing: dict[str, str] = {}
        """Peers that are not here, and what would bring them."""
        self.peers: list[Peer] = []
        with tempfile.TemporaryDirectory(prefix="headrace-bench-") as name:
            directory = Path(name)
            wanted = PEER_LIBRARIES if peers else ()
            with ThreadPoolExecutor() as pool:
                harness = pool.submit(compile_library, directory / "harness.so", HARNESS)
                built = [pool.submit(compile_library, directory / f"{w.name}.so", [w.source], w.flags) for w in wanted]
            said = harness.result()
            if said is not None:
                raise BenchError(f"the harness of the benchmarks does not compile:\n{said}")
            self.harness: Any = ffi().dlopen(str(directory / "harness.so"))
            for library, result in zip(wanted, built, strict=True):
                self._add(library, directory / f"{library.name}.so", result.result())

    def _add(self, library: PeerLibrary, target: Path, said: str | None) -> None:
        if said is None:
            try:
                lib: Any = ffi().dlopen(str(target))
            except OSError as error:
                said = str(error)
            else:
                self.peers.append(Peer(library.name, lib, ffi().string(lib.hb_peer_version()).decode()))
                return
        absent = "No such file" in said or "cannot find" in said or "file not found" in said
        self.missing[library.name] = (
            f"not installed (apt-get install {library.package})"
            if absent
            else f"does not compile here: {said.strip().splitlines()[0]}"
        )

    def core_ghz(self) -> float:
        """The clock that the core runs at now; 0 where it cannot be measured."""
        return float(self.harness.hb_core_ghz())

    def ports(self) -> dict[str, float]:
        """Instructions a cycle, by kind; those that the processor lacks are left out."""
        rates: dict[str, float] = {}
        index = 0
        while (name := self.harness.hb_port_name(index)) != ffi().NULL:
            rate = float(self.harness.hb_port_rate(index))
            if rate > 0:
                rates[ffi().string(name).decode()] = rate
            index += 1
        return rates
