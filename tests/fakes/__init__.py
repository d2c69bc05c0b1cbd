"""Peers that fail in ways that real ones cannot be made to. They count what they fully received."""
