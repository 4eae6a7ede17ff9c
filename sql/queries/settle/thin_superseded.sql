-- Deletes the rows of a profile ($1, $2, $3) and the attributes $4 that another row makes redundant. No locked ones.
DELETE FROM target_profile.superseded v
WHERE v.ctid = ANY (ARRAY(
    SELECT less.row
    FROM unnest($4) AS arrived (attr)
    CROSS JOIN LATERAL (
        SELECT s.ctid AS row
        FROM target_profile.superseded s
        WHERE s.client_code = $1 AND s.id_kind = $2 AND s.profile_id = $3 AND s.attr = arrived.attr
          AND hashtextextended(s.attr, 0) = hashtextextended(arrived.attr COLLATE "C", 0)
          AND s.before_id < (
            SELECT max(more.before_id) FROM target_profile.superseded more
            WHERE more.client_code = $1 AND more.id_kind = $2 AND more.profile_id = $3 AND more.attr = arrived.attr
              AND hashtextextended(more.attr, 0) = hashtextextended(arrived.attr COLLATE "C", 0)
              AND (more.before_id > 1) = (s.before_id > 1))
        FOR UPDATE SKIP LOCKED
    ) less))
