-- name: create_webhook_endpoint
-- A new endpoint and its secret; nothing where the caller has $6 already.
WITH endpoint AS (
    INSERT INTO relaypost.webhook_endpoints (id, caller, url, event_types, description)
    SELECT $1, $2, $3, $4, $5
    WHERE (SELECT count(*) FROM relaypost.webhook_endpoints WHERE caller = $2) < $6
    RETURNING *
), secret AS (
    INSERT INTO relaypost.webhook_secrets (endpoint_id, secret) SELECT id, $7 FROM endpoint
)
SELECT * FROM endpoint;

-- name: list_webhook_endpoints
SELECT * FROM relaypost.webhook_endpoints WHERE caller = $1 ORDER BY create_time, id;

-- name: delete_webhook_endpoint
WITH endpoint AS (
    DELETE FROM relaypost.webhook_endpoints WHERE id = $1 AND caller = $2 RETURNING id
), secrets AS (
    DELETE FROM relaypost.webhook_secrets USING endpoint WHERE endpoint_id = endpoint.id
)
SELECT id FROM endpoint;

-- name: delete_webhook_deliveries
-- Of an endpoint that is no more, a few at a time: there may be millions. Their events are left to the sweep.
DELETE FROM relaypost.webhook_deliveries
WHERE id IN (SELECT id FROM relaypost.webhook_deliveries WHERE endpoint_id = $1 LIMIT 5000 FOR UPDATE SKIP LOCKED)
RETURNING id;

-- name: enable_webhook_endpoint
UPDATE relaypost.webhook_endpoints SET disable_time = NULL, failures = 0, resume_time = '-infinity'
WHERE id = $1 AND caller = $2
RETURNING *;

-- name: rotate_webhook_secret
-- When the secrets before end; nothing where the caller has no such endpoint. At most four old ones sign.
WITH endpoint AS (
    SELECT id FROM relaypost.webhook_endpoints WHERE id = $1 AND caller = $2 FOR UPDATE
), old AS (
    SELECT secret, row_number() OVER (ORDER BY create_time DESC) AS number
    FROM relaypost.webhook_secrets JOIN endpoint ON endpoint_id = endpoint.id
), ended AS (
    UPDATE relaypost.webhook_secrets AS known
    SET expire_time = CASE
        WHEN old.number > 4 THEN now()
        ELSE least(known.expire_time, now() + make_interval(secs => $4))
    END
    FROM old
    WHERE known.endpoint_id = $1 AND known.secret = old.secret
), new AS (
    INSERT INTO relaypost.webhook_secrets (endpoint_id, secret) SELECT id, $3 FROM endpoint
)
SELECT now() + make_interval(secs => $4) AS expire_time FROM endpoint;

-- name: list_webhook_deliveries
-- A page, newest first: the newest of each endpoint's newest. A filter that is NULL lets everything through.
SELECT delivery.*, event.type AS event_type, event.event_time, event.data ->> 'message_id' AS message_id
FROM relaypost.webhook_endpoints AS endpoint
CROSS JOIN LATERAL (
    SELECT * FROM relaypost.webhook_deliveries
    WHERE
        endpoint_id = endpoint.id
        AND ($2::timestamptz IS NULL OR (create_time, id) < ($2, $3::uuid))
        AND ($5::text IS NULL OR state = $5)
    ORDER BY create_time DESC, id DESC
    LIMIT $6
) AS delivery
JOIN relaypost.webhook_events AS event ON event.id = delivery.event_id
WHERE endpoint.caller = $1 AND ($4::uuid IS NULL OR endpoint.id = $4)
ORDER BY delivery.create_time DESC, delivery.id DESC
LIMIT $6;

-- name: redeliver_webhook
-- Whatever an attempt that is under way comes to, this one is made as well.
WITH delivery AS (
    UPDATE relaypost.webhook_deliveries AS delivery
    SET
        attempts = CASE WHEN delivery.state = 'pending' THEN delivery.attempts ELSE 0 END,
        claims = delivery.claims + 1,
        state = 'pending',
        next_time = now()
    FROM relaypost.webhook_endpoints AS endpoint
    WHERE delivery.id = $1 AND endpoint.id = delivery.endpoint_id AND endpoint.caller = $2
    RETURNING delivery.*
)
SELECT delivery.*, event.type AS event_type, event.event_time, event.data ->> 'message_id' AS message_id
FROM delivery JOIN relaypost.webhook_events AS event ON event.id = delivery.event_id;

