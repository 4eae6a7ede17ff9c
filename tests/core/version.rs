//! The library and the SQL of different versions: which is behind, and what there is to do.

use proptest::prelude::*;
use target_profile_core::version::advice;

#[test]
fn the_same_version_needs_nothing() {
    for version in ["0.1.0", "1.0.0-rc.1", "anything"] {
        assert_eq!(advice(version, version), None, "{version}");
    }
}

#[test]
fn the_one_that_is_behind_is_to_be_brought_up() {
    const UPDATE: &str = "run ALTER EXTENSION target_profile UPDATE in this database";
    for (library, sql, update_the_sql) in [
        ("0.2.0", "0.1.0", true),
        ("0.1.0", "0.2.0", false),
        ("0.10.0", "0.9.9", true),
        ("0.9.9", "0.10.0", false),
        ("1.0", "0.9.0", true),
        ("1.0.1", "1.0", true),
        ("1.0", "1.0.1", false),
        ("1.0.0", "1.0.0-rc.1", true),
        ("1.0.0-rc.1", "1.0.0", false),
        ("1.0.0-rc.2", "1.0.0-rc.1", true),
    ] {
        let advice = advice(library, sql).unwrap();
        assert_eq!(advice.finding, format!("library {library}, SQL {sql}"));
        if update_the_sql {
            assert_eq!(advice.remedy, UPDATE, "{library} {sql}");
        } else {
            assert!(
                advice.remedy.contains(&format!("library of version {sql}")),
                "{}",
                advice.remedy
            );
            assert!(advice.remedy.contains("restart the server"), "{}", advice.remedy);
        }
    }
}

#[test]
fn what_cannot_be_compared_is_to_be_made_one() {
    for (library, sql) in [
        ("0.2.0", "unpackaged"),
        ("x", "0.1.0"),
        ("0.1", "0.1.0"),
        ("", "0.1.0"),
        ("1..0", "1"),
    ] {
        let advice = advice(library, sql).unwrap();
        assert!(
            advice.remedy.starts_with("install one version of both"),
            "{}",
            advice.remedy
        );
    }
}

#[test]
fn it_reads_as_a_line_and_as_a_hint() {
    let advice = advice("0.2.0", "0.1.0").unwrap();
    assert_eq!(
        advice.line(),
        "library 0.2.0, SQL 0.1.0: run ALTER EXTENSION target_profile UPDATE in this database"
    );
    assert_eq!(
        advice.hint(),
        "The versions of target_profile differ (library 0.2.0, SQL 0.1.0). Run ALTER EXTENSION target_profile UPDATE in this \
         database."
    );
}

proptest! {
    #[test]
    fn whatever_the_versions_exactly_one_side_is_behind(a in any::<(u16, u16, u16)>(), b in any::<(u16, u16, u16)>()) {
        let text = |(x, y, z): (u16, u16, u16)| format!("{x}.{y}.{z}");
        let update = |library: &str, sql: &str| advice(library, sql).map(|advice| advice.remedy.starts_with("run ALTER"));
        let (there, back) = (update(&text(a), &text(b)), update(&text(b), &text(a)));
        prop_assert_eq!(there, (a != b).then_some(a > b));
        prop_assert_eq!(back, (a != b).then_some(b > a));
    }

    #[test]
    fn no_text_is_too_odd(library in ".{0,20}", sql in ".{0,20}") {
        prop_assert_eq!(advice(&library, &sql).is_none(), library == sql);
    }
}
