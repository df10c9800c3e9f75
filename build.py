"""The only build description: compiles csrc/ into headrace.dataplane._native by cffi (API mode).

Ways in: as a hatchling hook for wheels and editable installs; as a script (``python build.py``), which rebuilds in place;
``python build.py --sanitize`` builds in place with ASan and UBSan; ``python build.py --static DIRECTORY`` makes libheadrace.a for
C programs, which needs nothing of Python. The others need a C compiler and Python's headers.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script in an environment without the build back end
    BuildHookInterface = object  # type: ignore[assignment,misc,unused-ignore]

ROOT = Path(__file__).resolve().parent
CSRC = ROOT / "csrc"
TARGET = ROOT / "src" / "headrace" / "dataplane"
MODULE = "headrace.dataplane._native"
WARNINGS = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wvla", "-Wstrict-prototypes", "-Wno-sign-conversion"]
CFLAGS = ["-std=c11", "-O3", "-g", "-fvisibility=hidden", "-fno-strict-aliasing", "-pthread", "-D_GNU_SOURCE"]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-fno-omit-frame-pointer", "-O1"]


def version() -> str:
    """Read the version from its one place."""
    text = (ROOT / "src" / "headrace" / "version.py").read_text("utf-8")
    found = re.search(r'__version__ = "([^"]+)"', text)
    assert found is not None
    return found.group(1)


def border() -> str:
    """Cut the declarations for the binding out of headrace.h."""
    text = (CSRC / "headrace.h").read_text("utf-8")
    return text.split("/* <border> */")[1].split("/* </border> */")[0]


def sources() -> list[Path]:
    """Every translation unit, in a stable order."""
    return sorted([*CSRC.glob("*.c"), *(CSRC / "kernels").glob("*.c")])


def require_compiler() -> str:
    """The C compiler's command, or one clear sentence."""
    name = os.environ.get("CC") or (sysconfig.get_config_var("CC") or "cc").split()[0]
    for candidate in (name, "cc", "gcc", "clang"):
        if shutil.which(candidate):
            return candidate
    raise SystemExit(
        "headrace needs a C compiler to build its data plane and found none: on Debian or Ubuntu, apt-get install gcc libc6-dev"
    )


def require_headers() -> None:
    """Refuse early, in one sentence, when Python.h is missing."""
    include = Path(sysconfig.get_paths()["include"])
    if not (include / "Python.h").exists():
        raise SystemExit(
            f"headrace needs Python's headers ({include}/Python.h): on Debian or Ubuntu, apt-get install python3-dev"
        )


def compiler_flags(*, sanitize: bool = False) -> list[str]:
    """Flags of every translation unit of csrc/."""
    flags = [*CFLAGS, *WARNINGS, *(SANITIZE if sanitize else []), f'-DHEADRACE_VERSION="{version()}"', f"-I{CSRC}"]
    if os.environ.get("HEADRACE_WERROR"):
        flags.append("-Werror")
    return flags


def library_objects(cc: str, flags: list[str], work: Path) -> dict[Path, list[str]]:
    """The object files of csrc/ and the command that makes each."""
    commands: dict[Path, list[str]] = {}
    for source in sources():
        obj = work / ("_".join(source.relative_to(CSRC).with_suffix(".o").parts))
        commands[obj] = [cc, *flags, "-fPIC", "-c", str(source), "-o", str(obj)]
    return commands


def compile_extension(out: Path, *, sanitize: bool = False) -> Path:
    """Generate the binding, compile everything, and return the path of the extension inside ``out``."""
    import cffi

    cc = require_compiler()
    require_headers()
    flags = compiler_flags(sanitize=sanitize)
    ffi = cffi.FFI()
    ffi.cdef(border())
    ffi.set_source(MODULE, '#include "headrace.h"')
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    with tempfile.TemporaryDirectory(prefix="headrace-build-") as tmp:
        work = Path(tmp)
        generated = work / "_native.c"
        with contextlib.redirect_stdout(sys.stderr):  # cffi tells what it writes
            ffi.emit_c_code(str(generated))
        include = [f"-I{sysconfig.get_paths()['include']}", f"-I{sysconfig.get_paths()['platinclude']}"]
        commands = library_objects(cc, flags, work)
        binding = work / "_native.o"
        quiet = [f for f in flags if not f.startswith("-W")]
        commands[binding] = [cc, *quiet, *include, "-fvisibility=default", "-fPIC", "-c", str(generated), "-o", str(binding)]
        run_parallel(list(commands.values()))
        target = out / f"_native{suffix}"
        fresh = out / f".{target.name}.new"
        link = [cc, "-shared", "-pthread", *(SANITIZE if sanitize else []), *map(str, commands), "-o", str(fresh)]
        run_parallel([link])
        fresh.replace(target)
    return target


def compile_static(out: Path) -> Path:
    """Compile csrc/ and return the path of libheadrace.a inside ``out``; the header beside it is all that a C program includes."""
    cc = require_compiler()
    out.mkdir(parents=True, exist_ok=True)
    target = out / "libheadrace.a"
    with tempfile.TemporaryDirectory(prefix="headrace-build-") as tmp:
        commands = library_objects(cc, [f for f in compiler_flags() if f != "-fvisibility=hidden"], Path(tmp))
        run_parallel(list(commands.values()))
        target.unlink(missing_ok=True)
        run_parallel([[os.environ.get("AR", "ar"), "rcs", str(target), *map(str, commands)]])
    shutil.copy(CSRC / "headrace.h", out)
    return target


def run_parallel(commands: list[list[str]]) -> None:
    """Run compiler commands, as many at a time as there are processors; stop at the first that fails."""
    from concurrent.futures import ThreadPoolExecutor

    def run(command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.stderr:
            sys.stderr.write(done.stderr)
        if done.returncode:
            raise SystemExit(f"compiling failed: {' '.join(command)}")

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        list(pool.map(run, commands))


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg,misc,unused-ignore]
    """Puts the extension into the wheel and marks the wheel as bound to this platform."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (the interface's own name)
        """Compile before the wheel is packed."""
        if self.target_name != "wheel":
            return
        built = compile_extension(TARGET)
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        build_data["force_include"] = {str(built): f"headrace/dataplane/{built.name}"}


if __name__ == "__main__":
    if "--static" in sys.argv:
        made = compile_static(Path(sys.argv[sys.argv.index("--static") + 1]))
    else:
        made = compile_extension(TARGET, sanitize="--sanitize" in sys.argv)
    sys.stdout.write(f"{made}\n")
