"""``headrace status``, ``sessions``, ``disconnect``, ``events``: a look into a running gateway, over its control socket."""

from __future__ import annotations

import json as codec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.common import DEFAULT_CONFIG, JsonOption, MaybeConfigOption, facts, print_json, table
from headrace.cli.exits import REFUSED, CommandError

if TYPE_CHECKING:
    from headrace.shell.control import ControlClient

SocketOption = Annotated[Path | None, typer.Option("--socket", envvar="HEADRACE_SOCKET", help="The gateway's control socket.")]


def connect(socket: Path | None, config: Path | None) -> ControlClient:
    """Connect to the socket that is named, or that the configuration names."""
    from headrace.shell.config import DEFAULT_CONTROL_SOCKET
    from headrace.shell.control import ControlClient

    path = socket
    if path is None and (config is not None or DEFAULT_CONFIG.exists()):
        from headrace.shell.load import load_places

        path = load_places(config or DEFAULT_CONFIG).control_socket
    return ControlClient(path or DEFAULT_CONTROL_SOCKET)


def status(socket: SocketOption = None, config: MaybeConfigOption = None, json: JsonOption = False) -> int:
    """Show how the gateway is: version, sessions, pools, packets, drops, and what it warns of."""
    with connect(socket, config) as client:
        found: dict[str, Any] = client.request("status")
    if json:
        print_json(found)
        return 0
    facts(
        (name.replace("_", " "), ", ".join(map(str, value)) if isinstance(value, list) else value)
        for name, value in found.items()
        if not isinstance(value, dict) and name != "warnings"
    )
    for name, value in found.items():
        if isinstance(value, dict) and value:
            print(f"\n{name.replace('_', ' ')}:")
            facts((f"  {key}", _cell(item)) for key, item in value.items())
    if found.get("warnings"):
        print("\nwarnings:")
        for warning in found["warnings"]:
            print(f"  {warning}")
    return 0


def reload(socket: SocketOption = None, config: MaybeConfigOption = None, json: JsonOption = False) -> int:
    """Have the gateway read its configuration anew. Sessions that are up stay; with a mistake in the file nothing changes (exit 1)."""
    with connect(socket, config) as client:
        found: dict[str, Any] = client.request("reload")
    if json:
        print_json(found)
        return 0
    print("reloaded")
    if found["at_next_start"]:
        print(f"from the gateway's next start on: {', '.join(found['at_next_start'])}")
    return 0


def _cell(item: Any) -> str:
    if isinstance(item, dict):
        return ", ".join(f"{value} {name}" for name, value in item.items())
    if isinstance(item, list):
        return " of ".join(map(str, item))
    return str(item)


def sessions(
    session: Annotated[int | None, typer.Argument(metavar="[ID]", help="Tell this one in full: the ladder it climbed.")] = None,
    socket: SocketOption = None,
    config: MaybeConfigOption = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="Only this user's.")] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="Who did not get in of late: where it broke, and the remedy.")
    ] = False,
    json: JsonOption = False,
) -> int:
    """List who is connected: user, addresses, client, ciphers, traffic. With an ID: what that session agreed on each rung, and when."""
    from headrace.shell.events import octets

    with connect(socket, config) as client:
        if refused:
            return _refusals(client.request("refusals"), user, json=json)
        found: list[dict[str, Any]] = _list(client.request("sessions"))
    if session is not None:
        found = [s for s in found if s.get("session") == session]
        if not found:
            raise CommandError(f"there is no session {session}", "`headrace sessions` lists them", REFUSED)
    if user is not None:
        found = [s for s in found if str(s.get("user", "")).casefold() == user.casefold()]
    if json:
        print_json(found)
        return 0
    if session is not None:
        _print_session(found[0])
        return 0
    if not found:
        print("nobody is connected" if user is None else f"{user} is not connected")
        return 0
    table(
        ("ID", "USER", "INNER", "OUTER", "CLIENT", "NAT", "ESP", "MPPE", "MTU", "SINCE", "IN", "OUT"),
        [
            (
                s.get("session"),
                s.get("user"),
                s.get("inner"),
                s.get("outer"),
                s.get("client"),
                s.get("nat"),
                s.get("esp") or "none",
                s.get("mppe") or "-",
                s.get("mtu"),
                str(s.get("since", ""))[:19].replace("T", " "),
                octets(int(s.get("rx_bytes", 0))),
                octets(int(s.get("tx_bytes", 0))),
            )
            for s in found
        ],
        right=(0, 8, 10, 11),
    )
    return 0


