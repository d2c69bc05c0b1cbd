-- name: write_batch
-- Writes a batch of documents as `rows.py` makes them; the ids of those that
-- took effect, plain inserts aside. What a document does is its `op`:
--   insert    a message that has been sent, with its attempts
--   claim     a new request, leased, with its first attempt about to start
--   starting  the attempts so far and the next one, while the lease holds
--   finish    the end of a walk; also after the lease, for it tells the truth
--   unproven  the same, where the claim was not answered: an insert if it was not granted
--   settle    the end of a request whose lease ended with its gateway
-- A document that would move its message to a state that may not follow has no effect.
-- Writing a document a second time changes nothing, so a batch whose answer was
-- lost is safe to repeat. Requests are taken in order, lest two batches of two
-- gateways wait for one another.
WITH batch AS MATERIALIZED (
    SELECT * FROM jsonb_to_recordset($1::jsonb) AS document (
        op text, id uuid, channel text, state text, guarantee text, sender text, recipients text[], country text,
        create_time timestamptz, update_time timestamptz, provider text, provider_message_id text,
        possible_duplicate boolean, cost_micros bigint, cost_currency text, tags jsonb, metadata jsonb,
        adjustments jsonb, attempts jsonb, caller text, method text, request_id text, fingerprint text, fence bigint,
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
            batch.op IN ('finish', 'unproven')
            OR (batch.op = 'starting' AND request.lease_until > now())
            OR (batch.op = 'settle' AND request.lease_until <= now())
        )
        AND NOT EXISTS (
            SELECT FROM relaypost.messages AS message
            WHERE
                message.id = batch.id AND message.delivery_rank = 0 AND message.state <> batch.state
                AND NOT CASE
                    WHEN batch.op = 'settle' THEN legal_recovery(message.state, batch.state)
                    ELSE legal_result(message.state, batch.state)
                END
        )
    RETURNING request.message_id
), new_messages AS (
    INSERT INTO relaypost.messages (
        id, channel, state, guarantee, sender, recipients, caller, country, create_time, update_time, provider,
        provider_message_id, possible_duplicate, cost_micros, cost_currency, tags, metadata, adjustments
    )
    SELECT
        id, channel, state, guarantee, sender, recipients, coalesce(caller, ''), coalesce(country, ''), create_time,
        update_time, provider, provider_message_id, possible_duplicate, cost_micros, cost_currency, tags, metadata,
        coalesce(adjustments, '[]')
    FROM batch WHERE op IN ('insert', 'unproven') OR (op = 'claim' AND id IN (SELECT message_id FROM claimed))
    ON CONFLICT (id) DO NOTHING
), changed_messages AS (
    UPDATE relaypost.messages AS message
    SET
        -- A provider's receipt outweighs the result of the send. `held` has checked the table of transitions;
        -- it is checked again, because the row may have changed in between.
        state = CASE
            WHEN message.delivery_rank > 0 THEN message.state
            WHEN batch.op = 'settle' AND NOT legal_recovery(message.state, batch.state) THEN message.state
            WHEN batch.op <> 'settle' AND NOT legal_result(message.state, batch.state) THEN message.state
            ELSE batch.state
        END,
        update_time = batch.update_time,
        provider = CASE WHEN batch.provider = '' THEN message.provider ELSE batch.provider END,
        provider_message_id = CASE
            WHEN batch.provider = '' THEN message.provider_message_id ELSE batch.provider_message_id
        END,
        possible_duplicate = batch.possible_duplicate,
        cost_micros = batch.cost_micros,
        cost_currency = batch.cost_currency,
        adjustments = coalesce(batch.adjustments, message.adjustments)
    FROM batch JOIN held ON held.message_id = batch.id
    WHERE message.id = batch.id
), new_attempts AS (
    INSERT INTO relaypost.attempts (
        message_id, number, provider, kind, skipped, provider_code, detail, provider_message_id, circuit,
        start_time, duration, cost_micros, cost_currency, units, price_due, segments, refused
    )
    SELECT
        batch.id, number, attempt.provider, kind, skipped, provider_code, detail, attempt.provider_message_id,
        circuit, start_time, duration, attempt.cost_micros, attempt.cost_currency, coalesce(units, segments),
        price_due, segments, refused
    FROM batch CROSS JOIN jsonb_to_recordset(batch.attempts) AS attempt (
        number smallint, provider text, kind text, skipped text, provider_code text, detail text,
        provider_message_id text, circuit text, start_time timestamptz, duration double precision,
        cost_micros bigint, cost_currency text, units integer, price_due timestamptz, segments integer,
        refused jsonb
    )
    WHERE
        batch.op = 'insert' OR batch.id IN (SELECT message_id FROM held)
        OR (batch.op = 'unproven' AND NOT EXISTS (SELECT FROM relaypost.requests WHERE message_id = batch.id))
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
        units = excluded.units,
        price_due = coalesce(attempts.price_due, excluded.price_due),
        segments = excluded.segments,
        refused = excluded.refused
)
SELECT message_id::text FROM claimed
UNION ALL
SELECT message_id::text FROM held;

