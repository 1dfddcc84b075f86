"""What attackers asked and got: read from the gateway's spool, struck out by rule, kept, shown and exported.

The gateway's filter appends a binary record for every isolated, diverted or refused request to a spool
(`frames`, `spool`). Here it becomes an `Exchange`; what a policy or good sense wants struck out is struck out
before anything is stored (`redaction`, `decoding`); the rest is kept in one bounded file for each attacker
(`archive`) and leaves it as a timeline (`showing`), as HAR (`har`) or as a shell script (`curl`). `service`
puts these together. Everything in an exchange was written by an attacker: it is bounded data, nothing else.
"""
