"""Receipts: signed batches of SendGrid over HTTP, until they are durable and folded into their messages."""

import asyncio
import os
import tempfile
import time
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson
from aiohttp import web
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bench.log_writes import new_record
from relaypost_server.flow.background import BackgroundTasks
from relaypost_server.flow.callbacks import Callbacks
from relaypost_server.providers._sendgrid_settings import SendGridSettings
from relaypost_server.providers.sendgrid import SendGrid
from relaypost_server.settings import read
from relaypost_server.store.database import Database
from relaypost_server.store.deliveries import PostgresDeliveries
from relaypost_server.store.messages import PostgresLog
from relaypost_server.store.spool import Spool
from relaypost_server.telemetry.metrics import Metrics
from relaypost_server.web.app import HttpServer
from relaypost_server.web.callbacks import CallbackRoutes

EVENTS = ("processed", "delivered")
"""Of each message."""


@dataclass(frozen=True)
class Rates:
    """Events a second, by the clock and by this process's CPU time, of which the client has a small part."""

    clock: float
    cpu: float


def measure(database_url: str, messages: int, batch_size: int) -> Rates:
    return asyncio.run(_measure(database_url, messages, batch_size))


async def _measure(database_url: str, messages: int, batch_size: int) -> Rates:
    key = ec.generate_private_key(ec.SECP256R1())
    with tempfile.TemporaryDirectory() as home:
        spool = Spool.open(Path(home), max_bytes=64 * 1024 * 1024)
        database = Database(database_url, spool, auto_migrate=True, metrics=Metrics(), tasks=BackgroundTasks())
        await database.start()
        records = [new_record() for _ in range(messages)]
        await asyncio.gather(*(PostgresLog(database).append(r) for r in records))
        reader = _reader(key)
        app = web.Application()
        app.add_routes(CallbackRoutes(Callbacks([reader], PostgresDeliveries(database), Metrics())).routes())
        server = HttpServer(app)
        url = f"http://127.0.0.1:{await server.start('127.0.0.1:0')}/callbacks/sendgrid"
        events = [_event(name, r.id) for name in EVENTS for r in records]
        bodies = [orjson.dumps(events[at : at + batch_size]) for at in range(0, len(events), batch_size)]
        began, cpu = time.perf_counter(), time.process_time()
        await _post(url, key, bodies)
        rates = Rates(len(events) / (time.perf_counter() - began), len(events) / (time.process_time() - cpu))
        await server.stop()
        await reader.close()
        await database.stop()
    return rates


def _reader(key: ec.EllipticCurvePrivateKey) -> SendGrid:
    encoded = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    settings, problems = read(SendGridSettings, {"RELAYPOST_SENDGRID_WEBHOOK_KEY": b64encode(encoded).decode()})
    if settings is None:
        raise RuntimeError(str(problems))
    return SendGrid(settings)


async def _post(url: str, key: ec.EllipticCurvePrivateKey, bodies: list[bytes]) -> None:
    async with aiohttp.ClientSession() as session:
        for body in bodies:
            timestamp = str(int(time.time()))
            signature = key.sign(timestamp.encode() + body, ec.ECDSA(hashes.SHA256()))
            headers = {
                "X-Twilio-Email-Event-Webhook-Signature": b64encode(signature).decode(),
                "X-Twilio-Email-Event-Webhook-Timestamp": timestamp,
            }
            async with session.post(url, data=body, headers=headers) as answer:
                if answer.status != 200:
                    raise RuntimeError(f"HTTP {answer.status}")


def _event(name: str, message_id: str) -> dict[str, object]:
    return {
        "email": "ada@example.com",
        "timestamp": int(time.time()),
        "smtp-id": "<14c5d75ce93.dfd.64b469@ismtpd-555>",
        "event": name,
        "category": ["signup"],
        "sg_event_id": os.urandom(16).hex(),
        "sg_message_id": "14c5d75ce93.filter0001.16648.5515E0B88.0",
        "response": "250 2.0.0 OK 1782907200 x1-20020a5d4c8a000000b003c si4519234wrs.12 - gsmtp",
        "relaypost_message_id": message_id,
    }