-- name: lock_request
-- An earlier request of the same name, held until the transaction ends. What is queued has names of its own.
SELECT *, coalesce(lease_until > now(), false) AS running, false AS waiting, false AS dead
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
UPDATE relaypost.messages SET state = 'sending', update_time = now()
WHERE id = $1 AND delivery_rank = 0 AND legal_repeat(state, 'sending');

-- name: abandoned_requests
-- Requests whose lease ended with their gateway; `waiting` and `dead`: what the queue knows of the message.
SELECT
    *, false AS running,
    EXISTS (SELECT FROM relaypost.queue WHERE message_id = requests.message_id AND death IS NULL) AS waiting,
    EXISTS (SELECT FROM relaypost.queue WHERE message_id = requests.message_id AND death IS NOT NULL) AS dead
FROM relaypost.requests
WHERE lease_until <= now()
ORDER BY lease_until
LIMIT $1;

-- name: end_orphaned_requests
-- Abandoned requests whose message's row is gone: they are over, and nothing is sent again. Their messages' ids.
WITH ended AS (
    UPDATE relaypost.requests AS request SET lease_until = NULL, kept = true
    WHERE
        message_id = ANY($1::uuid[]) AND lease_until <= now()
        AND NOT EXISTS (SELECT FROM relaypost.messages WHERE id = request.message_id)
    RETURNING message_id
), emptied AS (
    DELETE FROM relaypost.queue USING ended WHERE queue.message_id = ended.message_id
)
SELECT message_id FROM ended;

-- name: forget_requests
-- A few at a time, so that no sweep holds others up. A request whose message is in the queue after all this time is
-- looked at again only after as long once more. The names of a batch's messages stay, as the batch does.
WITH old AS MATERIALIZED (
    SELECT message_id, EXISTS (SELECT FROM relaypost.queue WHERE queue.message_id = requests.message_id) AS queued
    FROM relaypost.requests
    WHERE
        remembered_from < now() - make_interval(secs => $1) AND lease_until IS NULL AND method <> 'SendBulk'
    ORDER BY remembered_from
    LIMIT 5000
    FOR UPDATE SKIP LOCKED
), put_off AS (
    UPDATE relaypost.requests AS request SET remembered_from = now()
    FROM old WHERE request.message_id = old.message_id AND old.queued
)
DELETE FROM relaypost.requests AS request USING old WHERE request.message_id = old.message_id AND NOT old.queued;

-- name: resolve_message
-- Settles an UNCONFIRMED message by hand; its id, or nothing where it is in another state. What was not sent and
-- is in the queue stays there: QUEUED, or DEAD. The request is locked first, as everywhere.
WITH locked AS MATERIALIZED (
    SELECT message_id FROM relaypost.requests WHERE message_id = $1 FOR UPDATE
), outcome AS MATERIALIZED (
    SELECT
        count(locked.message_id) AS requests,
        CASE
            WHEN $2 = 'failed'
                THEN coalesce(
                    (SELECT CASE WHEN death IS NULL THEN 'queued' ELSE 'dead' END FROM relaypost.queue WHERE message_id = $1),
                    $2
                )
            ELSE $2
        END AS state
    FROM locked
), resolved AS (
    UPDATE relaypost.messages AS message
    SET
        state = outcome.state,
        update_time = now(),
        cost_micros = CASE WHEN $2 = 'sent' THEN cost_micros END,
        cost_currency = CASE WHEN $2 = 'sent' THEN cost_currency END
    FROM outcome
    WHERE id = $1 AND legal_resolve(message.state, outcome.state)
    RETURNING id
), request AS (
    UPDATE relaypost.requests SET kept = ($2 = 'sent') FROM resolved WHERE message_id = resolved.id
), attempts AS (
    UPDATE relaypost.attempts SET kind = 'faulted', detail = $3, units = 0, cost_micros = NULL, cost_currency = NULL
    FROM resolved
    WHERE message_id = resolved.id AND kind = 'unconfirmed' AND $2 = 'failed'
)
SELECT id FROM resolved;

