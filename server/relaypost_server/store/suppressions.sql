-- name: suppression_changes
-- A page of the rows that transactions have changed of which a reader may not have seen all: those from
-- `since` ($1) on, behind the last row of the page before ($2, $3, $4). `horizon` is the oldest transaction
-- that still runs: whatever it or a later one changes lies there or behind it, whenever it commits.
SELECT horizon::text::bigint AS horizon, now() AS time, changed.*
FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS horizon) AS snapshot
LEFT JOIN LATERAL (
    SELECT
        change::text::bigint AS change, address, caller, expire_time,
        CASE WHEN remove_time IS NULL THEN reason END AS reason
    FROM relaypost.suppressions AS row
    WHERE
        row.change >= $1::bigint::text::xid8
        AND (row.change, row.address, row.caller) > ($2::bigint::text::xid8, $3::text, $4::text)
    ORDER BY row.change, row.address, row.caller
    LIMIT $5
) AS changed ON true
ORDER BY change, address, caller;

-- name: adopt_suppressions
-- Rows of another server, whose transactions were counted from elsewhere: restored from a dump.
UPDATE relaypost.suppressions SET change = pg_current_xact_id()
WHERE change >= pg_snapshot_xmax(pg_current_snapshot());

-- name: put_suppressions
-- What somebody wants on the list. Rows are locked in order, lest two writers wait for one another.
INSERT INTO relaypost.suppressions AS known (
    address, caller, reason, source, provider, message_id, note, create_time, expire_time
)
SELECT address, caller, reason, source, provider, message_id, note, create_time, expire_time
FROM jsonb_to_recordset($1::jsonb) AS document (
    address text, caller text, reason text, source text, provider text, message_id uuid, note text,
    create_time timestamptz, expire_time timestamptz
)
ORDER BY address, caller
ON CONFLICT (address, caller) DO UPDATE SET
    reason = excluded.reason,
    source = excluded.source,
    provider = excluded.provider,
    message_id = excluded.message_id,
    note = excluded.note,
    create_time = excluded.create_time,
    expire_time = excluded.expire_time,
    remove_time = NULL,
    change = pg_current_xact_id()
WHERE
    known.remove_time IS NOT NULL
    OR (known.reason, known.source, known.provider, known.note)
        <> (excluded.reason, excluded.source, excluded.provider, excluded.note)
    OR (known.message_id, known.expire_time) IS DISTINCT FROM (excluded.message_id, excluded.expire_time)
RETURNING address;

-- name: note_suppressions
-- What a provider tells of. It leaves alone what is there for as long or longer, and what was taken off
-- after it happened. Without a create_time it happens now.
INSERT INTO relaypost.suppressions AS known (
    address, caller, reason, source, provider, message_id, note, create_time, expire_time
)
SELECT address, caller, reason, source, provider, message_id, note, coalesce(create_time, now()), expire_time
FROM jsonb_to_recordset($1::jsonb) AS document (
    address text, caller text, reason text, source text, provider text, message_id uuid, note text,
    create_time timestamptz, expire_time timestamptz
)
ORDER BY address, caller
ON CONFLICT (address, caller) DO UPDATE SET
    reason = excluded.reason,
    source = excluded.source,
    provider = excluded.provider,
    message_id = excluded.message_id,
    note = excluded.note,
    create_time = excluded.create_time,
    expire_time = excluded.expire_time,
    remove_time = NULL,
    change = pg_current_xact_id()
WHERE
    known.remove_time < excluded.create_time
    OR (known.remove_time IS NULL
        AND coalesce(known.expire_time, 'infinity') < coalesce(excluded.expire_time, 'infinity'))
RETURNING address;

-- name: remove_suppression
UPDATE relaypost.suppressions SET remove_time = now(), change = pg_current_xact_id()
WHERE address = $1 AND caller = $2 AND remove_time IS NULL
RETURNING coalesce(expire_time > now(), true) AS in_force;

