"""Rules at work: events → matches → notifications. Pure: time is an argument."""
