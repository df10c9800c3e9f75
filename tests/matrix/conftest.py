"""The matrix runs only when asked for (``make matrix``): it takes minutes."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.matrix.rig import Result, Rig
    from tests.matrix.table import Group

if not os.environ.get("HEADRACE_MATRIX"):
    collect_ignore_glob = ["test_*.py"]

RESULTS = Path(os.environ.get("HEADRACE_MATRIX_RESULTS", ".cache/matrix")).resolve()
"""What every case said is kept there."""


class Runs:
    """Groups that ran; each runs when the first of its cases is asked for."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.results: dict[str, Result] = {}

    def result(self, group: Group, name: str) -> Result:
        if name not in self.results:
            self.results |= {result.case.name: result for result in self.rig.run(group)}
            self._keep()
        return self.results[name]

    def _keep(self) -> None:
        from tests.matrix.table import GROUPS

        RESULTS.mkdir(parents=True, exist_ok=True)
        path = RESULTS / "results.json"
        known = {row["case"]["name"]: row for row in json.loads(path.read_text("utf-8"))} if path.exists() else {}
        named = [case.name for group in GROUPS for case in group.cases]
        known |= {name: result.json() for name, result in self.results.items()}
        path.write_text(json.dumps([known[name] for name in named if name in known], indent=1) + "\n", "utf-8")


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runs]:
    from tests.matrix.rig import Rig

    with ExitStack() as stack:
        yield Runs(Rig(tmp_path_factory.mktemp("matrix"), stack))
