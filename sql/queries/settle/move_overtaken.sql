-- For entries that settle_dead.sql buries under a spare id: copies the attributes that newer updates have set since to that id.
INSERT INTO target_profile.overtaken (id, attr)
SELECT d.spare_id, since.attr
FROM unnest($1, $2) AS d (id, spare_id)
JOIN target_profile.outbox o ON o.id = d.id
JOIN target_profile.dead_letter l ON l.id = d.id
CROSS JOIN LATERAL target_profile._overtaken(o.id, o.client_code, o.id_kind, o.profile_id) since
WHERE o.retried_at IS NOT NULL
