-- The queue: messages that are sent later, the batches they came in, and the pace of providers.

-- name: enqueue
-- Puts messages in the queue; those whose request had no earlier one. $2: the engine gets its pointers to
-- what is due in this same transaction.
WITH batch AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS document (
        id uuid, channel text, guarantee text, sender text, recipients text[], create_time timestamptz, tags jsonb,
        metadata jsonb, country text, caller text, method text, request_id text, fingerprint text, batch_id uuid, lane text,
        content text, due_time timestamptz, expire_time timestamptz
    )
), named AS (
    INSERT INTO relaypost.requests (caller, method, request_id, message_id, fingerprint, fence, remembered_from)
    SELECT caller, method, request_id, id, fingerprint, 0, greatest(due_time, now()) FROM batch ORDER BY caller, method, request_id
    ON CONFLICT DO NOTHING
    RETURNING message_id
), new_messages AS (
    INSERT INTO relaypost.messages (
        id, channel, state, guarantee, sender, recipients, create_time, update_time, provider,
        provider_message_id, possible_duplicate, tags, metadata, country, caller, batch_id
    )
    SELECT
        id, channel, 'queued', guarantee, sender, recipients, create_time, create_time, '', '', false, tags,
        metadata, country, caller, batch_id
    FROM batch WHERE id IN (SELECT message_id FROM named)
)
INSERT INTO relaypost.queue (message_id, lane, channel, content, due_time, expire_time, handed_time)
SELECT
    id, lane, channel, convert_to(content, 'UTF8'), due_time, expire_time,
    CASE WHEN $2::boolean AND due_time <= now() + interval '1 second' THEN now() END
FROM batch WHERE id IN (SELECT message_id FROM named)
RETURNING message_id, lane, channel, handed_time IS NOT NULL AS handed;

-- name: request_of
-- The message and the fingerprint of an earlier request.
SELECT message_id, fingerprint FROM relaypost.requests WHERE caller = $1 AND method = $2 AND request_id = $3;

-- name: claim_queued
-- Leases messages that are due to a worker, with what they say. Those that somebody else is at, that are
-- given up, cancelled or sent are left out. Rows are taken in order, and none is waited for.
WITH wanted AS MATERIALIZED (
    SELECT request.message_id
    FROM relaypost.requests AS request JOIN relaypost.queue USING (message_id)
    WHERE
        message_id = ANY($1::uuid[]) AND NOT kept AND lease_until IS NULL
        AND death IS NULL AND due_time <= now() + interval '1 second'
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
SELECT changed.*, lane, content, expire_time, tries, fence
FROM changed JOIN counted ON counted.message_id = id JOIN taken ON taken.message_id = id;

-- name: settle_queued
-- What follows from tries: 'done', 'again' after a pause, or 'dead'. `counted`: the try counts as one.
WITH settled AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS document (
        message_id uuid, next text, pause double precision, counted boolean, death text
    )
), done AS (
    DELETE FROM relaypost.queue USING settled
    WHERE queue.message_id = settled.message_id AND next = 'done'
)
UPDATE relaypost.queue
SET
    due_time = CASE WHEN next = 'again' THEN now() + make_interval(secs => pause) ELSE due_time END,
    handed_time = NULL,
    tries = CASE WHEN counted THEN tries ELSE tries - 1 END,
    death = settled.death
FROM settled
WHERE queue.message_id = settled.message_id AND next <> 'done';

-- name: revive_queued
-- Messages whose worker died and whose claim has been settled since: back to the queue. $1 at most. One that
-- is to be tried again may have lost its pointer on a bad day: after ten minutes it gets another one.
WITH found AS MATERIALIZED (
    SELECT queue.message_id
    FROM relaypost.queue
    JOIN relaypost.requests AS request USING (message_id)
    JOIN relaypost.messages AS message ON message.id = queue.message_id
    WHERE
        tries > 0 AND handed_time IS NOT NULL AND death IS NULL AND NOT kept AND lease_until IS NULL
        AND (
            message.state IN ('failed', 'unconfirmed', 'sending')
            OR handed_time < now() - interval '10 minutes'
        )
    ORDER BY queue.message_id
    LIMIT $1
    FOR UPDATE OF queue SKIP LOCKED
), freed AS (
    UPDATE relaypost.queue SET handed_time = NULL, due_time = now() FROM found
    WHERE queue.message_id = found.message_id
)
UPDATE relaypost.messages AS message SET state = 'queued', update_time = now()
FROM found WHERE message.id = found.message_id AND delivery_rank = 0 AND message.state <> 'unconfirmed';

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

-- name: hand_over
-- Messages that are due and not in the engine's hands; at most $1.
UPDATE relaypost.queue AS queue SET handed_time = now()
FROM (
    SELECT message_id FROM relaypost.queue
    WHERE handed_time IS NULL AND death IS NULL AND due_time <= now()
    ORDER BY due_time
    LIMIT $1
    FOR UPDATE SKIP LOCKED
) AS due
WHERE queue.message_id = due.message_id
RETURNING queue.message_id, lane, channel;

-- name: cancel_queued
-- Takes a message back, unless it is being sent; its id.
WITH cancelled AS (
    UPDATE relaypost.requests SET kept = true
    WHERE
        message_id = $1 AND lease_until IS NULL AND NOT kept
        AND EXISTS (SELECT FROM relaypost.queue WHERE queue.message_id = $1)
    RETURNING message_id
), emptied AS (
    DELETE FROM relaypost.queue USING cancelled WHERE queue.message_id = cancelled.message_id
)
UPDATE relaypost.messages SET state = 'cancelled', update_time = now()
FROM cancelled WHERE id = cancelled.message_id AND state IN ('queued', 'dead', 'failed')
RETURNING id;

-- name: requeue
-- Gives a message that was given up another chance, with a time to live of so many seconds; its id.
WITH revived AS (
    UPDATE relaypost.queue
    SET due_time = now(), expire_time = now() + make_interval(secs => $2), tries = 0, handed_time = NULL, death = NULL
    WHERE message_id = $1 AND death IS NOT NULL
    RETURNING message_id
)
UPDATE relaypost.messages SET state = 'queued', update_time = now()
FROM revived WHERE id = revived.message_id
RETURNING id;

-- name: queued_lane
SELECT lane FROM relaypost.queue WHERE message_id = $1;

-- name: dead_letters
-- A page of messages that were given up, newest first.
SELECT message.*, queue.lane, queue.death, queue.tries
FROM relaypost.queue JOIN relaypost.messages AS message ON message.id = queue.message_id
WHERE death IS NOT NULL AND ($1::uuid IS NULL OR queue.message_id < $1)
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
UPDATE relaypost.batches SET stored = greatest(stored, $2), closed = closed OR $3 WHERE id = $1;

-- name: get_batch
SELECT * FROM relaypost.batches WHERE caller = $1 AND (id = $2 OR request_id = $3);

-- name: batch_states
-- What a worker left behind that died is on its way back to the queue.
SELECT
    CASE
        WHEN state IN ('failed', 'unconfirmed')
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
