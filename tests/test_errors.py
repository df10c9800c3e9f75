"""The table of failures: complete, consistent, and readable in one line."""

from __future__ import annotations

import pytest

from headrace import errors
from headrace.errors import Slug
from headrace.model import Rung


def test_table_and_enum_agree() -> None:
    assert set(errors.table()) == {str(slug) for slug in Slug}


@pytest.mark.parametrize("slug", list(Slug))
def test_record_is_complete(slug: Slug) -> None:
    record = errors.explain(slug)
    assert Rung(record.rung)
    assert record.name.isupper()
    assert record.causes
    for text in (record.title, record.meaning, record.remedy_client, record.remedy_gateway, *record.causes):
        assert text
        assert "\n" not in text
        assert text == text.strip()
    assert not record.remedy_gateway.endswith(".")


@pytest.mark.parametrize("slug", list(Slug))
def test_number_of_a_reason_is_known(slug: Slug) -> None:
    record = errors.explain(slug)
    if record.ras:
        number = errors.number(record.ras)
        assert number.name == record.name
        assert record in number.reasons


def test_only_a_normal_end_has_no_number() -> None:
    assert [slug for slug, record in errors.table().items() if record.ras == 0] == [Slug.USER_REQUEST]


def test_number_without_a_reason_says_what_to_look_at() -> None:
    for ras in range(600, 957):
        try:
            record = errors.number(ras)
        except KeyError:
            continue
        assert record.title
        assert record.reasons or record.hint or not record.name, ras


@pytest.mark.parametrize("ras", [0, -1, 599, 878, 957, 10**9])
def test_unknown_number(ras: int) -> None:
    with pytest.raises(KeyError):
        errors.number(ras)


def test_unknown_slug() -> None:
    with pytest.raises(KeyError):
        errors.explain("no-such-reason")
