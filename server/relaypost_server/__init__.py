"""Relaypost: one gRPC call, a chain of providers, every attempt visible."""
