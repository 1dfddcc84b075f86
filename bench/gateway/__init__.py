"""The gateway beside bare Envoy, HAProxy and nginx: `python -m bench.gateway` (`make bench-gateway`)."""
