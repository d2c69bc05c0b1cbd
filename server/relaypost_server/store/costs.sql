-- name: spendings
-- Attempts that were, or may be, billed, of the messages whose ids lie between $1 and $2: ids sort by time. An
-- attempt is a second copy where an earlier one had, or may have, sent the message to the same recipients; one that
-- was accepted for all but some temporarily refused recipients is followed by one for those.
WITH attempt AS (
    SELECT
        *,
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
WHERE attempt.kind IN ('accepted', 'unconfirmed') AND ($3::text IS NULL OR message.channel = $3)
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8;
