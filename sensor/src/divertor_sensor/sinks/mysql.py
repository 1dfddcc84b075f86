"""MySQL and MariaDB sinks: PyMySQL, mysqlclient (`MySQLdb`) and aiomysql.

They merge values into the text themselves; judged is the text before that, at the cursor. The connections'
`query` takes statements that never saw a cursor. Not every version quotes a procedure's name, so it is judged
as part of a call.
"""

from __future__ import annotations

from types import ModuleType

from divertor_sensor.detectors.sql import MYSQL
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.sinks.drivers import judged


def instrument() -> None:
    """Patch each driver once it is imported."""
    _guard("PyMySQL", "pymysql", cursor="Cursor", connections="connections", query="sql")
    _guard("mysqlclient", "MySQLdb", cursor="BaseCursor", connections="connections", query="query")
    _guard("aiomysql", "aiomysql", cursor="Cursor", connections="connection", query="sql")


def _guard(title: str, package: str, *, cursor: str, connections: str, query: str) -> None:
    """Patch the class `cursor` in `package.cursors`, and the `Connection` of the module named `connections`.

    `query` is what its method of that name calls the statement.
    """
    own = frozenset({f"{package}.cursors", f"{package}.{connections}"})

    def cursors(module: ModuleType) -> None:
        for method in ("execute", "executemany"):
            wrapper = judged(MYSQL, f"{package}.{cursor}.{method}", "query", own=own)
            wrap(module, f"{cursor}.{method}", wrapper)
        wrapper = judged(MYSQL, f"{package}.{cursor}.callproc", "procname", within="CALL %s()", own=own)
        wrap(module, f"{cursor}.callproc", wrapper)

    def connection(module: ModuleType) -> None:
        wrap(module, "Connection.query", judged(MYSQL, f"{package}.Connection.query", query, own=own))

    integrate("sink", title, f"{package}.cursors", cursors)
    integrate("sink", title, f"{package}.{connections}", connection)