-- name: find_suppression
SELECT * FROM relaypost.suppressions
WHERE address = $1 AND caller = $2 AND remove_time IS NULL AND coalesce(expire_time > now(), true);

-- name: list_suppressions
-- A page. A filter that is NULL lets everything through.
SELECT * FROM relaypost.suppressions
WHERE
    caller = ANY($1::text[])
    AND ($2::text IS NULL OR (address, caller) > ($2, $3::text))
    AND ($4::text IS NULL OR address = $4)
    AND ($5::text IS NULL OR reason = $5)
    AND ($6::text IS NULL OR source = $6)
    AND ($7::text IS NULL OR provider = $7)
    AND remove_time IS NULL
    AND coalesce(expire_time > now(), true)
ORDER BY address, caller
LIMIT $8;

-- name: suppressing_events
-- What receipts that their messages have caught up with say about recipients of those messages. Of an
-- address that was no recipient a receipt proves nothing: the sender of a bounce can put any address in.
SELECT DISTINCT ON (address, message.caller)
    address, message.caller, event.suppression, event.provider, event.message_id, event.event_time
FROM relaypost.delivery_events AS event
JOIN relaypost.messages AS message ON message.id = event.message_id
CROSS JOIN unnest(event.recipients) AS address
WHERE
    event.message_id = ANY($1::uuid[])
    AND event.suppression IS NOT NULL
    AND NOT event.waiting
    AND address IN (SELECT lower(recipient COLLATE "C") FROM unnest(message.recipients) AS recipient)
ORDER BY address, message.caller, event.event_time DESC;

-- name: callers_who_wrote
-- Whose messages a provider has brought to a number in the last $3 seconds.
SELECT DISTINCT caller FROM relaypost.messages
WHERE recipients @> ARRAY[$1] AND provider = $2 AND create_time > now() - make_interval(secs => $3);

-- name: keep_reply
-- Records a reply by its id; returns no row if it is known.
INSERT INTO relaypost.replies (provider, reply_id) VALUES ($1, $2) ON CONFLICT DO NOTHING RETURNING reply_id;

-- name: lift_stops
-- Takes off what a person who wants messages again said to this provider before.
UPDATE relaypost.suppressions AS known SET remove_time = now(), change = pg_current_xact_id()
FROM (
    SELECT address, caller FROM relaypost.suppressions
    WHERE
        address = $1 AND provider = $2 AND reason = 'unsubscribed' AND source <> 'manual' AND remove_time IS NULL
    ORDER BY caller
    FOR UPDATE
) AS gone
WHERE known.address = gone.address AND known.caller = gone.caller
RETURNING known.address;

-- name: claim_opt_outs
-- Whether nobody has read a provider's own list in the last $2 seconds: whoever is told so reads it.
INSERT INTO relaypost.opt_out_reads AS known (provider, read_time) VALUES ($1, now())
ON CONFLICT (provider) DO UPDATE SET read_time = now()
WHERE known.read_time <= now() - make_interval(secs => $2)
RETURNING provider;

-- name: lift_opt_outs
-- Takes off what a provider's own list ($2) does not hold any more.
UPDATE relaypost.suppressions AS known SET remove_time = now(), change = pg_current_xact_id()
FROM (
    SELECT address, caller FROM relaypost.suppressions
    WHERE
        provider = $1 AND source = 'provider' AND caller = '*' AND remove_time IS NULL
        AND NOT EXISTS (SELECT FROM unnest($2::text[]) AS listed WHERE listed = address)
    ORDER BY address, caller
    FOR UPDATE
) AS gone
WHERE known.address = gone.address AND known.caller = gone.caller
RETURNING known.address;

-- name: forget_suppressions
-- A few at a time, so that no sweep holds others up.
DELETE FROM relaypost.suppressions
WHERE (address, caller) IN (
    SELECT address, caller FROM relaypost.suppressions
    WHERE least(remove_time, expire_time) < now() - make_interval(secs => $1)
    LIMIT 5000
    FOR UPDATE SKIP LOCKED
)
RETURNING address;
