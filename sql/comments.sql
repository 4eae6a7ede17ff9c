-- What \d+ and \df+ show. Names with a leading underscore are internal: they may change with any version.

COMMENT ON SCHEMA target_profile IS 'Profile updates to Adobe Target: outbox, responses, settings';

COMMENT ON FUNCTION @extschema@.target_profile_update(text, text, text, jsonb, smallint) IS
    'Enqueues a profile update in the current transaction and returns the id of its outbox entry; higher priorities go first';
COMMENT ON FUNCTION @extschema@.target_profile_preview(text, text, text, jsonb) IS
    'The requests that an update would become, one row each; sends and stores nothing';
COMMENT ON FUNCTION @extschema@.target_profile_trigger() IS
    'Row trigger: AFTER INSERT OR UPDATE … FOR EACH ROW EXECUTE FUNCTION target_profile_trigger(client_code, id_kind, id_column, column or attribute=column, …)';

COMMENT ON FUNCTION target_profile.watch(regclass, text, text, text, text[], text, text, smallint, text, boolean) IS
    'Creates the triggers that send the changes of a table: attrs are columns, or attribute=column; called again, it replaces them';
COMMENT ON FUNCTION target_profile.unwatch(regclass, text, text) IS
    'Drops the triggers that watch has created: all of a table, those of a client, or one';

COMMENT ON PROCEDURE target_profile.backfill(regclass, text, text, text, integer, boolean) IS
    'Enqueues the rows of a watched table that are there already, a chunk a transaction; the same call goes on where it stopped';
COMMENT ON FUNCTION target_profile.stop_backfill(regclass, text, text) IS
    'Has a running backfill end after its chunk; false: none is running';

COMMENT ON FUNCTION target_profile.add_client(text, text, text, text, bigint, double precision, interval, text, text, integer, interval, integer, interval) IS
    'Registers a client code; settings left out have their defaults. The first call also makes this database the one that may send';
COMMENT ON FUNCTION target_profile.set_client(text, text, text, text, bigint, double precision, interval, text, text, integer, interval, integer, interval, text[]) IS
    'Changes settings of a client: NULL leaves a setting as it is, reset names settings that go back to their defaults';
COMMENT ON FUNCTION target_profile.remove_client(text, boolean) IS
    'Removes a client; refused while entries wait, unless dead_letter_waiting moves them to dead_letter';
COMMENT ON FUNCTION target_profile.pause(text, text) IS 'Stops sending for a client; its entries wait';
COMMENT ON FUNCTION target_profile.resume(text) IS 'Sends for a paused client again';
COMMENT ON FUNCTION target_profile.retry(bigint) IS
    'Puts a dead letter back into the outbox, without the attributes that newer updates have set since';
COMMENT ON FUNCTION target_profile.retry_all(text, timestamptz) IS
    'Puts the dead letters of a client that failed since then back into the outbox; returns how many';
COMMENT ON FUNCTION target_profile.discard(bigint) IS 'Marks a dead letter as given up on purpose';
COMMENT ON FUNCTION target_profile.adopt() IS
    'Makes this database the one that may send, after a restore, a copy or pg_upgrade';
COMMENT ON FUNCTION target_profile.result(bigint) IS
    'What became of an entry: waiting, in flight, accepted, dead or discarded; no row if there is no record of it, or it is another role''s';
COMMENT ON FUNCTION target_profile.wait(bigint, interval) IS
    'Waits until an entry is settled, at most the time given, and says what result says';
COMMENT ON FUNCTION target_profile.grant_to(regrole, text) IS
    'Grants a role what a level needs: writer, reader or admin';
COMMENT ON FUNCTION target_profile.revoke_from(regrole, text) IS
    'Takes back what grant_to granted: one level, or all of them';

