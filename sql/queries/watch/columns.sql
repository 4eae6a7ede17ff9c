-- The columns of a table: whether the collation is deterministic, whether the type fixes the length of the values, the number, and whether
-- the column is virtual.
SELECT a.attname::pg_catalog.text, a.atttypid, t.typtype::pg_catalog.text,
    coalesce(co.collisdeterministic, true), a.atttypmod > 0, a.attnum, a.attgenerated = 'v'
FROM pg_catalog.pg_attribute a
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_collation co ON co.oid = a.attcollation
WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
