"""The event store (`EventStore`, over DuckDB) and the task that fills it from the bus (`Recorder`)."""

from divertor.store.events import EventStore, set_aside
from divertor.store.query import Aggregate, EventQuery
from divertor.store.recorder import Recorder

__all__ = ["Aggregate", "EventQuery", "EventStore", "Recorder", "set_aside"]
