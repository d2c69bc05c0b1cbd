-- A message that is still to be sent cannot be deleted from the log: its worker and repeated requests need the row.
-- A DELETE skips such rows and deletes the others.

CREATE FUNCTION relaypost.keep_unsent() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM relaypost.queue WHERE message_id = OLD.id)
        OR EXISTS (SELECT FROM relaypost.requests WHERE message_id = OLD.id AND lease_until IS NOT NULL)
    THEN
        RETURN NULL;
    END IF;
    RETURN OLD;
END
$$;

CREATE TRIGGER keep_unsent BEFORE DELETE ON relaypost.messages
    FOR EACH ROW EXECUTE FUNCTION relaypost.keep_unsent();
