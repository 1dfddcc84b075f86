"""The sources: everything of a request that an attacker chooses, as a list of named texts.

`inputs` reads the head, `bodies` what the app has read of the body (kept by `recording`), and `nested` what
is inside single values; `parts` keeps what repeats. `derived` gives the forms that apps make of a value.
Pure, linear in time and bounded.
"""
