-- The queue: messages that are sent later, the batches they came in, and the pace of providers.

-- name: enqueue
-- Puts messages in the queue; those whose request had no earlier one. $2: the engine gets its pointers to
-- what is due in this same transaction. Without a due_time a message is due now, by the database's clock; without an
-- expire_time it lives for time_to_live seconds after that.
WITH batch AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS document (
        id uuid, channel text, guarantee text, sender text, recipients text[], create_time timestamptz, tags jsonb,
        metadata jsonb, country text, caller text, method text, request_id text, fingerprint text, batch_id uuid, lane text,
        adjustments jsonb, content text, due_time timestamptz, expire_time timestamptz, time_to_live double precision
    )
), named AS (
    INSERT INTO relaypost.requests (caller, method, request_id, message_id, fingerprint, fence, remembered_from)
    SELECT caller, method, request_id, id, fingerprint, 0, greatest(due_time, now()) FROM batch ORDER BY caller, method, request_id
    ON CONFLICT DO NOTHING
    RETURNING message_id
), new_messages AS (
    INSERT INTO relaypost.messages (
        id, channel, state, guarantee, sender, recipients, create_time, update_time, provider,
        provider_message_id, possible_duplicate, tags, metadata, country, caller, batch_id, adjustments
    )
    SELECT
        id, channel, 'queued', guarantee, sender, recipients, create_time, create_time, '', '', false, tags,
        metadata, country, caller, batch_id, coalesce(adjustments, '[]')
    FROM batch WHERE id IN (SELECT message_id FROM named)
)
INSERT INTO relaypost.queue (message_id, lane, channel, content, due_time, expire_time, handed_time)
SELECT
    id, lane, channel, convert_to(content, 'UTF8'), coalesce(due_time, now()),
    coalesce(expire_time, coalesce(due_time, now()) + make_interval(secs => time_to_live)),
    CASE WHEN $2::boolean AND coalesce(due_time, now()) <= now() + interval '1 second' THEN now() END
FROM batch WHERE id IN (SELECT message_id FROM named)
RETURNING message_id, lane, channel, handed_time IS NOT NULL AS handed;

-- name: stored_requests
-- Those of some messages that are stored under their request's name.
SELECT message_id FROM relaypost.requests WHERE message_id = ANY($1::uuid[]);

-- name: request_of
-- The message and the fingerprint of an earlier request.
SELECT message_id, fingerprint FROM relaypost.requests WHERE caller = $1 AND method = $2 AND request_id = $3;

-- name: claim_queued
-- Leases messages that are due to a worker, with what they say. Those that somebody else is at, that are
-- given up, cancelled or sent are left out. Rows are taken in order, and none is waited for. A message under a lease
-- gets another pointer when that ends: its worker may have died, or its result may still wait in a spool.
WITH leased AS (
    UPDATE relaypost.queue SET handed_time = NULL, due_time = greatest(due_time, until)
    FROM (
        SELECT queue.message_id, request.lease_until AS until
        FROM relaypost.queue JOIN relaypost.requests AS request USING (message_id)
        WHERE
            message_id = ANY($1::uuid[]) AND NOT kept AND lease_until IS NOT NULL
            AND death IS NULL AND due_time <= now() + interval '1 second'
        FOR UPDATE OF queue SKIP LOCKED
    ) AS found
    WHERE queue.message_id = found.message_id
), wanted AS MATERIALIZED (
    SELECT request.message_id
    FROM relaypost.requests AS request
    JOIN relaypost.queue USING (message_id)
    JOIN relaypost.messages AS message ON message.id = request.message_id
    WHERE
        message_id = ANY($1::uuid[]) AND NOT kept AND lease_until IS NULL
        AND death IS NULL AND due_time <= now() + interval '1 second'
        AND legal_take(message.state, 'sending')
    ORDER BY message_id
    FOR UPDATE OF request SKIP LOCKED
), taken AS (
    UPDATE relaypost.requests AS request
    SET
        fence = fence + 1,
        lease_until = now() + make_interval(secs => $2),
        started_provider = NULL,
        started_time = NULL
    FROM wanted WHERE request.message_id = wanted.message_id
    RETURNING request.message_id, fence
), counted AS (
    UPDATE relaypost.queue SET tries = tries + 1
    FROM taken WHERE queue.message_id = taken.message_id
    RETURNING queue.message_id, lane, content, expire_time, tries
), changed AS (
    UPDATE relaypost.messages SET state = 'sending', update_time = now()
    FROM taken WHERE id = taken.message_id
    RETURNING messages.*
)
SELECT changed.*, lane, content, extract(epoch FROM expire_time - now())::float8 AS time_left, tries, fence
FROM changed JOIN counted ON counted.message_id = id JOIN taken ON taken.message_id = id;

-- name: drop_orphans
-- Those of some messages whose row in the log is gone are taken out of the queue: who they are for is not known any
-- more. Their ids.
DELETE FROM relaypost.queue
WHERE message_id = ANY($1::uuid[]) AND NOT EXISTS (SELECT FROM relaypost.messages WHERE id = message_id)
RETURNING message_id;

