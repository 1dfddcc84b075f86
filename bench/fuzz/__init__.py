"""Hostile inputs for the readers of what users write: none may crash, hang, or be read as something else."""