-- name: get_message
SELECT * FROM relaypost.messages WHERE id = $1;

-- name: find_message
-- The newest message that a provider knows by an id. Some servers use an id again.
SELECT id
FROM (
    (
        SELECT id FROM relaypost.messages
        WHERE provider_message_id = $2 AND provider_message_id <> '' AND provider = $1
        ORDER BY provider_message_id DESC, id DESC
        LIMIT 1
    )
    UNION ALL
    (
        SELECT message_id FROM relaypost.attempts
        WHERE
            provider_message_id = $2 AND provider_message_id <> '' AND (number > 1 OR kind <> 'accepted')
            AND provider = $1 AND EXISTS (SELECT FROM relaypost.messages WHERE id = message_id)
        ORDER BY provider_message_id DESC, message_id DESC
        LIMIT 1
    )
) AS found
ORDER BY id DESC
LIMIT 1;

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
SELECT
    event.provider, event_id, message_id, event.provider_message_id, type, event_time, reject_reason, permanent,
    provider_code, detail, relaypost.receipt_recipients(event.recipients, message.recipients) AS recipients
FROM (
    SELECT * FROM relaypost.delivery_events
    WHERE message_id = $1
    ORDER BY rank > 0 DESC, event_time DESC
    LIMIT 100
) AS event
JOIN relaypost.messages AS message ON message.id = event.message_id
ORDER BY event_time, rank, event_id;

-- name: add_delivery_events
-- Keeps the events of a batch that are not known yet; the ids of their messages. In order, lest two
-- gateways that were told the same wait for one another.
INSERT INTO relaypost.delivery_events (
    provider, event_id, message_id, provider_message_id, type, state, rank, event_time, reject_reason, permanent,
    provider_code, detail, recipients, suppression, raw
)
SELECT
    provider, event_id, message_id, provider_message_id, type, state, rank, event_time, reject_reason, permanent,
    provider_code, detail, coalesce(recipients, '{}'), suppression, raw
FROM jsonb_to_recordset($1::jsonb) AS document (
    provider text, event_id text, message_id uuid, provider_message_id text, type text, state text, rank smallint,
    event_time timestamptz, reject_reason text, permanent boolean, provider_code text, detail text,
    recipients text[], suppression text, raw jsonb
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
    SELECT id, sent_again_by FROM relaypost.messages
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
    RETURNING
        event.message_id, event.provider, provider_message_id, state, event_time,
        -- That one provider failed says nothing while another one carries a second copy.
        CASE
            WHEN type IN ('failed', 'bounced') AND messages.sent_again_by NOT IN ('', event.provider) THEN 0
            ELSE rank
        END AS rank
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
        AND (message.state = best.state OR legal_receipt(message.state, best.state))
    RETURNING message.id
), proven AS (
    UPDATE relaypost.requests AS request SET kept = true, proven = true
    FROM changed
    WHERE request.message_id = changed.id AND NOT request.proven
)
SELECT count(*) FROM news;

-- name: forget_waiting_events
-- Events that have waited for their message for longer than any message waits for the log.
UPDATE relaypost.delivery_events SET waiting = false
WHERE waiting AND receive_time < now() - make_interval(secs => $1);

-- name: create_otp
-- A new code; nothing where an earlier request had the same name.
INSERT INTO relaypost.otps (
    id, caller, request_id, fingerprint, channel, destination, country, prefix, purpose, template, locale,
    variables, guarantee, ttl, pepper, mark, seal, length, confirm_within, sender_email, sender_name, sender_id,
    expire_time
)
SELECT
    $1, $2, nullif($3, ''), $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14::float8, $15, $16, $17, $18,
    $19::float8, $20, $21, $22, now() + make_interval(secs => $14::float8)
