"""The table of failures: complete, consistent, and readable in one line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headrace import errors
from headrace.errors import Slug
from headrace.model import Rung

ADD = "src/headrace/errors.toml is the one place: [reason.SLUG] with ras, name, rung, title, meaning, causes, detect, remedy_*"


def test_table_and_enum_agree() -> None:
    records, slugs = set(errors.table()), {str(slug) for slug in Slug}
    assert not slugs - records, f"no record for {', '.join(sorted(slugs - records))}: {ADD}; then `make docs`"
    assert not records - slugs, f"errors.Slug lacks {', '.join(sorted(records - slugs))}"


@pytest.mark.parametrize("slug", list(Slug))
def test_record_is_complete(slug: Slug) -> None:
    record = errors.explain(slug)
    assert Rung(record.rung)
    assert record.name.isupper()
    assert record.causes
    for text in (record.title, record.meaning, record.detect, record.remedy_client, record.remedy_gateway, *record.causes):
        assert text, f"{slug}: {ADD}"
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


def test_only_what_breaks_no_connection_has_no_number() -> None:
    assert {slug for slug, record in errors.table().items() if record.ras == 0} == {Slug.USER_REQUEST, Slug.PATH_MTU}


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


def test_pages_are_those_of_the_table() -> None:
    from tools import error_pages

    assert {path.name for path in error_pages.PAGES.iterdir()} == set(error_pages.pages()), "run `make docs`"
    for name, text in error_pages.pages().items():
        assert (error_pages.PAGES / name).read_text("utf-8") == text, f"docs/errors/{name} is out of date: run `make docs`"


def test_links_of_the_pages_lead_somewhere() -> None:
    from tools import error_pages

    made = error_pages.pages()
    for text in made.values():
        for page, anchor in re.findall(r"\]\(([\w.-]+\.md)(?:#([\w-]+))?\)", text):
            assert page in made
            assert not anchor or f"## {anchor}\n" in made[page]


def test_ike_states_show_as_known_numbers() -> None:
    assert len(errors.ike_statuses()) > 40
    for state in errors.ike_statuses().values():
        assert state.name.isupper()
        for ras in state.shows:
            assert errors.number(ras).name


def test_nobody_else_has_a_table_of_numbers() -> None:
    # A number in the source that is no key of this table would be a second table.
    source = Path(errors.__file__).parent
    owners = {path.name for path in source.rglob("*.toml") if "[reason." in path.read_text("utf-8")}
    assert owners == {"errors.toml"}