-- name: settle_queued
-- What follows from tries: 'done', 'again' after a pause, or 'dead'. `counted`: the try counts as one. A worker
-- whose claim was taken over has no effect.
WITH settled AS MATERIALIZED (
    SELECT document.*
    FROM jsonb_to_recordset($1::jsonb) AS document (
        message_id uuid, fence bigint, next text, pause double precision, counted boolean, death text
    )
    JOIN relaypost.requests AS request USING (message_id, fence)
), done AS (
    DELETE FROM relaypost.queue USING settled
    WHERE queue.message_id = settled.message_id AND next = 'done'
)
UPDATE relaypost.queue
SET
    due_time = CASE WHEN next = 'again' THEN now() + make_interval(secs => pause) ELSE due_time END,
    handed_time = NULL,
    handing_until = NULL,
    tries = CASE WHEN counted THEN tries ELSE tries - 1 END,
    death = settled.death
FROM settled
WHERE queue.message_id = settled.message_id AND next <> 'done';

-- name: release_queued
-- A message whose worker died gets a new pointer; in the transaction that settles its request.
UPDATE relaypost.queue SET handed_time = NULL, due_time = now() WHERE message_id = $1 AND death IS NULL;

-- name: revive_queued
-- Messages that are to be tried again and may have lost their pointer on a bad day: after ten minutes they get
-- another one. $1 at most.
UPDATE relaypost.queue SET handed_time = NULL, due_time = now()
FROM (
    SELECT queue.message_id
    FROM relaypost.queue JOIN relaypost.requests AS request USING (message_id)
    WHERE
        tries > 0 AND handed_time < now() - interval '10 minutes' AND death IS NULL AND NOT kept
        AND lease_until IS NULL
    ORDER BY queue.message_id
    LIMIT $1
    FOR UPDATE OF queue SKIP LOCKED
) AS found
WHERE queue.message_id = found.message_id;

-- name: forget_sent
-- Messages whose end is on record, but whose worker died before it could empty the queue.
DELETE FROM relaypost.queue USING relaypost.requests AS request
WHERE queue.message_id = request.message_id AND kept AND tries > 0 AND death IS NULL;

-- name: lost_pointers
-- Messages whose pointer has been with the engine for longer than $1 seconds: it gets another one.
UPDATE relaypost.queue SET handed_time = NULL
WHERE death IS NULL AND handed_time < now() - make_interval(secs => $1);

-- name: forget_dead
-- What messages say that were given up more than $1 seconds ago; the messages stay on record.
DELETE FROM relaypost.queue WHERE death IS NOT NULL AND due_time < now() - make_interval(secs => $1);

-- name: lease_pointers
-- Messages that are due and that an engine beside this database is to get now; at most $1. No other gateway hands
-- them over for $2 seconds. The lanes $3 are looked at one after the other, until there are enough.
UPDATE relaypost.queue AS queue SET handing_until = now() + make_interval(secs => $2)
FROM (
    SELECT in_lane.message_id
    FROM unnest($3::text[]) AS wanted (lane) CROSS JOIN LATERAL (
        SELECT message_id FROM relaypost.queue
        WHERE
            queue.lane = wanted.lane AND handed_time IS NULL AND death IS NULL AND due_time <= now()
            AND (handing_until IS NULL OR handing_until < now())
        ORDER BY due_time
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    ) AS in_lane
    LIMIT $1
) AS due
WHERE queue.message_id = due.message_id
RETURNING queue.message_id, lane, channel, handing_until;

-- name: confirm_pointers
-- The engine has pointers to these messages. Rows whose lease is no longer $2 are skipped: a worker has settled them, or
-- another gateway hands them over. Rows that another transaction has locked are returned, because waiting for them could
-- end in a deadlock.
WITH leased AS (
    SELECT message_id FROM relaypost.queue WHERE message_id = ANY($1::uuid[]) AND handing_until = $2
), free AS MATERIALIZED (
    SELECT message_id FROM relaypost.queue
    WHERE message_id = ANY($1::uuid[]) AND handing_until = $2
    FOR UPDATE SKIP LOCKED
), confirmed AS (
    UPDATE relaypost.queue AS queue SET handed_time = now(), handing_until = NULL FROM free
    WHERE queue.message_id = free.message_id
    RETURNING queue.message_id
)
SELECT message_id FROM leased EXCEPT SELECT message_id FROM confirmed;

-- name: release_pointers
-- The engine did not confirm these pointers: any gateway may hand the messages over.
UPDATE relaypost.queue AS queue SET handing_until = NULL
FROM (
    SELECT message_id FROM relaypost.queue
    WHERE message_id = ANY($1::uuid[]) AND handing_until = $2
    FOR UPDATE SKIP LOCKED
) AS free
WHERE queue.message_id = free.message_id;

