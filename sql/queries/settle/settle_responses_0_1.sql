-- For SQL objects of version 0.1.0.
INSERT INTO target_profile.response
    (id, client_code, id_kind, profile_id, outbox_ids, part, parts, method, request_bytes, attempt, sent_at, duration,
     http_status, outcome, message, body)
SELECT r.id, r.client_code, r.id_kind, r.profile_id, (:outbox_ids)[r.ids_from:r.ids_to], r.part, r.parts, r.method,
    r.request_bytes, r.attempt, r.sent_at, r.duration * interval '1 microsecond', r.http_status, r.outcome, r.message,
    r.body
FROM unnest(:arrays) AS r (:columns)
