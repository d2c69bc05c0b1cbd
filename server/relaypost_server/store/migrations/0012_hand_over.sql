-- The lease of a gateway that hands a pointer to an engine outside the database; NULL: no gateway holds one.
ALTER TABLE relaypost.queue ADD COLUMN handing_until timestamptz;
