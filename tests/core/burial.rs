//! Dead letters that always fit.

use proptest::prelude::*;
use serde_json::{Value, json};
use target_profile_core::attrs::{FlatAttrs, FlattenOptions};
use target_profile_core::burial::{
    ATTRS_BYTES, DeadLetter, ID_BYTES, NAME_BYTES, REASON_BYTES, Unsendable, spare_id, unsendable_text,
};
use target_profile_core::client_code::ClientCode;
use target_profile_core::id::{IdKind, ProfileId};

fn of(id: &str, attrs: &[(&str, Value)]) -> DeadLetter {
    let update = Unsendable {
        client_code: Some("acme"),
        id_kind: Some("mbox3rdPartyId"),
        profile_id: Some(id),
        attrs,
        priority: -5,
        source: "public.customers",
    };
    DeadLetter::of_row(update, "invalid")
}

fn attrs(letter: &DeadLetter) -> Value {
    serde_json::from_str(letter.attrs.as_deref().unwrap()).unwrap()
}

fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(values) => values.iter().any(has_nul),
        Value::Object(members) => members
            .iter()
            .any(|(name, value)| name.contains('\0') || has_nul(value)),
        _ => false,
    }
}

/// Whether a retry would send it.
fn is_sendable(letter: &DeadLetter) -> bool {
    FlatAttrs::from_json(letter.attrs.as_deref().unwrap(), &FlattenOptions::default()).is_ok()
}

#[test]
fn what_fits_is_kept_as_it_is() {
    let row = [
        ("tier", json!("gold")),
        ("n", json!(1.5)),
        ("deep", json!({"a": [1, null, "x"]})),
    ];
    let letter = of("C/1", &row);
    assert_eq!(letter.profile_id.as_deref(), Some("C/1"));
    assert_eq!(letter.client_code.as_deref(), Some("acme"));
    assert_eq!(letter.id_kind.as_deref(), Some("mbox3rdPartyId"));
    assert_eq!((letter.priority, letter.raw), (-5, true));
    assert_eq!(letter.reason, "invalid");
    assert_eq!(
        attrs(&letter),
        json!({"tier": "gold", "n": 1.5, "deep": {"a": [1, null, "x"]}})
    );
}

#[test]
fn an_alias_of_the_id_kind_becomes_the_name_that_entries_have() {
    for (given, kept) in [
        ("thirdPartyId", "mbox3rdPartyId"),
        ("mbox3rdPartyId", "mbox3rdPartyId"),
        ("pcId", "mboxPC"),
        ("tntId", "mboxPC"),
        ("mboxPC", "mboxPC"),
        ("email", "email"),
    ] {
        let update = Unsendable {
            id_kind: Some(given),
            ..Unsendable::default()
        };
        assert_eq!(DeadLetter::of_row(update, "").id_kind.as_deref(), Some(kept), "{given}");
    }
}

#[test]
fn an_id_that_no_index_holds_is_cut_and_the_reason_tells_its_length_and_hash() {
    let kept = "x".repeat(ID_BYTES);
    assert_eq!(of(&kept, &[]).profile_id.as_deref(), Some(kept.as_str()));
    assert_eq!(of(&kept, &[]).reason, "invalid");
    let letter = of(&"x".repeat(ID_BYTES + 1), &[]);
    assert_eq!(letter.profile_id.as_deref(), Some(kept.as_str()));
    assert_eq!(
        letter.reason,
        "invalid (of the id, which has 2001 bytes and the FNV-1a hash 65fd1da19111bf47, the beginning is kept)"
    );
    // Never in the middle of a character.
    let letter = of(&"€".repeat(ID_BYTES), &[]);
    assert_eq!(letter.profile_id.unwrap().len(), ID_BYTES - ID_BYTES % 3);
}

