//! What must hold when everything that could be sent has been: nothing lost, order and quota respected.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use support::mock_target::{Ending, Request};
use support::{Db, MockTarget, wait};

use super::load::Written;
use super::{Crash, QUOTA_CLIENT};

/// A committed number.
struct Row {
    number: i64,
    client: String,
    profile: String,
    attr: String,
    /// How many accepted responses name its entry.
    accepted: i64,
    waiting: bool,
}

/// One attribute of one profile.
type Place<'a> = (&'a str, &'a str, &'a str);

pub struct Evidence<'a> {
    pub db: &'a Db,
    pub mock: &'a MockTarget,
    pub crashes: &'a [Crash],
    pub written: &'a [Written],
}

impl Evidence<'_> {
    pub fn check(&self) {
        let journal = self.journal();
        let requests = self.mock.requests();
        println!("{} committed entries, {} requests", journal.len(), requests.len());
        self.nothing_is_lost(&journal);
        self.nothing_undone_was_sent(&journal, &requests);
        no_value_follows_a_newer_one(&requests);
        self.profiles_have_their_last_values(&journal);
        self.nothing_is_repeated_without_need(&requests);
        self.one_in_flight_per_profile(&requests);
        self.activity_has_every_response();
    }

    fn journal(&self) -> Vec<Row> {
        let rows = self.db.query(
            "select j.number, j.client, j.profile, j.attr, coalesce(r.accepted, 0), o.id is not null
             from journal j
             left join (
                 select e.id, count(*) as accepted from target_profile.response, unnest(outbox_ids) as e (id)
                 where outcome = 'accepted' group by e.id) r on r.id = j.entry
             left join target_profile.outbox o on o.id = j.entry
             order by j.number",
            &[],
        );
        let row = |row: &tokio_postgres::Row| Row {
            number: row.get(0),
            client: row.get(1),
            profile: row.get(2),
            attr: row.get(3),
            accepted: row.get(4),
            waiting: row.get(5),
        };
        rows.iter().map(row).collect()
    }

    /// What was said to be committed is; every committed entry has exactly one accepted response, or waits for quota.
    fn nothing_is_lost(&self, journal: &[Row]) {
        let committed: BTreeSet<i64> = journal.iter().map(|row| row.number).collect();
        let durable = self.written.iter().flat_map(|written| &written.durable);
        none(
            "acknowledged and not in the journal",
            durable.filter(|n| !committed.contains(n)),
        );
        let undone = self.written.iter().flat_map(|written| &written.undone);
        none(
            "rolled back and in the journal",
            undone.filter(|n| committed.contains(n)),
        );
        let lost = journal.iter().filter(|row| match row.accepted {
            0 => !row.waiting || row.client != QUOTA_CLIENT,
            1 => row.waiting,
            _ => true,
        });
        let lost = lost.map(|row| {
            (
                row.number,
                &row.client,
                &row.profile,
                format!("accepted {} times, waiting: {}", row.accepted, row.waiting),
            )
        });
        none("neither accepted once nor waiting for quota", lost);
        for (what, sql) in [
            ("dead letters", "select id from target_profile.dead_letter"),
            (
                "entries without a row in the journal",
                "select id from target_profile.outbox where id not in (select entry from journal)
                 union select e.id from target_profile.response, unnest(outbox_ids) as e (id)
                 where e.id not in (select entry from journal)",
            ),
        ] {
            none(what, self.db.query(sql, &[]).iter().map(|row| row.get::<_, i64>(0)));
        }
    }

    fn nothing_undone_was_sent(&self, journal: &[Row], requests: &[Request]) {
        let committed: HashMap<i64, Place> = journal
            .iter()
            .map(|row| (row.number, (&*row.client, &*row.profile, &*row.attr)))
            .collect();
        let unknown = values(requests).filter(|(_, place, number)| committed.get(number) != Some(place));
        none("sent and not committed", unknown.map(|(request, ..)| request));
    }

    /// What the stand-in has is what was committed last; of the client whose quota is used up, at least what was accepted.
    fn profiles_have_their_last_values(&self, journal: &[Row]) {
        let mut last: BTreeMap<Place, (i64, i64)> = BTreeMap::new();
        for row in journal {
            let (accepted, committed) = last.entry((&row.client, &row.profile, &row.attr)).or_default();
            *committed = row.number;
            if !row.waiting {
                *accepted = row.number;
            }
        }
        let wrong = last
            .into_iter()
            .filter_map(|((client, profile, attr), (accepted, committed))| {
                let value = self.mock.value(client, "mbox3rdPartyId", profile, attr);
                let has = value.as_deref().map_or(0, number);
                (!(accepted..=committed).contains(&has)).then_some((client, profile, attr, has, accepted, committed))
            });
        none(
            "profiles with another value than the last (value, accepted, committed)",
            wrong,
        );
    }

    /// The same value goes out twice only if the first request failed or a crash came in between.
    fn nothing_is_repeated_without_need(&self, requests: &[Request]) {
        let mut sent: HashMap<(Place, i64), &Request> = HashMap::new();
        let mut needless = Vec::new();
        for (request, place, number) in values(requests) {
            if let Some(before) = sent.insert((place, number), request) {
                let answered = before.status == Some(200) && before.ending == Ending::Answered;
                if answered && !self.crashed_between(before, request) {
                    needless.push((before.seq, request));
                }
            }
        }
        none("repeated without need (after which request)", needless);
    }

    fn one_in_flight_per_profile(&self, requests: &[Request]) {
        let by_seq: HashMap<u64, &Request> = requests.iter().map(|request| (request.seq, request)).collect();
        // The stand-in may notice only after the next start that the other end of a request is gone.
        let overlaps = self.mock.overlaps();
        let overlaps = overlaps.iter().map(|(first, second)| (by_seq[first], by_seq[second]));
        none(
            "pairs of requests of one profile in flight at a time",
            overlaps.filter(|(first, second)| !self.crashed_between(first, second)),
        );
    }

    fn crashed_between(&self, first: &Request, second: &Request) -> bool {
        self.crashes.iter().any(|crash| {
            (first.arrived <= crash.over && second.arrived >= crash.began)
                || (first.connection..second.connection).contains(&crash.connection)
        })
    }

    /// The outcomes of each client and minute are the responses of that client and minute. The last ones are written within
    /// a second.
    fn activity_has_every_response(&self) {
        const PATIENCE: Duration = Duration::from_secs(10);
        let sql = "
            select coalesce(a.client_code, r.client_code), coalesce(a.minute, r.minute), a.numbers, r.numbers
            from (
                select client_code, minute,
                    array[accepted, rejected, unrecognised, unauthorized, throttled, failed]::bigint[] as numbers
                from target_profile.activity) a
            full join (
                select client_code, date_trunc('minute', sent_at) as minute, array[
                    count(*) filter (where outcome = 'accepted'), count(*) filter (where outcome = 'rejected'),
                    count(*) filter (where outcome = 'unrecognised'), count(*) filter (where outcome = 'unauthorized'),
                    count(*) filter (where outcome = 'throttled'), count(*) filter (where outcome = 'failed')] as numbers
                from target_profile.response group by 1, 2) r using (client_code, minute)
            where coalesce(a.numbers, '{0,0,0,0,0,0}') <> coalesce(r.numbers, '{0,0,0,0,0,0}')";
        let mut differ = Vec::new();
        let _ = wait::poll(PATIENCE, || {
            differ = self.db.rows(sql);
            differ.is_empty().then_some(())
        });
        none(
            "minutes whose outcomes in activity (first) are not those of response",
            differ,
        );
    }
}