ON CONFLICT (caller, request_id) DO NOTHING
RETURNING *, extract(epoch FROM expire_time - now())::float8 AS time_left;

-- name: otp_of_request
-- The code that an earlier request of this name made.
SELECT *, extract(epoch FROM expire_time - now())::float8 AS time_left
FROM relaypost.otps
WHERE caller = $1 AND request_id = $2;

-- name: find_otp
-- A code that lives and has attempts left.
SELECT *, extract(epoch FROM expire_time - now())::float8 AS time_left
FROM relaypost.otps
WHERE id = $1 AND caller = $2 AND used_time IS NULL AND expire_time > now() AND attempts < $3;

-- name: lock_otp
-- Seconds since its last message, of a code that lives, held until the transaction ends.
SELECT extract(epoch FROM now() - last_send_time)::float8 AS since, sends
FROM relaypost.otps
WHERE id = $1 AND caller = $2 AND used_time IS NULL AND expire_time > now() AND attempts < $3
FOR UPDATE;

-- name: count_resend
UPDATE relaypost.otps
SET sends = sends + 1, last_send_time = now()
WHERE id = $1
RETURNING *, extract(epoch FROM expire_time - now())::float8 AS time_left;

-- name: rotate_otp
-- One more message, with a new code in it.
UPDATE relaypost.otps
SET
    sends = sends + 1,
    last_send_time = now(),
    expire_time = now() + make_interval(secs => ttl),
    attempts = 0,
    pepper = $2, mark = $3, seal = $4, generation = $5
WHERE id = $1
RETURNING *, extract(epoch FROM expire_time - now())::float8 AS time_left;

-- name: charge_limits
-- Counts an event under each limit that lets one through; the names of those that do. Keys are
-- taken in order, lest two senders wait for one another.
INSERT INTO relaypost.otp_limits AS known (name, key, most, seconds, times)
SELECT name, key, most, seconds, ARRAY[now()]
FROM unnest($1::text[], $2::text[], $3::integer[], $4::float8[]) AS asked (name, key, most, seconds)
ORDER BY name, key
ON CONFLICT (name, key) DO UPDATE SET
    most = excluded.most,
    seconds = excluded.seconds,
    times = relaypost.recent(known.times, excluded.seconds) || now()
WHERE cardinality(relaypost.recent(known.times, excluded.seconds)) < excluded.most
RETURNING name;

-- name: limits_reached
-- Seconds until each of the limits lets one through.
SELECT
    name,
    extract(
        epoch FROM known.times[greatest(cardinality(known.times) - asked.most + 1, 1)]
        + make_interval(secs => asked.seconds) - now()
    )::float8 AS retry_after
FROM unnest($1::text[], $2::text[], $3::integer[], $4::float8[]) AS asked (name, key, most, seconds)
JOIN relaypost.otp_limits AS known USING (name, key);

-- name: prefix_conversion
-- The latest codes to a prefix that are over, and after how many seconds the oldest of them no longer counts.
SELECT
    count(*)::integer AS sent,
    count(used_time)::integer AS verified,
    coalesce(extract(epoch FROM min(create_time) + make_interval(secs => $2) - now()), 0)::float8 AS retry_after
FROM (
    SELECT create_time, used_time FROM relaypost.otps
    WHERE
        prefix = $1 AND create_time > now() - make_interval(secs => $2)
        AND (used_time IS NOT NULL OR expire_time <= now())
    ORDER BY create_time DESC
    LIMIT $3
) AS latest;

