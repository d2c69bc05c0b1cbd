"""The shell around the decisions: walks chains, awaits providers, keeps the log."""
