"""``headrace`` for which seconds may stand where a configuration must say minutes at least: nobody waits five minutes for a rekey.

Run as a script in place of ``python -m headrace``. Nothing else differs.
"""

from __future__ import annotations

from headrace.cli import main
from headrace.shell.schema import schema

for section in ("ike", "esp"):
    schema()["properties"][section]["properties"]["rekey_time"]["minimum"] = 5

if __name__ == "__main__":
    main()
