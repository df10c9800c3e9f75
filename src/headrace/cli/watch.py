"""``headrace watch``: one session of a running gateway, live and decrypted."""

from __future__ import annotations

import sys
from contextlib import ExitStack, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from headrace.cli.common import MaybeConfigOption
from headrace.cli.control import SocketOption, connect
from headrace.cli.exits import SYSTEM, CommandError, complain
from headrace.cli.inspect import View, complain_of_loss
from headrace.inspect.export import Form

if TYPE_CHECKING:
    from collections.abc import Callable


def watch(
    who: Annotated[str, typer.Argument(metavar="SESSION|USER|ADDRESS", help="A number, a name, or an inner or outer address.")],
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Every layer of every packet.")] = False,
    write: Annotated[Path | None, typer.Option("--write", "-w", help="Also write what was decrypted there as pcapng.")] = None,
    write_as: Annotated[
        Form, typer.Option("--write-as", help="With --write: whole packets without ESP, PPP frames, or the user's packets.")
    ] = Form.PACKETS,
    count: Annotated[int | None, typer.Option("--count", "-c", min=1, help="Stop after this many packets.")] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="Stop after this time.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    socket: SocketOption = None,
    config: MaybeConfigOption = None,
) -> int:
    """Look at one session of a running gateway as it happens, layer by layer, decrypted.

    For root and the gateway's own user, on the gateway's machine: it takes packets from the wire and the session's keys from the gateway,
    which says so in its log. Nothing is slowed down; what cannot be read fast enough is left out and counted.
    """
    from headrace.errors import HeadraceError
    from headrace.inspect.export import Exporter
    from headrace.inspect.live import LiveCapture
    from headrace.inspect.watch import Watch

    ask = _question(who, socket, config)
    with ExitStack() as stack:
        live = Watch(ask)
        session = live.answer["session"]
        try:
            capture = stack.enter_context(LiveCapture("", ip_address(live.answer["remote"][0])))
        except PermissionError:
            raise CommandError("watching needs CAP_NET_RAW", "run it as root", SYSTEM) from None
        complain(f"watching session {session['session']} of {session['user']}, {session['inner']} from {session['outer']}")
        exporter = Exporter(stack.enter_context(write.open("wb")), write_as) if write is not None else None
        view = View(live.dissector, json=json, verbose=verbose, packets=True)
        try:
            for packet in live.packets(capture.packets(seconds)):
                view.packet(packet)
                if exporter is not None:
                    exporter.feed(packet)
                if count is not None and view.seen >= count:
                    break
        except KeyboardInterrupt:
            print(file=sys.stderr)
        except HeadraceError as error:
            complain(f"headrace: {error}")
        complain_of_loss(capture)
        if exporter is not None:
            complain(f"{exporter.written} packets written to {write}")
    return 0


def _question(who: str, socket: Path | None, config: Path | None) -> Callable[[], dict[str, Any]]:
    arguments: dict[str, Any] = {"user": who}
    if who.isdecimal():
        arguments = {"session": int(who)}
    else:
        with suppress(ValueError):
            arguments = {"address": str(ip_address(who))}

    def ask() -> dict[str, Any]:
        with connect(socket, config) as client:
            answer: dict[str, Any] = client.request("keys", **arguments)
            # From now on this very session: its user may come again.
            arguments.clear()
            arguments["session"] = answer["session"]["session"]
            return answer

    return ask
