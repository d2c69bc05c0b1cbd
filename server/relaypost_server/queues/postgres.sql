-- The engine in the gateway's own database.

-- name: store_pointers
-- Pointers $2 on the lanes $1, in this order.
INSERT INTO relaypost.pointers (lane, pointer) SELECT * FROM unnest($1::text[], $2::text[]);

-- name: take_pointers
-- Up to $2 waiting pointers of the lane $1, the oldest first. Those that another worker is taking are passed over.
UPDATE relaypost.pointers SET heartbeat_time = now()
WHERE id = ANY (ARRAY(
    SELECT id FROM relaypost.pointers
    WHERE lane = $1 AND heartbeat_time IS NULL
    ORDER BY id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
))
RETURNING id, pointer;

-- name: filled_lanes
-- Those of the lanes $1 on which a pointer waits.
SELECT lane FROM unnest($1::text[]) AS wanted (lane)
WHERE EXISTS (SELECT FROM relaypost.pointers WHERE pointers.lane = wanted.lane AND heartbeat_time IS NULL);

-- name: forget_pointers
DELETE FROM relaypost.pointers WHERE id = ANY ($1::bigint[]);

-- name: give_back_pointers
UPDATE relaypost.pointers SET heartbeat_time = NULL WHERE id = ANY ($1::bigint[]);

-- name: heartbeat_pointers
UPDATE relaypost.pointers SET heartbeat_time = now() WHERE id = ANY ($1::bigint[]);

-- name: give_back_lost_pointers
-- Pointers of workers that have not been heard of for $1 seconds. None is waited for.
UPDATE relaypost.pointers SET heartbeat_time = NULL
WHERE id = ANY (ARRAY(
    SELECT id FROM relaypost.pointers
    WHERE heartbeat_time < now() - make_interval(secs => $1)
    FOR UPDATE SKIP LOCKED
));