-- name: guess_otps
-- Takes an attempt from each code that lives, and counts it as a failure of its destination, which
-- `use_otps` takes back: both before anything is compared, so that no number of guesses at once gets
-- more than its share. One guess a destination: what a row calls `deferred` is to be asked again.
-- A guess of another length than the code's cannot be right, and takes nothing from it.
-- Where there is nothing to count, `nobody` is written: a commit that writes takes longer than one
-- that does not, and would tell which codes there are.
-- Rows are locked in order, lest two gateways wait for one another.
WITH guess AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::smallint[]) AS guess (id, caller, typed)
), living AS MATERIALIZED (
    SELECT otp.*, otp.length = guess.typed AS fits
    FROM relaypost.otps AS otp JOIN guess USING (id, caller)
    WHERE otp.used_time IS NULL AND otp.expire_time > now()
    ORDER BY otp.id
    FOR UPDATE OF otp
), chosen AS (
    SELECT DISTINCT ON (destination) id, destination
    FROM living
    WHERE attempts < $4 AND fits
    ORDER BY destination, id
), charged AS (
    INSERT INTO relaypost.otp_limits AS known (name, key, most, seconds, times)
    SELECT $5, destination, $6::integer, $7::float8, ARRAY[now()] FROM chosen ORDER BY destination
    ON CONFLICT (name, key) DO UPDATE SET
        most = excluded.most,
        seconds = excluded.seconds,
        times = relaypost.recent(known.times, excluded.seconds) || now()
    WHERE excluded.most = 0 OR cardinality(relaypost.recent(known.times, excluded.seconds)) < excluded.most
    RETURNING key
), moved AS (
    UPDATE relaypost.otps AS otp
    SET attempts = otp.attempts + 1
    FROM chosen JOIN charged ON charged.key = chosen.destination
    WHERE otp.id = chosen.id
    RETURNING otp.id
), nobody AS (
    INSERT INTO relaypost.otp_limits AS known (name, key, most, seconds, times)
    SELECT 'nobody', pg_backend_pid()::text, 1, 0, ARRAY[now()] WHERE NOT EXISTS (SELECT FROM moved)
    ON CONFLICT (name, key) DO UPDATE SET times = excluded.times
)
SELECT
    living.id, living.caller, living.purpose, living.channel, living.destination, living.country, living.pepper,
    living.mark, living.seal, living.length, living.generation,
    moved.id IS NOT NULL AS taken,
    living.attempts >= $4 AS spent,
    living.fits AND living.attempts < $4 AND chosen.id IS NULL AS deferred,
    living.fits
    OR ($6::integer > 0 AND cardinality(relaypost.recent(known.times, $7::float8)) >= $6::integer) AS limited,
    coalesce(
        extract(epoch FROM known.times[greatest(cardinality(known.times) - $6::integer + 1, 1)]
            + make_interval(secs => $7::float8) - now()),
        0
    )::float8 AS retry_after
FROM living
LEFT JOIN chosen USING (id)
LEFT JOIN moved USING (id)
LEFT JOIN relaypost.otp_limits AS known ON moved.id IS NULL AND known.name = $5 AND known.key = living.destination;

-- name: use_otps
-- Uses codes up that were found right, each once; the ids of those that were.
WITH guess AS (
    SELECT * FROM unnest($1::uuid[], $2::smallint[]) AS guess (id, generation)
), living AS MATERIALIZED (
    SELECT otp.id
    FROM relaypost.otps AS otp JOIN guess USING (id, generation)
    WHERE otp.used_time IS NULL AND otp.expire_time > now()
    ORDER BY otp.id
    FOR UPDATE OF otp
), used AS (
    UPDATE relaypost.otps AS otp
    SET used_time = now()
    FROM living
    WHERE otp.id = living.id
    RETURNING otp.id, otp.destination
), returned AS (
    UPDATE relaypost.otp_limits AS known
    SET times = known.times[:cardinality(known.times) - successes.count]
    FROM (SELECT destination, count(*)::integer AS count FROM used GROUP BY destination) AS successes
    WHERE known.name = $3 AND known.key = successes.destination
)
SELECT id FROM used;

-- name: cancel_otp
UPDATE relaypost.otps SET expire_time = now()
WHERE id = $1 AND caller = $2 AND used_time IS NULL AND expire_time > now();

-- name: empty_otps
-- What only a living code needs; a few at a time, so that no sweep holds others up.
UPDATE relaypost.otps SET mark = '', seal = 0, variables = '{}'
WHERE id IN (
    SELECT id FROM relaypost.otps
    WHERE mark <> '' AND (expire_time <= now() - interval '1 minute')
    LIMIT 5000
    FOR UPDATE SKIP LOCKED
);

