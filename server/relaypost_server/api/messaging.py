"""MessagingService."""

from collections.abc import AsyncIterator, Mapping

from relaypost.v1 import messaging_service_pb2 as pb, messaging_service_pb2_grpc

from relaypost_server.api import errors, pack
from relaypost_server.api.edge import Context
from relaypost_server.api.emails import EmailReader
from relaypost_server.api.errors import ApiError
from relaypost_server.api.message_queries import read_query, read_which
from relaypost_server.api.pages import page_token
from relaypost_server.api.request_keys import (
    read_caller,
    read_channel,
    read_confirm_within,
    read_guarantee,
    read_key,
    read_message_id,
    read_metadata,
)
from relaypost_server.api.requested import requested_email, requested_sms
from relaypost_server.api.texts import read_sms
from relaypost_server.api.violations import Violations
from relaypost_server.core.adjustments import Adjustment
from relaypost_server.core.idempotency import RequestKey, fingerprint
from relaypost_server.core.message import Content, Email, Guarantee, Sms
from relaypost_server.core.ports import LogUnavailableError, MessageLog, Renderer
from relaypost_server.core.silence import Confirm
from relaypost_server.flow.health import HealthReader
from relaypost_server.flow.requests import RequestInProgressError, RequestReusedError
from relaypost_server.flow.send import Sender, Sent
from relaypost_server.flow.watch import TooManyWatchersError, Watcher


class MessagingServicer(messaging_service_pb2_grpc.MessagingServiceServicer):
    """Unpacks, calls the flow, packs."""

    def __init__(
        self,
        *,
        emails: Sender[Email],
        texts: Sender[Sms],
        email_reader: EmailReader,
        templates: Renderer,
        message_log: MessageLog,
        health: HealthReader,
        watcher: Watcher,
    ) -> None:
        self._emails = emails
        self._texts = texts
        self._email_reader = email_reader
        self._templates = templates
        self._log = message_log
        self._health = health
        self._watcher = watcher

    async def SendEmail(self, request: pb.SendEmailRequest, context: Context) -> pb.SendEmailResponse:
        bad = Violations()
        if not request.HasField("email"):
            bad.add("email", "is required")
        else:
            email = self._email_reader.read(request.email, bad)
        guarantee = read_guarantee(request.delivery_guarantee, bad)
        metadata = read_metadata(request.metadata, bad)
        caller = read_caller(context, bad)
        key = read_key("SendEmail", request.request_id, caller, bad)
        bad.check()
        asked = fingerprint(requested_email(request.email, email), guarantee, metadata) if key else ""
        sent = await _send(self._emails, email, guarantee, metadata, caller, key, asked, context, bad.adjustments)
        response = pb.SendEmailResponse(replayed=sent.replayed)
        pack.fill_message(response.message, sent.record)
        return response

    async def SendSms(self, request: pb.SendSmsRequest, context: Context) -> pb.SendSmsResponse:
        bad = Violations()
        if not request.HasField("sms"):
            bad.add("sms", "is required")
        else:
            sms = read_sms(request.sms, self._templates, bad)
        guarantee = read_guarantee(request.delivery_guarantee, bad)
        within = read_confirm_within(request, guarantee, bad)
        metadata = read_metadata(request.metadata, bad)
        caller = read_caller(context, bad)
        key = read_key("SendSms", request.request_id, caller, bad)
        bad.check()
        confirm = None if within is None else Confirm(within=within)
        asked = fingerprint(requested_sms(request.sms, sms), guarantee, metadata, within) if key else ""
        sent = await _send(self._texts, sms, guarantee, metadata, caller, key, asked, context, bad.adjustments, confirm)
        response = pb.SendSmsResponse(replayed=sent.replayed, confirm_until=pack.time(sent.confirm_until))
        pack.fill_message(response.message, sent.record)
        return response

    async def GetProviderHealth(
        self, request: pb.GetProviderHealthRequest, context: Context
    ) -> pb.GetProviderHealthResponse:
        bad = Violations()
        wanted = read_channel("channel", request.channel, bad)
        bad.check()
        health = self._health.read()
        return pb.GetProviderHealthResponse(
            channels=[pack.channel_health(c) for c in health.channels if wanted in (None, c.channel)],
            message_log=pack.log_health(health.message_log),
        )

    async def GetGatewayHealth(
        self, request: pb.GetGatewayHealthRequest, context: Context
    ) -> pb.GetGatewayHealthResponse:
        health = self._health.read_gateway()
        return pb.GetGatewayHealthResponse(
            state=pack.gateway_state(health),
            message_log=pack.log_health(health.message_log),
            background_tasks=[pack.background_task(task) for task in health.tasks],
        )

    async def GetMessage(self, request: pb.GetMessageRequest, context: Context) -> pb.GetMessageResponse:
        which = read_which(request)
        record = await (self._log.get(which) if isinstance(which, str) else self._log.find(*which))
        if record is None:
            raise ApiError(errors.message_not_found())
        response = pb.GetMessageResponse()
        pack.fill_message(response.message, record)
        return response

    async def ListMessages(self, request: pb.ListMessagesRequest, context: Context) -> pb.ListMessagesResponse:
        query = read_query(request)
        found = await self._log.list(query)
        token = page_token(found[-1].id) if len(found) == query.page_size else ""
        response = pb.ListMessagesResponse(next_page_token=token)
        for record in found:
            pack.fill_message(response.messages.add(), record)
        return response

    async def WatchMessage(
        self, request: pb.WatchMessageRequest, context: Context
    ) -> AsyncIterator[pb.WatchMessageResponse]:
        bad = Violations()
        message_id = read_message_id(request.message_id, bad)
        bad.check()
        known = False
        try:
            async for record in self._watcher.watch(message_id):
                known = True
                response = pb.WatchMessageResponse()
                pack.fill_message(response.message, record)
                yield response
        except TooManyWatchersError:
            raise ApiError(errors.too_many_watchers()) from None
        if not known:
            raise ApiError(errors.message_not_found())


async def _send(
    sender: Sender[Content],
    content: Content,
    guarantee: Guarantee,
    metadata: Mapping[str, str],
    caller: str,
    key: RequestKey | None,
    asked: str,
    context: Context,
    adjustments: tuple[Adjustment, ...],
    confirm: Confirm | None = None,
) -> Sent:
    if not sender.configured:
        raise ApiError(errors.not_configured(content.channel))
    try:
        sent = await sender.send(
            content,
            guarantee=guarantee,
            metadata=metadata,
            time_left=context.time_remaining(),
            caller_name=caller,
            key=key,
            asked=asked,
            confirm=confirm,
            adjustments=adjustments,
        )
    except RequestReusedError:
        raise ApiError(errors.request_reused()) from None
    except RequestInProgressError:
        raise ApiError(errors.request_in_progress()) from None
    except LogUnavailableError:
        raise ApiError(errors.idempotency_unavailable()) from None
    failure = errors.of_verdict(sent)
    if failure is not None:
        raise ApiError(failure)
    return sent
