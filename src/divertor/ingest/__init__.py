"""Decoders: what senders send → events. Pure functions; the HTTP side is the API's."""

from divertor.ingest.limits import TooLargeError
from divertor.ingest.otlp import decode_logs
from divertor.ingest.recent import RecentIds
from divertor.ingest.vamp import vamp_event

__all__ = ["RecentIds", "TooLargeError", "decode_logs", "vamp_event"]
