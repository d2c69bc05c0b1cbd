"""The way out: posts to URLs that callers gave, and to no address that they must not reach."""
