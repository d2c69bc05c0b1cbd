"""gRPC: unpacks a request, calls the flow, packs the answer. Alone in knowing the stubs."""
