"""Builds the parts of a gateway out of its configuration."""
