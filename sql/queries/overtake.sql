INSERT INTO target_profile.overtaken (id, attr)
SELECT * FROM unnest($1, $2)
ON CONFLICT DO NOTHING
