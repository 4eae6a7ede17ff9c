-- A part of them at a time, and no locked one.
DELETE FROM target_profile.activity a
USING (
    SELECT o.client_code, o.minute
    FROM target_profile.activity o
    WHERE o.minute < $1
    LIMIT $2
    FOR UPDATE SKIP LOCKED
) old
WHERE a.client_code = old.client_code AND a.minute = old.minute
