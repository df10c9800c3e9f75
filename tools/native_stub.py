"""Print src/headrace/dataplane/_native.pyi: the names of the native library with their types, out of the library itself.

Run it after a change of csrc/headrace.h and a build, and format what it wrote:
``python tools/native_stub.py > stub && mv stub src/headrace/dataplane/_native.pyi && ruff format src/headrace/dataplane/_native.pyi``.
"""

from __future__ import annotations

import builtins
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

HEAD = """# The native library as cffi presents it. Written by tools/native_stub.py from csrc/headrace.h; a test compares the two.

from typing import Any, Final

ffi: Any

class Lib:
"""


def _argument(ctype: object) -> str:
    return "int" if getattr(ctype, "kind", "") in {"primitive", "enum"} else "Any"


def _result(ctype: object) -> str:
    kind = getattr(ctype, "kind", "")
    return "None" if kind == "void" else _argument(ctype)


def stub() -> str:
    """Return the text of the stub."""
    from headrace.dataplane._native import ffi, lib

    header = (ROOT / "csrc" / "headrace.h").read_text("utf-8")
    lines: list[str] = []
    for name in sorted(dir(lib)):
        value = getattr(lib, name)
        if isinstance(value, int):
            lines.append(f"    {name}: Final[int]")
            continue
        ctype = ffi.typeof(value)
        found = re.search(rf"^[a-z].*\b{name}\(([^)]*)\);", header, re.MULTILINE)
        assert found is not None, name
        names = [re.sub(r"\[.*", "", part).split()[-1].lstrip("*") for part in found[1].split(",")] if ctype.args else []
        names = [f"{n}_" if n in dir(builtins) else n for n in names]
        arguments = ", ".join(["self", *(f"{n}: {_argument(t)}" for n, t in zip(names, ctype.args, strict=True))])
        lines.append(f"    def {name}({arguments}) -> {_result(ctype.result)}: ...")
    return HEAD + "\n".join(lines) + "\n\nlib: Lib\n"


if __name__ == "__main__":
    sys.stdout.write(stub())
