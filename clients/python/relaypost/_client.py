"""The client for threads."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar, Unpack

import grpc
from google.protobuf.message import Message
from relaypost._admin_requests import CostQuery, cost_request, resolve_request, spend_limit_request
from relaypost._queue_requests import (
    QueuedEmailFields,
    QueuedSmsFields,
    ScheduleFields,
    bulk_header,
    bulk_requests,
    enqueue_email_request,
    enqueue_sms_request,
)
from relaypost._requests import (
    EmailFields,
    MessageQuery,
    OtpFields,
    SmsFields,
    SuppressionQuery,
    add_suppression_request,
    email_request,
    get_request,
    list_request,
    otp_request,
    sms_request,
    suppressions_request,
)
from relaypost._webhooks import WebhookCalls
from relaypost.errors import from_rpc_error
from relaypost.v1 import (
    admin_service_pb2 as admin_pb,
    admin_service_pb2_grpc,
    message_pb2,
    messaging_service_pb2 as pb,
    messaging_service_pb2_grpc,
    otp_service_pb2 as otp_pb,
    otp_service_pb2_grpc,
    queue_service_pb2 as queue_pb,
    queue_service_pb2_grpc,
    suppression_service_pb2 as suppression_pb,
    suppression_service_pb2_grpc,
    template_service_pb2_grpc,
    webhook_service_pb2_grpc,
)

T = TypeVar("T")

DEFAULT_TIMEOUT = 15.0
"""Seconds; the gateway divides them over the providers of its chain."""


class Client(WebhookCalls):
    """Talks to one gateway over one connection; for use in any number of threads.

    Each method takes a `timeout` in seconds and raises `RelaypostError`.
    """

    def __init__(
        self,
        target: str = "127.0.0.1:50051",
        *,
        channel: grpc.Channel | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        caller: str = "",
    ) -> None:
        """`channel` instead of `target` where the connection needs TLS, credentials or interceptors.

        `caller` names the service that calls: a `request_id` is its own.
        """
        self._channel = channel or grpc.insecure_channel(target)
        self._timeout = timeout
        self._metadata = (("relaypost-caller", caller),) if caller else ()
        self.stub = messaging_service_pb2_grpc.MessagingServiceStub(self._channel)
        """The generated stub, for what has no method here."""
        self.otp = otp_service_pb2_grpc.OtpServiceStub(self._channel)
        self.templates = template_service_pb2_grpc.TemplateServiceStub(self._channel)
        self.admin = admin_service_pb2_grpc.AdminServiceStub(self._channel)
        self.suppressions = suppression_service_pb2_grpc.SuppressionServiceStub(self._channel)
        self.queue = queue_service_pb2_grpc.QueueServiceStub(self._channel)
        self.webhooks = webhook_service_pb2_grpc.WebhookServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    def send_email(self, *, timeout: float | None = None, **email: Unpack[EmailFields]) -> message_pb2.Message:
        """Sends an email. Raises SendFailedError or InvalidRequestError; then nothing was sent."""
        with _unpacked_errors():
            return self.stub.SendEmail(
                email_request(email), timeout=timeout or self._timeout, metadata=self._metadata
            ).message

    def send_sms(self, *, timeout: float | None = None, **sms: Unpack[SmsFields]) -> message_pb2.Message:
        """Sends a text message. Raises SendFailedError or InvalidRequestError; then nothing was sent."""
        with _unpacked_errors():
            return self.stub.SendSms(
                sms_request(sms), timeout=timeout or self._timeout, metadata=self._metadata
            ).message

    def enqueue_email(self, *, timeout: float | None = None, **email: Unpack[QueuedEmailFields]) -> message_pb2.Message:
        """Stores an email that is sent later. Raises RelaypostError; then it is not stored."""
        request = enqueue_email_request(email)
        with _unpacked_errors():
            return self.queue.EnqueueEmail(request, timeout=timeout or self._timeout, metadata=self._metadata).message

    def enqueue_sms(self, *, timeout: float | None = None, **sms: Unpack[QueuedSmsFields]) -> message_pb2.Message:
        """Stores a text message that is sent later. Raises RelaypostError; then it is not stored."""
        request = enqueue_sms_request(sms)
        with _unpacked_errors():
            return self.queue.EnqueueSms(request, timeout=timeout or self._timeout, metadata=self._metadata).message

    def cancel_message(self, message_id: str, *, timeout: float | None = None) -> message_pb2.Message:
        """Takes a queued message back. Raises RelaypostError where it is too late."""
        request = queue_pb.CancelMessageRequest(message_id=message_id)
        with _unpacked_errors():
            return self.queue.CancelMessage(request, timeout=timeout or self._timeout, metadata=self._metadata).message

    def requeue_message(self, message_id: str, *, timeout: float | None = None) -> message_pb2.Message:
        """Gives a message of the queue another chance that was given up."""
        request = queue_pb.RequeueMessageRequest(message_id=message_id)
        with _unpacked_errors():
            return self.queue.RequeueMessage(request, timeout=timeout or self._timeout, metadata=self._metadata).message

    def list_dead_letters(
        self, request: queue_pb.ListDeadLettersRequest, *, timeout: float | None = None
    ) -> queue_pb.ListDeadLettersResponse:
        """A page of messages that were given up."""
        with _unpacked_errors():
            return self.queue.ListDeadLetters(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def get_batch(self, request_id: str, *, timeout: float | None = None) -> queue_pb.Batch:
        """How far the batch of this name is."""
        request = queue_pb.GetBatchRequest(request_id=request_id)
        with _unpacked_errors():
            return self.queue.GetBatch(request, timeout=timeout or self._timeout, metadata=self._metadata).batch

    def send_bulk(
        self,
        request_id: str,
        messages: Iterable[queue_pb.BulkMessage],
        *,
        validate_only: bool = False,
        timeout: float | None = None,
        **schedule: Unpack[ScheduleFields],
    ) -> queue_pb.SendBulkResponse:
        """Stores any number of messages, made by `bulk_email` and `bulk_sms`; one at a time is held.

        Repeating it with the same `request_id` and messages adds what is missing. `timeout`: seconds; default: none.
        """
        stream = bulk_requests(bulk_header(request_id, schedule, validate_only=validate_only), messages)
        with _unpacked_errors():
            return self.queue.SendBulk(stream, timeout=timeout, metadata=self._metadata)

    def send_otp(self, *, timeout: float | None = None, **otp: Unpack[OtpFields]) -> otp_pb.SendOtpResponse:
        """Makes a code and sends it. Raises SendFailedError, OtpLimitError or InvalidRequestError."""
        with _unpacked_errors():
            request = otp_request(otp)
            return self.otp.SendOtp(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def verify_otp(self, otp_id: str, code: str, *, timeout: float | None = None) -> otp_pb.VerifyOtpResponse:
        """What a right code proved; it is used up. Raises OtpNotVerifiedError for any other."""
        with _unpacked_errors():
            request = otp_pb.VerifyOtpRequest(otp_id=otp_id, code=code)
            return self.otp.VerifyOtp(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def resend_otp(
        self, otp_id: str, *, client_address: str = "", timeout: float | None = None
    ) -> otp_pb.ResendOtpResponse:
        """Sends the same code again while it lives. Raises OtpLimitError where it is too early."""
        with _unpacked_errors():
            request = otp_pb.ResendOtpRequest(otp_id=otp_id, client_address=client_address)
            return self.otp.ResendOtp(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def cancel_otp(self, otp_id: str, *, timeout: float | None = None) -> None:
        """Ends a code's life, if there is such a code."""
        with _unpacked_errors():
            request = otp_pb.CancelOtpRequest(otp_id=otp_id)
            self.otp.CancelOtp(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def get_message(
        self,
        message_id: str = "",
        *,
        provider: str = "",
        provider_message_id: str = "",
        timeout: float | None = None,
    ) -> message_pb2.Message:
        """A message from the log, by its id or by a provider and that provider's id of it."""
        with _unpacked_errors():
            request = get_request(message_id, provider, provider_message_id)
            return self.stub.GetMessage(request, timeout=timeout or self._timeout, metadata=self._metadata).message

    def watch_message(self, message_id: str, *, timeout: float | None = None) -> Iterator[message_pb2.Message]:
        """The message at once, and again after each change, until it is delivered or is known not to be.

        Ends without a word where the `timeout`, by default an hour, is over first, or where the gateway stops.
        """
        request = pb.WatchMessageRequest(message_id=message_id)
        try:
            for answer in self.stub.WatchMessage(request, timeout=timeout, metadata=self._metadata):
                yield answer.message
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                raise from_rpc_error(error) from error

    def list_messages(
        self, *, timeout: float | None = None, **query: Unpack[MessageQuery]
    ) -> Iterator[message_pb2.Message]:
        """Messages from the log, newest first; pages are fetched as they are needed."""
        pages = self._pages(self.stub.ListMessages, list_request(query), timeout)
        return (message for page in pages for message in page.messages)

    def resolve_message(self, message_id: str, *, sent: bool, timeout: float | None = None) -> message_pb2.Message:
        """Settles an UNCONFIRMED message, once somebody has found out whether it was sent."""
        with _unpacked_errors():
            request = resolve_request(message_id, sent=sent)
            return self.admin.ResolveMessage(request, timeout=timeout or self._timeout, metadata=self._metadata).message

    def add_suppression(
        self,
        address: str,
        *,
        reason: str = "manual",
        note: str = "",
        expire_time: datetime | None = None,
        all_callers: bool = False,
        timeout: float | None = None,
    ) -> suppression_pb.AddSuppressionResponse:
        """Keeps messages from an address, until `expire_time` or for ever."""
        request = add_suppression_request(
            address, reason=reason, note=note, expire_time=expire_time, all_callers=all_callers
        )
        with _unpacked_errors():
            return self.suppressions.AddSuppression(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def remove_suppression(self, address: str, *, all_callers: bool = False, timeout: float | None = None) -> bool:
        """Lets an address have messages again. False: nothing kept them from it."""
        request = suppression_pb.RemoveSuppressionRequest(address=address, all_callers=all_callers)
        with _unpacked_errors():
            return self.suppressions.RemoveSuppression(
                request, timeout=timeout or self._timeout, metadata=self._metadata
            ).removed

    def list_suppressions(
        self, *, timeout: float | None = None, **query: Unpack[SuppressionQuery]
    ) -> Iterator[suppression_pb.Suppression]:
        """The addresses that get no messages of this caller; pages are fetched as they are needed."""
        pages = self._pages(self.suppressions.ListSuppressions, suppressions_request(query), timeout)
        return (suppression for page in pages for suppression in page.suppressions)

    def import_suppressions(
        self, suppressions: Iterable[suppression_pb.Suppression], *, timeout: float | None = None
    ) -> suppression_pb.ImportSuppressionsResponse:
        """Keeps messages from up to 500 addresses; what is not valid is told in the answer."""
        request = suppression_pb.ImportSuppressionsRequest(suppressions=suppressions)
        with _unpacked_errors():
            return self.suppressions.ImportSuppressions(
                request, timeout=timeout or self._timeout, metadata=self._metadata
            )

    def verify_sender_email(
        self, email_address: str, *, timeout: float | None = None
    ) -> admin_pb.VerifySenderEmailResponse:
        """Whether SES lets emails be sent from an address; where it does not know it, its owner is sent a link."""
        with _unpacked_errors():
            request = admin_pb.VerifySenderEmailRequest(email_address=email_address)
            return self.admin.VerifySenderEmail(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def sending_quota(self, *, timeout: float | None = None) -> admin_pb.GetSendingQuotaResponse:
        """How much email the SES account may send."""
        with _unpacked_errors():
            request = admin_pb.GetSendingQuotaRequest()
            return self.admin.GetSendingQuota(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def sms_spend(self, *, timeout: float | None = None) -> admin_pb.GetSmsSpendResponse:
        """What the SNS account has spent on text messages since the month began."""
        with _unpacked_errors():
            request = admin_pb.GetSmsSpendRequest()
            return self.admin.GetSmsSpend(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def set_monthly_spend_limit(
        self, dollars: int, *, timeout: float | None = None
    ) -> admin_pb.SetMonthlySpendLimitResponse:
        """Sets how many US dollars the SNS account may spend on text messages in a month."""
        with _unpacked_errors():
            request = spend_limit_request(dollars)
            return self.admin.SetMonthlySpendLimit(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def cost_report(
        self, *, timeout: float | None = None, **query: Unpack[CostQuery]
    ) -> admin_pb.GetCostReportResponse:
        """What messages cost, by default since the month began, and what the month will have cost at its end."""
        with _unpacked_errors():
            request = cost_request(query)
            return self.admin.GetCostReport(request, timeout=timeout or self._timeout, metadata=self._metadata)

    def provider_health(self, *, timeout: float | None = None) -> pb.GetProviderHealthResponse:
        """The state of every provider."""
        with _unpacked_errors():
            return self.stub.GetProviderHealth(
                pb.GetProviderHealthRequest(), timeout=timeout or self._timeout, metadata=self._metadata
            )

    def gateway_health(self, *, timeout: float | None = None) -> pb.GetGatewayHealthResponse:
        """The state of the gateway's message log and background tasks."""
        return self._call(self.stub.GetGatewayHealth, pb.GetGatewayHealthRequest(), timeout)

    def _call(self, method: Callable[..., T], request: Message, timeout: float | None) -> T:
        with _unpacked_errors():
            return method(request, timeout=timeout or self._timeout, metadata=self._metadata)


@contextmanager
def _unpacked_errors() -> Iterator[None]:
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from error