/// Each attribute's value in each request, in the order of arrival.
fn values(requests: &[Request]) -> impl Iterator<Item = (&Request, Place<'_>, i64)> {
    requests.iter().flat_map(|request| {
        let client = request.client.as_deref().unwrap_or_default();
        let profile = request.id.as_deref().unwrap_or_default();
        let attrs = request.attrs.iter();
        attrs.map(move |(attr, value)| (request, (client, profile, attr.as_str()), number(value)))
    })
}

fn number(value: &str) -> i64 {
    value
        .parse()
        .unwrap_or_else(|_| panic!("{value:?} was sent as a number"))
}

/// Of everything that arrived, repeats included.
fn no_value_follows_a_newer_one(requests: &[Request]) {
    let mut latest: HashMap<Place, (i64, u64)> = HashMap::new();
    let mut older = Vec::new();
    for (request, place, number) in values(requests) {
        let (newest, seq) = latest.entry(place).or_insert((number, request.seq));
        if number < *newest {
            older.push((*seq, *newest, request));
        } else {
            (*newest, *seq) = (number, request.seq);
        }
    }
    none("older values after newer ones (of which request)", older);
}

fn none<T: std::fmt::Debug>(what: &str, found: impl IntoIterator<Item = T>) {
    const SHOWN: usize = 10;
    let found: Vec<T> = found.into_iter().collect();
    let shown = &found[..found.len().min(SHOWN)];
    assert!(found.is_empty(), "{what}: {}, of which {shown:#?}", found.len());
}

/// What has arrived of each client, counted on from where the last call ended.
#[derive(Default)]
pub struct Received {
    seen: usize,
    pub of: BTreeMap<String, i64>,
}

impl Received {
    pub fn count(&mut self, mock: &MockTarget) {
        mock.wait_for("a look at what has arrived", Duration::ZERO, |state| {
            let requests = state.requests();
            for client in requests[self.seen..]
                .iter()
                .filter_map(|request| request.client.as_ref())
            {
                *self.of.entry(client.clone()).or_default() += 1;
            }
            self.seen = requests.len();
            true
        });
    }

    /// At any moment, whatever has just died, the ledger has at least what has arrived.
    pub fn check_ledger(&mut self, mock: &MockTarget, db: &Db) {
        self.count(mock);
        let ledger: BTreeMap<String, i64> = db
            .query(
                "select client_code, sum(greatest(reserved, sent)) from target_profile.activity group by 1",
                &[],
            )
            .iter()
            .map(|row| (row.get(0), row.get(1)))
            .collect();
        let short = self
            .of
            .iter()
            .filter(|(client, received)| ledger.get(*client).is_none_or(|n| n < received));
        none(&format!("clients that received more than {ledger:?}"), short);
    }
}
