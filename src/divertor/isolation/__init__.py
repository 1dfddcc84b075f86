"""Who is isolated: the shared-memory table Envoy reads, and the service that decides, records and expires."""
