"""``headrace pki``."""

from __future__ import annotations

import typer

app = typer.Typer(help="The small CA for computer certificates.", no_args_is_help=True, rich_markup_mode=None)


@app.command("init")
def init() -> int:
    """Make a CA."""
    return 0


@app.command("list")
def list_() -> int:
    """List."""
    return 0
