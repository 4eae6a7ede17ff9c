//! The plans of what the worker reads at each claim: by the index of the lanes and by that of the profiles, whatever the statistics say.
//! A plan is kept until the statistics change, and the worker's are made for any values.

use support::{Cluster, Db};

/// What holds each entry of a lane, of a profile.
const READS: [(&str, &str, &str, &str); 3] = [
    (
        "read_lanes",
        "text[], int2[], int8[], int8[], int4[]",
        include_str!("../../sql/queries/claim/read_lanes.sql"),
        "outbox_lane",
    ),
    (
        "read_entries",
        "text[], text[], text[], int4",
        include_str!("../../sql/queries/claim/read_entries.sql"),
        "outbox_profile",
    ),
    (
        "find_lanes",
        "text[], int4[], int4[]",
        include_str!("../../sql/queries/claim/find_lanes.sql"),
        "outbox_lane",
    ),
];

/// Plans are made anew, as the worker makes them: src/pg/support/pins.rs has it so.
fn plan_as_the_worker(db: &Db) {
    db.batch(
        "discard plans; set plan_cache_mode = force_generic_plan; set enable_seqscan = off; set enable_bitmapscan = off;
         set enable_hashjoin = off; set enable_mergejoin = off; set seq_page_cost = 0; set random_page_cost = 0",
    );
}

fn check(db: &Db, state: &str) {
    plan_as_the_worker(db);
    for (name, types, query, index) in READS {
        db.batch(&format!("deallocate all; prepare {name} ({types}) as {query}"));
        let nulls = vec!["null"; types.split(", ").count()].join(", ");
        let plan = db.query(&format!("explain (costs off) execute {name} ({nulls})"), &[]);
        let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
        let plan = plan.join("\n");
        let scans: Vec<&str> = plan
            .lines()
            .filter(|line| line.contains("Scan") && line.contains(" on outbox"))
            .collect();
        assert!(
            scans.len() == 1 && scans[0].contains(&format!("using {index} ")) && !plan.contains("Filter"),
            "{name}, {state}:\n{plan}"
        );
    }
}

/// How many pages the statement touches.
fn pages(db: &Db, execute: &str) -> i64 {
    let plan = db.query(&format!("explain (analyze, buffers, costs off) execute {execute}"), &[]);
    let plan: Vec<String> = plan.iter().map(|row| row.get(0)).collect();
    let buffers = plan
        .iter()
        .find(|line| line.contains("Buffers:"))
        .cloned()
        .unwrap_or_default();
    let numbers = buffers
        .split(&['=', ' '][..])
        .filter_map(|part| part.parse::<i64>().ok());
    numbers.take(2).sum()
}

/// Each of 30 lanes that were read to their end, and of 30 profiles, is found at once.
fn check_pages(db: &Db, state: &str, reads: &[&str]) {
    for (name, arguments) in [
        (
            "read_lanes",
            "array(select 'c' || n from generate_series(0, 29) n), array_fill(0::int2, array[30]),
             array(select coalesce((select max(id) + 1 from target_profile.outbox where client_code = 'c' || n and priority = 0), 0)
                 from generate_series(0, 29) n),
             array_fill(9223372036854775807, array[30]), array_fill(1000, array[30])",
        ),
        (
            "read_entries",
            "array(select 'c' || n from generate_series(0, 29) n), array_fill('mboxPC'::text, array[30]),
             array(select 'p' || n + 30 from generate_series(0, 29) n), 1000",
        ),
    ] {
        if !reads.contains(&name) {
            continue;
        }
        let (_, types, query, _) = READS.into_iter().find(|(of, ..)| *of == name).unwrap();
        db.batch(&format!("deallocate all; prepare {name} ({types}) as {query}"));
        // The arguments are read first: subqueries are no arguments.
        let values: String = db.value(&format!("select concat_ws(', ', {})", quoted(arguments)), &[]);
        let touched = pages(db, &format!("{name} ({values})"));
        assert!(touched < 30 * 12, "{name}, {state}: {touched} pages");
    }
}

/// Each argument as a literal.
fn quoted(arguments: &str) -> String {
    let mut depth = 0;
    let mut parts = vec![String::new()];
    for letter in arguments.chars() {
        match letter {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            _ => {}
        }
        if letter == ',' && depth == 0 {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push(letter);
        }
    }
    let literals: Vec<String> = parts
        .iter()
        .map(|part| format!("quote_literal(({part})::text)"))
        .collect();
    literals.join(", ")
}

