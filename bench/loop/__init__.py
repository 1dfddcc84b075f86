"""How fast the loop closes, on the whole stack: `python -m bench.loop` (`make bench-loop`). What the gateway
costs is `bench.gateway`'s."""
