"""How fast the loop closes, on the whole stack: `python -m bench.loop`, or `make bench-loop`. What the gateway
costs is `bench.gateway`'s."""
