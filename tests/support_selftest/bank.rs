//! The bank data set as a table.

use support::{Cluster, bank};

#[test]
fn bank_is_loaded() {
    let Some(path) = bank::path() else {
        println!("skipped: no bank-full.csv");
        return;
    };
    let rows = std::fs::read_to_string(path).unwrap().lines().count() as u64 - 1;
    let cluster = Cluster::builder("bank").preload(false).fsync(false).build();
    let db = cluster.create_db("crm");
    bank::create_table(&db);
    assert_eq!(bank::copy_rows(&db, Some(10)), 10);
    assert_eq!(db.text("select count(*) from bank"), "10");
    db.batch("drop table bank");
    assert_eq!(bank::load(&db), rows);
    assert!(rows >= 45_211);
    let first = db.rows("select customer_id, age, job, \"default\", balance, y from bank order by customer_id limit 1");
    let first: Vec<_> = first[0].iter().map(|value| value.as_deref().unwrap()).collect();
    assert_eq!(first, ["1", "58", "management", "f", "2143", "f"]);
}