-- name: hand_over
-- Messages that are due and not in the hands of the engine in this database; at most $1. The lanes $2 are looked at
-- one after the other, until there are enough.
UPDATE relaypost.queue AS queue SET handed_time = now()
FROM (
    SELECT in_lane.message_id
    FROM unnest($2::text[]) AS wanted (lane) CROSS JOIN LATERAL (
        SELECT message_id FROM relaypost.queue
        WHERE queue.lane = wanted.lane AND handed_time IS NULL AND death IS NULL AND due_time <= now()
        ORDER BY due_time
        LIMIT $1
        FOR UPDATE SKIP LOCKED
    ) AS in_lane
    LIMIT $1
) AS due
WHERE queue.message_id = due.message_id
RETURNING queue.message_id, lane, channel;

-- name: cancel_queued
-- Cancels a message unless a worker holds it or it may have been sent; its id. All or nothing: the rows are locked
-- first. The fence keeps out a worker that lost its lease and does not know yet.
WITH free AS MATERIALIZED (
    SELECT request.message_id
    FROM relaypost.requests AS request
    JOIN relaypost.messages AS message ON message.id = request.message_id
    JOIN relaypost.queue USING (message_id)
    WHERE
        request.message_id = $1 AND lease_until IS NULL AND NOT kept
        AND legal_cancel(message.state, 'cancelled')
    FOR UPDATE OF request, message
), named AS (
    UPDATE relaypost.requests AS request SET kept = true, fence = fence + 1 FROM free
    WHERE request.message_id = free.message_id
), emptied AS (
    DELETE FROM relaypost.queue USING free WHERE queue.message_id = free.message_id
)
UPDATE relaypost.messages SET state = 'cancelled', update_time = now() FROM free WHERE id = free.message_id
RETURNING id;

-- name: requeue
-- Gives a dead letter new tries, and a time to live of so many seconds by its lane ($2, $3); its id. One that has been
-- settled since, by a receipt or a person, stays as it is.
WITH dead AS MATERIALIZED (
    SELECT request.message_id
    FROM relaypost.requests AS request
    JOIN relaypost.messages AS message ON message.id = request.message_id
    JOIN relaypost.queue USING (message_id)
    WHERE
        request.message_id = $1 AND lease_until IS NULL AND NOT kept AND death IS NOT NULL
        AND legal_requeue(message.state, 'queued')
    FOR UPDATE OF request, message
), fenced AS (
    UPDATE relaypost.requests AS request SET fence = fence + 1 FROM dead WHERE request.message_id = dead.message_id
), revived AS (
    UPDATE relaypost.queue
    SET
        due_time = now(),
        expire_time = now() + make_interval(secs => lives.seconds),
        tries = 0, handed_time = NULL, handing_until = NULL, death = NULL
    FROM dead, unnest($2::text[], $3::float8[]) AS lives (lane, seconds)
    WHERE queue.message_id = dead.message_id AND lives.lane = queue.lane
)
UPDATE relaypost.messages SET state = 'queued', update_time = now() FROM dead WHERE id = dead.message_id
RETURNING id;

-- name: dead_letters
-- A page of messages that were given up, newest first; without those that have been settled since.
SELECT message.*, queue.lane, queue.death, queue.tries
FROM relaypost.queue JOIN relaypost.messages AS message ON message.id = queue.message_id
WHERE
    death IS NOT NULL AND legal_requeue(message.state, 'queued')
    AND ($1::uuid IS NULL OR queue.message_id < $1)
ORDER BY queue.message_id DESC
LIMIT $2;

-- name: open_batch
-- A new batch, or the one that has the name. A conflict updates, as to leave things alone would return no row
-- where the other was made since this statement began.
INSERT INTO relaypost.batches (id, caller, request_id, fingerprint) VALUES ($1, $2, $3, $4)
ON CONFLICT (caller, request_id) DO UPDATE SET request_id = excluded.request_id
RETURNING *;

-- name: advance_batch
-- How far the stream came; a batch that is closed stays closed.
UPDATE relaypost.batches SET stored = greatest(stored, $2), closed = closed OR $3 WHERE id = $1
RETURNING *;

-- name: get_batch
SELECT * FROM relaypost.batches WHERE caller = $1 AND (id = $2 OR request_id = $3);

-- name: batch_states
-- What may have been sent and is still in the queue goes on with the next provider.
SELECT
    CASE
        WHEN state = 'unconfirmed'
            AND EXISTS (SELECT FROM relaypost.queue WHERE message_id = messages.id AND death IS NULL)
            THEN 'queued'
        ELSE state
    END AS state,
    cost_currency, count(*) AS count, coalesce(sum(cost_micros), 0)::bigint AS cost_micros
FROM relaypost.messages WHERE batch_id = $1
GROUP BY 1, cost_currency;

-- name: lock_rate
-- What could be sent through a provider when somebody last asked, and how many seconds ago that was; $2 where
-- nobody asked before. The row is held until the transaction ends.
INSERT INTO relaypost.rates AS rate (provider, tokens, take_time) VALUES ($1, $2, clock_timestamp())
ON CONFLICT (provider) DO UPDATE SET provider = excluded.provider
RETURNING rate.tokens, extract(epoch FROM clock_timestamp() - rate.take_time)::float8 AS age;

-- name: set_rate
UPDATE relaypost.rates SET tokens = $2, take_time = clock_timestamp() WHERE provider = $1;
