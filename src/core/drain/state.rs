//! The state of the drain, and the calls between the steps of its cycle.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use super::client::Client;
use super::delivery::{Busy, Delivery};
use super::holding::Holding;
use super::messages::{Limits, Registration};
use super::parked::Wait;
use super::places::Places;
use crate::breaker::Opening;
use crate::client_code::ClientCode;
use crate::horizon::Horizon;
use crate::id::ProfileKey;
use crate::quota::{Ledger, Minute};
use crate::secret::Secret;
use crate::settlement::{Activity, Again, Batch, Dead, Left};
use crate::step::Leap;
use crate::time::Timestamp;

/// One part in so many of the places in flight is kept for clients that have few requests in flight.
const KEPT_OF: usize = 8;

/// The state of the drain; see the module's documentation for the cycle.
#[derive(Debug)]
pub struct Drain {
    pub(super) limits: Limits,
    pub(super) enabled: bool,
    pub(super) clients: BTreeMap<ClientCode, Client>,
    /// Profiles selected or under way.
    pub(super) busy: HashMap<ProfileKey, Busy>,
    pub(super) deliveries: HashMap<u64, Delivery>,
    /// Deliveries that have ended and are not settled: their profiles are busy, their places in flight are free.
    pub(super) settling: usize,
    pub(super) next_ticket: u64,
    pub(super) horizon: Horizon,
    pub(super) look_for_lanes: bool,
    /// Where the next selection starts, so that no client is always first.
    pub(super) turn: usize,
    /// What was sent and how it ended, as far as it has not been written.
    pub(super) activity: BTreeMap<(ClientCode, Minute), Activity>,
    /// When it was written last.
    pub(super) activity_written_at: Timestamp,
    /// By how much the clock was set forward.
    pub(super) leap: Leap,
    /// The memory that is held.
    pub(super) holding: Holding,
    /// Profiles whose update is large, and waits for another large one to end.
    pub(super) aside: VecDeque<(ProfileKey, Wait)>,
}

