"""Where webhooks of tests may go."""

from relaypost_server.core.webhook_targets import TargetPolicy, networks

LOOPBACK = TargetPolicy(ports=(range(1, 65536),), http=True, networks=networks(["127.0.0.0/8"]))
"""To servers on this machine, and to what is public."""
