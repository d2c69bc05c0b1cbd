"""The services that a gateway serves."""

from relaypost_server.api.admin import AdminServicer
from relaypost_server.api.emails import EmailReader
from relaypost_server.api.messaging import MessagingServicer
from relaypost_server.api.otp import OtpServicer
from relaypost_server.api.queue import QueueServicer
from relaypost_server.api.server import Servicers
from relaypost_server.api.suppressions import SuppressionServicer
from relaypost_server.api.templates import TemplateServicer
from relaypost_server.assembly import costs, otps
from relaypost_server.assembly.parts import Parts
from relaypost_server.assembly.queueing import build_queueing
from relaypost_server.assembly.site import Site
from relaypost_server.assembly.webhooks import run_webhooks
from relaypost_server.core.estimate import Estimator
from relaypost_server.flow.accounts import AccountsReader
from relaypost_server.flow.bulk import Batches
from relaypost_server.flow.watch import Watcher
from relaypost_server.templates.render import Templates


async def build_servicers(
    site: Site, parts: Parts, templates: Templates, watcher: Watcher, batches: Batches
) -> Servicers:
    gateway, message_log, senders = site.config.gateway, parts.message_log, parts.senders
    peppers = await otps.open_peppers(site)
    email_reader = EmailReader(gateway.default_sender, gateway.max_attachment_bytes, templates)
    return Servicers(
        messaging=MessagingServicer(
            emails=senders.emails,
            texts=senders.texts,
            email_reader=email_reader,
            templates=templates,
            message_log=message_log,
            health=parts.health,
            watcher=watcher,
        ),
        otp=OtpServicer(otps.build_otps(site, parts.otp_store, peppers, templates, senders)),
        templates=TemplateServicer(templates),
        admin=AdminServicer(
            message_log,
            AccountsReader(parts.chains.providers, clock=site.clock),
            costs.build_reader(site, parts.database),
        ),
        suppressions=SuppressionServicer(parts.suppressions),
        webhooks=run_webhooks(site, parts.database),
        queue=QueueServicer(
            build_queueing(site, parts.queues, message_log),
            batches,
            email_reader=email_reader,
            templates=templates,
            channels=parts.chains.channels,
            estimator=_estimator(site, parts),
        ),
    )


def _estimator(site: Site, parts: Parts) -> Estimator:
    tariffs = {tariff.provider: tariff.prices for tariff in site.config.tariffs}
    first = {
        chain.channel: chain.links[0].provider.name
        for chain in (parts.chains.emails, parts.chains.texts)
        if chain.links
    }
    return Estimator({channel: tariffs[name] for channel, name in first.items() if name in tariffs})
