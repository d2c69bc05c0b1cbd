-- Webhooks name the recipients that a receipt is about, and tell of opened emails and followed links.

-- Those of a message's recipients whom a provider named, as the message spells them. A provider can name anybody: of an
-- address that was no recipient nothing is shown.
CREATE FUNCTION relaypost.receipt_recipients(told text[], recipients text[]) RETURNS text[] LANGUAGE sql STABLE AS $$
    SELECT coalesce(array_agg(recipient ORDER BY place), '{}')
    FROM unnest(recipients) WITH ORDINALITY AS named (recipient, place)
    WHERE lower(recipient COLLATE "C") = ANY(told)
$$;

-- What is told of a message, with the receipt that brought it about; a receipt of NULL: none did.
CREATE FUNCTION relaypost.webhook_data(message relaypost.messages, receipt relaypost.delivery_events) RETURNS jsonb
LANGUAGE sql STABLE AS $$
    SELECT jsonb_build_object(
        'message_id', message.id, 'channel', message.channel, 'state', message.state,
        'sender', message.sender, 'recipients', message.recipients,
        'provider', message.provider, 'provider_message_id', message.provider_message_id,
        'possible_duplicate', message.possible_duplicate, 'create_time', relaypost.webhook_time(message.create_time),
        'tags', message.tags, 'metadata', message.metadata,
        'receipt', CASE WHEN receipt.event_id IS NOT NULL THEN jsonb_build_object(
            'time', relaypost.webhook_time(receipt.event_time), 'reject_reason', receipt.reject_reason,
            'permanent', receipt.permanent, 'provider_code', receipt.provider_code, 'detail', receipt.detail,
            'recipients', relaypost.receipt_recipients(receipt.recipients, message.recipients)
        ) END
    )
$$;

-- Makes an event of each message for every endpoint of its caller that wants to hear of its state.
CREATE OR REPLACE FUNCTION relaypost.add_webhook_events(changed uuid[]) RETURNS void LANGUAGE sql AS $$
    WITH event AS MATERIALIZED (
        SELECT gen_random_uuid() AS event_id, 'message.' || message.state AS type, message
        FROM relaypost.messages AS message
        WHERE id = ANY(changed)
    ), delivery AS (
        INSERT INTO relaypost.webhook_deliveries (endpoint_id, event_id)
        SELECT endpoint.id, event.event_id
        FROM event JOIN relaypost.webhook_endpoints AS endpoint ON endpoint.caller = (event.message).caller
        WHERE
            endpoint.disable_time IS NULL
            AND (endpoint.event_types = '{}' OR event.type = ANY(endpoint.event_types))
        RETURNING event_id
    )
    INSERT INTO relaypost.webhook_events (id, type, event_time, data)
    SELECT
        event.event_id, event.type, (event.message).update_time, relaypost.webhook_data(event.message, receipt.found)
    FROM event
    LEFT JOIN LATERAL (
        SELECT known AS found
        FROM relaypost.delivery_events AS known
        WHERE
            known.message_id = (event.message).id AND (event.message).delivery_rank > 0
            AND known.rank = (event.message).delivery_rank AND known.event_time = (event.message).delivery_time
        ORDER BY known.event_id
        LIMIT 1
    ) AS receipt ON true
    WHERE event.event_id IN (SELECT event_id FROM delivery)
$$;

-- Tells of an opened email or a followed link, which change no state, once its message is on record. Only endpoints
-- that name the type get it: there may be many for one message.
CREATE FUNCTION relaypost.note_engagement() RETURNS trigger LANGUAGE plpgsql
    SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kind CONSTANT text := 'message.' || NEW.type;
    new_id CONSTANT uuid := gen_random_uuid();
BEGIN
    INSERT INTO relaypost.webhook_deliveries (endpoint_id, event_id)
    SELECT endpoint.id, new_id
    FROM relaypost.webhook_endpoints AS endpoint
    JOIN relaypost.messages AS message ON message.caller = endpoint.caller
    WHERE endpoint.disable_time IS NULL AND kind = ANY(endpoint.event_types) AND message.id = NEW.message_id;
    IF FOUND THEN
        INSERT INTO relaypost.webhook_events (id, type, event_time, data)
        SELECT new_id, kind, NEW.event_time, relaypost.webhook_data(message, NEW)
        FROM relaypost.messages AS message
        WHERE message.id = NEW.message_id;
    END IF;
    RETURN NULL;
END
$$;

-- `waiting` ends once for each receipt, in the transaction that makes its message catch up with it.
CREATE TRIGGER note_engagement AFTER UPDATE ON relaypost.delivery_events
    FOR EACH ROW WHEN (OLD.waiting AND NOT NEW.waiting AND NEW.type IN ('opened', 'clicked'))
    EXECUTE FUNCTION relaypost.note_engagement();
