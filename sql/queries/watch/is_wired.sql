-- Whether the table is watched with exactly these arguments, its triggers are those that they make now, and watch_state is ok.
SELECT true
FROM target_profile.watched_table w
JOIN target_profile.watch_state s ON s."table" = w."table"
    AND s.client_code = w.client_code AND s.id_kind = w.id_kind
WHERE w."table" = $1 AND w.client_code = $2
  AND w.id_kind = $3 AND w.id_column = $4
  AND w.attrs = $5 AND w.send = $6
  AND w."when" IS NOT DISTINCT FROM $7 AND w.priority = $8
  AND w.on_invalid = $9 AND w.always = $10
  AND replace(array_to_string(w.statements, ';'), ' OR REPLACE TRIGGER ', ' TRIGGER ')
      = replace(array_to_string($11, ';'), ' OR REPLACE TRIGGER ', ' TRIGGER ')
  AND s.state = 'ok'
