"""The binding: every name has a type, every status and error has words, a stale library is told."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from headrace import __version__
from headrace.dataplane import cpu_level, cpu_levels, kernels, native
from headrace.dataplane.native import STATUS, DataPlaneError, ffi, lib, status_text
from headrace.model import Auth, Cipher, MppePolicy

STUB = Path(native.__file__).with_name("_native.pyi")


def test_the_stub_has_the_librarys_names() -> None:
    tree = ast.parse(STUB.read_text("utf-8"))
    (declared,) = (node for node in tree.body if isinstance(node, ast.ClassDef))
    arguments: dict[str, int | None] = {}
    for node in declared.body:
        if isinstance(node, ast.FunctionDef):
            arguments[node.name] = len(node.args.args) - 1
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            arguments[node.target.id] = None
    real = {
        name: None if isinstance(getattr(lib, name), int) else len(ffi.typeof(getattr(lib, name)).args) for name in dir(lib)
    }
    assert arguments == real, "run tools/native_stub.py"


def test_every_status_has_its_own_words() -> None:
    texts = [status_text(label) for label in STATUS.values()]
    assert all(texts)
    assert len(set(texts)) == len(texts)
    for number in range(200):
        assert (lib.hr_status_text(number) == ffi.NULL) == (number not in STATUS)


def test_every_error_has_words() -> None:
    numbers = [number for number, name in ffi.typeof("enum hr_error").elements.items()]
    texts = {native.error_text(number) for number in numbers}
    assert len(texts) == len(numbers)
    assert native.error_text(-1000) == "error -1000"
    assert lib.hr_error_text(1) == ffi.NULL


@pytest.mark.parametrize(
    ("values", "enum", "prefix"),
    [(Cipher, "hr_cipher", "CIPHER"), (Auth, "hr_auth", "AUTH"), (MppePolicy, "hr_mppe_policy", "MPPE")],
)
def test_numbers_of_the_model_are_the_librarys(values: type[Cipher], enum: str, prefix: str) -> None:
    elements = ffi.typeof(f"enum {enum}").elements
    names = {"CIPHER_TRIPLE_DES_CBC": "CIPHER_3DES_CBC"}
    assert {f"HR_{names.get(label, label)}": value.value for value in values for label in [f"{prefix}_{value.name}"]} == {
        name: number for number, name in elements.items()
    }


def test_version_and_levels() -> None:
    assert ffi.string(lib.hr_version()).decode() == __version__
    assert cpu_level() in cpu_levels()
    assert set(kernels()) >= {"aes-cbc-encrypt", "aes-gcm-open", "hmac-sha1", "rc4"}


def test_a_stale_library_is_told_at_import() -> None:
    code = (
        "import headrace.version; headrace.version.__version__ = '9.9.9'\n"
        "try:\n    import headrace.dataplane.tables\n"
        "except ImportError as error:\n    print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_environment()).stdout
    assert said.strip() == f"headrace 9.9.9 found a native data plane of version {__version__}: run `python build.py` again"


def test_an_unknown_level_names_those_there_are() -> None:
    code = (
        "from headrace.dataplane.tables import DataPlane\n"
        "from headrace.dataplane.native import DataPlaneError\n"
        "try:\n    DataPlane()\n"
        "except DataPlaneError as error:\n    print(error)\n"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env={**_environment(), "HEADRACE_CPU": "fast"}
    ).stdout
    assert said.strip() == f"HEADRACE_CPU names no level of this processor, which has: {', '.join(cpu_levels())}"


def _environment() -> dict[str, str]:
    import os

    return {**os.environ, "PYTHONPATH": str(STUB.parents[2])}


def test_errors_are_exceptions_of_their_own() -> None:
    for code, kind in (
        (lib.HR_E_FULL, native.TableFull),
        (lib.HR_E_EXISTS, native.InUse),
        (lib.HR_E_MISSING, native.NoSuchRecord),
    ):
        with pytest.raises(kind, match="doing: "):
            native.check(code, "doing")
    with pytest.raises(DataPlaneError, match="out of memory"):
        native.fail(lib.HR_E_MEMORY, "doing")
    native.check(0, "doing")
