"""From one version of the account store's schema to the next, by Alembic: ``versions/`` has one step each."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from alembic.operations import Operations
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

if TYPE_CHECKING:
    from sqlalchemy import Connection

_FOLDER: Final = Path(__file__).parent


def upgrade(db: Connection, *, since: int = 0) -> None:
    """Run the steps that are missing, in the transaction that ``db`` has begun. ``since``: the schema's version now, 0 for none."""
    script = ScriptDirectory(str(_FOLDER))
    begin = f"{since:04}" if since else "base"

    def steps(revision: Any, _context: Any) -> Any:
        # A store of the first version does not know Alembic yet: its number says where it stands.
        return script._upgrade_revs("head", revision or begin)  # noqa: SLF001 - how Alembic's own commands do it

    context = MigrationContext.configure(db, opts={"fn": steps, "transactional_ddl": False})
    if since and context.get_current_revision() is None:
        context.stamp(script, begin)
    with Operations.context(context):
        context.run_migrations()
