"""The examples run as they stand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
CSRC = ROOT / "csrc"


def test_python() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "dataplane.py")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    assert "encap: 64 packets ok, send_udp4500" in done.stdout
    assert "all 64 came out as they went in" in done.stdout


def test_a_program_in_place_of_the_tun() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "packet_queue.py")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    assert "took 8 packets, the last says 'number 7'" in done.stdout
    assert "took 'thanks'" in done.stdout


def test_a_protocol_of_ones_own() -> None:
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "ppp_protocol.py")],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["there got b'hello', here got b'olleh'", "here: the peer has no handler for 0x4021"]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("standard", ["c11", "c++17"])
def test_the_header_is_all_a_program_includes(compiler: str, standard: str, tmp_path: Path) -> None:
    command = shutil.which(compiler if standard == "c11" else {"gcc": "g++", "clang": "clang++"}[compiler])
    if command is None:
        pytest.skip(f"no {compiler}")
    source = EXAMPLES / "dataplane.c"
    if standard == "c++17":
        source = tmp_path / "x.cpp"
        source.write_text("#include <headrace.h>\nint main() { return hr_init() == 0 ? 0 : 1; }\n", "utf-8")
    flags = [f"-std={standard}", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fsyntax-only"]
    done = subprocess.run([command, *flags, f"-I{CSRC}", str(source)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def library(directory: Path) -> Path:
    """What `make lib` made, if nothing has changed since; else the same without optimisation, which takes seconds, not a minute."""
    made = ROOT / "build" / "libheadrace.a"
    sources = [*CSRC.glob("*.[ch]"), *(CSRC / "kernels").glob("*.[ch]")]
    if made.exists() and made.stat().st_mtime > max(path.stat().st_mtime for path in sources):
        return made
    sys.path.insert(0, str(ROOT))
    try:
        import build
    finally:
        sys.path.remove(str(ROOT))
    flags = [flag for flag in build.compiler_flags() if flag not in {"-O3", "-g"} and not flag.startswith("-W")]
    commands = build.library_objects(build.require_compiler(), flags, directory)
    build.run_parallel(list(commands.values()))
    target = directory / "libheadrace.a"
    build.run_parallel([["ar", "rcs", str(target), *map(str, commands)]])
    return target


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_c(tmp_path: Path) -> None:
    if shutil.which("cc") is None or shutil.which("ar") is None:
        pytest.skip("no C compiler")
    program = tmp_path / "dataplane"
    archive = library(tmp_path)
    command = ["cc", f"-I{CSRC}", str(EXAMPLES / "dataplane.c"), str(archive), "-pthread", "-o", str(program)]
    linked = subprocess.run(command, capture_output=True, text=True, check=False)
    assert linked.returncode == 0, linked.stderr
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "encap: 64 packets: passed" in done.stdout
    assert "all 64 came out as they went in" in done.stdout
