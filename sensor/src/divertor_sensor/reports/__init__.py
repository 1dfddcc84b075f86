"""The reports: what the sensor tells its collector, and how it gets there.

`detection` has the records and their form on the wire, `frames` the stack they carry, `redaction` keeps
secrets out of them, and `reporter` sends them, off the request path.
"""
