"""Version 1.1.0, "Level: low": the newest one."""
