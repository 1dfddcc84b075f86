"""Divertor: every customer gets the newest version; an attacker alone is moved to an audited one."""

__version__ = "0.1.0"
