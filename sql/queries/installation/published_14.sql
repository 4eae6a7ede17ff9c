-- As published.sql, for PostgreSQL 14, which has no publications of schemas.
SELECT p.pubname::text, string_agg(c.relname::text, ', ' ORDER BY c.relname)
FROM pg_publication p
CROSS JOIN pg_class c
WHERE c.relnamespace = 'target_profile'::regnamespace AND c.relname IN ('binding', 'client', 'outbox', 'response')
  AND (p.puballtables
    OR EXISTS (
        SELECT FROM pg_publication_rel r
        WHERE r.prpubid = p.oid
          AND (r.prrelid = c.oid OR EXISTS (SELECT FROM pg_inherits i WHERE i.inhparent = c.oid AND i.inhrelid = r.prrelid))))
GROUP BY p.pubname
ORDER BY p.pubname
