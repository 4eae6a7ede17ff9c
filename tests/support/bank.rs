//! The bank marketing data set (45,211 contacts, as published) as a CRM table.

use std::fs;
use std::path::PathBuf;

use crate::cluster::Db;

/// The columns of the file, in its order, with their types in the table. Its yes and no become booleans.
pub const COLUMNS: [(&str, &str); 17] = [
    ("age", "int"),
    ("job", "text"),
    ("marital", "text"),
    ("education", "text"),
    ("default", "boolean"),
    ("balance", "int"),
    ("housing", "boolean"),
    ("loan", "boolean"),
    ("contact", "text"),
    ("day", "int"),
    ("month", "text"),
    ("duration", "int"),
    ("campaign", "int"),
    ("pdays", "int"),
    ("previous", "int"),
    ("poutcome", "text"),
    ("y", "boolean"),
];

/// The file: BANK_CSV, or beside the repository in shared/data; `None` if it is not there.
pub fn path() -> Option<PathBuf> {
    let path = match std::env::var_os("BANK_CSV") {
        Some(path) => PathBuf::from(path),
        None => crate::repository().join("../shared/data/bank-full.csv"),
    };
    path.is_file().then_some(path)
}

/// Creates the table `bank`, empty, with `customer_id` as its key.
#[track_caller]
pub fn create_table(db: &Db) {
    let columns: Vec<String> = COLUMNS
        .iter()
        .map(|(name, kind)| format!("\"{name}\" {kind}"))
        .collect();
    let columns = columns.join(", ");
    db.batch(&format!(
        "create table bank (customer_id bigint generated always as identity primary key, {columns})"
    ));
}

/// Copies the file's rows, or the first `limit` of them, into the table; how many they were.
#[track_caller]
pub fn copy_rows(db: &Db, limit: Option<usize>) -> u64 {
    let path = path().expect("bank-full.csv is found: set BANK_CSV");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    let lines = text.split_inclusive('\n');
    let wanted: String = lines
        .take(limit.map_or(usize::MAX, |limit| limit.saturating_add(1)))
        .collect();
    let columns: Vec<String> = COLUMNS.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let copy = format!("copy bank ({}) from stdin (format csv, header)", columns.join(", "));
    db.copy_in(&copy, wanted.into_bytes())
}

/// Creates the table and copies all rows.
#[track_caller]
pub fn load(db: &Db) -> u64 {
    create_table(db);
    copy_rows(db, None)
}
