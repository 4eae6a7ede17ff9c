-- Whether the table is watched with just these arguments, by the triggers that they now make, and all is well. Runs with the owner's rights under the caller's
-- search_path: every operator is qualified, and there is no IS DISTINCT FROM, which cannot be. No condition is ''.
SELECT true
FROM target_profile.watched_table w
JOIN target_profile.watch_state s ON s."table" OPERATOR(pg_catalog.=) w."table"
    AND s.client_code OPERATOR(pg_catalog.=) w.client_code AND s.id_kind OPERATOR(pg_catalog.=) w.id_kind
WHERE w."table" OPERATOR(pg_catalog.=) $1 AND w.client_code OPERATOR(pg_catalog.=) $2
  AND w.id_kind OPERATOR(pg_catalog.=) $3 AND w.id_column OPERATOR(pg_catalog.=) $4
  AND w.attrs OPERATOR(pg_catalog.=) $5 AND w.send OPERATOR(pg_catalog.=) $6
  AND coalesce(w."when", '') OPERATOR(pg_catalog.=) coalesce($7, '') AND w.priority OPERATOR(pg_catalog.=) $8
  AND w.on_invalid OPERATOR(pg_catalog.=) $9 AND w.always OPERATOR(pg_catalog.=) $10
  AND pg_catalog.replace(pg_catalog.array_to_string(w.statements, ';'), ' OR REPLACE TRIGGER ', ' TRIGGER ')
      OPERATOR(pg_catalog.=) pg_catalog.replace(pg_catalog.array_to_string($11, ';'), ' OR REPLACE TRIGGER ', ' TRIGGER ')
  AND s.state OPERATOR(pg_catalog.=) 'ok'
