-- name: spendings
-- Attempts that were, or may be, billed, of the messages whose ids lie between $1 and $2: ids sort by time. An
-- attempt is a second copy where an earlier one had, or may have, sent the message to the same recipients; one that
-- was accepted for all but some temporarily refused recipients is followed by one for those.
WITH attempt AS (
    SELECT
        message_id, provider, kind, units, cost_micros, cost_currency, billed_micros,
        first_value(provider) OVER walk AS first_choice,
        coalesce(bool_or(
            kind = 'unconfirmed'
            OR (kind = 'accepted' AND NOT jsonb_path_exists(refused, 'strict $[*] ? (@[2] == true)'))
        ) OVER (walk ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), false) AS duplicate,
        coalesce(billed_currency, cost_currency, 'USD') AS currency
    FROM relaypost.attempts
    WHERE message_id BETWEEN $1::uuid AND $2::uuid
    WINDOW walk AS (PARTITION BY message_id ORDER BY number)
)
SELECT
    (message.create_time AT TIME ZONE 'UTC')::date AS day,
    message.channel,
    attempt.provider,
    attempt.first_choice,
    attempt.duplicate,
    message.country,
    CASE WHEN $4 THEN message.caller ELSE '' END AS caller,
    attempt.currency,
    count(*) AS sends,
    sum(attempt.units) AS units,
    coalesce(sum(attempt.cost_micros) FILTER (WHERE attempt.cost_currency = attempt.currency), 0)::bigint AS estimated,
    coalesce(sum(attempt.billed_micros), 0)::bigint AS billed,
    count(attempt.billed_micros) AS billed_sends,
    coalesce(sum(attempt.cost_micros) FILTER (WHERE attempt.billed_micros IS NULL), 0)::bigint AS unbilled,
    count(*) FILTER (WHERE attempt.cost_micros IS NULL AND attempt.billed_micros IS NULL) AS unpriced
FROM attempt JOIN relaypost.messages AS message ON message.id = attempt.message_id
WHERE
    attempt.kind IN ('accepted', 'unconfirmed')
    AND message.id BETWEEN $1::uuid AND $2::uuid
    AND ($3::text IS NULL OR message.channel = $3)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;

-- name: next_message_day
SELECT (create_time AT TIME ZONE 'UTC')::date AS day FROM relaypost.messages WHERE id >= $1 ORDER BY id LIMIT 1;

-- name: prices_due
-- Takes at most $2 attempts of a provider whose price is to be asked for. Each is due again after a pause that grows
-- fourfold, from 40 minutes, and no more after the sixth time, in two days and a half.
UPDATE relaypost.attempts AS attempt
SET
    price_asked = attempt.price_asked + 1,
    price_due = CASE
        WHEN attempt.price_asked < 5 THEN now() + interval '10 minutes' * 4 ^ (attempt.price_asked + 1)
    END
FROM (
    SELECT message_id, number FROM relaypost.attempts
    WHERE provider = $1 AND price_due <= now()
    ORDER BY price_due
    LIMIT $2
    FOR UPDATE SKIP LOCKED
) AS due
WHERE attempt.message_id = due.message_id AND attempt.number = due.number
RETURNING attempt.message_id, attempt.number, attempt.provider_message_id, attempt.start_time;

-- name: put_off_prices
-- The provider could not be asked about these: in ten minutes, then, as if nobody had tried.
UPDATE relaypost.attempts AS attempt
SET price_asked = greatest(attempt.price_asked - 1, 0), price_due = now() + interval '10 minutes'
FROM unnest($1::uuid[], $2::smallint[]) AS asked (message_id, number)
WHERE attempt.message_id = asked.message_id AND attempt.number = asked.number AND attempt.billed_micros IS NULL;

-- name: forget_prices
-- Attempts that wait in vain, for there are more than the provider may be asked about.
UPDATE relaypost.attempts SET price_due = NULL
WHERE provider = $1 AND price_due < now() - interval '7 days';

-- name: keep_prices
UPDATE relaypost.attempts AS attempt
SET billed_micros = told.micros, billed_currency = told.currency, price_due = NULL
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::text[]) AS told (message_id, number, micros, currency)
WHERE attempt.message_id = told.message_id AND attempt.number = told.number;

-- name: cost_messages
-- Adds the costs of messages up anew, as billed and else as estimated; left as they were where currencies differ.
UPDATE relaypost.messages AS message
SET cost_micros = total.micros, cost_currency = total.currency
FROM (
    SELECT
        message_id,
        sum(coalesce(billed_micros, cost_micros))::bigint AS micros,
        min(coalesce(billed_currency, cost_currency)) AS currency
    FROM relaypost.attempts
    WHERE message_id = ANY($1::uuid[])
    GROUP BY message_id
    HAVING count(DISTINCT coalesce(billed_currency, cost_currency)) = 1
) AS total
WHERE message.id = total.message_id;