-- name: forget_otps
DELETE FROM relaypost.otps
WHERE id IN (
    SELECT id FROM relaypost.otps WHERE create_time < now() - make_interval(secs => $1)
    LIMIT 5000
    FOR UPDATE SKIP LOCKED
);

-- name: forget_limits
-- Those that count nothing any more.
DELETE FROM relaypost.otp_limits
WHERE (name, key) IN (
    SELECT name, key FROM relaypost.otp_limits
    WHERE coalesce(times[cardinality(times)], '-infinity') < now() - make_interval(secs => seconds)
    LIMIT 5000
    FOR UPDATE SKIP LOCKED
);

-- name: otp_conversions
-- Codes that are over, by the provider that carried each last.
SELECT
    otp.channel, coalesce(nullif(message.sent_again_by, ''), message.provider) AS provider, otp.country,
    count(*)::integer AS sent,
    count(otp.used_time)::integer AS verified
FROM relaypost.otps AS otp
JOIN relaypost.requests AS request
    ON request.caller = otp.caller AND request.method = $2
    AND request.request_id = otp.id::text || '.' || otp.sends
JOIN relaypost.messages AS message ON message.id = request.message_id
WHERE
    otp.create_time > now() - make_interval(secs => $1)
    AND (otp.used_time IS NOT NULL OR otp.expire_time <= now())
    AND message.provider <> ''
GROUP BY 1, 2, 3;

-- name: news_of_messages
-- What is known of messages that are waited for; `otp_id` and `number` are those of the code that a message carries.
SELECT
    message.id::text,
    otp.used_time IS NOT NULL AS verified,
    message.sent_again_time IS NOT NULL
    OR (waiting.otp_id IS NOT NULL AND (otp.id IS NULL OR otp.expire_time <= now() OR otp.sends <> waiting.number))
    AS moot
FROM unnest($1::uuid[], $2::uuid[], $3::smallint[]) AS waiting (id, otp_id, number)
JOIN relaypost.messages AS message ON message.id = waiting.id
LEFT JOIN relaypost.otps AS otp ON otp.id = waiting.otp_id;

-- name: news_events
-- Receipts of some messages that tell whether they arrived.
SELECT * FROM relaypost.delivery_events WHERE message_id = ANY($1::uuid[]) AND type = ANY($2::text[]);

-- name: claim_second_send
-- Makes one gateway the only one that sends a message once more, unless it has arrived after all; its id.
UPDATE relaypost.messages AS message
SET sent_again_time = now(), sent_again_by = $2, possible_duplicate = true
WHERE
    id = $1 AND sent_again_time IS NULL AND state <> 'sending'
    AND NOT EXISTS (
        SELECT FROM relaypost.delivery_events AS event WHERE event.message_id = message.id AND event.type = ANY($3)
    )
    AND ($4::uuid IS NULL OR EXISTS (
        SELECT FROM relaypost.otps
        WHERE otps.id = $4 AND sends = $5::smallint AND used_time IS NULL AND expire_time > now()
    ))
RETURNING id;

-- name: move_second_send
-- The provider before certainly took nothing; another one is about to be asked.
UPDATE relaypost.messages SET sent_again_by = $2 WHERE id = $1 AND sent_again_time IS NOT NULL RETURNING id;

-- name: end_second_send
-- `sent_again_by` is empty where certainly nothing was sent.
UPDATE relaypost.messages AS message
SET
    sent_again_by = $2,
    possible_duplicate = $3,
    cost_micros = CASE WHEN $4::bigint IS NULL THEN cost_micros ELSE coalesce(cost_micros, 0) + $4 END,
    cost_currency = coalesce(cost_currency, $5)
WHERE id = $1 AND sent_again_time IS NOT NULL;

