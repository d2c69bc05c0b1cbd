"""One-time passwords."""

import asyncio

import structlog

from relaypost_server.assembly.chains import Senders
from relaypost_server.assembly.site import Site
from relaypost_server.core.otp_codes import Peppers
from relaypost_server.flow.otp import METHOD, Otps
from relaypost_server.flow.otp_messages import OtpComposer
from relaypost_server.flow.otp_upkeep import OtpUpkeep
from relaypost_server.store.database import Database
from relaypost_server.store.otp import PostgresOtps
from relaypost_server.store.pepper import own_pepper
from relaypost_server.templates.render import Templates

DEFAULT_APP = "Relaypost"
"""The product's name in the messages of gateways that know no other."""

log = structlog.get_logger("relaypost")


async def open_peppers(site: Site) -> Peppers:
    return await asyncio.to_thread(_peppers, site)


def open_store(site: Site, database: Database) -> PostgresOtps:
    return PostgresOtps(database, site.config.otp.policy, method=METHOD)


def run_upkeep(site: Site, store: PostgresOtps) -> OtpUpkeep:
    gateway, otp = site.config.gateway, site.config.otp
    kept = max(gateway.request_retention_hours, otp.conversion_hours) * 3600 + otp.policy.block_seconds
    upkeep = OtpUpkeep(store, retention=kept, window=otp.conversion_hours * 3600, metrics=site.metrics)
    site.run(upkeep)
    return upkeep


def build_otps(site: Site, store: PostgresOtps, peppers: Peppers, templates: Templates, senders: Senders) -> Otps:
    gateway, otp = site.config.gateway, site.config.otp
    app = otp.app or gateway.from_name or DEFAULT_APP
    return Otps(
        store,
        peppers,
        otp.policy,
        OtpComposer(templates, sender=gateway.default_sender, app=app),
        emails=senders.emails,
        texts=senders.texts,
        metrics=site.metrics,
        clock=site.clock,
    )


def _peppers(site: Site) -> Peppers:
    otp, gateway = site.config.otp, site.config.gateway
    if otp.pepper is not None:
        return Peppers(otp.pepper.get_secret_value(), otp.earlier_peppers)
    if gateway.database_url:
        log.warning("codes can be verified by this gateway alone: RELAYPOST_OTP_PEPPER is not set")
    return Peppers(own_pepper(gateway.data_dir), otp.earlier_peppers)
