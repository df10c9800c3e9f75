"""The reference in docs/configuration.md is drawn from the schema. Run this file to write it anew: ``python tests/shell/test_config_docs.py``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from headrace.shell.schema import expectation, schema

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
MARK = "## Reference\n"


def row(key: str, node: dict[str, Any]) -> str:
    default = f"`{json.dumps(node['default'])}`" if "default" in node else ""
    words = expectation(node).replace("|", "\\|")
    return f"| `{key}` | {words} | {default} | {node['description'].replace('|', chr(92) + '|')} |"


def reference() -> str:
    out = [MARK]
    for name, section in schema()["properties"].items():
        out += [
            f"### [{name}]\n",
            f"{section['description']}\n",
            "| key | takes | without it | meaning |",
            "| --- | --- | --- | --- |",
        ]
        for key, node in section["properties"].items():
            out.append(row(key, node))
            if node.get("type") == "array" and node["items"].get("type") == "object":
                out += [row(f"{key}[].{inner}", child) for inner, child in node["items"]["properties"].items()]
        out.append("")
    return "\n".join(out)


def test_reference_is_the_schemas() -> None:
    page = PAGE.read_text("utf-8")
    assert page[page.index(MARK) :] == reference()


if __name__ == "__main__":
    before = PAGE.read_text("utf-8")
    PAGE.write_text(before[: before.index(MARK)] + reference(), "utf-8")
