-- The attributes $4 of a profile ($1, $2, $3) have arrived with the entries $5. $6 is the newest dead letter that is older than one of these
-- entries. An attribute supersedes dead letters that are older than the newest entry that sets it. An entry that was deleted meanwhile may
-- have set any attribute; if no entry has the attribute, each of them may have set it. No row goes beyond $6, since dead letters that come
-- later are not superseded.
WITH entry AS (
    SELECT e.id, o.attrs
    FROM unnest($5) AS e (id)
    LEFT JOIN target_profile.outbox o ON o.id = e.id
), named AS (
    SELECT arrived.attr COLLATE "C" AS attr, NULL::pg_catalog.int8 AS id, true AS has_arrived
    FROM unnest($4) AS arrived (attr)
    UNION ALL
    SELECT name.name COLLATE "C", e.id, false
    FROM entry e
    CROSS JOIN LATERAL jsonb_object_keys(CASE pg_catalog.jsonb_typeof(e.attrs) WHEN 'object' THEN e.attrs END) name (name)
), setter AS (
    SELECT n.attr, max(n.id) AS id
    FROM named n
    GROUP BY n.attr
    HAVING bool_or(n.has_arrived)
), superseded AS (
    SELECT s.attr, least(CASE WHEN s.id IS NULL THEN any_of.id ELSE greatest(s.id, any_of.gone) END, $6 + 1) AS before_id
    FROM setter s
    CROSS JOIN (SELECT max(e.id), max(e.id) FILTER (WHERE e.attrs IS NULL) FROM entry e) any_of (id, gone)
)
INSERT INTO target_profile.superseded (client_code, id_kind, profile_id, attr, before_id)
SELECT $1, $2, $3, s.attr, s.before_id
FROM superseded s
WHERE (s.before_id > 1) = ($6 > 0)
  -- A subquery with an aggregate is planned by itself, so that it takes all columns of the index.
  AND coalesce(s.before_id > (
    SELECT max(v.before_id) FROM target_profile.superseded v
    WHERE v.client_code = $1 AND v.id_kind = $2 AND v.profile_id = $3 AND hashtextextended(v.attr, 0) = hashtextextended(s.attr, 0)
      AND v.attr = s.attr AND (v.before_id > 1) = ($6 > 0)), true)
