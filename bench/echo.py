"""The floor: a grpc.aio server that does nothing but answer SendEmail.

Run as `python -m bench.echo`; prints its port.
"""

import grpc
import uvloop
from relaypost.v1 import messaging_service_pb2 as pb


async def _answer(request: pb.SendEmailRequest, _context: object) -> pb.SendEmailResponse:
    response = pb.SendEmailResponse()
    response.message.recipients.extend(a.address for a in request.email.to)
    return response


async def _serve() -> None:
    handler = grpc.unary_unary_rpc_method_handler(
        _answer,
        request_deserializer=pb.SendEmailRequest.FromString,
        response_serializer=pb.SendEmailResponse.SerializeToString,
    )
    server = grpc.aio.server()
    server.add_registered_method_handlers("relaypost.v1.MessagingService", {"SendEmail": handler})
    generic = grpc.method_handlers_generic_handler("relaypost.v1.MessagingService", {"SendEmail": handler})
    server.add_generic_rpc_handlers((generic,))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_serve())
