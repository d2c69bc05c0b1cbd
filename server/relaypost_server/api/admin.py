"""AdminService."""

from relaypost.v1 import admin_service_pb2 as pb, admin_service_pb2_grpc

from relaypost_server.api import errors, pack
from relaypost_server.api.edge import Context
from relaypost_server.api.errors import ApiError
from relaypost_server.api.request_keys import read_message_id
from relaypost_server.api.violations import Violations
from relaypost_server.core.ports import MessageLog

_SENT = {pb.RESOLUTION_SENT: True, pb.RESOLUTION_NOT_SENT: False}


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """What an operator may do."""

    def __init__(self, message_log: MessageLog) -> None:
        self._log = message_log

    async def ResolveMessage(self, request: pb.ResolveMessageRequest, context: Context) -> pb.ResolveMessageResponse:
        bad = Violations()
        message_id = read_message_id(request.message_id, bad)
        sent = _SENT.get(request.resolution)
        if sent is None:
            bad.add("resolution", "is not a known resolution" if request.resolution else "is required")
        bad.check()
        record = await self._log.resolve(message_id, sent=bool(sent))
        if record is None:
            known = await self._log.get(message_id)
            raise ApiError(errors.not_unconfirmed() if known else errors.message_not_found())
        response = pb.ResolveMessageResponse()
        pack.fill_message(response.message, record)
        return response
