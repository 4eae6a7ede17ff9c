-- For responses that the table response cannot take.
-- Before the entries are deleted: each response keeps who enqueued them, as one name if it was one role.
INSERT INTO target_profile.response_stray
    (id, client_code, id_kind, profile_id, outbox_ids, part, parts, method, request_bytes, attempt, sent_at, duration,
     http_status, outcome, message, body, enqueued_by)
SELECT r.id, r.client_code, r.id_kind, r.profile_id, (:outbox_ids)[r.ids_from:r.ids_to], r.part, r.parts, r.method,
    r.request_bytes, r.attempt, r.sent_at, r.duration * interval '1 microsecond', r.http_status, r.outcome, r.message,
    r.body,
    CASE
        WHEN r.ids_from = r.ids_to
        THEN ARRAY[(SELECT o.enqueued_by FROM target_profile.outbox o WHERE o.id = (:outbox_ids)[r.ids_from])]
        ELSE (
            SELECT CASE WHEN count(w.name) = count(*) AND min(w.name) = max(w.name)
                THEN ARRAY[min(w.name)] ELSE array_agg(w.name ORDER BY w.number) END
            FROM (
                SELECT e.number, (SELECT o.enqueued_by FROM target_profile.outbox o WHERE o.id = e.id) AS name
                FROM unnest((:outbox_ids)[r.ids_from:r.ids_to]) WITH ORDINALITY AS e (id, number)
            ) w)
    END
FROM unnest(:arrays) AS r (:columns)
