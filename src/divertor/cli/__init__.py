"""The command line: what a person or a script says to Divertor in a terminal.

It starts stacks (`up`, `demo`) and asks running ones through their REST API; it reads no state of theirs but
the settings and the token. Every module is imported when its command is called, so that help is quick.
"""
