"""Faults found by trying to break Relaypost where two mechanisms meet; each test fails until its fault is mended."""
