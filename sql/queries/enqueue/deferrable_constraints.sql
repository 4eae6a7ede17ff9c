-- The constraints that may be checked at the end of a transaction.
SELECT c.conname::pg_catalog.text, n.nspname::pg_catalog.text
FROM pg_catalog.pg_constraint c
JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace
WHERE c.conrelid = $1 AND c.condeferrable
