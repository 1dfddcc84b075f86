"""Benchmarks: side by side with the best peer, in one run; ratios and medians."""
