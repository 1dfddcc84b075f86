"""Sigma rules and correlations, read by pySigma → rule files like the others."""