impl Drain {
    /// A drain that knows nothing yet.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            enabled: true,
            clients: BTreeMap::new(),
            busy: HashMap::new(),
            deliveries: HashMap::new(),
            settling: 0,
            next_ticket: 1,
            horizon: Horizon::default(),
            look_for_lanes: true,
            turn: 0,
            activity: BTreeMap::new(),
            activity_written_at: Timestamp::from_unix_micros(i64::MIN),
            leap: Leap::default(),
            holding: Holding::default(),
            aside: VecDeque::new(),
        }
    }

    /// Forgets everything but its limits: the outbox is gone, or somebody else's by now. Tickets go on, so that a late report of
    /// a forgotten request is not taken for another's.
    pub fn reset(&mut self) {
        let fresh = Self::new(self.limits.clone());
        *self = Self {
            enabled: self.enabled,
            next_ticket: self.next_ticket,
            leap: self.leap,
            ..fresh
        };
    }

    /// New limits; what is in flight above them stays in flight.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Whether anything may be sent at all.
    pub fn set_enabled(&mut self, enabled: bool) {
        self.enabled = enabled;
    }

    /// Takes over the clients as they are registered now. A breaker is forgotten when the client is paused or resumed, or
    /// when its endpoint or token changed: somebody has done something about it.
    pub fn set_clients(&mut self, registered: Vec<Registration>, now: Timestamp) {
        let codes: BTreeSet<ClientCode> = registered.iter().map(|r| r.settings.code.clone()).collect();
        self.clients.retain(|code, _| codes.contains(code));
        for Registration {
            settings,
            paused,
            resumed_at,
            charged,
        } in registered
        {
            match self.clients.get_mut(&settings.code) {
                None => {
                    self.look_for_lanes = true;
                    let ledger = Ledger::load(Client::quota(&settings), &charged, now);
                    let mut client = Client::new(settings, paused, resumed_at, ledger);
                    // It was removed and is back while requests of its are still under way.
                    let of_client = |delivery: &&Delivery| delivery.key.client == client.settings.code;
                    let mine = self.deliveries.values().filter(of_client);
                    (client.in_flight, client.unsettled) = mine.fold((0, 0), |(in_flight, unsettled), delivery| {
                        (
                            in_flight + usize::from(!delivery.ended),
                            unsettled + usize::from(delivery.unsettled),
                        )
                    });
                    self.clients.insert(client.settings.code.clone(), client);
                }
                Some(client) => {
                    let moved = client.settings.endpoint.template() != settings.endpoint.template();
                    if moved {
                        client.forget_all_arrived();
                    }
                    let cured = client.is_cured(settings.endpoint.template(), settings.auth_token.as_ref(), resumed_at);
                    if cured || paused {
                        client.forgive();
                    }
                    // Its row may still say otherwise, while another session has it locked.
                    client.refused &= !cured && !paused;
                    let paused = paused || client.refused;
                    self.look_for_lanes |= client.paused && !paused;
                    client.ledger.set_quota(Client::quota(&settings));
                    client.settings = settings;
                    client.paused = paused;
                    client.resumed_at = resumed_at;
                }
            }
        }
    }

    /// Whether a claim would find anything to do at `now`.
    pub fn wants_to_claim(&self, now: Timestamp) -> bool {
        self.next_wake(now).is_some_and(|at| at <= now)
    }

    /// Adds to `batch` what is to be written beside the answers: breakers that moved since the last call, and now and
    /// then the activity.
    pub fn report(&mut self, now: Timestamp, batch: &mut Batch) {
        for (code, client) in &mut self.clients {
            if std::mem::take(&mut client.breaker_moved) {
                batch.breakers.retain(|(other, _)| other != code);
                batch.breakers.push((code.clone(), client.breaker.opening().cloned()));
            }
        }
        self.report_activity(now, batch);
    }

    /// The whole batch has been committed: its profiles may have their next turn.
    pub fn settled(&mut self, batch: Batch) {
        self.settled_but(batch, Left::default());
    }

    /// The batch has been committed but for what was left, of which [`Drain::bound_to`] says what is locked. The answer is what must be settled later. A profile whose entry
    /// is locked has no turn until then; one whose entry has changed has another turn at once.
    pub fn settled_but(&mut self, batch: Batch, left: Left) -> Batch {
        let Batch {
            accepted,
            retries,
            dead,
            pauses,
            activity,
            ended,
            ..
        } = batch;
        let mut later = Batch::default();
        let locked = |id: &i64| left.locked.contains(id);
        later
            .accepted
            .extend(accepted.into_iter().filter(|entry| locked(&entry.id)));
        later
            .retries
            .extend(retries.into_iter().filter(|entry| locked(&entry.id)));
        for dead in dead.into_iter().filter(|entry| locked(&entry.id)) {
            let recorded = dead.response.and_then(|index| left.responses.get(index).copied());
            later.dead.push(Dead {
                response: None,
                recorded: recorded.or(dead.recorded),
                ..dead
            });
        }
        for (code, reason) in pauses {
            if left.pauses.contains(&code) {
                later.pauses.push((code, reason));
            } else if let Some(client) = self.clients.get_mut(&code) {
                client.refused = false;
            }
        }
        for ((code, minute), activity) in activity {
            self.note_reserved(code, minute, activity.reserved);
        }
        let has_ended = !ended.is_empty();
        for ended in ended {
            if !left.locked.is_empty()
                && let Some(delivery) = self.deliveries.get_mut(&ended.ticket)
                && delivery.ids.iter().any(locked)
            {
                if !std::mem::replace(&mut delivery.unsettled, true) {
                    // All that is left of it is which entries they were: others may have the memory.
                    delivery.forget_attrs();
                    if let Some(client) = self.clients.get_mut(&delivery.key.client) {
                        client.unsettled += 1;
                    }
                }
                later.ended.push(ended);
                continue;
            }
            let Some(delivery) = self.deliveries.remove(&ended.ticket) else {
                continue;
            };
            let changed = !left.changed.is_empty() && delivery.ids.iter().any(|id| left.changed.contains(id));
            let again = ended.again.or(changed.then_some(Again::AT_ONCE));
            self.busy.remove(&delivery.key);
            self.settling = self.settling.saturating_sub(1);
            if let Some(client) = self.clients.get_mut(&delivery.key.client) {
                if delivery.unsettled {
                    client.unsettled = client.unsettled.saturating_sub(1);
                }
                // Newer entries go with the retry, or have a turn of their own.
                let wait = match (again, delivery.more) {
                    (Some(again), more) => Some(Wait {
                        due: again.at,
                        retry: again.retry,
                        priority: more.map_or(i16::MIN, |w| w.priority).max(delivery.turn.wait.priority),
                        id: delivery.turn.wait.id,
                    }),
                    (None, more) => more,
                };
                if let Some(wait) = wait {
                    client.parked.park(delivery.key, wait);
                }
            }
        }
        if has_ended {
            self.recount_after_end();
        }
        // They may be another profile's or another client's by now.
        if let Some(&first) = left.changed.first() {
            self.look_for_lanes = true;
            for lane in self.clients.values_mut().flat_map(|c| c.lanes.values_mut()) {
                lane.reread_from(first);
                lane.reread_beyond();
            }
        }
        later
    }

    /// Which entries of a batch cannot be settled as long as these are locked: themselves, and those that were sent together with
    /// them. A delivery is settled as a whole: after a crash, an entry that is left alone of it would be sent again, and its
    /// value would follow a newer one that went with it.
    pub fn bound_to(&self, batch: &Batch, mut locked: BTreeSet<i64>) -> BTreeSet<i64> {
        if locked.is_empty() {
            return locked;
        }
        let deliveries = batch
            .ended
            .iter()
            .filter_map(|ended| self.deliveries.get(&ended.ticket));
        // No entry is part of two of them.
        for delivery in deliveries {
            if delivery.ids.iter().any(|id| locked.contains(id)) {
                locked.extend(&delivery.ids);
            }
        }
        locked
    }

    /// What has to be written for a client cannot be, because its rows are locked. Nothing of it is sent until
    /// [`Drain::give_free`].
    pub fn hold(&mut self, code: &ClientCode) {
        if let Some(client) = self.clients.get_mut(code) {
            client.held = true;
        }
    }

    /// It can be written again.
    pub fn give_free(&mut self, code: &ClientCode) {
        if let Some(client) = self.clients.get_mut(code) {
            client.held = false;
        }
    }

    /// Whether the client is still to be paused: an administrator may have resumed or changed it meanwhile.
    pub fn is_refused(&self, code: &ClientCode) -> bool {
        self.clients.get(code).is_some_and(|client| client.refused)
    }

    /// The same, by what its row says now: it may have been cured since the clients were registered.
    pub fn is_refused_as(
        &self,
        code: &ClientCode,
        endpoint: &str,
        auth_token: Option<&Secret>,
        resumed_at: Option<Timestamp>,
    ) -> bool {
        self.clients
            .get(code)
            .is_some_and(|client| client.refused && !client.is_cured(endpoint, auth_token, resumed_at))
    }

    /// When there is something to do next if nothing else happens; `None`: not before something is committed or answered.
    pub fn next_wake(&self, now: Timestamp) -> Option<Timestamp> {
        if !self.enabled {
            return None;
        }
        let places = self.places();
        let look = (self.look_for_lanes && self.free() > 0 && self.clients.values().any(|client| !client.paused))
            .then_some(now);
        self.clients
            .values()
            .filter_map(|client| client.next_wake(places, now))
            .chain(look)
            .min()
    }

    /// How many profiles have a request under way. Those whose answer has come and waits to be settled do not count.
    pub fn in_flight(&self) -> usize {
        self.busy.len().saturating_sub(self.settling + self.aside.len())
    }

    /// The profiles with a delivery under way, each with the lowest and the highest outbox id that it carries.
    pub fn under_way(&self) -> impl Iterator<Item = (&ProfileKey, i64, i64)> {
        self.deliveries
            .values()
            .filter_map(|delivery| Some((&delivery.key, *delivery.ids.first()?, *delivery.ids.last()?)))
    }

    /// Why the breaker of a client is open, if it is.
    pub fn opening(&self, code: &ClientCode) -> Option<&Opening> {
        self.clients.get(code)?.breaker.opening()
    }

    pub(super) fn free(&self) -> usize {
        if self.enabled {
            self.limits.max_in_flight.saturating_sub(self.in_flight())
        } else {
            0
        }
    }

    /// The clients, another one first each time.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (&ClientCode, &Client)> {
        let first = if self.clients.is_empty() {
            0
        } else {
            self.turn % self.clients.len()
        };
        self.clients.iter().skip(first).chain(self.clients.iter().take(first))
    }

    pub(super) fn places(&self) -> Places {
        let sending = || self.clients.values().filter(|client| !client.paused);
        Places {
            free: self.free(),
            kept: if sending().nth(1).is_some() {
                self.limits.max_in_flight / KEPT_OF
            } else {
                0
            },
            idle: sending().filter(|client| client.in_flight == 0).count(),
        }
    }
}
