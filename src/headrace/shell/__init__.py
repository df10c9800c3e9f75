"""asyncio and the system: sockets, timers, TUN, routes, files, signals, the control socket."""