#[test]
fn what_is_read_at_each_claim_goes_by_its_index_whatever_the_statistics() {
    let cluster = Cluster::builder("plans")
        .fsync(false)
        .conf("target_profile.databases", "none")
        .conf("autovacuum", "off")
        .build();
    let db = cluster.db();
    db.batch("set client_min_messages = error; create extension target_profile");
    check(&db, "never analyzed");
    db.batch("vacuum analyze target_profile.outbox");
    check(&db, "analyzed when it was empty");
    for (state, rows) in [
        ("one entry", "values ('c', 'p', 0)"),
        (
            "30 clients",
            "select 'c' || n % 30, 'p' || n, 0 from generate_series(1, 100000) n",
        ),
        (
            "one client",
            "select 'c', 'p' || n, 0 from generate_series(1, 100000) n",
        ),
        ("one profile", "select 'c', 'p', 0 from generate_series(1, 100000) n"),
        (
            "many priorities",
            "select 'c' || n % 3, 'p' || n % 50, n % 60000 - 30000 from generate_series(1, 100000) n",
        ),
    ] {
        db.batch(&format!(
            "truncate target_profile.outbox;
             insert into target_profile.outbox (client_code, id_kind, profile_id, priority, attrs)
             select w.client, 'mboxPC', w.profile, w.priority, '{{\"a\": \"1\"}}' from ({rows}) w (client, profile, priority)"
        ));
        check(&db, &format!("{state}, not analyzed"));
        db.batch("vacuum analyze target_profile.outbox");
        check(&db, state);
        match state {
            "30 clients" => check_pages(&db, state, &["read_lanes", "read_entries"]),
            // Behind each lane are those of other priorities.
            "many priorities" => check_pages(&db, state, &["read_lanes"]),
            _ => {}
        }
    }
}

/// What an update does to dead letters of its profile, in the order in which it is done.
const OVERTAKING: [(&str, &str, &str, &str); 3] = [
    (
        "older_dead_letters",
        "text[], text[], text[], int8[]",
        include_str!("../../sql/queries/settle/older_dead_letters.sql"),
        "'{c}', '{mboxPC}', '{p7}', '{9000000}'",
    ),
    (
        "supersede",
        "text, text, text, text[], int8[], int8",
        include_str!("../../sql/queries/settle/supersede.sql"),
        "'c', 'mboxPC', 'p7', '{a1,a2,new}', '{9000000}', 8000000",
    ),
    (
        "thin_superseded",
        "text, text, text, text[]",
        include_str!("../../sql/queries/settle/thin_superseded.sql"),
        "'c', 'mboxPC', 'p7', '{a1,a2,new}'",
    ),
];

#[test]
fn what_an_update_does_to_dead_letters_goes_by_their_profile_whatever_the_statistics() {
    let cluster = Cluster::builder("lettersplans")
        .fsync(false)
        .conf("target_profile.databases", "none")
        .conf("autovacuum", "off")
        .build();
    let db = cluster.db();
    db.batch("set client_min_messages = error; create extension target_profile");
    let fill = |profiles: &str, from: i64| {
        db.batch(&format!(
            "insert into target_profile.dead_letter
                 (id, client_code, id_kind, profile_id, attrs, priority, source, enqueued_at, attempts, reason)
             select {from} + n, 'c', 'mboxPC', {profiles}, '{{}}', 0, '', now(), 1, '' from generate_series(1, 20000) n;
             insert into target_profile.superseded
             select 'c', 'mboxPC', {profiles}, 'a' || n + {from}, 5 from generate_series(1, 20000) n"
        ));
    };
    for statistics in ["none", "of empty tables", "of one profile", "of many profiles"] {
        db.batch("truncate target_profile.dead_letter, target_profile.superseded");
        let analyze = || db.batch("vacuum analyze target_profile.dead_letter, target_profile.superseded");
        match statistics {
            "of empty tables" => analyze(),
            "of one profile" => {
                fill("'p7'", 0);
                analyze();
            }
            "of many profiles" => {
                fill("'p' || n", 0);
                analyze();
            }
            _ => {}
        }
        fill("'p7'", 100_000);
        fill("'p' || n + 100", 200_000);
        for (name, types, query, values) in OVERTAKING {
            plan_as_the_worker(&db);
            db.batch(&format!("deallocate all; prepare {name} ({types}) as {query}"));
            let touched = pages(&db, &format!("{name} ({values})"));
            assert!(touched < 100, "{name}, statistics {statistics}: {touched} pages");
        }
    }
}
