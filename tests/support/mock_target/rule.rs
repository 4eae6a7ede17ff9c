//! Which requests a scripted reply is for.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use super::reply::Reply;
use super::request::{IdKind, Request};

type Predicate = Arc<dyn Fn(&Request) -> bool + Send + Sync>;

/// Conditions on a request, all of which must hold. `nth`, `every` and `probability` count the requests that meet the
/// others, from the time the rule was made.
#[derive(Clone, Default)]
pub struct Match {
    client: Option<String>,
    kind: Option<IdKind>,
    id: Option<String>,
    method: Option<String>,
    predicate: Option<Predicate>,
    nth: Option<u64>,
    every: Option<u64>,
    probability: Option<(f64, u64)>,
}

impl Match {
    /// Every request.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests of a client.
    pub fn client(code: &str) -> Self {
        Self::any().and_client(code)
    }

    /// Requests for an id, of either kind, of any client.
    pub fn id(id: &str) -> Self {
        Self::any().and_id(id)
    }

    /// The n-th request, from 1.
    pub fn nth(n: u64) -> Self {
        Self::any().and_nth(n)
    }

    /// Each request with this probability, by a generator that starts from `seed`.
    pub fn probability(p: f64, seed: u64) -> Self {
        Self::any().and_probability(p, seed)
    }

    /// Requests that a function picks, on the server's thread; it must not ask the stand-in anything.
    pub fn when(predicate: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        Self::any().and_when(predicate)
    }

    /// Also of this client.
    pub fn and_client(mut self, code: &str) -> Self {
        self.client = Some(code.to_owned());
        self
    }

    /// Also for this id.
    pub fn and_id(mut self, id: &str) -> Self {
        self.id = Some(id.to_owned());
        self
    }

    /// Also by this kind of id.
    pub fn and_kind(mut self, kind: impl Into<IdKind>) -> Self {
        self.kind = Some(kind.into());
        self
    }

    /// Also with this method.
    pub fn and_method(mut self, method: &str) -> Self {
        self.method = Some(method.to_owned());
        self
    }

    /// Also picked by this function.
    pub fn and_when(mut self, predicate: impl Fn(&Request) -> bool + Send + Sync + 'static) -> Self {
        self.predicate = Some(Arc::new(predicate));
        self
    }

    /// Only the n-th of them, from 1.
    pub fn and_nth(mut self, n: u64) -> Self {
        self.nth = Some(n);
        self
    }

    /// Only every n-th of them.
    pub fn and_every(mut self, n: u64) -> Self {
        self.every = Some(n.max(1));
        self
    }

    /// Only so likely.
    pub fn and_probability(mut self, p: f64, seed: u64) -> Self {
        self.probability = Some((p, seed));
        self
    }

    fn covers(&self, request: &Request) -> bool {
        self.client
            .as_ref()
            .is_none_or(|client| request.client.as_ref() == Some(client))
            && self.id.as_ref().is_none_or(|id| request.id.as_ref() == Some(id))
            && self.kind.is_none_or(|kind| request.kind == Some(kind))
            && self.method.as_ref().is_none_or(|method| request.method == *method)
            && self.predicate.as_ref().is_none_or(|predicate| predicate(request))
    }
}

impl fmt::Debug for Match {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            client,
            kind,
            id,
            method,
            nth,
            every,
            probability,
            ..
        } = self;
        write!(f, "{:?}", (client, kind, id, method, nth, every, probability))
    }
}

/// A rule that was made, to ask about it or to remove it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RuleId(pub(super) u64);

pub(super) enum Script {
    Same(Reply),
    Sequence(VecDeque<Reply>),
    Computed(Box<dyn FnMut(&Request) -> Reply + Send>),
}

pub(super) struct Rule {
    pub(super) id: RuleId,
    condition: Match,
    left: Option<u64>,
    script: Script,
    seen: u64,
    random: Random,
    pub(super) hits: u64,
}

impl Rule {
    pub(super) fn new(id: RuleId, condition: Match, times: Option<u64>, script: Script) -> Self {
        let random = Random(condition.probability.map_or(0, |(_, seed)| seed));
        Self {
            id,
            condition,
            left: times,
            script,
            seen: 0,
            random,
            hits: 0,
        }
    }

    /// The reply to this request, if the rule is for it and not used up.
    pub(super) fn reply(&mut self, request: &Request) -> Option<Reply> {
        if self.left == Some(0) || !self.condition.covers(request) {
            return None;
        }
        self.seen += 1;
        let due = self.condition.nth.is_none_or(|n| self.seen == n)
            && self.condition.every.is_none_or(|n| self.seen.is_multiple_of(n))
            && self.condition.probability.is_none_or(|(p, _)| self.random.unit() < p);
        if !due {
            return None;
        }
        let reply = match &mut self.script {
            Script::Same(reply) => reply.clone(),
            Script::Sequence(replies) => replies.pop_front()?,
            Script::Computed(compute) => compute(request),
        };
        self.hits += 1;
        self.left = self.left.map(|left| left - 1);
        Some(reply)
    }
}

/// SplitMix64: small, seeded, good enough to pick requests.
struct Random(u64);

impl Random {
    /// The next number in [0, 1).
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }
}
