-- The operators that order the values of a type, in the form for a query.
SELECT n.nspname::pg_catalog.text, o.oprname::pg_catalog.text
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE o.oid = $1
