"""What options say, checked and made into values; a refusal names the option and what it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from headrace.cli.exits import CommandError

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import StrEnum

    from headrace.ppp.config import AuthMethod

_T = TypeVar("_T")
_E = TypeVar("_E", bound="StrEnum")


def bits_of(bits: list[int]) -> tuple[int, ...]:
    """Strengths of MPPE, strongest first."""
    for value in bits:
        if value not in {40, 56, 128}:
            raise CommandError(f"--mppe-bits {value}", "write 128, 56 or 40")
    return tuple(sorted(set(bits), reverse=True))


def methods_of(names: list[str]) -> tuple[AuthMethod, ...]:
    """The ways in which the user may be asked to prove himself."""
    from headrace.ppp.config import AuthMethod

    known = [method for method in AuthMethod if method is not AuthMethod.EAP]  # that alone says nothing
    for name in names:
        if name not in known:
            raise CommandError(f"--auth {name!r}", f"write one of {', '.join(known)}")
    return tuple(AuthMethod(name) for name in dict.fromkeys(names))


def choice_of(kind: type[_E], text: str, option: str) -> _E:
    """One of the values of an enumeration, by its text."""
    try:
        return kind(text)
    except ValueError:
        raise CommandError(f"{option} {text!r}", f"write one of {', '.join(kind)}") from None


def need_of(kind: Callable[[str], _T], text: str, option: str, what: str) -> _T:
    """What an option says, made into what it means."""
    try:
        return kind(text)
    except ValueError:
        raise CommandError(f"{option} {text!r} is not {what}", "see headrace dial --help") from None


def value_of(kind: Callable[[str], _T], text: str | None, option: str, what: str) -> _T | None:
    """The same for an option that may be left out."""
    return None if text is None else need_of(kind, text, option, what)
