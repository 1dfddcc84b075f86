"""What users want, kept and put into effect: artifacts, deployments, rules; and what happens, live."""
