"""Every broken set-up is told right by both sides: rung, slug and number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.matrix.rig import number_of
from tests.matrix.table import GROUPS, SILENCE, Case, Group
from tests.shell.site import reason_to_skip

if TYPE_CHECKING:
    from tests.matrix.conftest import Runs

pytestmark = pytest.mark.skipif(bool(reason_to_skip()), reason=reason_to_skip())


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    ("group", "case"), [pytest.param(group, case, id=case.name) for group in GROUPS for case in group.cases]
)
def test_case(runs: Runs, group: Group, case: Case) -> None:
    result = runs.result(group, case.name)
    got = f"{result.report}\n{result.refusals}"
    assert result.troubleshoot == case.troubleshoot, got
    assert result.gateway == case.gateway, got
    assert result.shown, got


def test_the_table_names_numbers_as_the_product_does() -> None:
    for group in GROUPS:
        for case in group.cases:
            for expected in (case.gateway, case.troubleshoot):
                if expected != SILENCE:
                    _, slug, number = expected.split()
                    assert number_of(slug) == int(number), case.name
