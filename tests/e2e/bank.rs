//! Real rows: 45,211 contacts of a bank's call centre.

use std::time::Instant;

use support::bank;

use crate::site::Site;

#[test]
fn the_profiles_equal_the_bank_table_when_the_outbox_is_empty() {
    if bank::path().is_none() {
        println!("skipped: bank-full.csv is not there; set BANK_CSV to its path");
        return;
    }
    let site = Site::new("bank");
    bank::create_table(&site.db);
    site.db.batch(
        "create trigger to_target after insert or update on bank for each row execute function
         target_profile_trigger('acme', 'mbox3rdPartyId', 'customer_id', 'job', 'education', 'balance', 'has_loan=loan',
             'housing', 'y')",
    );
    let began = Instant::now();
    let rows = bank::copy_rows(&site.db, None);
    // A third of the rows in ten transactions, of which three are rolled back and two roll back to a savepoint.
    for n in 0..10 {
        let change =
            format!("update bank set balance = balance + {n} + 1, loan = not loan where customer_id % 30 = {n}",);
        site.db.batch(&match n {
            2 | 5 | 8 => format!("begin; {change}; rollback"),
            3 | 7 => format!(
                "begin; {change}; savepoint s; update bank set job = 'never' where customer_id % 30 = {n}; rollback to s; commit"
            ),
            _ => format!("begin; {change}; commit"),
        });
    }
    let written = began.elapsed();
    site.cluster.wait_sql(
        &site.db,
        "select not exists (select from target_profile.outbox)",
        std::time::Duration::from_secs(180),
    );
    let drained = began.elapsed();

    let expected = site.db.query(
        "select customer_id::text, job, education, balance::text, loan, housing, y from bank",
        &[],
    );
    assert_eq!(u64::try_from(expected.len()).unwrap(), rows);
    let profiles = site.mock.profiles();
    assert_eq!(profiles.len(), expected.len());
    for row in &expected {
        let id: &str = row.get(0);
        let profile = site
            .mock
            .profile("acme", "mbox3rdPartyId", id)
            .expect("every row has its profile");
        for (name, value) in [
            ("job", row.get::<_, String>(1)),
            ("education", row.get(2)),
            ("balance", row.get(3)),
        ] {
            assert_eq!(profile.get(name), Some(&value), "{name} of {id}");
        }
        for (name, column) in [("has_loan", 4), ("housing", 5), ("y", 6)] {
            assert_eq!(
                profile.get(name),
                Some(&row.get::<_, bool>(column).to_string()),
                "{name} of {id}"
            );
        }
    }
    // Each committed change is one entry, and each entry is part of an accepted response.
    let entries: i64 = site
        .db
        .value("select last_value from target_profile.outbox_id_seq", &[]);
    let committed: i64 = site.db.value(
        "select count(*) + (select count(*) from bank where customer_id % 30 in (0, 1, 3, 4, 6, 7, 9)) from bank",
        &[],
    );
    assert_eq!(
        site.count(
            "select count(distinct e) from target_profile.response, unnest(outbox_ids) e where outcome = 'accepted'"
        ),
        committed
    );
    assert!(
        entries > committed,
        "rolled back changes have drawn ids and left nothing"
    );
    let never = site
        .mock
        .requests()
        .iter()
        .filter(|request| request.attrs.get("job").is_some_and(|job| job == "never"))
        .count();
    assert_eq!(never, 0, "what was rolled back has arrived");
    println!(
        "bank: {rows} rows, {committed} committed changes, {} requests, {} retries, {written:?} to write, {drained:?} until drained",
        site.mock.request_count(),
        site.count("select count(*) from target_profile.response where attempt > 1"),
    );
}
