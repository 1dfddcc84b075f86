"""What texts and links of alerts are made of: holes, sandboxed Jinja, addresses of Discover. Pure."""
