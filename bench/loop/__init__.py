"""What the loop costs and how fast it closes: `python -m bench.loop`, or `make bench-loop`."""
