-- The lease of a gateway that hands a pointer to an engine outside the database; NULL: no gateway holds one.
ALTER TABLE relaypost.queue ADD COLUMN handing_until timestamptz;

-- Each lane is looked at on its own, the urgent one first: a code does not wait behind a batch that is due.
DROP INDEX relaypost.queue_to_hand_over;
CREATE INDEX queue_to_hand_over ON relaypost.queue (lane, due_time) WHERE handed_time IS NULL AND death IS NULL;
