-- The sequence has come to its end, since somebody has set it there: it goes on after the rows that are there, but for those
-- near the end.
SELECT pg_catalog.setval('target_profile.response_id_seq', coalesce(max(r.id), 0) + 1, false)
FROM target_profile.response r
WHERE r.id BETWEEN 1 AND 4611686018427387904
