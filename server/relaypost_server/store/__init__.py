"""The message log in PostgreSQL."""
