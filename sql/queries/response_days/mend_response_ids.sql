-- Sets the sequence above the ids of this day: rows were inserted by hand, or the sequence was set back. Ids near the end of its range, which
-- it never reaches, do not count.
SELECT pg_catalog.setval('target_profile.response_id_seq', m.id)
FROM (
    SELECT max(r.id) AS id FROM target_profile.response r
    WHERE r.sent_at >= $1 AND r.sent_at < $1 + interval '1 day' AND r.id < 4611686018427387904
) m
WHERE m.id > (SELECT s.last_value FROM target_profile.response_id_seq s)
