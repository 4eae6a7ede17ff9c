//! What the stand-in knows: its settings, the profiles, the rules and the requests so far.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Instant, SystemTime};

use super::answer::{Answer, Form};
use super::reply::{Apply, Reply};
use super::request::{Attributes, Defect, Ending, IdKind, ProfileKey, Request};
use super::rule::Rule;

/// How much is kept of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recording {
    /// Counters only: for benchmarks.
    Counters,
    /// Counters and the profiles' present values.
    Profiles,
    /// Every request, and every profile's history.
    Everything,
}

/// Numbers that are kept whatever is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Requests that arrived.
    pub arrived: u64,
    /// Requests that were finished, however.
    pub finished: u64,
    /// Requests whose answer was written to its end.
    pub answered: u64,
    /// Answers by status.
    pub by_status: BTreeMap<u16, u64>,
    /// Requests being handled now.
    pub in_flight: u64,
    /// The most that were at one time.
    pub max_in_flight: u64,
    /// The most that were at one time for one profile.
    pub max_in_flight_per_profile: u64,
    /// Requests that hang now.
    pub hung: u64,
    /// Connections that were accepted.
    pub connections: u64,
}

/// A profile: its values, and every update that was applied to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// The present values.
    pub attrs: Attributes,
    /// The updates in the order in which they were applied; only when everything is recorded.
    pub history: Vec<Attributes>,
}

pub(super) struct Settings {
    pub(super) recording: Recording,
    pub(super) create_unknown: bool,
    pub(super) clients: Option<HashSet<String>>,
    pub(super) tokens: HashMap<String, String>,
    pub(super) form: Form,
    /// The scheme the client sees, for the length of the URL.
    pub(super) scheme: &'static str,
}

#[derive(Clone, Copy, Default)]
struct Busy {
    now: u64,
    latest: u64,
}

/// What `wait_for` looks at: everything, at one moment.
pub struct State {
    pub(super) settings: Settings,
    pub(super) rules: Vec<Rule>,
    pub(super) next_rule: u64,
    pub(super) profiles: HashMap<ProfileKey, Profile>,
    pub(super) requests: Vec<Request>,
    pub(super) counters: Counters,
    pub(super) max_by_client: HashMap<String, u64>,
    pub(super) overlaps: Vec<(u64, u64)>,
    pub(super) last_seq: u64,
    /// Whether `POST /_quit` came.
    pub(super) quit: bool,
    /// The sequence number of the first of `requests`.
    first_seq: u64,
    by_client: HashMap<String, u64>,
    by_profile: HashMap<u64, Busy>,
    hasher: RandomState,
}

/// A request that has been counted in, until it is counted out.
pub(super) struct Begun {
    pub(super) seq: u64,
    pub(super) answer: Answer,
    pub(super) reply: Option<Reply>,
    pub(super) late: Option<(ProfileKey, Attributes)>,
    client: Option<String>,
    profile: Option<u64>,
}

impl State {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            rules: Vec::new(),
            next_rule: 1,
            profiles: HashMap::new(),
            requests: Vec::new(),
            counters: Counters::default(),
            max_by_client: HashMap::new(),
            overlaps: Vec::new(),
            last_seq: 0,
            quit: false,
            first_seq: 1,
            by_client: HashMap::new(),
            by_profile: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// The recorded requests, in the order of arrival.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// The counters.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The present values of a profile.
    pub fn profile(&self, client: &str, kind: impl Into<IdKind>, id: &str) -> Option<&Attributes> {
        self.profiles
            .get(&key(client, kind.into(), id))
            .map(|profile| &profile.attrs)
    }

    /// One value of a profile.
    pub fn value(&self, client: &str, kind: impl Into<IdKind>, id: &str, name: &str) -> Option<&str> {
        self.profile(client, kind, id)?.get(name).map(String::as_str)
    }

    /// All profiles.
    pub fn profiles(&self) -> &HashMap<ProfileKey, Profile> {
        &self.profiles
    }

    fn profile_hash(&self, request: &Request) -> Option<u64> {
        let (client, kind, id) = (request.client.as_ref()?, request.kind?, request.id.as_ref()?);
        let mut hasher = self.hasher.build_hasher();
        hasher.write(client.as_bytes());
        hasher.write_u8(b'/');
        hasher.write_u8(kind as u8);
        hasher.write(id.as_bytes());
        Some(hasher.finish())
    }

    /// Whether another request for the same profile is being handled.
    pub(super) fn is_busy(&self, request: &Request) -> bool {
        !self.by_profile.is_empty()
            && self
                .profile_hash(request)
                .is_some_and(|profile| self.by_profile.contains_key(&profile))
    }

    /// Counts a request in, decides what becomes of it, and applies it if that is to happen at once.
    pub(super) fn begin(&mut self, mut request: Request) -> Begun {
        self.last_seq += 1;
        let seq = self.last_seq;
        request.seq = seq;
        let profile = self.profile_hash(&request);
        self.count_in(&request, profile);

        let refusal = self.refusal(&request);
        let reply = self.rules.iter_mut().find_map(|rule| rule.reply(&request));
        let apply = match (&refusal, &reply) {
            (Some(_), _) => Apply::Never,
            (None, None) => Apply::AtOnce,
            (None, Some(reply)) => reply.application(),
        };
        let answer = match refusal {
            Some(defect) => Answer::refusal(defect.status, &defect.message),
            None => Answer::success(self.settings.form),
        };
        let mut late = None;
        match (apply, request.profile()) {
            (Apply::Never, _) | (_, None) => {}
            (Apply::Late, Some(key)) => late = Some((key, request.attrs.clone())),
            (Apply::AtOnce, Some(key)) => request.applied = self.apply(key, &request.attrs),
        }
        let client = request.client.clone();
        if self.settings.recording == Recording::Everything {
            self.requests.push(request);
        }
        Begun {
            seq,
            answer,
            reply,
            late,
            client,
            profile,
        }
    }