COMMENT ON TABLE target_profile.client IS 'Registered clients and their settings; change them with set_client';
COMMENT ON COLUMN target_profile.client.client_code IS 'Adobe Target''s client code, a lower-case DNS label';
COMMENT ON COLUMN target_profile.client.endpoint IS 'URL template; {client} stands for the client code. https unless the host is loopback';
COMMENT ON COLUMN target_profile.client.auth_token IS 'Sent as Authorization: Bearer; for admins only';
COMMENT ON COLUMN target_profile.client.method IS 'auto (GET if it fits, else POST), get or post';
COMMENT ON COLUMN target_profile.client.daily_quota IS 'At most so many requests in any rolling 24 hours, retries counted';
COMMENT ON COLUMN target_profile.client.backfill_share IS 'Part of the quota that priorities below 0 may use, from 0 to 1';
COMMENT ON COLUMN target_profile.client.delay IS 'How long a profile is held back from its first waiting entry on, to merge more';
COMMENT ON COLUMN target_profile.client.arrays IS 'json (arrays as JSON text) or indexed (tags.0, tags.1, …)';
COMMENT ON COLUMN target_profile.client.null_value IS 'What is sent for NULL; NULL: attributes without a value are left out';
COMMENT ON COLUMN target_profile.client.max_attempts IS 'Failed attempts after which an entry becomes a dead letter';
COMMENT ON COLUMN target_profile.client.max_age IS 'Age after which an entry whose attempt fails becomes a dead letter';
COMMENT ON COLUMN target_profile.client.max_in_flight IS 'Requests of the client in flight at a time';
COMMENT ON COLUMN target_profile.client.timeout IS 'How long one request may take in all';
COMMENT ON COLUMN target_profile.client.paused_at IS 'Since when nothing is sent; NULL: not paused';
COMMENT ON COLUMN target_profile.client.paused_by IS 'admin (pause was called) or unauthorized (Target answered 401 or 403)';
COMMENT ON COLUMN target_profile.client.pause_reason IS 'Why, for a person';
COMMENT ON COLUMN target_profile.client.resumed_at IS 'When resume was called last';

COMMENT ON TABLE target_profile.outbox IS 'Updates that wait to be sent; rows go when Target has accepted them';
COMMENT ON COLUMN target_profile.outbox.attrs IS 'What will be sent: a flat object of strings';
COMMENT ON COLUMN target_profile.outbox.source IS
    'function, or the table whose trigger wrote the entry, or backfill and the table';
COMMENT ON COLUMN target_profile.outbox.attempts IS 'Attempts that count against max_attempts';
COMMENT ON COLUMN target_profile.outbox.next_attempt_at IS 'Not sent again before; NULL: not tried yet';
COMMENT ON COLUMN target_profile.outbox.last_outcome IS 'How the last attempt ended';
COMMENT ON COLUMN target_profile.outbox.retried_at IS 'When it was taken back from the dead letters; NULL: it never was one';
COMMENT ON COLUMN target_profile.outbox.enqueued_by IS 'The role that enqueued it or wrote the row, and may ask for its result; NULL: not known';
COMMENT ON SEQUENCE target_profile.outbox_id_seq IS 'Ids of outbox entries; a dead letter keeps its entry''s id';

COMMENT ON TABLE target_profile.dead_letter IS 'Updates that were given up or could not be enqueued, each with the reason';
COMMENT ON COLUMN target_profile.dead_letter.reason IS 'Why, for a person';
COMMENT ON COLUMN target_profile.dead_letter.response_id IS 'The response that decided it, if there was one';
COMMENT ON COLUMN target_profile.dead_letter.discarded_at IS 'When it was discarded on purpose';
COMMENT ON COLUMN target_profile.dead_letter.enqueued_by IS 'As in outbox';
COMMENT ON COLUMN target_profile.dead_letter.raw IS 'It never was in the outbox: attrs is what the row had, not yet checked';
COMMENT ON TABLE target_profile.overtaken IS
    'As superseded, of single dead letters: those that have got another id, and those of version 0.1.0';
COMMENT ON TABLE target_profile.superseded IS
    'Attributes that newer updates of a profile have set since its dead letters were enqueued; retry leaves them out';
COMMENT ON COLUMN target_profile.superseded.before_id IS 'Dead letters with ids below this one leave the attribute out: those above 0 if it is above 1, and the others otherwise';

COMMENT ON TABLE target_profile.activity IS
    'Per client and minute what was sent and how it ended: the ledger of the quota, and a time series';
