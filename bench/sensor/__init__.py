"""What the sensor costs, beside no sensor and its rivals: one run, shuffled rounds, medians."""
