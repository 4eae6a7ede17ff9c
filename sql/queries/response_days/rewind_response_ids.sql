-- The sequence was set to its end. It goes on after the ids of the rows, except for those near the end.
SELECT pg_catalog.setval('target_profile.response_id_seq', coalesce(max(r.id), 0) + 1, false)
FROM target_profile.response r
WHERE r.id BETWEEN 1 AND 4611686018427387904