#[test]
fn numbers_that_jsonb_does_not_hold_are_kept_as_text_which_is_what_is_sent() {
    for number in [
        "1e1001",
        "-1E+999999999",
        "1e-1001",
        "1e99999999999999999999",
        &"9".repeat(1001),
    ] {
        let value: Value = serde_json::from_str(number).unwrap();
        let letter = of("C/1", &[("n", value.clone())]);
        assert!(attrs(&letter)["n"].is_string(), "{number}");
        let sent = |value: &Value| FlatAttrs::from_columns(&[("n", value.clone())], &FlattenOptions::default());
        assert_eq!(
            sent(&value).unwrap().get("n").map(str::to_lowercase),
            sent(&attrs(&letter)["n"]).unwrap().get("n").map(str::to_lowercase),
            "{number}"
        );
    }
    for number in ["1e1000", "-1.5e-1000", "0", &"9".repeat(1000)] {
        let value: Value = serde_json::from_str(number).unwrap();
        assert!(attrs(&of("C/1", &[("n", value)]))["n"].is_number(), "{number}");
    }
    let letter = of("C/1", &[("n", serde_json::from_str("[1e5000]").unwrap())]);
    assert!(
        !is_sendable(&letter),
        "within an array it would be sent as another text"
    );
}

#[test]
fn a_value_with_a_zero_byte_is_kept_and_never_sent() {
    for value in [json!("x\0y"), json!({"k": "x\0y"}), json!({"k\0": 1}), json!([["\0"]])] {
        let letter = of("C1", &[("v", value), ("w", json!("kept"))]);
        let text = letter.attrs.as_deref().unwrap();
        assert!(!has_nul(&attrs(&letter)), "{text}");
        assert_eq!(attrs(&letter)["w"], "kept");
        assert!(!is_sendable(&letter), "{text}");
        assert_eq!(
            letter.reason,
            "invalid (values that jsonb cannot hold are kept as JSON text under an empty name)"
        );
    }
    let letter = of("x\0y", &[]);
    assert_eq!(letter.profile_id.as_deref(), Some("x\u{1}y"));
    assert!(letter.reason.contains("zero bytes"), "{}", letter.reason);
}

#[test]
fn what_is_far_too_large_is_cut() {
    let letter = of("C1", &[("a", json!("x".repeat(2 * ATTRS_BYTES))), ("b", json!("kept"))]);
    assert_eq!(attrs(&letter), json!({"a": {"": "x".repeat(1000)}, "b": "kept"}));
    assert!(letter.reason.contains("the beginning is kept"));
    assert!(!is_sendable(&letter));
    // Many that are not large each.
    let names: Vec<String> = (0..100).map(|n| format!("a{n}")).collect();
    let row: Vec<(&str, Value)> = names
        .iter()
        .map(|name| (name.as_str(), json!("x".repeat(20_000))))
        .collect();
    let letter = of("C1", &row);
    assert_eq!(letter.attrs, None);
    assert!(letter.reason.contains("too many"));
    // What fits in all is not cut.
    let letter = of("C1", &[("a", json!("x".repeat(ATTRS_BYTES / 2)))]);
    assert_eq!(letter.reason, "invalid");
}

#[test]
fn the_minimal_form_has_no_attributes_and_the_refusal() {
    let letter = of("C/1", &[("tier", json!("gold"))]).minimal("new row violates a check");
    assert_eq!(letter.attrs, None);
    assert_eq!(letter.profile_id.as_deref(), Some("C/1"));
    assert!(letter.reason.starts_with("invalid (") && letter.reason.ends_with(": new row violates a check)"));
}

#[test]
fn a_long_reason_leaves_room_for_what_is_not_kept() {
    let update = Unsendable {
        profile_id: Some("C\0"),
        ..Unsendable::default()
    };
    let letter = DeadLetter::of_row(update, &"r".repeat(2 * REASON_BYTES));
    let cut = "r".repeat(REASON_BYTES / 2);
    assert_eq!(letter.reason, format!("{cut} (zero bytes of the id are kept as \\x01)"));
    let minimal = letter.minimal("a check");
    assert!(
        minimal
            .reason
            .starts_with(&format!("{cut} (the attributes are not kept"))
    );
    assert!(minimal.reason.ends_with(": a check)"));
}

#[test]
fn spare_ids_are_negative_and_in_the_order_of_time() {
    let now = 1_795_000_000_000_000;
    assert_eq!(spare_id(0, 0, 0.0), i64::MIN / 2);
    assert_eq!(spare_id(0, 0, 0.5), i64::MIN / 2 + 511);
    assert_eq!(spare_id(0, 0, 1.0), i64::MIN / 2 + 1_023);
    assert_eq!(spare_id(now, 0, 0.0), -2_773_606_018_427_387_904);
    assert!(spare_id(now, 0, 1.0) < spare_id(now, 1, 0.0));
    assert!(spare_id(now, 5, 1.0) < spare_id(now + 6, 0, 0.0));
    for micros in [i64::MIN, -1, 0, now, i64::MAX] {
        for number in [0, 1, usize::MAX] {
            assert!(spare_id(micros, number, 1.0) < 0, "{micros} {number}");
        }
    }
}

