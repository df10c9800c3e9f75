"""TCP through a whole tunnel between two network namespaces: the same as ``headrace bench tunnel``. Prints JSON.

python bench/tunnel.py [SECONDS]
"""

from __future__ import annotations

import json
import sys

from headrace.bench.native import BenchError
from headrace.bench.tunnel import run


def main() -> int:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 9.0
    try:
        figures = run(seconds, lambda part, text: print(f"{100 * part:3.0f} %  {text}", file=sys.stderr, flush=True))
    except BenchError as error:
        print(f"bench/tunnel.py: {error}", file=sys.stderr)
        return 3
    print(json.dumps(figures, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
