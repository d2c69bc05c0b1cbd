"""Outgoing webhooks."""

from relaypost_server.api.webhooks import WebhookServicer
from relaypost_server.assembly.shutdown import Phase
from relaypost_server.assembly.site import Site
from relaypost_server.flow.webhook_endpoints import WebhookEndpoints
from relaypost_server.flow.webhook_upkeep import WebhookUpkeep
from relaypost_server.flow.webhooks import DeliveryTerms, WebhookWorker
from relaypost_server.store.database import Database
from relaypost_server.store.webhooks import PostgresWebhooks
from relaypost_server.webhooks.sender import HttpWebhookSender


def run_webhooks(site: Site, database: Database) -> WebhookServicer:
    """Begins to deliver. The servicer is what callers register their endpoints with."""
    settings = site.config.webhooks
    store = PostgresWebhooks(database)
    sender = HttpWebhookSender(settings.targets, timeout=settings.timeout_seconds)
    site.shutdown.then(Phase.CONNECTIONS, sender.close)
    terms = DeliveryTerms(delays=settings.delays, timeout=settings.timeout_seconds, each=settings.concurrency)
    site.run(WebhookUpkeep(store, retention=settings.retention_days * 86_400, metrics=site.metrics))
    site.run(WebhookWorker(store, sender, terms, site.metrics, site.clock))
    endpoints = WebhookEndpoints(store, grace=settings.rotation_hours * 3600, clock=site.clock)
    return WebhookServicer(endpoints, settings.targets)
