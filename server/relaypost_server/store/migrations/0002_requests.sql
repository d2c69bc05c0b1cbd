-- Requests with a request_id: who may send them, and what an earlier one was answered.

CREATE TABLE relaypost.requests (
    caller text NOT NULL,
    method text NOT NULL,
    request_id text NOT NULL,
    message_id uuid NOT NULL UNIQUE,
    fingerprint text NOT NULL,           -- of what was asked for
    fence bigint NOT NULL,               -- grows with each claim
    lease_until timestamptz,             -- NULL: nobody is at it
    started_provider text,               -- an attempt that began and has no outcome
    started_time timestamptz,
    kept boolean NOT NULL DEFAULT false, -- the answer is final
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (caller, method, request_id)
);

CREATE INDEX requests_leased ON relaypost.requests (lease_until) WHERE lease_until IS NOT NULL;
CREATE INDEX requests_by_age ON relaypost.requests (create_time);
