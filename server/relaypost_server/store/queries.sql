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
        kept = batch.kept OR request.proven
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
        -- A provider's receipt outweighs the walk that asked the provider.
        state = CASE WHEN message.delivery_rank > 0 THEN message.state ELSE batch.state END,
        update_time = batch.update_time,
        provider = CASE WHEN batch.provider = '' THEN message.provider ELSE batch.provider END,
        provider_message_id = CASE
            WHEN batch.provider = '' THEN message.provider_message_id ELSE batch.provider_message_id
        END,
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
UPDATE relaypost.messages SET state = 'sending', update_time = now() WHERE id = $1 AND delivery_rank = 0;

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

-- name: message_versions
-- What changes with each change of a message. `xmin` is the transaction that wrote the row last.
SELECT id::text, xmin::text || '.' || (
    SELECT count(*) FROM relaypost.delivery_events WHERE message_id = messages.id
) AS version
FROM relaypost.messages WHERE id = ANY($1::uuid[]);

-- name: list_delivery_events
-- What providers reported about a message, by time: at most a hundred events, for an email that is opened
-- again and again must not fill an answer. Those that say something about the state come first.
SELECT *
FROM (
    SELECT * FROM relaypost.delivery_events
    WHERE message_id = $1
    ORDER BY rank > 0 DESC, event_time DESC
    LIMIT 100
) AS event
ORDER BY event_time, rank, event_id;

-- name: add_delivery_events
-- Keeps the events of a batch that are not known yet; the ids of their messages. In order, lest two
-- gateways that were told the same wait for one another.
INSERT INTO relaypost.delivery_events (
    provider, event_id, message_id, provider_message_id, type, state, rank, event_time, reject_reason, permanent,
    provider_code, detail, raw
)
SELECT
    provider, event_id, message_id, provider_message_id, type, state, rank, event_time, reject_reason, permanent,
    provider_code, detail, raw
FROM jsonb_to_recordset($1::jsonb) AS document (
    provider text, event_id text, message_id uuid, provider_message_id text, type text, state text, rank smallint,
    event_time timestamptz, reject_reason text, permanent boolean, provider_code text, detail text, raw jsonb
)
ORDER BY provider, event_id
ON CONFLICT DO NOTHING
RETURNING message_id;

-- name: waiting_events
-- Messages on record that may lack what events of the last $2 seconds say about them; at most $1 events.
SELECT DISTINCT message_id
FROM (
    SELECT message_id FROM relaypost.delivery_events AS event
    WHERE
        waiting
        AND receive_time > now() - make_interval(secs => $2)
        AND EXISTS (SELECT FROM relaypost.messages WHERE id = event.message_id)
    LIMIT $1
) AS event;

-- name: fold_delivery_events
-- Lets messages catch up with their events. A message whose row somebody holds is left for later, and so
-- is one that is not on record yet: its events go on waiting. Nothing here waits for a lock, so that
-- nothing can be locked out. The rule is that of `core.delivery.fold`.
WITH requests AS MATERIALIZED (
    SELECT message_id FROM relaypost.requests WHERE message_id = ANY($1::uuid[]) FOR UPDATE SKIP LOCKED
), messages AS MATERIALIZED (
    SELECT id FROM relaypost.messages
    WHERE
        id = ANY($1::uuid[])
        AND (
            id IN (SELECT message_id FROM requests)
            OR NOT EXISTS (SELECT FROM relaypost.requests WHERE message_id = messages.id)
        )
    FOR UPDATE SKIP LOCKED
), news AS MATERIALIZED (
    UPDATE relaypost.delivery_events AS event SET waiting = false
    FROM messages
    WHERE event.message_id = messages.id AND event.waiting
    RETURNING event.message_id, provider, provider_message_id, state, rank, event_time
), best AS MATERIALIZED (
    SELECT DISTINCT ON (message_id) * FROM news WHERE rank > 0 ORDER BY message_id, rank DESC, event_time
), changed AS (
    UPDATE relaypost.messages AS message
    SET
        state = best.state,
        delivery_rank = best.rank,
        delivery_time = best.event_time,
        update_time = CASE WHEN message.state = best.state THEN message.update_time ELSE now() END,
        provider = CASE WHEN message.provider = '' THEN best.provider ELSE message.provider END,
        provider_message_id = CASE
            WHEN message.provider = '' OR (message.provider = best.provider AND message.provider_message_id = '')
                THEN best.provider_message_id
            ELSE message.provider_message_id
        END
    FROM best
    WHERE
        message.id = best.message_id
        AND (best.rank > message.delivery_rank
            OR (best.rank = message.delivery_rank AND best.event_time < message.delivery_time))
), proven AS (
    UPDATE relaypost.requests AS request SET kept = true, proven = true
    FROM best
    WHERE request.message_id = best.message_id AND NOT request.proven
)
SELECT count(*) FROM news;

-- name: forget_waiting_events
-- Events that have waited for their message for longer than any message waits for the log.
UPDATE relaypost.delivery_events SET waiting = false
WHERE waiting AND receive_time < now() - make_interval(secs => $1);
