//! What is said of our tables in publications and subscriptions.

use target_profile_core::replication::{Link, published, subscribed};

fn link(name: &str, tables: &str) -> Link {
    Link {
        name: name.to_owned(),
        tables: tables.to_owned(),
    }
}

#[test]
fn nothing_is_said_of_none() {
    assert_eq!(published(&[]), None);
    assert_eq!(subscribed(&[]), None);
}

#[test]
fn each_is_named_with_its_tables() {
    let links = [link("all", "client, outbox"), link("two", "binding")];
    let said = published(&links).unwrap();
    assert_eq!(
        said.finding,
        "tables of target_profile are published: publication \"all\" has client, outbox; publication \"two\" has binding"
    );
    assert!(said.hint.contains("refresh"), "{}", said.hint);
    let said = subscribed(&links[1..]).unwrap();
    assert_eq!(
        said.finding,
        "nothing is sent, since entries of another server arrive here: subscription \"two\" has binding"
    );
    assert!(said.hint.contains("adopt()"), "{}", said.hint);
}
