"""How fast rules are judged, beside ElastAlert 2: `python -m bench.rules` (`make bench-rules`)."""
