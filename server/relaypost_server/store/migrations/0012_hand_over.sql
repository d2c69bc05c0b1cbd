-- Engines beside the database get pointers while no transaction is open. Until when a gateway is at it; NULL: none is.
ALTER TABLE relaypost.queue ADD COLUMN handing_until timestamptz;
