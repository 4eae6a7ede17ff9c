-- MERGE fires the trigger like the statements it stands for. From PostgreSQL 15 on.
SELECT current_setting('server_version_num')::integer < 150000 AS too_old \gset
\if :too_old
\quit
\endif
CREATE EXTENSION target_profile;
SELECT target_profile.add_client('acme');
CREATE TABLE customer (id text PRIMARY KEY, tier text, note text);
CREATE TRIGGER t AFTER INSERT OR UPDATE ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile_trigger('acme', 'mboxPC', 'id', 'tier');
INSERT INTO customer VALUES ('old', 'silver'), ('same', 'silver'), ('gone', 'silver'), ('noted', 'silver');
TRUNCATE target_profile.outbox;
MERGE INTO customer c USING (VALUES ('old', 'gold'), ('same', 'silver'), ('gone', NULL), ('new', 'bronze')) AS s (id, tier)
    ON c.id = s.id
    WHEN MATCHED AND s.tier IS NULL THEN DELETE
    WHEN MATCHED THEN UPDATE SET tier = s.tier
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.tier);
SELECT profile_id, attrs FROM target_profile.outbox ORDER BY profile_id;

-- and the collecting ones: one INSERT
TRUNCATE target_profile.outbox;
DROP TRIGGER t ON customer;
CREATE TRIGGER r AFTER INSERT OR UPDATE ON customer
    FOR EACH ROW EXECUTE FUNCTION target_profile._watch_row('acme', 'mboxPC', 'id', 'all', 'warn', '0', 'tier');
CREATE TRIGGER s AFTER INSERT OR UPDATE ON customer FOR EACH STATEMENT EXECUTE FUNCTION target_profile._watch_flush();
MERGE INTO customer c USING (VALUES ('old', 'tin'), ('same', 'silver'), ('newer', 'bronze')) AS s (id, tier)
    ON c.id = s.id
    WHEN MATCHED THEN UPDATE SET tier = s.tier
    WHEN NOT MATCHED THEN INSERT VALUES (s.id, s.tier);
SELECT profile_id, attrs, o.xmin = min(o.xmin::text) OVER ()::xid AND o.cmin = min(o.cmin::text) OVER ()::cid AS one_insert
FROM target_profile.outbox o ORDER BY profile_id;
DROP TABLE customer;
DROP EXTENSION target_profile;
