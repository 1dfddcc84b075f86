"""The broker: events (`Bus`) and desired state (`State`) over NATS JetStream.

Nothing outside this package speaks to the broker; nothing in it knows what an event or a document means.
"""

from divertor.bus.connection import Batch, Bus
from divertor.bus.follow import StreamState
from divertor.bus.mending import mend
from divertor.bus.server import server_binary, server_config, store_mib
from divertor.bus.state import Change, Entry, State, Synced

__all__ = [
    "Batch",
    "Bus",
    "Change",
    "Entry",
    "State",
    "StreamState",
    "Synced",
    "mend",
    "server_binary",
    "server_config",
    "store_mib",
]
