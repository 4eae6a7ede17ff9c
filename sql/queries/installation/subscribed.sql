-- The subscriptions that write into the tables that the worker sends from, each with those tables.
SELECT s.subname::text, string_agg(c.relname::text, ', ' ORDER BY c.relname)
FROM pg_subscription_rel r
JOIN pg_subscription s ON s.oid = r.srsubid
JOIN pg_class c ON c.oid = r.srrelid
WHERE c.relnamespace = 'target_profile'::regnamespace AND c.relname IN ('binding', 'client', 'outbox')
GROUP BY s.subname
ORDER BY s.subname
