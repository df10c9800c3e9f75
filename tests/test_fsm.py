"""The engine of transition tables."""

from __future__ import annotations

from enum import Enum, auto
from typing import Final

import pytest

from headrace.errors import PeerError
from headrace.fsm import Machine, Table, UnexpectedEvent, as_markdown


class State(Enum):
    SHUT = auto()
    OPEN = auto()
    LOCKED = auto()


class Event(Enum):
    PUSH = auto()
    TURN = auto()
    SLAM = auto()


TABLE: Final[Table[State, Event]] = {
    (State.SHUT, Event.PUSH): ("swing", State.OPEN),
    (State.OPEN, Event.PUSH): ("", State.SHUT),
    (State.SHUT, Event.TURN): (("click", "note"), State.LOCKED),
    (State.OPEN, Event.SLAM): ("slam", State.SHUT),
}


class Door:
    def __init__(self) -> None:
        self.done: list[object] = []
        self.fsm: Machine[State, Event] = Machine("door", TABLE, State.SHUT, self)

    def swing(self, how: str = "") -> None:
        self.done.append(("swing", how, self.fsm.state))

    def click(self) -> None:
        self.done.append("click")

    def note(self) -> None:
        self.done.append("note")

    def slam(self) -> None:
        self.fsm.fire(Event.TURN)


def test_the_state_changes_before_the_action_runs_with_its_arguments() -> None:
    door = Door()
    door.fsm.fire(Event.PUSH, "gently")
    assert door.done == [("swing", "gently", State.OPEN)]


def test_an_empty_action_only_moves() -> None:
    door = Door()
    door.fsm.fire(Event.PUSH)
    door.fsm.fire(Event.PUSH)
    assert door.fsm.state is State.SHUT
    assert len(door.done) == 1


def test_several_actions_run_in_order() -> None:
    door = Door()
    door.fsm.fire(Event.TURN)
    assert door.done == ["click", "note"]


def test_an_action_may_fire_again() -> None:
    door = Door()
    door.fsm.fire(Event.PUSH)
    door.fsm.fire(Event.SLAM)
    assert door.fsm.state is State.LOCKED


def test_a_missing_row_names_role_state_and_event_and_changes_nothing() -> None:
    door = Door()
    with pytest.raises(UnexpectedEvent, match="door: SLAM is not expected in state SHUT") as caught:
        door.fsm.fire(Event.SLAM)
    assert isinstance(caught.value, PeerError)
    assert door.fsm.state is State.SHUT
    assert door.done == []


def test_accepts_looks_without_touching() -> None:
    door = Door()
    assert door.fsm.accepts(Event.PUSH)
    assert not door.fsm.accepts(Event.SLAM)


def test_the_table_prints_every_row() -> None:
    lines = as_markdown(TABLE).splitlines()
    assert len(lines) == 2 + len(TABLE)
    assert "| SHUT | TURN | click, note | LOCKED |" in lines
    assert "| OPEN | PUSH | - | SHUT |" in lines
