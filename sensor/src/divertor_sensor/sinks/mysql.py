"""MySQL and MariaDB sinks: PyMySQL, mysqlclient (`MySQLdb`), aiomysql and MySQL Connector/Python.

They merge values into the text themselves; judged is the text before that, at the cursor. The connections'
own functions take statements that never saw a cursor. Not every version quotes a procedure's name, so it is
judged as part of a call. Not guarded: the functions of the C modules below.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType

from divertor_sensor.detectors.sql import MYSQL
from divertor_sensor.patching import integrate, wrap
from divertor_sensor.sinks.drivers import judged


def instrument() -> None:
    """Patch each driver once it is imported."""
    _guard("PyMySQL", "pymysql", cursor="Cursor", connections="connections", query="sql")
    _guard("mysqlclient", "MySQLdb", cursor="BaseCursor", connections="connections", query="query")
    _guard("aiomysql", "aiomysql", cursor="Cursor", connections="connection", query="sql")
    for module, kinds in _CONNECTOR.items():
        integrate("sink", "MySQL Connector", f"mysql.connector.{module}", _patch_of(kinds))


#: By module of MySQL Connector: those of its classes that bring functions of their own.
_CONNECTOR = {
    "cursor": ("MySQLCursor", "MySQLCursorPrepared"),
    "cursor_cext": ("CMySQLCursor", "CMySQLCursorPrepared"),
    "aio.cursor": ("MySQLCursor", "MySQLCursorPrepared"),
    "connection": ("MySQLConnection",),
    "connection_cext": ("CMySQLConnection",),
    "aio.connection": ("MySQLConnection",),
}
_CONNECTOR_METHODS = {
    "execute": ("operation", "%s"),
    "executemany": ("operation", "%s"),
    "executemulti": ("operation", "%s"),
    "callproc": ("procname", "CALL %s()"),
    "cmd_query": ("query", "%s"),
    "cmd_query_iter": ("statements", "%s"),
    "cmd_stmt_prepare": ("statement", "%s"),
}
_CONNECTOR_OWN = frozenset(
    f"mysql.connector.{module}" for module in (*_CONNECTOR, "abstracts", "aio.abstracts")
)


def _patch_of(kinds: Sequence[str]) -> Callable[[ModuleType], None]:
    def patch(module: ModuleType) -> None:
        for kind in kinds:
            for method, (parameter, within) in _CONNECTOR_METHODS.items():
                sink = f"{module.__name__}.{kind}.{method}"
                wrapper = judged(MYSQL, sink, parameter, within=within, own=_CONNECTOR_OWN)
                wrap(module, f"{kind}.{method}", wrapper)

    return patch


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
