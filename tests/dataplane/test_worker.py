"""Invariants of cutting, joining and the exception ring, under the address sanitizer. The thread sanitizer has engine_tsan.c."""

from __future__ import annotations

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def compiler() -> str:
    found = next((cc for cc in ("gcc", "clang", "cc") if shutil.which(cc)), None)
    if found is None:
        pytest.skip("no C compiler")
    return found


def compile_all(out: Path, sources: list[Path], *flags: str) -> list[Path]:
    """Compile, as many at a time as there are processors; the objects."""

    def one(source: Path) -> Path:
        target = out / f"{source.parent.name}_{source.stem}.o"
        common = ["-std=c11", "-g", "-D_GNU_SOURCE", "-pthread", '-DHEADRACE_VERSION="test"', f"-I{ROOT / 'csrc'}"]
        done = subprocess.run(
            [compiler(), *common, *flags, "-c", str(source), "-o", str(target)], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return target

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(one, sources))


def link(out: Path, objects: list[Path], *flags: str) -> None:
    done = subprocess.run(
        [compiler(), "-pthread", *flags, *map(str, objects), "-o", str(out)], capture_output=True, text=True, check=False
    )
    if "cannot find" in done.stderr:
        pytest.skip("the compiler has no sanitizer library")
    assert done.returncode == 0, done.stderr


def run(program: Path, *arguments: str) -> str:
    done = subprocess.run([str(program), *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_cutting_joining_and_the_ring_hold_their_invariants(tmp_path: Path) -> None:
    flags = ("-O1", "-DHR_STANDALONE", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
    objects = compile_all(tmp_path, [ROOT / "tests/fuzz/fuzz_gso.c", ROOT / "csrc/gso.c", ROOT / "csrc/ring.c"], *flags)
    link(tmp_path / "fuzz_gso", objects, *flags)
    seed = str(int.from_bytes(os.urandom(4)) or 1)
    print("seed", seed)
    said = run(tmp_path / "fuzz_gso", "1000", seed).split()
    assert int(said[2]) > 300  # cut
    assert int(said[4]) > 300  # and joined again
