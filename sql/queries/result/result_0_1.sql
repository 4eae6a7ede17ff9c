-- For SQL objects of version 0.1.0.
SELECT r.state, r.response_id, r.http_status, r.message, r.finished_at FROM target_profile.result($1) r
