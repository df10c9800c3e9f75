"""Puts the commands together, and turns whatever a command raises into one line and an exit code."""

from __future__ import annotations

import os
import sys
from functools import cache
from typing import TYPE_CHECKING

import typer
from typer.main import get_command

from headrace.cli import (
    account,
    bench,
    check,
    control,
    demo,
    dial,
    exits,
    explain,
    inspect,
    pki,
    ppp,
    profile,
    serve,
    troubleshoot,
    watch,
)
from headrace.errors import ConfigError, HeadraceError
from headrace.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

# typer brings its parser along in some versions and borrows click's in others; its exceptions are found through the one it exports.
_UsageError: type[Exception] = typer.BadParameter.__mro__[1]
_ParserError: type[Exception] = typer.BadParameter.__mro__[2]

app = typer.Typer(
    name="headrace",
    help="L2TP/IPsec gateway and client in user space.\n\n"
    "\b\nBegin here:\n"
    "  headrace demo                                   see the whole ladder on this machine\n"
    "  headrace pki init; headrace pki issue --gateway --dns NAME\n"
    "  headrace account add alice                      an account for a user\n"
    "  headrace check --config gateway.toml            what is wrong, and who can connect\n"
    "  headrace serve --config gateway.toml            run the gateway\n"
    "  headrace dial vpn.example.org --user alice      connect as a client\n"
    "  headrace explain 789                            what an error number means here\n"
    "  headrace inspect call.pcapng                    a capture, told as the ladder\n\n"
    f"{exits.HELP}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
app.command("serve", short_help="Run the gateway.")(serve.serve)
app.command("dial", short_help="Connect to a gateway as a client.")(dial.dial)
app.command("ppp", short_help="PPP over a serial line or a pty.")(ppp.ppp)
app.command("demo", short_help="Gateway and client on this machine, with traffic.")(demo.demo)
app.command("bench", short_help="Measured throughput, beside the peers that are installed.")(bench.bench)
app.command("check", short_help="Validate a configuration; say which clients can connect.")(check.check)
app.command("status", short_help="How a running gateway is.")(control.status)
app.command("sessions", short_help="Who is connected.")(control.sessions)
app.command("disconnect", short_help="End sessions.")(control.disconnect)
app.command("reload", short_help="Read the configuration anew, losing no session.")(control.reload)
app.command("events", short_help="Follow what happens in a running gateway.")(control.events)
app.add_typer(account.app, name="account", short_help="Local accounts and groups.")
app.add_typer(account.groups, name="group", short_help="Groups of local accounts.")
app.add_typer(pki.app, name="pki", short_help="A small CA for computer certificates.")
app.command("troubleshoot", short_help="Why can I not connect: walk the ladder against a server.")(troubleshoot.troubleshoot)
app.command("inspect", short_help="A capture, layer by layer and as the ladder.")(inspect.inspect)
app.command("watch", short_help="One session of a running gateway, live and decrypted.")(watch.watch)
app.command("profile", short_help="What a client imports: Windows, Apple, Linux, a printed page.")(profile.profile)
app.command("explain", short_help="What an error number means, and what to do.")(explain.explain)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"headrace {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    _version_wanted: bool = typer.Option(
        False, "--version", help="Show the version and exit.", is_eager=True, callback=_version
    ),
) -> None:
    pass


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit code. Never shows a traceback for what a user can do wrong."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone; keep the interpreter from complaining about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.OK
    return code


@cache
def _command() -> Callable[..., object]:
    """The parser, made once: a process that runs many command lines (a test) need not make it anew."""
    return get_command(app)


def _run(arguments: Sequence[str]) -> int:
    try:
        result = _command()(args=list(arguments), prog_name="headrace", standalone_mode=False)
    except _UsageError as error:
        return _usage(error)
    except _ParserError as error:
        exits.complain(f"headrace: {_message(error)}")
        return exits.USAGE
    except (typer.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except exits.CommandError as error:
        exits.complain(f"headrace: {error}")
        return error.code
    except ConfigError as error:
        exits.complain(str(error))
        return exits.USAGE
    except HeadraceError as error:
        exits.complain(f"headrace: {error}")
        return exits.SYSTEM if type(error).__name__ == "ControlUnavailable" else exits.REFUSED
    except BrokenPipeError:
        raise
    except OSError as error:
        name = f"{error.filename}: " if error.filename else ""
        exits.complain(f"headrace: {name}{error.strerror or error}")
        return exits.SYSTEM
    return result if isinstance(result, int) else exits.OK


def _usage(error: Exception) -> int:
    """Say what is wrong with a command line; one without a command gets the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        print(getattr(error, "message", error))
        return exits.USAGE
    context = getattr(error, "ctx", None)
    where = f"; see {context.command_path} --help" if context is not None else ""
    exits.complain(f"headrace: {_message(error).rstrip('.')}{where}")
    return exits.USAGE


def _message(error: Exception) -> str:
    form = getattr(error, "format_message", None)
    return " ".join(str(form() if form is not None else error).split())
