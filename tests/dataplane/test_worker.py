"""The C programs that belong to the workers: invariants of cutting, joining and the ring under sanitizers, and the engine under TSan."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent


def compiler() -> str:
    found = next((cc for cc in ("gcc", "clang", "cc") if shutil.which(cc)), None)
    if found is None:
        pytest.skip("no C compiler")
    return found


def build(out: Path, sources: list[Path], *flags: str) -> None:
    done = subprocess.run(
        [
            compiler(),
            "-std=c11",
            "-g",
            "-D_GNU_SOURCE",
            "-pthread",
            *flags,
            f"-I{ROOT / 'csrc'}",
            *map(str, sources),
            "-o",
            str(out),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "cannot find" in done.stderr:
        pytest.skip("the compiler has no sanitizer library")
    assert done.returncode == 0, done.stderr


def run(program: Path, *arguments: str) -> str:
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False, timeout=55)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_n085_cutting_joining_and_the_ring_hold_their_invariants(tmp_path: Path) -> None:
    program = tmp_path / "gso_fuzz"
    sources = [HERE / "gso_fuzz.c", ROOT / "csrc/gso.c", ROOT / "csrc/ring.c"]
    build(program, sources, "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
    seed = str(int.from_bytes(os.urandom(4)) or 1)
    print("seed", seed)
    said = run(program, "1500", seed).split()
    assert int(said[2]) > 500  # cut
    assert int(said[4]) > 500  # and joined again


@pytest.mark.slow
def test_n081_the_engine_is_clean_under_the_thread_sanitizer(tmp_path: Path) -> None:
    """The command that engine_tsan.c names in its head."""
    program = tmp_path / "engine_tsan"
    sources = [HERE / "engine_tsan.c", *sorted((ROOT / "csrc").glob("*.c")), *sorted((ROOT / "csrc/kernels").glob("*.c"))]
    build(program, sources, "-O1", "-fsanitize=thread", '-DHEADRACE_VERSION="tsan"')
    assert "moved" in run(program, "2")
