"""Whole tunnels between two network namespaces: the same as ``headrace bench tunnel``. Prints JSON.

python bench/tunnel.py [--quick]
"""

from __future__ import annotations

import json
import sys

from headrace.bench.native import BenchError
from headrace.bench.tunnel import plan, run


def main() -> int:
    """Measure and print."""
    try:
        figures = run(
            plan(quick="--quick" in sys.argv),
            lambda part, text: print(f"{100 * part:3.0f} %  {text}", file=sys.stderr, flush=True),
        )
    except BenchError as error:
        print(f"bench/tunnel.py: {error}", file=sys.stderr)
        return 3
    print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
