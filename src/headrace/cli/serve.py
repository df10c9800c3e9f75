"""``headrace serve``."""

from __future__ import annotations

from typing import Annotated

import typer

from headrace.cli.common import DEFAULT_CONFIG, ConfigOption, starting


def serve(
    config: ConfigOption = DEFAULT_CONFIG,
    log_json: Annotated[
        bool, typer.Option("--log-json", help="Log one JSON object a line, whatever the configuration says.")
    ] = False,
) -> int:
    """Run the gateway until it is stopped by SIGINT or SIGTERM.

    It needs CAP_NET_ADMIN (TUN, routes), CAP_NET_RAW (ESP) and CAP_NET_BIND_SERVICE (UDP 500), or root. Try `headrace check` first.
    """
    from dataclasses import replace

    from headrace.shell import gateway
    from headrace.shell.config import load_config

    loaded = load_config(config)
    if log_json:
        loaded = replace(loaded, log=replace(loaded.log, json=True))
    with starting():
        return gateway.run(loaded)
