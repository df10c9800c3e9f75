"""The JSON schema of the configuration, and its mistakes in a person's words."""

from __future__ import annotations

import json
import math
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, TypeAlias

import jsonschema

from headrace.shell.mistakes import nearest

if TYPE_CHECKING:
    from headrace.shell.locate import Path
    from headrace.shell.mistakes import Report

Node: TypeAlias = dict[str, Any]


@cache
def schema() -> Node:
    """Return the package's ``config.schema.json``."""
    loaded: Node = json.loads(files("headrace.shell").joinpath("config.schema.json").read_text("utf-8"))
    return loaded


def _is_integer(_checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(_checker: object, value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


@cache
def _validator() -> Any:
    """Build a validator that knows TOML's types: 1.0 is no integer, and nan and inf are no numbers."""
    base = jsonschema.Draft202012Validator
    checker = base.TYPE_CHECKER.redefine("integer", _is_integer).redefine("number", _is_number)
    extended: Any = jsonschema.validators.extend(base, type_checker=checker)  # type: ignore[no-untyped-call]
    return extended(schema())


def validate(data: Node, report: Report) -> None:
    """Note every place where the data break the schema."""
    for error in _validator().iter_errors(data):
        path: Path = tuple(error.absolute_path)
        node: Node = error.schema
        if error.validator == "additionalProperties":
            for key in error.instance:
                if key not in node["properties"]:
                    report.add((*path, key), "is not a known key", _unknown_remedy(key, path, node))
        elif error.validator == "required":
            for key in node["required"]:
                if key not in error.instance:
                    child = node["properties"][key]
                    report.add((*path, key), "is missing", f"write {_example(key, child)}")
        elif error.validator == "propertyNames" or "propertyNames" in error.absolute_schema_path:
            name = str(error.instance)
            remedy = "use small letters, digits, - and _, at most 32"
            report.add((*path, name), f"{name!r} cannot be the name of a pool", remedy)
        else:
            report.add(path, *_explain(error.instance, node, path))


def _unknown_remedy(key: str, path: Path, node: Node) -> str:
    """Say what was probably meant: a key with a similar name here, or the same key in another section."""
    near = nearest(key, node["properties"])
    homes = [
        name
        for name, section in schema()["properties"].items()
        if key in section["properties"] and (name,) != path[:1] and not (path and path[0] == name)
    ]
    if near and not homes:
        return f"did you mean {near}?"
    if homes:
        return f"it belongs in [{homes[0]}]"
    everywhere = {
        name: section
        for section, body in schema()["properties"].items()
        for name in body["properties"]
        for section in (section,)
    }
    far = nearest(key, everywhere)
    if far:
        return f"did you mean {far} in [{everywhere[far]}]?"
    return f"known here: {', '.join(sorted(node['properties']))}"


def _example(key: str, node: Node) -> str:
    """Write a line that would be right."""
    if "x-example" in node:
        return str(node["x-example"])
    if node.get("type") == "object":
        return f"a table [{key}]"
    value = node["examples"][0] if "examples" in node else node.get("default")
    if value is None:
        value = node["enum"][0] if "enum" in node else node.get("minimum", "...")
    return f"{key} = {json.dumps(value)}"


def _shown(value: object) -> str:
    """Show what was written, short."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, str):
        text = json.dumps(value)
    elif isinstance(value, dict):
        return "a table"
    elif isinstance(value, list):
        return "a list"
    else:
        text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def expectation(node: Node) -> str:
    """Say in words what a key takes: ``a whole number of octets from 576 to 1500``."""
    if "enum" in node:
        return "one of " + ", ".join(json.dumps(v) if isinstance(v, int) else v for v in node["enum"])
    kind = node.get("type")
    if kind in {"integer", "number"}:
        unit = f" of {node['x-unit']}" if "x-unit" in node else ""
        step = f" in steps of {node['multipleOf']}" if "multipleOf" in node else ""
        return f"a {'whole ' if kind == 'integer' else ''}number{unit} from {node['minimum']} to {node['maximum']}{step}"
    if kind == "boolean":
        return "true or false"
    if kind == "array":
        low, high = node.get("minItems", 0), node.get("maxItems")
        count = f" of {low} to {high}" if high and low else f" of at most {high}" if high else " of at least one" if low else ""
        unique = ", each once" if node.get("uniqueItems") else ""
        return f"a list{count}: {_element(node)}{unique}"
    if kind == "object":
        return "a table"
    if node.get("maxLength") and node.get("pattern", "").startswith("^[!-~]"):
        return f"text of 1 to {node['maxLength']} printable ASCII characters without blanks, in quotes"
    if node.get("pattern"):
        return f"text like {json.dumps(node.get('default', ''))}, in quotes"
    return (
        "text in quotes"
        + (f", at most {node['maxLength']} characters" if "maxLength" in node else "")
        + (", not empty" if node.get("minLength") else "")
    )


def _element(node: Node) -> str:
    items = node.get("items", {})
    if "enum" in items:
        return ", ".join(json.dumps(v) if isinstance(v, int) else v for v in items["enum"])
    return {
        "address": "addresses",
        "address4": "IPv4 addresses",
        "address6": "IPv6 addresses",
        "network": "networks",
        "network6": "IPv6 networks",
        "range": "networks or ranges",
    }.get(items.get("x-kind", ""), "tables" if items.get("type") == "object" else "texts in quotes")


def _explain(value: object, node: Node, path: Path) -> tuple[str, str]:
    """Give reason and remedy for a value that does not fit."""
    names = [part for part in path if isinstance(part, str)]
    key = names[-1] if names else "file"
    if names == ["ike", "psk"] and isinstance(value, str):
        return "a secret does not belong in this file", 'put it into a file of its own (chmod 600) and write psk_file = "psk"'
    reason = f"expected {expectation(node)}, got {_shown(value)}"
    if "enum" in node and isinstance(value, str):
        near = nearest(value, [str(v) for v in node["enum"]])
        if near and near != value:
            return reason, f'did you mean "{near}"?'
    if isinstance(value, str) and node.get("type") in {"integer", "number"} and "x-unit" in node:
        return reason, f"write the number of {node['x-unit']}, without quotes and unit: {_example(key, node)}"
    return reason, f"write {_example(key, node)}" if "default" in node or "examples" in node else ""
