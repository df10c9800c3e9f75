"""The small engine that runs a transition table, and prints it.

A table maps (state, event) to (action, next state). States and events are enum members; the action is the name of a method of the
machine's owner, called with the event's arguments; a tuple of names runs several in order. What is not in the table is an error that
names role, state and event.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any, Generic, TypeAlias, TypeVar

from headrace.errors import PeerError

S = TypeVar("S", bound=Enum)
E = TypeVar("E", bound=Enum)

Table: TypeAlias = Mapping[tuple[S, E], tuple[str | tuple[str, ...], S]]


class UnexpectedEvent(PeerError):
    """The table has no row for this event in this state."""


class Machine(Generic[S, E]):
    """Runs one table for one owner."""

    __slots__ = ("_owner", "_role", "_table", "state")

    def __init__(self, role: str, table: Table[S, E], initial: S, owner: object) -> None:
        self._role = role
        self._table = table
        self._owner = owner
        self.state: S = initial

    def fire(self, event: E, /, *args: Any) -> None:
        """Enter the next state, then run the row's actions with ``args``. Raises ``UnexpectedEvent`` if there is no row.

        The state changes first, so that an action may itself fire.
        """
        row = self._table.get((self.state, event))
        if row is None:
            raise UnexpectedEvent(f"{self._role}: {event.name} is not expected in state {self.state.name}")
        actions, self.state = row
        for name in (actions,) if isinstance(actions, str) else actions:
            if name:
                getattr(self._owner, name)(*args)

    def accepts(self, event: E) -> bool:
        """Whether the table has a row for the event now."""
        return (self.state, event) in self._table


def as_markdown(table: Table[S, E]) -> str:
    """The table as Markdown rows, for the documents."""
    lines = ["| state | event | action | next state |", "| --- | --- | --- | --- |"]
    for (state, event), (actions, after) in table.items():
        names = actions if isinstance(actions, str) else ", ".join(actions)
        lines.append(f"| {state.name} | {event.name} | {names or '-'} | {after.name} |")
    return "\n".join(lines)
