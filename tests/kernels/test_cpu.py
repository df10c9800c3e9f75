"""Levels and the table of kernels: what is there, what is refused, what the environment says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.kernels.native import levels
from tests.kernels.selftest_answers import rows

from headrace.dataplane._native import ffi, lib

ROOT = Path(__file__).parents[2]
ORDER = ["portable", "aesni", "avx2", "avx512"]


def text(pointer: object) -> str:
    return str(ffi.string(pointer).decode())


def kernel_names() -> dict[str, str]:
    names: dict[str, str] = {}
    while (pointer := lib.hr_kernel_name(len(names))) != ffi.NULL:
        label, _, name = text(pointer).partition(": ")
        names[label] = name
    return names


def test_levels_are_in_order_and_begin_with_portable() -> None:
    assert levels() == ORDER[: len(levels())]


def test_every_level_has_a_kernel_for_everything(level: str) -> None:
    assert text(lib.hr_cpu_level()) == level
    names = kernel_names()
    assert {"aes-cbc-encrypt", "aes-gcm-open", "hmac-sha1", "rc4", "mppe-rekey"} <= names.keys()
    assert "none" not in names.values()


def test_the_best_level_replaces_the_portable_kernels() -> None:
    if len(levels()) == 1:
        pytest.skip("portable only")
    assert lib.hr_init_level(b"portable") == 0
    portable = kernel_names()
    assert lib.hr_init_level(levels()[-1].encode()) == 0
    best = kernel_names()
    assert lib.hr_init_level(ffi.NULL) == 0
    assert portable["aes-cbc-encrypt"] != best["aes-cbc-encrypt"]


@pytest.mark.parametrize("name", ["best", "AVX2", "avx2 ", "portable,aesni", "sse2"])
def test_an_unknown_level_is_refused_and_changes_nothing(name: str) -> None:
    before = text(lib.hr_cpu_level())
    assert lib.hr_init_level(name.encode()) == lib.HR_E_UNSUPPORTED
    assert text(lib.hr_cpu_level()) == before


SCRIPT = """
from headrace.dataplane._native import ffi, lib
print(lib.hr_init(), ffi.string(lib.hr_cpu_level()).decode(), lib.hr_init())
"""


def in_process(level: str) -> list[str]:
    path = os.pathsep.join(p for p in sys.path if p)
    env = {**os.environ, "HEADRACE_CPU": level, "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_environment_forces_a_level() -> None:
    assert in_process("portable") == ["0", "portable", "0"]
    assert in_process("") == ["0", levels()[-1], "0"]


def test_n088_an_unknown_level_in_the_environment_is_an_error_not_a_guess() -> None:
    error = str(lib.HR_E_UNSUPPORTED)
    first, _, second = in_process("fastest")
    assert (first, second) == (error, error)


def test_the_self_test_has_the_answers_of_openssl() -> None:
    def squeeze(source: str) -> str:
        return re.sub(r"\s+", "", source)

    source = squeeze((ROOT / "csrc" / "selftest.c").read_text("utf-8"))
    for row in rows():
        assert squeeze(row) in source


def test_wipe_clears_memory() -> None:
    buffer = ffi.new("uint8_t[]", b"secret")
    lib.hr_wipe(buffer, 6)
    assert bytes(buffer) == bytes(7)
