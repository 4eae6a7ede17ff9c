UPDATE target_profile.watched_table
SET when_columns = $4
WHERE "table" = $1 AND client_code = $2 AND id_kind = $3