#[test]
fn its_bytes_are_counted() {
    let small = of("C/1", &[]).bytes();
    assert!(of("C/1", &[("tier", json!("x".repeat(1000)))]).bytes() >= small + 1000);
    let mut letter = of("C/1", &[]);
    letter.source.push_str(&"s".repeat(1000));
    letter.reason.push_str(&"r".repeat(2000));
    assert_eq!(letter.bytes(), small + 3000);
    assert!(small < 1000, "{small}");
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<i64>().prop_map(Value::from),
        "-?[1-9][0-9]{0,3}(\\.[0-9]{1,4})?([eE][-+]?[0-9]{1,7})?".prop_map(|text| serde_json::from_str(&text).unwrap()),
        any::<String>().prop_map(Value::String),
        "[\\x00-\\x03a]{0,4}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::vec(("[\\x00ab]{0,3}", inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn every_row_fits(
        client in any::<String>(), kind in any::<String>(), id in "\\PC{0,3000}|[\\x00a]{0,9}", reason in "\\PC{0,6000}", value in json(),
    ) {
        let row = [("v", value)];
        let update = Unsendable {
            client_code: Some(&client), id_kind: Some(&kind), profile_id: Some(&id), attrs: &row, priority: 0, source: &client,
        };
        let letter = DeadLetter::of_row(update, &reason);
        for (text, bytes) in [
            (letter.client_code.as_deref(), NAME_BYTES), (letter.id_kind.as_deref(), NAME_BYTES),
            (letter.profile_id.as_deref(), ID_BYTES), (letter.attrs.as_deref(), ATTRS_BYTES),
            (Some(letter.source.as_str()), NAME_BYTES), (Some(letter.reason.as_str()), REASON_BYTES),
        ] {
            let text = text.unwrap();
            prop_assert!(text.len() <= bytes && !text.contains('\0'));
        }
        prop_assert!(!has_nul(&attrs(&letter)));
        // What is not as it was given is not valid either, so that nobody sends it.
        if letter.profile_id.as_deref() != Some(id.as_str()) {
            for kind in [IdKind::MboxPc, IdKind::Mbox3rdPartyId] {
                prop_assert!(ProfileId::parse(kind, letter.profile_id.as_deref().unwrap()).is_err());
            }
        }
        if letter.client_code.as_deref() != Some(client.as_str()) {
            prop_assert!(ClientCode::parse(letter.client_code.as_deref().unwrap()).is_err());
        }
        let flat = |value: &Value| FlatAttrs::from_columns(&[("v", value.clone())], &FlattenOptions::default());
        if let Ok(sent) = FlatAttrs::from_json(letter.attrs.as_deref().unwrap(), &FlattenOptions::default()) {
            prop_assert_eq!(Ok(sent), flat(&row[0].1));
        }
    }

    #[test]
    fn text_that_stands_for_a_value_is_never_sent(text in any::<String>()) {
        let kept = [("v", unsendable_text(&text))];
        prop_assert!(FlatAttrs::from_columns(&kept, &FlattenOptions::default()).is_err());
    }
}

/// Of an update that is far too large, the values of up to 64 KiB stay as they are.
#[test]
fn only_what_is_large_itself_is_cut() {
    let (small, large) = ("s".repeat(64 * 1024 - 2), "l".repeat(64 * 1024 - 1));
    let letter = of(
        "C/1",
        &[
            ("small", json!(small)),
            ("large", json!(large)),
            ("huge", json!("h".repeat(2 << 20))),
        ],
    );
    let attrs: Value = serde_json::from_str(letter.attrs.as_deref().unwrap()).unwrap();
    assert_eq!(attrs["small"], json!(small));
    assert_ne!(attrs["large"], json!(large));
    assert_ne!(attrs["huge"].to_string().len(), (2 << 20) + 2);
}
