"""What was measured on: processor, clock, library, versions; and how the run was kept quiet."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headrace.dataplane.native import cpu_level, kernels
from headrace.version import __version__

if TYPE_CHECKING:
    from headrace.bench.native import Toolbox


def processor() -> str:
    """The processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def pin() -> int:
    """Keep this process on one processor, the last that it may use: interrupts prefer the first. Which one; -1 if not allowed."""
    try:
        core = max(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {core})
    except OSError:
        return -1
    return core


def describe(toolbox: Toolbox, core: int, ports: dict[str, float]) -> dict[str, Any]:
    """For the head of a table and for JSON."""
    return {
        "processor": processor(),
        "system": f"{platform.system()} {platform.release()}",
        "core": core,
        "core_ghz": round(toolbox.core_ghz(), 3),
        "load": round(os.getloadavg()[0], 2),
        "level": cpu_level(),
        "kernels": kernels(),
        "headrace": __version__,
        "peers": {peer.name: peer.version for peer in toolbox.peers} | _python_peers(),
        "missing": dict(toolbox.missing),
        "ports": {name: round(rate, 3) for name, rate in ports.items()},
    }


def _python_peers() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for name in ("cryptography", "scapy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
