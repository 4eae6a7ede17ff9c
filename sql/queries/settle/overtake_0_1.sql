-- For SQL objects of version 0.1.0.
-- Dead letters $1 with the attributes $2 that have arrived. An attribute is overtaken if a newer one of the entries $3, with which it arrived,
-- sets it: others among them may be older than the dead letter. One that is gone may have set it.
INSERT INTO target_profile.overtaken (id, attr)
SELECT p.id, p.attr
FROM unnest($1, $2) AS p (id, attr)
-- The index there holds no longer names.
WHERE pg_catalog.octet_length(p.attr) <= 2000
  AND EXISTS (
    SELECT FROM unnest($3) AS e (id)
    LEFT JOIN target_profile.outbox o ON o.id = e.id
    WHERE e.id > p.id AND (o.id IS NULL OR o.attrs ? p.attr))
ON CONFLICT DO NOTHING
