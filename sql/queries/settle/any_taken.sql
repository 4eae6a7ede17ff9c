-- Whether a dead letter has one of these ids already.
SELECT EXISTS (SELECT FROM unnest($1) AS d (id) JOIN target_profile.dead_letter l ON l.id = d.id)