COMMENT ON COLUMN target_profile.activity.minute IS 'Its beginning; it counts against the quota until its end is 24 hours old';
COMMENT ON COLUMN target_profile.activity.reserved IS 'Requests reserved before they were sent; after a crash all of them count as sent';
COMMENT ON COLUMN target_profile.activity.reserved_backfill IS 'Those of them for priorities below 0';
COMMENT ON COLUMN target_profile.activity.sent IS 'Requests that count against daily_quota; written about once a second';
COMMENT ON COLUMN target_profile.activity.sent_backfill IS 'Those of them for priorities below 0, which count against backfill_share';
COMMENT ON COLUMN target_profile.activity.accepted IS 'How many of the requests sent in this minute ended so; the same for the next columns';
COMMENT ON COLUMN target_profile.activity.counted_to IS 'Internal: the last response in these numbers';


COMMENT ON TABLE target_profile.response IS
    'One row for each request that was sent; partitioned by day, old days go with target_profile.response_retention';
COMMENT ON COLUMN target_profile.response.outbox_ids IS 'The entries that were merged into the request';
COMMENT ON COLUMN target_profile.response.enqueued_by IS 'Who enqueued each of outbox_ids; one role: all of them';
COMMENT ON COLUMN target_profile.response.part IS 'Which part of a split update, from 1';
COMMENT ON COLUMN target_profile.response.parts IS 'How many parts the update was split into';
COMMENT ON COLUMN target_profile.response.request_bytes IS 'Bytes of the URL (GET) or of the body (POST)';
COMMENT ON COLUMN target_profile.response.attempt IS 'Which attempt of its most tried entry, from 1';
COMMENT ON COLUMN target_profile.response.http_status IS 'NULL: there was no answer';
COMMENT ON COLUMN target_profile.response.outcome IS 'accepted, rejected, unrecognised, unauthorized, throttled or failed';
COMMENT ON COLUMN target_profile.response.message IS 'The server''s message, or what went wrong on the way';
COMMENT ON COLUMN target_profile.response.body IS 'The start of the answer''s body, made valid UTF-8';
COMMENT ON SEQUENCE target_profile.response_id_seq IS 'Ids of responses';

COMMENT ON TABLE target_profile.watched_table IS 'What is watched, as watch was called; change it with watch and unwatch';
COMMENT ON COLUMN target_profile.watched_table.id_column IS 'The column that the id is in, or an expression over columns';
COMMENT ON COLUMN target_profile.watched_table.id_expression IS 'The id as Postgres writes it, where it is no column';
COMMENT ON COLUMN target_profile.watched_table.id_columns IS 'The columns that the id is made of';
COMMENT ON COLUMN target_profile.watched_table.attrs IS 'Columns that are sent, as column or attribute=column';
COMMENT ON COLUMN target_profile.watched_table.send IS 'What an UPDATE sends: all attributes, or those that changed';
COMMENT ON COLUMN target_profile.watched_table."when" IS 'Rows that do not meet it are not sent; NULL: all are';
COMMENT ON COLUMN target_profile.watched_table.when_columns IS 'The columns that "when" names; NULL: watched by version 0.1.0';
COMMENT ON COLUMN target_profile.watched_table.on_invalid IS 'What becomes of a row that cannot be sent: warn or error';
COMMENT ON COLUMN target_profile.watched_table.always IS 'Whether the triggers fire for replicated rows, too';
COMMENT ON COLUMN target_profile.watched_table.schema_name IS 'As it was when it was wired; the same for table_name';
COMMENT ON COLUMN target_profile.watched_table.statements IS 'What created the triggers';
COMMENT ON VIEW target_profile.watch_state IS
    'Whether what is watched still is: ok, or what is wrong with it';
COMMENT ON COLUMN target_profile.watch_state.state IS
    'table dropped, client not registered, column missing, trigger missing, trigger disabled, column renamed, table replaced or ok: the first that applies';

COMMENT ON VIEW target_profile.backfill_progress IS 'The last backfill of each watch: how far it is';
COMMENT ON COLUMN target_profile.backfill_progress.state IS
    'running, stopping, stopped, failed, finished, or interrupted: cancelled, or its session ended';
