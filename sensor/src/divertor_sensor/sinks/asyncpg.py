"""asyncpg sinks: the statements of connections, of pools, and of the connections a pool lends.

All three are patched, and judged is the outermost call: a pool's own coroutine may run in a task of its own,
where the app is no longer on the stack. A prepared statement is judged when it is prepared. Names of tables
and columns are quoted by asyncpg; the `where` of a copy is not, and is judged as SQL.
"""

from __future__ import annotations

from types import ModuleType

from divertor_sensor.detectors.sql import POSTGRESQL
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.sinks.drivers import judged

_OWN = frozenset({"asyncpg.connection", "asyncpg.pool", "asyncpg.transaction"})
#: The parameter that holds the statement. Where it is keyword-only, its position is out of reach.
_PARAMETERS = {
    "execute": "query",
    "executemany": "command",
    "fetch": "query",
    "fetchval": "query",
    "fetchrow": "query",
    "fetchmany": "query",
    "prepare": "query",
    "cursor": "query",
    "copy_from_query": "query",
    "copy_to_table": "where",
    "copy_records_to_table": "where",
}
_KEYWORD_ONLY = 99
_OWNERS = {
    "Connection": "connection.Connection",
    "Pool": "pool.Pool",
    "PoolConnectionProxy": "pool.PoolConnectionProxy",
}


def instrument() -> None:
    """Patch asyncpg's connections and pools once it is imported."""
    integrate("sink", "asyncpg", "asyncpg", _patch)


def _patch(module: ModuleType) -> None:
    for owner, path in _OWNERS.items():
        for method, parameter in _PARAMETERS.items():
            position = _KEYWORD_ONLY if parameter == "where" else 0
            wrapper = judged(POSTGRESQL, f"asyncpg.{owner}.{method}", parameter, position=position, own=_OWN)
            wrap(module, f"{path}.{method}", wrapper)