-- name: claim_webhook_deliveries
-- Leases deliveries that are due for $5 seconds: until then they are not due. Of each endpoint at most $3,
-- less those of $1 and $2 that are under way here; $4 in all. Endpoints come in a new order each time, lest
-- those that come first take all there is room for.
WITH due AS MATERIALIZED (
    SELECT delivery.id, endpoint.url, endpoint.failures
    FROM (
        SELECT * FROM relaypost.webhook_endpoints
        WHERE disable_time IS NULL AND resume_time <= now()
        ORDER BY random()
    ) AS endpoint
    LEFT JOIN unnest($1::uuid[], $2::integer[]) AS busy (endpoint_id, count) ON busy.endpoint_id = endpoint.id
    CROSS JOIN LATERAL (
        SELECT id FROM relaypost.webhook_deliveries
        WHERE endpoint_id = endpoint.id AND state = 'pending' AND next_time <= now()
        ORDER BY next_time
        LIMIT greatest($3 - coalesce(busy.count, 0), 0)
        FOR UPDATE SKIP LOCKED
    ) AS delivery
    LIMIT $4
), claimed AS (
    UPDATE relaypost.webhook_deliveries AS delivery
    SET
        next_time = now() + make_interval(secs => $5),
        attempts = delivery.attempts + 1,
        claims = delivery.claims + 1,
        attempt_time = now()
    FROM due
    WHERE delivery.id = due.id
    RETURNING delivery.id, delivery.claims, delivery.attempts, delivery.endpoint_id, delivery.event_id, url, failures
)
SELECT
    claimed.*, event.type, event.event_time, event.data,
    ARRAY(
        SELECT secret FROM relaypost.webhook_secrets AS secret
        WHERE secret.endpoint_id = claimed.endpoint_id AND coalesce(expire_time > now(), true)
        ORDER BY create_time DESC
    ) AS secrets
FROM claimed JOIN relaypost.webhook_events AS event ON event.id = claimed.event_id;

-- name: settle_webhook_deliveries
-- How attempts ended. One whose delivery was claimed again since counts no more for it, but still for its
-- endpoint. Endpoints are locked in order, lest two gateways wait for one another, and only where something
-- about them changes.
WITH settled AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS document (
        id uuid, claim bigint, endpoint_id uuid, state text, delay double precision, status smallint,
        detail text, pause double precision, gone boolean
    )
), deliveries AS (
    UPDATE relaypost.webhook_deliveries AS delivery
    SET
        state = settled.state,
        next_time = now() + make_interval(secs => settled.delay),
        status = settled.status,
        detail = settled.detail
    FROM settled
    WHERE delivery.id = settled.id AND delivery.claims = settled.claim AND delivery.state = 'pending'
), news AS MATERIALIZED (
    SELECT
        endpoint_id, bool_or(settled.state = 'delivered') AS well,
        count(*) FILTER (WHERE settled.state <> 'delivered') AS failed, max(pause) AS pause, bool_or(gone) AS gone
    FROM settled
    GROUP BY endpoint_id
), locked AS MATERIALIZED (
    SELECT endpoint.id
    FROM relaypost.webhook_endpoints AS endpoint JOIN news ON news.endpoint_id = endpoint.id
    WHERE news.failed > 0 OR endpoint.failures > 0
    ORDER BY endpoint.id
    FOR UPDATE OF endpoint
)
UPDATE relaypost.webhook_endpoints AS endpoint
SET
    failures = CASE WHEN news.well THEN 0 ELSE endpoint.failures + news.failed END,
    resume_time = CASE
        WHEN news.pause > 0 THEN greatest(endpoint.resume_time, now() + make_interval(secs => news.pause))
        ELSE endpoint.resume_time
    END,
    disable_time = CASE WHEN news.gone THEN coalesce(endpoint.disable_time, now()) ELSE endpoint.disable_time END
FROM news JOIN locked ON locked.id = news.endpoint_id
WHERE endpoint.id = news.endpoint_id;

-- name: webhook_backlog
SELECT
    (SELECT count(*) FROM relaypost.webhook_deliveries WHERE state = 'dead') AS dead,
    count(*) AS pending,
    coalesce(extract(epoch FROM now() - min(delivery.create_time)), 0)::float8 AS oldest
FROM relaypost.webhook_deliveries AS delivery
JOIN relaypost.webhook_endpoints AS endpoint ON endpoint.id = delivery.endpoint_id
WHERE delivery.state = 'pending' AND endpoint.disable_time IS NULL;

-- name: forget_webhook_secrets
DELETE FROM relaypost.webhook_secrets WHERE expire_time < now();

-- name: forget_webhook_deliveries
-- What is older than $1 seconds, in whatever state; a few at a time, so that no sweep holds others up.
DELETE FROM relaypost.webhook_deliveries AS delivery
WHERE id IN (
    SELECT delivery.id
    FROM relaypost.webhook_events AS event JOIN relaypost.webhook_deliveries AS delivery ON delivery.event_id = event.id
    WHERE event.create_time < now() - make_interval(secs => $1)
    LIMIT 5000
    FOR UPDATE OF delivery SKIP LOCKED
)
RETURNING id;

-- name: forget_webhook_events
DELETE FROM relaypost.webhook_events
WHERE id IN (
    SELECT id FROM relaypost.webhook_events AS event
    WHERE
        create_time < now() - make_interval(secs => $1)
        AND NOT EXISTS (SELECT FROM relaypost.webhook_deliveries WHERE event_id = event.id)
    LIMIT 5000
    FOR UPDATE SKIP LOCKED
)
RETURNING id;
