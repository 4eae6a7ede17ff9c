//! What does not answer must not slow down what does.

use std::time::{Duration, Instant};

use support::mock_target::RuleId;
use support::{Match, Reply};

use crate::Size;
use crate::site::Site;
use crate::table::{Line, Required, Table, median, spread};

const LATENCY: Duration = Duration::from_millis(50);
const IN_FLIGHT: usize = 256;

pub fn measure(table: &mut Table, size: Size) {
    one_endpoint(table, size);
    one_request_of_100(table, size);
}

/// Of 100 clients, each with 8 requests in flight at most, one has an endpoint that hangs.
fn one_endpoint(table: &mut Table, size: Size) {
    const CLIENTS: usize = 100;
    const OF_CLIENT: usize = 8;
    let mut site = Site::new("hang-endpoint", IN_FLIGHT, OF_CLIENT);
    let names: Vec<String> = (1..CLIENTS).map(|number| format!("client-{number}")).collect();
    names.iter().for_each(|name| site.add_client(name, OF_CLIENT));
    let of_each = size.of(200, 100);
    let mut rate = |reply: Reply| {
        site.hold();
        // What hung before is waiting for its next attempt.
        site.db.batch("truncate target_profile.outbox");
        site.mock.clear_rules();
        let rule = site.mock.on(Match::client("acme")).respond(reply);
        site.mock.on(Match::any()).respond(Reply::delay(LATENCY));
        site.mock.clear();
        site.enqueue(of_each);
        names.iter().for_each(|name| site.enqueue_for(name, of_each));
        let others = names.len() * of_each;
        let started = site.go();
        crate::site::wait_until(|| site.mock.request_count() - site.mock.rule_hits(rule) >= others as u64);
        let rate = others as f64 / started.elapsed().as_secs_f64();
        site.mock.release_hung();
        rate
    };
    let (mut clean, mut hung) = (Vec::new(), Vec::new());
    for _ in 0..size.of(3, 1) {
        clean.push(rate(Reply::delay(LATENCY)));
        hung.push(rate(Reply::hang()));
    }
    table.note(&format!(
        "rounds: hanging {}/s, clean {}/s; each client may have {OF_CLIENT} of the {IN_FLIGHT} in flight",
        spread(&hung),
        spread(&clean)
    ));
    let (hung, clean) = (median(hung), median(clean));
    table.line(Line {
        what: "1 endpoint of 100 hangs: the others' rate",
        measured: format!("{hung:.0}/s"),
        floor: format!("without {clean:.0}/s"),
        ratio: hung / clean,
        required: Required::AtLeast(0.95),
    });
}

/// Each hundredth request of one client is answered after 5 s. It keeps its place among those in flight for so long; what the
/// others can reach is the clean rate in the places that are left.
fn one_request_of_100(table: &mut Table, size: Size) {
    const HANG: Duration = Duration::from_secs(5);
    let mut site = Site::new("hang-requests", IN_FLIGHT, IN_FLIGHT);
    let (seconds, clean_seconds) = (size.of(12, 6), size.of(3, 2));
    site.mock.on(Match::any()).respond(Reply::delay(LATENCY));
    let ideal = IN_FLIGHT as f64 / LATENCY.as_secs_f64();
    let clean = site.drain_rate((ideal * f64::from(clean_seconds)) as usize);
    site.mock.clear_rules();
    let rule = site.mock.on(Match::any().and_every(100)).respond(Reply::delay(HANG));
    site.mock.on(Match::any()).respond(Reply::delay(LATENCY));
    site.hold();
    site.enqueue((ideal * f64::from(seconds) * 0.7) as usize);
    site.mock.clear();
    site.go();
    let watched = watch(&site, rule, HANG, Duration::from_secs(seconds as u64));
    let expected = clean * (1.0 - watched.hanging / IN_FLIGHT as f64);
    table.note(&format!(
        "on average {:.0} of the {IN_FLIGHT} in flight hang; without any: {clean:.0}/s",
        watched.hanging
    ));
    table.line(Line {
        what: "1 request of 100 hangs for 5 s: the others'",
        measured: format!("{:.0}/s", watched.others),
        floor: format!("in the places left {expected:.0}/s"),
        ratio: watched.others / expected,
        required: Required::AtLeast(0.95),
    });
}

struct Watched {
    /// Requests a second that did not hang.
    others: f64,
    /// How many hung at a time, on average.
    hanging: f64,
}

fn watch(site: &Site, rule: RuleId, hang: Duration, how_long: Duration) -> Watched {
    let started = Instant::now();
    // When how many had begun to hang.
    let mut begun: Vec<(Instant, u64)> = vec![(started, 0)];
    let (mut hanging, mut looks, mut before) = (0.0, 0.0, 0);
    while started.elapsed() < how_long {
        let (now, hits) = (Instant::now(), site.mock.rule_hits(rule));
        while begun.get(before + 1).is_some_and(|(at, _)| *at + hang <= now) {
            before += 1;
        }
        let ended = if now < started + hang { 0 } else { begun[before].1 };
        hanging += (hits - ended) as f64;
        looks += 1.0;
        begun.push((now, hits));
        std::thread::sleep(Duration::from_millis(5));
    }
    let others = site.mock.request_count() - site.mock.rule_hits(rule);
    Watched {
        others: others as f64 / started.elapsed().as_secs_f64(),
        hanging: hanging / looks,
    }
}
