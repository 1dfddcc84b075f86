"""Filters: query languages → one test of an event, with what it must have and why it passed. Pure."""