COMMENT ON COLUMN target_profile.backfill_progress.total_estimate IS 'How many rows there were when it began, as the planner saw it';
COMMENT ON COLUMN target_profile.backfill_progress.rate IS 'Rows a second, since it was called last';
COMMENT ON COLUMN target_profile.backfill_progress.entries IS 'Of the rows done, those that went to the outbox';
COMMENT ON COLUMN target_profile.backfill_progress.invalid IS 'Of the rows done, those that went to dead_letter';
COMMENT ON COLUMN target_profile.backfill_progress.without_id IS 'Rows that were left out, because their id is NULL';
COMMENT ON COLUMN target_profile.backfill_progress.locked IS 'Rows that other transactions had locked, and that are tried again';
COMMENT ON COLUMN target_profile.backfill_progress.last_error IS 'Why the last chunk was undone, if it was';
COMMENT ON TABLE target_profile.backfill_run IS 'What backfill_progress is made of, and where a backfill goes on';
COMMENT ON COLUMN target_profile.backfill_run.last_id IS 'The id up to which the rows are done, as text';
COMMENT ON COLUMN target_profile.backfill_run.locked_ids IS 'Ids among them whose rows other transactions had locked';
COMMENT ON COLUMN target_profile.backfill_run.sorts IS 'Whether no index gives the order of the ids';
COMMENT ON COLUMN target_profile.backfill_run.condition IS 'The condition as Postgres writes it';
COMMENT ON SEQUENCE target_profile.backfill_run_id_seq IS 'Numbers of backfills, by which their sessions lock them';

COMMENT ON TABLE target_profile.binding IS 'The cluster and database that may send; written by the first add_client and by adopt';
COMMENT ON TABLE target_profile.backing_off IS 'Clients whose endpoint does not work at present, as the worker sees it';

COMMENT ON VIEW target_profile.status IS 'Each client: state and why, backlog, age of its oldest entry, quota';
COMMENT ON COLUMN target_profile.status.state IS 'not adopted, disabled, paused, backing off, quota, active or idle: the first that applies';
COMMENT ON COLUMN target_profile.status.quota_used IS 'Requests in the last 24 hours, by whole minutes';
COMMENT ON COLUMN target_profile.status.quota_left IS 'How many more may be sent now';
COMMENT ON COLUMN target_profile.status.quota_resumes_at IS 'When there may be more, if there may be none now';
COMMENT ON COLUMN target_profile.status.forecast IS 'How long the backlog takes at the pace of the last ten minutes and within the quota; NULL: nothing goes out, or too early to tell';
COMMENT ON VIEW target_profile.worker IS 'Each database that has a worker or is meant to have one: process, state, what is wrong';
COMMENT ON COLUMN target_profile.worker.last_error IS 'What is wrong at present, or what an upgrade still needs; null when it is over';
COMMENT ON COLUMN target_profile.worker.last_error_at IS 'When an error happened last; stays when it is over';

