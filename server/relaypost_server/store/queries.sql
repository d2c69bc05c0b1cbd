-- name: insert_records
-- Writes a batch of records, each a JSON document as `records.py` makes it.
-- Writing a record a second time changes nothing, so a batch whose answer was
-- lost is safe to repeat.
WITH batch AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS record (
        id uuid, channel text, state text, guarantee text, sender text, recipients text[],
        create_time timestamptz, update_time timestamptz, provider text, provider_message_id text,
        possible_duplicate boolean, cost_micros bigint, cost_currency text, tags jsonb, metadata jsonb,
        attempts jsonb
    )
), new_messages AS (
    INSERT INTO relaypost.messages (
        id, channel, state, guarantee, sender, recipients, create_time, update_time, provider,
        provider_message_id, possible_duplicate, cost_micros, cost_currency, tags, metadata
    )
    SELECT
        id, channel, state, guarantee, sender, recipients, create_time, update_time, provider,
        provider_message_id, possible_duplicate, cost_micros, cost_currency, tags, metadata
    FROM batch
    ON CONFLICT (id) DO NOTHING
)
INSERT INTO relaypost.attempts (
    message_id, number, provider, kind, skipped, provider_code, detail, provider_message_id, circuit,
    start_time, duration, cost_micros, cost_currency, segments, refused
)
SELECT
    batch.id, number, attempt.provider, kind, skipped, provider_code, detail, attempt.provider_message_id, circuit,
    start_time, duration, attempt.cost_micros, attempt.cost_currency, segments, refused
FROM batch CROSS JOIN jsonb_to_recordset(batch.attempts) AS attempt (
    number smallint, provider text, kind text, skipped text, provider_code text, detail text,
    provider_message_id text, circuit text, start_time timestamptz, duration double precision,
    cost_micros bigint, cost_currency text, segments integer, refused jsonb
)
ON CONFLICT (message_id, number) DO NOTHING;

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
