"""The sinks: calls of the standard library in which input can turn into code or leave its directory.

One file per kind. Each patches its callables transparently and asks `divertor_sensor.guard.check` before
the call runs. Outside a request a sink does nothing.
"""

from __future__ import annotations

from divertor_sensor.sinks import (
    archives,
    asyncpg,
    code,
    deserialisation,
    files,
    http_clients,
    ldap,
    mongo,
    mysql,
    network,
    processes,
    psycopg,
    psycopg2,
    sqlite,
    templates,
    xml,
)


def instrument() -> None:
    """Patch all sinks; patching twice changes nothing."""
    archives.instrument()
    asyncpg.instrument()
    code.instrument()
    deserialisation.instrument()
    files.instrument()
    http_clients.instrument()
    ldap.instrument()
    mongo.instrument()
    mysql.instrument()
    network.instrument()
    processes.instrument()
    psycopg.instrument()
    psycopg2.instrument()
    sqlite.instrument()
    templates.instrument()
    xml.instrument()
