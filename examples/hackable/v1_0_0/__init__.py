"""Version 1.0.0, "Level: impossible": the audited one."""
