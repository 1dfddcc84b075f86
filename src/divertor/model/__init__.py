"""What users write and what runs: blueprints, gateways, deployments, isolations, events.

Frozen, validated values and the pure functions between them; no file, network or clock. Import the module
that holds what you need: `artifacts`, `deployments`, `isolation` and `events` are the values, `reading`,
`rendering` and `updating` their text forms, `resolving`, `deploying` and `selecting` what becomes of them.
"""
