"""The gateway agent: desired routing → Envoy's files, isolations → the shared table, access log → events."""
