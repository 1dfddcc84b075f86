"""The demo: the shop of `examples/hackable` under Divertor, and a script that plays customer and attacker."""