COMMENT ON FUNCTION target_profile._privileges(text) IS 'Internal: the grants of a level';
COMMENT ON FUNCTION target_profile._entry_points() IS 'Internal: the functions outside of schema target_profile';
COMMENT ON FUNCTION target_profile._watch_functions() IS 'Internal: what wiring a table takes';
COMMENT ON FUNCTION target_profile._has_level(regrole, text) IS 'Internal: whether a role has been granted a level';
COMMENT ON FUNCTION target_profile._is_adopted() IS 'Internal: whether this database may send';
COMMENT ON FUNCTION target_profile._bury_orphans(text) IS 'Internal: moves entries of a removed client to dead_letter';
COMMENT ON FUNCTION target_profile._raise_unregistered(text) IS 'Internal: the error for a client that is not registered';
COMMENT ON FUNCTION target_profile._check_moved(name, bigint, bigint) IS 'Internal: refuses to lose rows that a trigger keeps out of a table';
COMMENT ON FUNCTION target_profile._check_role(regrole) IS 'Internal: refuses what is no role';
COMMENT ON FUNCTION target_profile._check_owners(name[]) IS 'Internal: refuses what would run code of another role with the rights of the extension''s owner';
COMMENT ON FUNCTION target_profile._raise(text, text, text, text) IS 'Internal: raises an error that was caught, without its context';
COMMENT ON FUNCTION target_profile._ensure_response_partition(date) IS 'Internal: makes the partition of response for a day';
COMMENT ON FUNCTION target_profile._response_partitions_before(timestamptz) IS 'Internal: partitions of response that are over';
COMMENT ON FUNCTION target_profile._response_partitions() IS 'Internal: what each partition of response takes';
COMMENT ON FUNCTION target_profile._revoke_defaults(name) IS 'Internal: takes back what default privileges grant on a table of responses';
COMMENT ON FUNCTION target_profile._response_parts(timestamptz) IS 'Internal: the tables that may hold responses since then, the newest first';
COMMENT ON FUNCTION target_profile._last_response(bigint, timestamptz) IS 'Internal: the last response to an entry';
COMMENT ON FUNCTION target_profile._ensure_response_stray() IS 'Internal: makes the table for responses that response cannot take';
COMMENT ON FUNCTION target_profile._drop_response_partition(name) IS 'Internal: drops a partition of response';
COMMENT ON FUNCTION target_profile._drop_response_partitions(timestamptz) IS 'Internal: drops some of those that are over, for the library of 0.1.0';
COMMENT ON FUNCTION target_profile._uncounted_responses() IS 'Internal: responses that activity does not count yet';
COMMENT ON FUNCTION target_profile._close_activity() IS 'Internal: accounts for what a crash has left open';
COMMENT ON FUNCTION target_profile._overtaken(bigint, text, text, text) IS 'Internal: attributes that newer updates have set since';
COMMENT ON FUNCTION target_profile._put_back(bigint[]) IS 'Internal: moves dead letters to the outbox';
COMMENT ON FUNCTION target_profile._spare_id() IS 'Internal: an id below all that the sequence gives';
COMMENT ON FUNCTION target_profile._raise_no_dead_letter(bigint) IS 'Internal: the error for an id that is no dead letter''s';
COMMENT ON FUNCTION target_profile._check_update(text, text, text, jsonb, boolean) IS 'Internal: whether a dead letter can be sent';
COMMENT ON FUNCTION target_profile._standing_function() IS 'Internal: what decides how a client stands';
COMMENT ON FUNCTION target_profile._standing(boolean, timestamptz, text, text, timestamptz, timestamptz, text, bigint, bigint, bigint, double precision, timestamptz[], integer[], integer[]) IS
    'Internal: decides how a client stands';
COMMENT ON FUNCTION target_profile._wake_for_all() IS 'Internal: has the worker read the outbox from its front when this transaction commits';
COMMENT ON FUNCTION target_profile._wake() IS 'Internal: has the worker look around when this transaction commits';
COMMENT ON FUNCTION target_profile._system_identifier() IS 'Internal: the identifier of this cluster';
COMMENT ON FUNCTION target_profile._workers() IS 'Internal: what the view worker shows';
COMMENT ON FUNCTION target_profile._in_flight(text, text, text, bigint) IS 'Internal: whether a request under way carries an entry';
COMMENT ON FUNCTION target_profile._check_client() IS 'Internal: checks a row of client';
COMMENT ON FUNCTION target_profile._clients_changed() IS 'Internal: tells the worker that clients were changed';
COMMENT ON FUNCTION target_profile._watch_row() IS 'Internal: the row triggers that watch creates; collects entries';
COMMENT ON FUNCTION target_profile._watch_flush() IS 'Internal: the statement trigger that watch creates; writes what was collected';
COMMENT ON FUNCTION target_profile._backfill_begin(oid, text, text, text, integer, boolean) IS 'Internal: a backfill begins or goes on';
COMMENT ON FUNCTION target_profile._backfill_chunk(integer, integer) IS 'Internal: one chunk of a backfill';
COMMENT ON FUNCTION target_profile._backfill_failed(integer, text) IS 'Internal: records why a chunk was undone';
COMMENT ON FUNCTION target_profile._backfill_end(integer) IS 'Internal: the session does not run a backfill any more';
