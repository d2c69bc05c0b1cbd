"""Messages written once, in many languages, and filled in for each send."""
