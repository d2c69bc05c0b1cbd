-- name: insert_records
-- Writes a batch of messages with all their attempts. Writing a message a
-- second time changes nothing, so a batch whose answer was lost is safe to repeat.
WITH new_messages AS (
    INSERT INTO relaypost.messages (
        id, channel, state, guarantee, sender, recipients, create_time, update_time, provider,
        provider_message_id, possible_duplicate, cost_micros, cost_currency, tags, metadata
    )
    SELECT
        id, channel, state, guarantee, sender, string_to_array(recipients, E'\n'), create_time, update_time,
        provider, provider_message_id, possible_duplicate, cost_micros, cost_currency, tags::jsonb, metadata::jsonb
    FROM unnest(
        $1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[],
        $8::timestamptz[], $9::text[], $10::text[], $11::boolean[], $12::bigint[], $13::text[],
        $14::text[], $15::text[]
    ) AS batch (
        id, channel, state, guarantee, sender, recipients, create_time, update_time, provider,
        provider_message_id, possible_duplicate, cost_micros, cost_currency, tags, metadata
    )
    ON CONFLICT (id) DO NOTHING
)
INSERT INTO relaypost.attempts (
    message_id, number, provider, kind, skipped, provider_code, detail, provider_message_id, circuit,
    start_time, duration, cost_micros, cost_currency, segments, refused
)
SELECT
    message_id, number, provider, kind, skipped, provider_code, detail, provider_message_id, circuit,
    start_time, duration, cost_micros, cost_currency, segments, refused::jsonb
FROM unnest(
    $16::uuid[], $17::smallint[], $18::text[], $19::text[], $20::text[], $21::text[], $22::text[],
    $23::text[], $24::text[], $25::timestamptz[], $26::double precision[], $27::bigint[], $28::text[],
    $29::integer[], $30::text[]
) AS batch (
    message_id, number, provider, kind, skipped, provider_code, detail, provider_message_id, circuit,
    start_time, duration, cost_micros, cost_currency, segments, refused
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
