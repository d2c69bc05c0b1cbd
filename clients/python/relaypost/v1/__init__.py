"""Generated from `proto/relaypost/v1`; not to be edited."""
