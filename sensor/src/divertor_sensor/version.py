"""The sensor's version: one constant, read by the build and sent with every report."""

VERSION = "0.1.0"