def _print_session(found: dict[str, Any]) -> None:
    """One session in full."""
    from headrace.shell.events import octets

    shown = {
        name: value for name, value in found.items() if name not in {"ladder", "rungs"} and not isinstance(value, dict | list)
    }
    for name in ("rx_bytes", "tx_bytes"):
        shown[name] = octets(int(shown.get(name) or 0))
    facts((name.replace("_", " "), value) for name, value in shown.items())
    _print_ladder(found.get("ladder", []))


def _print_ladder(ladder: list[dict[str, Any]]) -> None:
    if ladder:
        print("\nladder:")
        table(
            ("", "RUNG", "AT", "SECONDS", "AGREED"),
            [
                (
                    p.get("number"),
                    p.get("rung"),
                    str(p.get("at", ""))[11:23],
                    f"{float(p.get('seconds', 0)):.3f}",
                    p.get("agreed"),
                )
                for p in ladder
            ],
            right=(0, 3),
        )


def _refusals(answer: Any, user: str | None, *, json: bool) -> int:
    found: list[dict[str, Any]] = list(answer.get("refusals", []))
    if user is not None:
        found = [r for r in found if str(r.get("user", "")).casefold() == user.casefold()]
    if json:
        print_json(found)
        return 0
    if not found:
        print("nobody was refused" if user is None else f"{user} was not refused")
    for r in found:
        who = f"{r.get('remote')} {r.get('user') or ''}".strip()
        print(f"{str(r.get('time', ''))[:19].replace('T', ' ')}  {who}: {r.get('ras')} {r.get('slug')} ({r.get('rung')})")
        facts(
            (
                ("    seen", r.get("detail")),
                ("    passed", ", ".join(str(p.get("rung")) for p in r.get("ladder", []))),
                ("    client", r.get("remedy_client")),
                ("    gateway", r.get("remedy")),
            )
        )
    return 0


def _list(answer: Any) -> list[dict[str, Any]]:
    found = answer.get("sessions", []) if isinstance(answer, dict) else answer
    return list(found)


def disconnect(
    session: Annotated[int | None, typer.Argument(metavar="[ID]", help="The session's number in `headrace sessions`.")] = None,
    user: Annotated[str | None, typer.Option("--user", "-u", help="All sessions of this user.")] = None,
    address: Annotated[str | None, typer.Option("--address", help="The sessions with this inner or outer address.")] = None,
    socket: SocketOption = None,
    config: MaybeConfigOption = None,
    json: JsonOption = False,
) -> int:
    """End sessions: one by its number, all of a user, or those of an address. The client sees error 629."""
    wanted = {name: value for name, value in (("session", session), ("user", user), ("address", address)) if value is not None}
    if not wanted:
        raise CommandError(
            "say whom to disconnect", "give a session's number, --user or --address; `headrace sessions` lists them"
        )
    with connect(socket, config) as client:
        answer = client.request("disconnect", **wanted)
    count = int(answer.get("disconnected", 0)) if isinstance(answer, dict) else 0
    if json:
        print_json(answer)
    elif count:
        print(f"disconnected {count} session{'' if count == 1 else 's'}")
    if not count:
        shown = ", ".join(f"{name} {value}" for name, value in wanted.items())
        raise CommandError(f"there is no session with {shown}", "`headrace sessions` lists them", REFUSED)
    return 0


def events(
    kinds: Annotated[
        list[str] | None, typer.Argument(metavar="[KIND]...", help="session-up, session-down, refused ...; all if none.")
    ] = None,
    socket: SocketOption = None,
    config: MaybeConfigOption = None,
) -> int:
    """Follow what happens, one JSON object a line, until Ctrl-C or the gateway's end."""
    with connect(socket, config) as client:
        for event in client.events(tuple(kinds or ())):
            print(codec.dumps(event), flush=True)
    return 0
