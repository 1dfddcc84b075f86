"""What runs: the supervisor that owns every process, and the driver and reconciler that say what should run.

Nothing is imported here: the supervisor's process must stay small, and only it may import nothing but the
standard library and `divertor.errors`.
"""
