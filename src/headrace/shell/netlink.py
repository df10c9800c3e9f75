"""rtnetlink, from wherever one happens to be.

pyroute2's plain interface runs an event loop of its own, which cannot be done on a thread that already runs one. So each exchange
happens on a thread of its own, which starts in the network namespace of its maker.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any, TypeVar

from pyroute2 import IPRoute

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


def with_netlink(function: Callable[[Any], T]) -> T:
    """Call ``function`` with an open ``IPRoute`` and return what it returns; what it raises is raised here.

    Short exchanges with the kernel only: the caller waits.
    """

    def exchange() -> T:
        with IPRoute() as ip:
            return function(ip)

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return exchange()

    answer: list[T] = []
    trouble: list[BaseException] = []

    def body() -> None:
        try:
            answer.append(exchange())
        except BaseException as error:  # noqa: BLE001 (it is raised again below)
            trouble.append(error)

    thread = threading.Thread(target=body, name="headrace-netlink")
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return answer[0]