-- name: refold_delivery_events
-- The state of a message as its receipts add up to once it is known who has the second copy: see
-- `core.delivery.fold`. Receipts that wait are folded in later, by the same rule.
WITH best AS (
    SELECT event.state, event.rank, event.event_time
    FROM relaypost.delivery_events AS event JOIN relaypost.messages ON messages.id = event.message_id
    WHERE
        event.message_id = $1 AND event.rank > 0
        AND NOT (event.type IN ('failed', 'bounced') AND messages.sent_again_by NOT IN ('', event.provider))
    ORDER BY event.rank DESC, event.event_time
    LIMIT 1
), standing AS (
    SELECT coalesce(max(state), 'sent') AS state, coalesce(max(rank), 0) AS rank, max(event_time) AS event_time FROM best
)
UPDATE relaypost.messages AS message
SET
    state = standing.state,
    delivery_rank = standing.rank,
    delivery_time = standing.event_time,
    update_time = CASE WHEN message.state = standing.state THEN message.update_time ELSE now() END
FROM standing
WHERE
    message.id = $1
    AND (message.state = standing.state OR legal_second_copy(message.state, standing.state));

-- name: delivery_fates
-- What became of the latest messages of a time, by the most telling receipt of each provider that took one.
-- OFFSET 0 keeps the planner to look-ups by message: without statistics it would go by the provider instead,
-- through all receipts for each message.
SELECT
    message.channel, attempt.provider, message.country, event.type, event.reject_reason, event.permanent,
    count(*)::integer AS messages
FROM (
    SELECT id, channel, country FROM relaypost.messages WHERE id BETWEEN $1::uuid AND $2::uuid
    ORDER BY id DESC
    LIMIT $3
) AS message
JOIN LATERAL (
    SELECT provider, kind FROM relaypost.attempts WHERE message_id = message.id OFFSET 0
) AS attempt ON attempt.kind = 'accepted' AND attempt.provider = ANY($4::text[])
LEFT JOIN LATERAL (
    SELECT type, reject_reason, permanent
    FROM (SELECT * FROM relaypost.delivery_events WHERE message_id = message.id OFFSET 0) AS every
    WHERE every.provider = attempt.provider AND every.type = ANY($5::text[])
    ORDER BY rank DESC, event_time
    LIMIT 1
) AS event ON true
GROUP BY 1, 2, 3, 4, 5, 6;

-- name: claim_look_ups
-- Lost answers of a provider that are to be asked about now: 2 minutes after the end of the walk, then 10 minutes, an
-- hour and 6 hours after the time before. With each come the provider's ids of other messages to the recipient, and
-- how many other answers about that recipient were lost at the same time.
WITH due AS MATERIALIZED (
    SELECT id FROM relaypost.messages AS message
    WHERE
        state = 'unconfirmed' AND look_ups < 4
        AND create_time > now() - interval '1 day'
        AND update_time < now() - interval '2 minutes'
        AND (look_up_time IS NULL OR look_up_time < now() - interval '10 minutes' * power(6, look_ups - 1))
        AND EXISTS (
            SELECT FROM relaypost.attempts WHERE message_id = message.id AND kind = 'unconfirmed' AND provider = $1
        )
    ORDER BY id
    LIMIT $2
    FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE relaypost.messages AS message
    SET look_ups = look_ups + 1, look_up_time = now()
    FROM due
    WHERE message.id = due.id
    RETURNING message.id, recipients, sender
)
SELECT
    claimed.id::text AS message_id,
    coalesce(claimed.recipients[1], '') AS recipient,
    claimed.sender, attempt.start_time, attempt.duration,
    count(*) FILTER (WHERE other.provider_id = '')::integer AS rivals,
    coalesce(array_agg(other.provider_id) FILTER (WHERE other.provider_id <> ''), '{}') AS known
FROM claimed
JOIN relaypost.attempts AS attempt
    ON attempt.message_id = claimed.id AND attempt.kind = 'unconfirmed' AND attempt.provider = $1
LEFT JOIN LATERAL (
    SELECT coalesce(nullif(made.provider_message_id, ''), message.provider_message_id) AS provider_id
    FROM relaypost.messages AS message JOIN relaypost.attempts AS made ON made.message_id = message.id
    WHERE
        message.recipients @> claimed.recipients[1:1] AND message.id <> claimed.id
        AND made.provider = $1 AND made.kind IN ('accepted', 'unconfirmed')
        AND made.start_time BETWEEN attempt.start_time - interval '3 minutes' AND attempt.start_time + interval '3 minutes'
) AS other ON true
GROUP BY claimed.id, claimed.recipients, claimed.sender, attempt.start_time, attempt.duration;