    fn count_in(&mut self, request: &Request, profile: Option<u64>) {
        let counters = &mut self.counters;
        counters.arrived += 1;
        counters.in_flight += 1;
        counters.max_in_flight = counters.max_in_flight.max(counters.in_flight);
        if let Some(client) = &request.client {
            let now = bump(&mut self.by_client, client);
            let most = match self.max_by_client.get_mut(client) {
                Some(most) => most,
                None => self.max_by_client.entry(client.clone()).or_default(),
            };
            *most = (*most).max(now);
        }
        if let Some(profile) = profile {
            let busy = self.by_profile.entry(profile).or_default();
            if busy.now > 0 {
                self.overlaps.push((busy.latest, request.seq));
            }
            *busy = Busy {
                now: busy.now + 1,
                latest: request.seq,
            };
            counters.max_in_flight_per_profile = counters.max_in_flight_per_profile.max(busy.now);
        }
    }

    /// Counts a request out, and returns its record for the observer.
    pub(super) fn finish(&mut self, begun: &Begun, ending: Ending, status: Option<u16>) -> Option<&Request> {
        self.counters.in_flight -= 1;
        self.counters.finished += 1;
        self.counters.answered += u64::from(ending == Ending::Answered);
        if let Some(status) = status {
            *self.counters.by_status.entry(status).or_default() += 1;
        }
        if let Some(now) = begun.client.as_ref().and_then(|client| self.by_client.get_mut(client)) {
            *now -= 1;
        }
        if let Some(profile) = begun.profile {
            let busy = self.by_profile.entry(profile).or_default();
            busy.now = busy.now.saturating_sub(1);
            if busy.now == 0 {
                self.by_profile.remove(&profile);
            }
        }
        let request = self.record(begun.seq)?;
        (request.finished, request.finished_at) = (Some(Instant::now()), Some(SystemTime::now()));
        (request.ending, request.status) = (ending, status);
        Some(request)
    }

    /// Applies an update that was to come late.
    pub(super) fn apply_late(&mut self, seq: u64, key: ProfileKey, attrs: &Attributes) {
        let applied = self.apply(key, attrs);
        if let Some(request) = self.record(seq) {
            request.applied = applied;
        }
    }

    fn record(&mut self, seq: u64) -> Option<&mut Request> {
        self.requests
            .get_mut(usize::try_from(seq.checked_sub(self.first_seq)?).ok()?)
    }

    /// Update only, unless told to create. True if there is a profile to update.
    fn apply(&mut self, key: ProfileKey, attrs: &Attributes) -> bool {
        if self.settings.recording == Recording::Counters {
            return false;
        }
        if !self.settings.create_unknown && !self.profiles.contains_key(&key) {
            return false;
        }
        let everything = self.settings.recording == Recording::Everything;
        let profile = self.profiles.entry(key).or_default();
        for (name, value) in attrs {
            match profile.attrs.get_mut(name) {
                Some(present) => present.clone_from(value),
                None => drop(profile.attrs.insert(name.clone(), value.clone())),
            }
        }
        if everything {
            profile.history.push(attrs.clone());
        }
        true
    }

    /// Why Target would refuse the request.
    fn refusal(&self, request: &Request) -> Option<Defect> {
        let refuse = |status, message: String| Some(Defect { status, message });
        let Some(client) = &request.client else {
            return request.defect.clone();
        };
        let allowed = self
            .settings
            .clients
            .as_ref()
            .is_none_or(|clients| clients.contains(client));
        if !allowed {
            return refuse(400, format!("unknown client code {client}"));
        }
        if let Some(token) = self.settings.tokens.get(client) {
            match &request.token {
                None => return refuse(403, "authentication token missing".to_owned()),
                Some(given) if given != token => return refuse(403, "authentication token invalid".to_owned()),
                Some(_) => {}
            }
        }
        request.defect.clone()
    }

    /// Forgets the requests and starts the counters again; what is in flight stays counted.
    pub(super) fn clear(&mut self) {
        let Counters { in_flight, hung, .. } = self.counters;
        let max_in_flight_per_profile = self.by_profile.values().map(|busy| busy.now).max().unwrap_or(0);
        let fresh = Counters {
            in_flight,
            max_in_flight: in_flight,
            max_in_flight_per_profile,
            hung,
            ..Default::default()
        };
        self.counters = fresh;
        self.requests.clear();
        self.first_seq = self.last_seq + 1;
        self.overlaps.clear();
        self.by_client.retain(|_, now| *now > 0);
        self.max_by_client = self.by_client.clone();
    }

    /// The last requests, for messages.
    pub(super) fn summary(&self) -> String {
        const SHOWN: usize = 20;
        let mut text = format!("{:?}", self.counters);
        let skipped = self.requests.len().saturating_sub(SHOWN);
        if skipped > 0 {
            text.push_str(&format!("\n… {skipped} earlier requests"));
        }
        for request in &self.requests[skipped..] {
            text.push_str(&format!("\n{request}"));
        }
        text
    }
}

pub(super) fn key(client: &str, kind: IdKind, id: &str) -> ProfileKey {
    ProfileKey {
        client: client.to_owned(),
        kind,
        id: id.to_owned(),
    }
}

/// One more; without a new key when there is one.
fn bump(counts: &mut HashMap<String, u64>, name: &str) -> u64 {
    let count = match counts.get_mut(name) {
        Some(count) => count,
        None => counts.entry(name.to_owned()).or_default(),
    };
    *count += 1;
    *count
}
