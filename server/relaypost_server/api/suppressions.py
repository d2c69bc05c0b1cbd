"""SuppressionService."""

from datetime import UTC, datetime

from relaypost.v1 import suppression_service_pb2 as pb, suppression_service_pb2_grpc

from relaypost_server.api import pack
from relaypost_server.api.edge import Context
from relaypost_server.api.request_keys import read_caller
from relaypost_server.api.suppression_requests import (
    REASONS,
    SOURCES,
    page_token,
    read_address,
    read_query,
    read_suppression,
)
from relaypost_server.api.violations import InvalidRequestError, Violations
from relaypost_server.core.suppression import EVERY_CALLER, Suppression
from relaypost_server.flow.suppressions import Suppressions

MOST_IMPORTED = 500
"""Entries in one request."""
_REASONS = {reason: packed for packed, reason in REASONS.items() if packed}
_SOURCES = {source: packed for packed, source in SOURCES.items() if packed}


class SuppressionServicer(suppression_service_pb2_grpc.SuppressionServiceServicer):
    """Unpacks, calls the flow, packs."""

    def __init__(self, suppressions: Suppressions) -> None:
        self._suppressions = suppressions

    async def AddSuppression(self, request: pb.AddSuppressionRequest, context: Context) -> pb.AddSuppressionResponse:
        bad = Violations()
        asked = pb.Suppression(
            address=request.address,
            reason=request.reason,
            expire_time=request.expire_time if request.HasField("expire_time") else None,
            note=request.note,
            all_callers=request.all_callers,
        )
        wanted = read_suppression(asked, read_caller(context, bad), datetime.now(UTC), bad)
        bad.check()
        changed = await self._suppressions.put([wanted])
        known = await self._suppressions.store.find(wanted.address, wanted.caller)
        return pb.AddSuppressionResponse(suppression=_packed(known or wanted), changed=changed > 0)

    async def RemoveSuppression(
        self, request: pb.RemoveSuppressionRequest, context: Context
    ) -> pb.RemoveSuppressionResponse:
        bad = Violations()
        caller, address = read_caller(context, bad), read_address(request.address, bad)
        bad.check()
        removed = await self._suppressions.remove(address, EVERY_CALLER if request.all_callers else caller)
        return pb.RemoveSuppressionResponse(removed=removed)

    async def ListSuppressions(
        self, request: pb.ListSuppressionsRequest, context: Context
    ) -> pb.ListSuppressionsResponse:
        bad = Violations()
        query = read_query(request, read_caller(context, bad), bad)
        bad.check()
        found = await self._suppressions.store.list(query)
        token = page_token(found[-1]) if len(found) == query.page_size else ""
        return pb.ListSuppressionsResponse(suppressions=[_packed(s) for s in found], next_page_token=token)

    async def ImportSuppressions(
        self, request: pb.ImportSuppressionsRequest, context: Context
    ) -> pb.ImportSuppressionsResponse:
        bad = Violations()
        caller, now = read_caller(context, bad), datetime.now(UTC)
        given = len(request.suppressions)
        if not 1 <= given <= MOST_IMPORTED:
            bad.add("suppressions", f"has {given} entries, 1 to {MOST_IMPORTED} are allowed")
        bad.check()
        taken: list[Suppression] = []
        problems: list[pb.ImportProblem] = []
        for index, entry in enumerate(request.suppressions):
            mistakes = Violations()
            read = read_suppression(entry, caller, now, mistakes)
            try:
                mistakes.check()
            except InvalidRequestError as error:
                field, complaint = error.violations[0]
                problems.append(pb.ImportProblem(index=index, field=field, description=complaint))
            else:
                taken.append(read)
        changed = await self._suppressions.put(taken)
        return pb.ImportSuppressionsResponse(changed=changed, unchanged=len(taken) - changed, problems=problems)


def _packed(suppression: Suppression) -> pb.Suppression:
    return pb.Suppression(
        address=suppression.address,
        reason=_REASONS[suppression.reason],
        source=_SOURCES[suppression.source],
        provider=suppression.provider,
        message_id=suppression.message_id,
        create_time=pack.time(suppression.create_time),
        expire_time=pack.time(suppression.expire_time),
        note=suppression.note,
        all_callers=suppression.caller == EVERY_CALLER,
    )
