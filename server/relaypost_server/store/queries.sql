-- name: write_batch
-- Writes a batch of documents as `rows.py` makes them; the ids of those that
-- took effect, plain inserts aside. What a document does is its `op`:
--   insert    a message that has been sent, with its attempts
--   claim     a new request, leased, with its first attempt about to start
--   starting  the attempts so far and the next one, while the lease holds
--   finish    the end of a walk; also after the lease, for it tells the truth
--   settle    the end of a request whose lease ended with its gateway
-- Writing a document a second time changes nothing, so a batch whose answer was
-- lost is safe to repeat. Requests are taken in order, lest two batches of two
-- gateways wait for one another.
WITH batch AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS document (
        op text, id uuid, channel text, state text, guarantee text, sender text, recipients text[],
        create_time timestamptz, update_time timestamptz, provider text, provider_message_id text,
        possible_duplicate boolean, cost_micros bigint, cost_currency text, tags jsonb, metadata jsonb,
        attempts jsonb, caller text, method text, request_id text, fingerprint text, fence bigint,
        lease double precision, started_provider text, started_time timestamptz, kept boolean
    )
), claimed AS (
    INSERT INTO relaypost.requests (
        caller, method, request_id, message_id, fingerprint, fence, lease_until, started_provider, started_time
    )
    SELECT
        caller, method, request_id, id, fingerprint, fence, now() + make_interval(secs => lease),
        started_provider, started_time
    FROM batch WHERE op = 'claim' ORDER BY caller, method, request_id
    ON CONFLICT DO NOTHING
    RETURNING message_id
), held AS (
    UPDATE relaypost.requests AS request
    SET
        lease_until = CASE WHEN batch.op = 'starting' THEN now() + make_interval(secs => batch.lease) END,
        started_provider = batch.started_provider,
        started_time = batch.started_time,
        kept = batch.kept
    FROM batch
    WHERE
        request.message_id = batch.id AND request.fence = batch.fence
        AND (
            batch.op = 'finish'
            OR (batch.op = 'starting' AND request.lease_until > now())
            OR (batch.op = 'settle' AND request.lease_until <= now())
        )
    RETURNING request.message_id
), new_messages AS (
    INSERT INTO relaypost.messages (
        id, channel, state, guarantee, sender, recipients, create_time, update_time, provider,
        provider_message_id, possible_duplicate, cost_micros, cost_currency, tags, metadata
    )
    SELECT
        id, channel, state, guarantee, sender, recipients, create_time, update_time, provider,
        provider_message_id, possible_duplicate, cost_micros, cost_currency, tags, metadata
    FROM batch WHERE op = 'insert' OR (op = 'claim' AND id IN (SELECT message_id FROM claimed))
    ON CONFLICT (id) DO NOTHING
), changed_messages AS (
    UPDATE relaypost.messages AS message
    SET
        state = batch.state,
        update_time = batch.update_time,
        provider = batch.provider,
        provider_message_id = batch.provider_message_id,
        possible_duplicate = batch.possible_duplicate,
        cost_micros = batch.cost_micros,
        cost_currency = batch.cost_currency
    FROM batch JOIN held ON held.message_id = batch.id
    WHERE message.id = batch.id
), new_attempts AS (
    INSERT INTO relaypost.attempts (
        message_id, number, provider, kind, skipped, provider_code, detail, provider_message_id, circuit,
        start_time, duration, cost_micros, cost_currency, segments, refused
    )
    SELECT
        batch.id, number, attempt.provider, kind, skipped, provider_code, detail, attempt.provider_message_id,
        circuit, start_time, duration, attempt.cost_micros, attempt.cost_currency, segments, refused
    FROM batch CROSS JOIN jsonb_to_recordset(batch.attempts) AS attempt (
        number smallint, provider text, kind text, skipped text, provider_code text, detail text,
        provider_message_id text, circuit text, start_time timestamptz, duration double precision,
        cost_micros bigint, cost_currency text, segments integer, refused jsonb
    )
    WHERE batch.op = 'insert' OR batch.id IN (SELECT message_id FROM held)
    ON CONFLICT (message_id, number) DO UPDATE SET
        provider = excluded.provider,
        kind = excluded.kind,
        skipped = excluded.skipped,
        provider_code = excluded.provider_code,
        detail = excluded.detail,
        provider_message_id = excluded.provider_message_id,
        circuit = excluded.circuit,
        start_time = excluded.start_time,
        duration = excluded.duration,
        cost_micros = excluded.cost_micros,
        cost_currency = excluded.cost_currency,
        segments = excluded.segments,
        refused = excluded.refused
)
SELECT message_id::text FROM claimed
UNION ALL
SELECT message_id::text FROM held;

-- name: lock_request
-- An earlier request of the same name, held until the transaction ends.
SELECT *, coalesce(lease_until > now(), false) AS running
FROM relaypost.requests
WHERE caller = $1 AND method = $2 AND request_id = $3
FOR UPDATE;

-- name: claim_again
-- Leases a known request to a new walk.
UPDATE relaypost.requests
SET
    fence = fence + 1,
    lease_until = now() + make_interval(secs => $2),
    started_provider = NULL,
    started_time = NULL
WHERE message_id = $1
RETURNING fence;

-- name: send_again
UPDATE relaypost.messages SET state = 'sending', update_time = now() WHERE id = $1;

-- name: abandoned_requests
-- Requests whose lease ended with their gateway.
SELECT *, false AS running
FROM relaypost.requests
WHERE lease_until <= now()
ORDER BY lease_until
LIMIT $1;

-- name: forget_requests
-- A few at a time, so that no sweep holds others up.
DELETE FROM relaypost.requests
WHERE message_id IN (
    SELECT message_id FROM relaypost.requests
    WHERE create_time < now() - make_interval(secs => $1) AND lease_until IS NULL
    LIMIT 5000
);

-- name: resolve_message
-- Settles an UNCONFIRMED message by hand; its id, or nothing where it is in another state.
WITH resolved AS (
    UPDATE relaypost.messages SET state = $2, update_time = now()
    WHERE id = $1 AND state = 'unconfirmed'
    RETURNING id
), request AS (
    UPDATE relaypost.requests SET kept = ($2 = 'sent') FROM resolved WHERE message_id = resolved.id
), attempts AS (
    UPDATE relaypost.attempts SET kind = 'faulted', detail = $3
    FROM resolved
    WHERE message_id = resolved.id AND kind = 'unconfirmed' AND $2 = 'failed'
)
SELECT id FROM resolved;

-- name: get_message
SELECT * FROM relaypost.messages WHERE id = $1;

-- name: list_messages
-- A page, newest first. A filter that is NULL lets everything through. The
-- bounds of id repeat those of create_time in a form that the primary key serves.
SELECT * FROM relaypost.messages
WHERE
    ($1::uuid IS NULL OR id < $1)
    AND ($2::text[] IS NULL OR state = ANY($2))
    AND ($3::text IS NULL OR channel = $3)
    AND ($4::text IS NULL OR recipients @> ARRAY[$4])
    AND ($5::text IS NULL OR provider = $5)
    AND ($6::timestamptz IS NULL OR (create_time >= $6 AND id >= $7::uuid))
    AND ($8::timestamptz IS NULL OR (create_time < $8 AND id <= $9::uuid))
ORDER BY id DESC
LIMIT $10;

-- name: list_attempts
-- All attempts of some messages, in order.
SELECT * FROM relaypost.attempts WHERE message_id = ANY($1::uuid[]) ORDER BY message_id, number;
