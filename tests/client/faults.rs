//! Faults of our own in the I/O thread: nothing that was handed over stays without an end.

use std::collections::BTreeSet;
use std::time::Duration;

use support::wait::until;
use support::{Match, MockTarget, Reply};
use target_profile_client::{Sabotage, Transport};
use target_profile_core::drain::Report;

use crate::{PATIENCE, get, readable, reports, start};

fn url(mock: &MockTarget, id: u64) -> String {
    format!("{}?mbox3rdPartyId=p{id}&profile.a=1", mock.url("acme"))
}

fn tickets(reports: &[Report]) -> BTreeSet<u64> {
    reports.iter().map(|report| report.ticket).collect()
}

#[test]
fn a_panic_of_the_thread_ends_all_that_was_handed_over() {
    let mock = MockTarget::start();
    mock.on(Match::any()).respond(Reply::hang());
    let transport = start();
    transport.send((1..=3).map(|ticket| get(ticket, &url(&mock, ticket))).collect());
    mock.wait_hung(3, PATIENCE);
    transport.sabotage(Sabotage::Thread);
    // Behind it in the queue: nobody takes them.
    transport.send((4..=6).map(|ticket| get(ticket, &url(&mock, ticket))).collect());
    assert!(readable(&transport, PATIENCE));
    let all = reports(&transport, 6);
    assert_eq!(tickets(&all), (1..=6).collect());
    assert!(all.iter().all(|report| report.result.is_err()));
    assert!(!transport.is_alive());
    assert_eq!(transport.fault(), Some("sabotage"));

    transport.send(vec![get(7, &url(&mock, 7))]);
    assert!(readable(&transport, PATIENCE), "whoever waits is woken");
    assert_eq!(tickets(&transport.reports()), [7].into());
    assert!(transport.reports().is_empty());
}

#[test]
fn what_was_answered_before_the_panic_is_told_as_it_was() {
    let mock = MockTarget::start();
    let transport = start();
    transport.send(vec![get(1, &url(&mock, 1))]);
    assert!(readable(&transport, PATIENCE));
    transport.sabotage(Sabotage::Thread);
    until("the end of the thread", PATIENCE, || {
        (!transport.is_alive()).then_some(())
    });
    let all = transport.reports();
    assert_eq!(tickets(&all), [1].into());
    assert_eq!(all[0].result.as_ref().unwrap().status, 200);
}

#[test]
fn a_panic_in_one_request_ends_that_one_alone() {
    let mock = MockTarget::start();
    let transport = start();
    transport.sabotage(Sabotage::Request(2));
    transport.send((1..=3).map(|ticket| get(ticket, &url(&mock, ticket))).collect());
    for report in reports(&transport, 3) {
        assert_eq!(report.result.is_err(), report.ticket == 2, "{report:?}");
    }
    assert!(transport.is_alive());
    transport.send(vec![get(4, &url(&mock, 4))]);
    assert!(reports(&transport, 1)[0].result.is_ok());
}

#[test]
fn a_thread_that_was_stopped_has_no_fault() {
    let mut transport = start();
    assert!(transport.stop(PATIENCE));
    assert_eq!((transport.is_alive(), transport.fault()), (false, None));
    assert!(Transport::stop(&mut transport, Duration::ZERO));
}
