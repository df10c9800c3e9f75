"""The interoperability suite runs only when asked for (``make interop``): it boots QEMU guests and takes minutes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.interop.lab import Lab, Scenario
    from tests.interop.pki import Papers

if not os.environ.get("HEADRACE_INTEROP"):
    collect_ignore_glob = ["test_*.py"]

RESULTS = Path(os.environ.get("HEADRACE_INTEROP_RESULTS", ".cache/interop/results")).resolve()
"""Captures, logs and configurations of every scenario are kept there."""

ROWS = pytest.StashKey[dict[str, dict[str, Any]]]()
VERSIONS = pytest.StashKey[dict[str, str]]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[ROWS] = {}
    config.stash[VERSIONS] = {}


def _name(node: pytest.Item) -> str:
    """``client-psk-raw`` for test_psk_raw in test_guest_client.py: the scenario's folder and its row in the table."""
    room = re.sub(r"^test_(guest_)?", "", node.path.stem)
    return re.sub(r"[^a-z0-9]+", "-", f"{room} {node.name.removeprefix('test_')}".lower()).strip("-")


@pytest.fixture(scope="session")
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    from tests.interop import tshark
    from tests.interop.lab import Lab

    from headrace import __version__

    RESULTS.mkdir(parents=True, exist_ok=True)
    with Lab(RESULTS) as made:
        yield made
        request.config.stash[VERSIONS].update({"headrace": __version__, **made.versions(), "tshark": tshark.version()})


@pytest.fixture(scope="session")
def papers(lab: Lab) -> Papers:
    """Certificates."""
    from tests.interop.pki import Papers

    return Papers(lab)


@pytest.fixture
def scenario(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Scenario]:
    """A scenario named after the test. When a test is through, tshark must not find anything wrong with what was on the wire."""
    from tests.interop.lab import Scenario

    with Scenario(lab, _name(request.node)) as made:
        yield made
        request.config.stash[ROWS].setdefault(request.node.nodeid, {})["note"] = made.note
        made.capture  # noqa: B018 (ends the recording)
    wrong = made.capture.wrong()
    request.config.stash[ROWS][request.node.nodeid]["first_ping"] = made.capture.first_ping()
    assert not wrong or made.garbled, "tshark finds fault:\n" + "\n".join(wrong)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    report: pytest.TestReport = yield  # type: ignore[assignment]
    row = item.config.stash[ROWS].setdefault(item.nodeid, {})
    row.update(scenario=_name(item), outcome=row.get("outcome", "passed"), seconds=row.get("seconds", 0.0) + report.duration)
    row["shows"] = " ".join((getattr(item.obj, "__doc__", "") or "").split())  # type: ignore[attr-defined]
    if not report.passed:
        row["outcome"] = report.outcome if call.when == "call" or report.skipped else "error"
    return report  # type: ignore[return-value]


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    rows = [row for row in config.stash[ROWS].values() if row.get("seconds")]
    if not rows:
        return
    versions = config.stash[VERSIONS]
    terminalreporter.section("scenarios")
    width = max(len(row["scenario"]) for row in rows)
    for row in rows:
        terminalreporter.write_line(
            f"{row['scenario']:<{width}}  {row['outcome']:<7} {row['seconds']:5.1f} s  {row.get('note', '')[:150]}"
        )
    terminalreporter.write_line(", ".join(f"{name} {version}" for name, version in versions.items()))
    terminalreporter.write_line(f"captures, logs and configurations: {RESULTS}")
    if RESULTS.exists():
        path = RESULTS / "results.json"
        known = json.loads(path.read_text())["rows"] if path.exists() and config.option.keyword else []
        ran = {row["scenario"]: row for row in rows}
        rows = [ran.pop(row["scenario"], row) for row in known] + list(ran.values())
        path.write_text(json.dumps({"versions": versions, "rows": rows}, indent=1) + "\n")
