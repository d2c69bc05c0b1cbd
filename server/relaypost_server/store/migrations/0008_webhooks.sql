-- Outgoing webhooks: who wants to hear what, and what is to be told.

CREATE TABLE relaypost.webhook_endpoints (
    id uuid PRIMARY KEY,
    caller text NOT NULL,                -- whose messages it is told of
    url text NOT NULL,
    event_types text[] NOT NULL,         -- empty: all
    description text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    disable_time timestamptz,            -- not NULL: it answered 410 Gone then
    failures integer NOT NULL DEFAULT 0, -- attempts that failed since the last that did not
    resume_time timestamptz NOT NULL DEFAULT '-infinity' -- before it nothing is sent
);

CREATE INDEX webhook_endpoints_by_caller ON relaypost.webhook_endpoints (caller, create_time);

-- In plain, for they have to sign.
CREATE TABLE relaypost.webhook_secrets (
    endpoint_id uuid NOT NULL,
    secret bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    expire_time timestamptz,             -- NULL: the present one
    PRIMARY KEY (endpoint_id, secret)
);

CREATE TABLE relaypost.webhook_events (
    id uuid PRIMARY KEY,
    type text NOT NULL,                  -- for example message.delivered
    event_time timestamptz NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    data jsonb NOT NULL                  -- the message as it was then, without its text
);

CREATE INDEX webhook_events_by_age ON relaypost.webhook_events (create_time);

CREATE TABLE relaypost.webhook_deliveries (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    endpoint_id uuid NOT NULL,
    event_id uuid NOT NULL,
    state text NOT NULL DEFAULT 'pending', -- pending, delivered or dead
    attempts integer NOT NULL DEFAULT 0, -- since somebody asked for it
    claims bigint NOT NULL DEFAULT 0,    -- grows with each attempt: who holds an earlier number is too late
    next_time timestamptz NOT NULL DEFAULT now(), -- of a pending one: its next attempt, or the end of a lease
    create_time timestamptz NOT NULL DEFAULT now(),
    attempt_time timestamptz,            -- when the last attempt began
    status smallint NOT NULL DEFAULT 0,  -- its HTTP status; 0: there was no answer
    detail text NOT NULL DEFAULT ''      -- why it failed
);

CREATE INDEX webhook_deliveries_due ON relaypost.webhook_deliveries (endpoint_id, next_time) WHERE state = 'pending';
CREATE INDEX webhook_deliveries_dead ON relaypost.webhook_deliveries (endpoint_id, create_time, id) WHERE state = 'dead';
CREATE INDEX webhook_deliveries_listed ON relaypost.webhook_deliveries (endpoint_id, create_time, id);
CREATE INDEX webhook_deliveries_by_event ON relaypost.webhook_deliveries (event_id);

-- No foreign keys among these: a message must never fail to be written because an endpoint goes at that moment.

-- A moment as JSON has it, whatever the session's time zone.
CREATE FUNCTION relaypost.webhook_time(moment timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT to_char(moment AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- Makes an event of each message for every endpoint of its caller that wants to hear of its state.
CREATE FUNCTION relaypost.add_webhook_events(changed uuid[]) RETURNS void LANGUAGE sql AS $$
    WITH event AS MATERIALIZED (
        SELECT gen_random_uuid() AS event_id, 'message.' || message.state AS type, message.*
        FROM relaypost.messages AS message
        WHERE id = ANY(changed)
    ), delivery AS (
        INSERT INTO relaypost.webhook_deliveries (endpoint_id, event_id)
        SELECT endpoint.id, event.event_id
        FROM event JOIN relaypost.webhook_endpoints AS endpoint ON endpoint.caller = event.caller
        WHERE
            endpoint.disable_time IS NULL
            AND (endpoint.event_types = '{}' OR event.type = ANY(endpoint.event_types))
        RETURNING event_id
    )
    INSERT INTO relaypost.webhook_events (id, type, event_time, data)
    SELECT
        event.event_id, event.type, event.update_time,
        jsonb_build_object(
            'message_id', event.id, 'channel', event.channel, 'state', event.state,
            'sender', event.sender, 'recipients', event.recipients,
            'provider', event.provider, 'provider_message_id', event.provider_message_id,
            'possible_duplicate', event.possible_duplicate, 'create_time', relaypost.webhook_time(event.create_time),
            'tags', event.tags, 'metadata', event.metadata,
            'receipt', receipt.shown
        )
    FROM event
    LEFT JOIN LATERAL (
        SELECT jsonb_build_object(
            'time', relaypost.webhook_time(event_time), 'reject_reason', reject_reason, 'permanent', permanent,
            'provider_code', provider_code, 'detail', detail
        ) AS shown
        FROM relaypost.delivery_events
        WHERE
            message_id = event.id AND event.delivery_rank > 0
            AND rank = event.delivery_rank AND event_time = event.delivery_time
        LIMIT 1
    ) AS receipt ON true
    WHERE event.event_id IN (SELECT event_id FROM delivery);
$$;

-- Called once for each statement that writes messages, whichever it is. Without an endpoint they look, and return.
-- They run with their owner's rights: who may write messages must not fail for want of a right to these tables.
CREATE FUNCTION relaypost.note_new_messages() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    told uuid[];
BEGIN
    IF EXISTS (SELECT FROM relaypost.webhook_endpoints) THEN
        SELECT array_agg(message.id) INTO told
        FROM new_messages AS message
        WHERE
            message.state <> 'sending'
            AND EXISTS (SELECT FROM relaypost.webhook_endpoints AS endpoint WHERE endpoint.caller = message.caller);
        IF told IS NOT NULL THEN
            PERFORM relaypost.add_webhook_events(told);
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE FUNCTION relaypost.note_changed_messages() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    told uuid[];
BEGIN
    IF EXISTS (SELECT FROM relaypost.webhook_endpoints) THEN
        SELECT array_agg(message.id) INTO told
        FROM new_messages AS message JOIN old_messages AS earlier USING (id)
        WHERE
            message.state NOT IN ('sending', earlier.state)
            AND EXISTS (SELECT FROM relaypost.webhook_endpoints AS endpoint WHERE endpoint.caller = message.caller);
        IF told IS NOT NULL THEN
            PERFORM relaypost.add_webhook_events(told);
        END IF;
    END IF;
    RETURN NULL;
END
$$;

CREATE TRIGGER note_new_messages AFTER INSERT ON relaypost.messages
    REFERENCING NEW TABLE AS new_messages
    FOR EACH STATEMENT EXECUTE FUNCTION relaypost.note_new_messages();

CREATE TRIGGER note_changed_messages AFTER UPDATE ON relaypost.messages
    REFERENCING NEW TABLE AS new_messages OLD TABLE AS old_messages
    FOR EACH STATEMENT EXECUTE FUNCTION relaypost.note_changed_messages();
