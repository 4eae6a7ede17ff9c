//! The CHECK constraints of the outbox, which the extension's own insertion does not evaluate: whatever is a valid update meets them.

use proptest::prelude::*;
use target_profile_core::attrs::{FlatAttrs, FlattenOptions};
use target_profile_core::client_code::ClientCode;
use target_profile_core::id::{IdKind, ProfileId};

/// As in `sql/tables.sql`.
const TABLES: &str = include_str!("../../sql/tables.sql");

/// At most 63 of `^[a-z0-9]([a-z0-9-]*[a-z0-9])?$`.
fn is_label(code: &str) -> bool {
    let ends = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=63).contains(&code.len())
        && code.chars().all(|c| ends(c) || c == '-')
        && code.starts_with(ends)
        && code.ends_with(ends)
}

#[test]
fn the_constraints_are_those_that_are_tested_here() {
    for check in [
        "pg_catalog.octet_length(client_code) <= 63 AND client_code ~ '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'",
        "id_kind IN ('mboxPC', 'mbox3rdPartyId')",
        "pg_catalog.char_length(profile_id) BETWEEN 1 AND 256",
        "pg_catalog.jsonb_typeof(attrs) = 'object'",
    ] {
        assert!(TABLES.contains(&format!("CHECK ({check})")), "{check}");
    }
}

proptest! {
    #[test]
    fn a_valid_client_code_is_a_label(code in "[a-z0-9-]{0,66}|[a-zA-Z0-9.é\n-]{0,8}|.{0,8}") {
        prop_assert!(ClientCode::parse(&code).is_err() || is_label(&code));
    }

    #[test]
    fn a_valid_id_fits(id in ".{0,3}|[a-z😀]{120,270}", kind in "mboxPC|mbox3rdPartyId|pcId|tntId|thirdPartyId|.{0,4}") {
        if let Ok(kind) = IdKind::parse(&kind) {
            prop_assert!(["mboxPC", "mbox3rdPartyId"].contains(&kind.as_str()));
            prop_assert!(ProfileId::parse(kind, &id).is_err() || (1..=256).contains(&id.chars().count()));
        }
    }

    #[test]
    fn attributes_are_an_object(json in r#"\{"[ab]":("x"|1|null|\[\]|\{\})\}|\[1\]|"x"|null|\{\}"#) {
        if let Ok(attrs) = FlatAttrs::from_json(&json, &FlattenOptions::default()) {
            let text = attrs.to_json_text();
            prop_assert!(text.starts_with('{'), "{text}");
        }
    }
}
