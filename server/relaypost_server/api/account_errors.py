"""Makes a google.rpc.Status of what the accounts behind providers refuse."""

from google.rpc import status_pb2
from grpc import StatusCode
from relaypost.v1 import failure_pb2

from relaypost_server.api.errors import build, retry
from relaypost_server.core.accounts import AccountError, AccountTrouble

RETRY_SECONDS = 30.0


def of_account(error: AccountError) -> status_pb2.Status:
    about = {"provider": error.provider} | ({"code": error.code} if error.code else {})
    match error.trouble:
        case AccountTrouble.NOT_CONFIGURED:
            reason = failure_pb2.ERROR_REASON_PROVIDER_NOT_CONFIGURED
            return build(StatusCode.FAILED_PRECONDITION, reason, str(error), metadata=about)
        case AccountTrouble.REFUSED:
            reason = failure_pb2.ERROR_REASON_PROVIDER_REFUSED
            return build(StatusCode.FAILED_PRECONDITION, reason, str(error), metadata=about)
        case AccountTrouble.UNAVAILABLE:
            reason = failure_pb2.ERROR_REASON_PROVIDER_REFUSED
            return build(StatusCode.UNAVAILABLE, reason, str(error), retry(RETRY_SECONDS), metadata=about)
