//! Flattening: names, texts, what is refused, and the way to a `jsonb` column and back.

use proptest::prelude::*;
use serde_json::{Map, Value, json};
use target_profile_core::attrs::{Arrays, FlatAttrs, FlattenOptions};
use target_profile_core::error::{Error, ErrorKind, JsonType};
use target_profile_core::limits::{FLAT_BYTES, JSON_DEPTH};

const JSON: FlattenOptions = FlattenOptions {
    arrays: Arrays::Json,
    null_value: None,
};
const INDEXED: FlattenOptions = FlattenOptions {
    arrays: Arrays::Indexed,
    null_value: None,
};

fn cleared(arrays: Arrays) -> FlattenOptions {
    FlattenOptions {
        arrays,
        null_value: Some("-".to_owned()),
    }
}

fn pairs(attrs: &FlatAttrs) -> Vec<(&str, &str)> {
    attrs.iter().collect()
}

#[track_caller]
fn check(json: &str, options: &FlattenOptions, expected: &[(&str, &str)]) {
    let attrs = FlatAttrs::from_json(json, options).expect(json);
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(pairs(&attrs), expected, "{json}");
    assert_eq!(attrs.len(), expected.len());
    assert!(!attrs.is_empty());
    for (name, value) in expected {
        assert_eq!(attrs.get(name), Some(value));
    }
}

#[track_caller]
fn refused(json: &str, options: &FlattenOptions) -> Error {
    FlatAttrs::from_json(json, options).expect_err(json)
}

#[test]
fn vectors() {
    check(r#"{"attr": 0, "attr2": 1}"#, &JSON, &[("attr", "0"), ("attr2", "1")]);
    check(
        r#"{"tags":["a","b"],"n":0,"f":false,"e":"","x":1.5}"#,
        &INDEXED,
        &[
            ("tags.0", "a"),
            ("tags.1", "b"),
            ("n", "0"),
            ("f", "false"),
            ("e", ""),
            ("x", "1.5"),
        ],
    );
    check(
        r#"{"profile.key1":"test1.!","key2":"test2~"}"#,
        &JSON,
        &[("key1", "test1.!"), ("key2", "test2~")],
    );
    check(r#"{"profileLevel":"gold"}"#, &JSON, &[("profileLevel", "gold")]);
    check(r#"{"Attr":1,"attr":2}"#, &JSON, &[("Attr", "1"), ("attr", "2")]);
    check(
        r#"{"n":12345678901234567890.10}"#,
        &JSON,
        &[("n", "12345678901234567890.10")],
    );
}

#[test]
fn scalars_become_text_exactly() {
    for (json, text) in [
        ("0", "0"),
        ("-0", "-0"),
        ("false", "false"),
        ("true", "true"),
        ("1.10", "1.10"),
        ("0.0", "0.0"),
        ("9007199254740993", "9007199254740993"),
        ("18446744073709551616", "18446744073709551616"),
        (
            "-123456789012345678901234567890.000000000000000000001",
            "-123456789012345678901234567890.000000000000000000001",
        ),
        // An exponent is the one thing that is respelled; jsonb never prints one. No digit is lost.
        ("1e400", "1e+400"),
        ("1E5", "1e+5"),
        ("1.50e-7", "1.50e-7"),
        (r#""""#, ""),
        (r#"" ""#, " "),
        (r#""null""#, "null"),
        (r#""a\u00e9\ud83d\ude00\n\"\\""#, "aé😀\n\"\\"),
        (r#""profile.x""#, "profile.x"),
    ] {
        check(&format!("{{\"a\": {json}}}"), &JSON, &[("a", text)]);
        check(&format!("{{\"a\": [{json}]}}"), &INDEXED, &[("a.0", text)]);
    }
    let digits = "7".repeat(5_000);
    check(
        &format!("{{\"a\":{digits}.{digits}}}"),
        &JSON,
        &[("a", &format!("{digits}.{digits}"))],
    );
}

#[test]
fn nested_objects_are_joined_by_dots() {
    check(
        r#"{"address":{"city":"Bern","geo":{"lat":46.9480,"lon":7.4474}},"a.b":1,"a":{"c":2}}"#,
        &JSON,
        &[
            ("address.city", "Bern"),
            ("address.geo.lat", "46.9480"),
            ("address.geo.lon", "7.4474"),
            ("a.b", "1"),
            ("a.c", "2"),
        ],
    );
    check(r#"{"a":{},"b":{"c":{}},"d":1}"#, &JSON, &[("d", "1")]);
    // Dots within a key are the user's own: columns are called such things.
    check(
        r#"{"Str.":1,"a..b":2,".c":3,"d":{".e":4}}"#,
        &JSON,
        &[("Str.", "1"), ("a..b", "2"), (".c", "3"), ("d..e", "4")],
    );
    check(r#"{" a ":1}"#, &JSON, &[(" a ", "1")]);
}

#[test]
fn arrays_as_json_or_by_index() {
    let json = r#"{"t": ["a", 1.50, null, true, {"k": [ ]}, "é\""], "e": []}"#;
    check(
        json,
        &JSON,
        &[("t", r#"["a",1.50,null,true,{"k":[]},"é\""]"#), ("e", "[]")],
    );
    check(
        json,
        &INDEXED,
        &[("t.0", "a"), ("t.1", "1.50"), ("t.3", "true"), ("t.5", "é\"")],
    );
    check(
        json,
        &cleared(Arrays::Indexed),
        &[
            ("t.0", "a"),
            ("t.1", "1.50"),
            ("t.2", "-"),
            ("t.3", "true"),
            ("t.5", "é\""),
        ],
    );
    check(
        r#"{"a":[[1,2],[{"b":3}]]}"#,
        &INDEXED,
        &[("a.0.0", "1"), ("a.0.1", "2"), ("a.1.0.b", "3")],
    );
    check(
        r#"{"a":[10,11,12,13,14,15,16,17,18,19,20]}"#,
        &JSON,
        &[("a", "[10,11,12,13,14,15,16,17,18,19,20]")],
    );
}

#[test]
fn nulls_are_skipped_or_replaced() {
    let json = r#"{"a":null,"b":{"c":null,"d":1},"e":[null]}"#;
    check(json, &JSON, &[("b.d", "1"), ("e", "[null]")]);
    check(json, &INDEXED, &[("b.d", "1")]);
    check(
        json,
        &cleared(Arrays::Json),
        &[("a", "-"), ("b.c", "-"), ("b.d", "1"), ("e", "[null]")],
    );
    check(
        json,
        &cleared(Arrays::Indexed),
        &[("a", "-"), ("b.c", "-"), ("b.d", "1"), ("e.0", "-")],
    );
    let empty = FlattenOptions {
        null_value: Some(String::new()),
        ..JSON
    };
    check(r#"{"a":null}"#, &empty, &[("a", "")]);
}

#[test]
fn nothing_but_nulls_is_nothing_to_send() {
    for json in ["{}", r#"{"a":null}"#, r#"{"a":{"b":null},"c":{}}"#, r#"{"profile":{}}"#] {
        let error = refused(json, &JSON);
        assert_eq!(error, Error::NothingToSend);
        assert!(error.hint().is_some_and(|hint| hint.contains("null_value")));
    }
    assert_eq!(refused(r#"{"a":[null,[],{}]}"#, &INDEXED), Error::NothingToSend);
    assert_eq!(refused("{}", &cleared(Arrays::Json)), Error::NothingToSend);
    assert_eq!(
        FlatAttrs::from_pairs([("a".to_owned(), Value::Null)], &JSON),
        Err(Error::NothingToSend)
    );
    assert_eq!(FlatAttrs::from_pairs([], &JSON), Err(Error::NothingToSend));
    assert_eq!(FlatAttrs::from_stored_json(r#"{"a":null}"#), Err(Error::NothingToSend));
    assert_eq!(FlatAttrs::from_stored_json("{}"), Err(Error::NothingToSend));
}

#[test]
fn one_leading_prefix_is_dropped_from_the_flattened_name() {
    for (json, name) in [
        (r#"{"profile.a":1}"#, "a"),
        (r#"{"profile":{"a":1}}"#, "a"),
        (r#"{"profile":{"a":{"b":1}}}"#, "a.b"),
        (r#"{"profile.a":{"b":1}}"#, "a.b"),
        (r#"{"profile.profile.a":1}"#, "profile.a"),
        (r#"{"profile":{"profile":{"a":1}}}"#, "profile.a"),
        (r#"{"profile.profile":1}"#, "profile"),
        (r#"{"profile":1}"#, "profile"),
        (r#"{"profileLevel":1}"#, "profileLevel"),
        (r#"{"profile_a":1}"#, "profile_a"),
        (r#"{"Profile.a":1}"#, "Profile.a"),
        (r#"{" profile.a":1}"#, " profile.a"),
        (r#"{"a.profile.b":1}"#, "a.profile.b"),
        (r#"{"a":{"profile.b":1}}"#, "a.profile.b"),
        (r#"{"user":{"profile":{"b":1}}}"#, "user.profile.b"),
    ] {
        check(json, &JSON, &[(name, "1")]);
    }
    check(r#"{"profile":["x"]}"#, &JSON, &[("profile", r#"["x"]"#)]);
    check(r#"{"profile":["x"]}"#, &INDEXED, &[("0", "x")]);
}

#[test]
fn blank_names_are_refused() {
    for json in [
        r#"{"":1}"#,
        r#"{" ":1}"#,
        r#"{"\t\n\u00a0":1}"#,
        r#"{"a":{"":1}}"#,
        r#"{"a":{" ":{"b":1}}}"#,
        r#"{"":{"b":1}}"#,
        r#"{"profile.":1}"#,
        r#"{"profile. ":1}"#,
        r#"{"profile":{"":1}}"#,
        r#"{"ok":1,"":null}"#,
    ] {
        assert!(matches!(refused(json, &JSON), Error::BlankAttr { .. }), "{json}");
    }
    assert!(matches!(
        refused(r#"{"a":[{"":1}]}"#, &INDEXED),
        Error::BlankAttr { .. }
    ));
    let detail = refused(r#"{"a":{"b":[{" ":1}]}}"#, &INDEXED).detail();
    assert_eq!(detail.as_deref(), Some(r#"The attribute is "a"."b"[0]." "."#));
    assert!(matches!(
        FlatAttrs::from_pairs([("profile.".to_owned(), json!(1))], &JSON),
        Err(Error::BlankAttr { .. })
    ));
    assert!(matches!(
        FlatAttrs::from_stored_json(r#"{"":"x"}"#),
        Err(Error::BlankAttr { .. })
    ));
}

#[test]
fn two_keys_that_give_one_name_are_refused_with_both_spellings() {
    for (json, name, first, second) in [
        (r#"{"a":{"b":1},"a.b":2}"#, "a.b", r#""a"."b""#, r#""a.b""#),
        (r#"{"a":1,"profile.a":1}"#, "a", r#""a""#, r#""profile.a""#),
        (r#"{"a":1,"profile":{"a":2}}"#, "a", r#""a""#, r#""profile"."a""#),
        (
            r#"{"profile":{"a":2},"profile.a":1}"#,
            "a",
            r#""profile"."a""#,
            r#""profile.a""#,
        ),
        (
            r#"{"a":{"b":{"c":1},"b.c":2}}"#,
            "a.b.c",
            r#""a"."b"."c""#,
            r#""a"."b.c""#,
        ),
        // Whatever the values are today.
        (r#"{"a":null,"profile.a":1}"#, "a", r#""a""#, r#""profile.a""#),
        (r#"{"a":null,"profile.a":null}"#, "a", r#""a""#, r#""profile.a""#),
    ] {
        let error = refused(json, &JSON);
        assert!(matches!(error, Error::AttrCollision { .. }), "{json}: {error:?}");
        let detail = error.detail().expect("a detail");
        assert_eq!(
            detail,
            format!("The keys {first} and {second} both give the attribute \"{name}\".")
        );
    }
    let error = refused(r#"{"t":["x"],"t.0":"y"}"#, &INDEXED);
    assert_eq!(
        error.detail().as_deref(),
        Some(r#"The keys "t"[0] and "t.0" both give the attribute "t.0"."#)
    );
    let twice = [("a".to_owned(), json!(1)), ("a".to_owned(), json!(2))];
    assert!(matches!(
        FlatAttrs::from_pairs(twice, &JSON),
        Err(Error::AttrCollision { .. })
    ));
}

#[test]
fn what_is_no_object_is_refused() {
    for (json, found) in [
        ("null", JsonType::Null),
        ("true", JsonType::Boolean),
        ("1", JsonType::Number),
        (" \"x\"", JsonType::String),
        ("[]", JsonType::Array),
        (r#"[{"a":1}]"#, JsonType::Array),
    ] {
        assert_eq!(refused(json, &JSON), Error::AttrsNotObject { found });
        assert_eq!(FlatAttrs::from_stored_json(json), Err(Error::AttrsNotObject { found }));
    }
    for json in [
        "",
        " ",
        "{",
        "{\"a\":1",
        "{\"a\":1}}",
        "{'a':1}",
        "{\"a\":NaN}",
        "{\"a\":01}",
        "{\"a\":\"\\ud800\"}",
        "x",
    ] {
        let error = refused(json, &JSON);
        assert!(matches!(error, Error::AttrsNotJson { .. }), "{json}: {error:?}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
}

#[test]
fn nesting_is_bounded() {
    let objects = |levels: usize| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
    let arrays = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
    for levels in [1, 2, JSON_DEPTH] {
        assert!(FlatAttrs::from_json(&objects(levels), &JSON).is_ok(), "{levels}");
        for options in [&JSON, &INDEXED] {
            let found = FlatAttrs::from_json(&arrays(levels.max(2)), options);
            assert!(
                matches!(found, Ok(_) | Err(Error::NothingToSend)),
                "{levels}: {found:?}"
            );
        }
    }
    for levels in [JSON_DEPTH + 1, 127, 128, 129, 100_000] {
        for json in [objects(levels), arrays(levels), format!("{}1", "[".repeat(levels))] {
            for options in [&JSON, &INDEXED] {
                // Deep text that is no object at all may be called the one or the other.
                let error = refused(&json, options);
                assert!(matches!(error, Error::AttrsTooDeep), "{levels}: {error:?}");
                assert_eq!(error.kind(), ErrorKind::LimitExceeded);
            }
            assert!(FlatAttrs::from_stored_json(&json).is_err());
        }
    }
    // Brackets in strings do not nest.
    let brackets = "[{".repeat(1_000);
    check(
        &format!("{{\"a\":\"\\\"{brackets}\"}}"),
        &JSON,
        &[("a", &format!("\"{brackets}"))],
    );
    assert!(matches!(
        refused(&format!("{{\"a\":\"\\\"{brackets}\",}}"), &JSON),
        Error::AttrsNotJson { .. }
    ));
}

#[test]
fn only_brackets_outside_of_strings_nest() {
    // Deeper than serde_json goes itself, so that it is this that finds it.
    for key in ["]", "}", "\\\"", "\\\\"] {
        let json = format!("{{\"{key}\":").repeat(JSON_DEPTH + 1);
        assert_eq!(refused(&json, &JSON), Error::AttrsTooDeep, "{key}");
    }
    let siblings = format!("{{\"a\":[{}", "[{}],".repeat(JSON_DEPTH));
    assert!(matches!(refused(&siblings, &JSON), Error::AttrsNotJson { .. }));
}

#[test]
fn nul_is_refused() {
    for json in [r#"{"a":"x\u0000y"}"#, r#"{"a\u0000":1}"#, r#"{"a\u0000":{"b":1}}"#] {
        assert!(matches!(refused(json, &JSON), Error::NulInAttr { .. }), "{json}");
    }
    assert!(matches!(
        FlatAttrs::from_stored_json(r#"{"a":"\u0000"}"#),
        Err(Error::NulInAttr { .. })
    ));
    let options = FlattenOptions {
        null_value: Some("\0".to_owned()),
        ..JSON
    };
    assert!(matches!(refused(r#"{"a":null}"#, &options), Error::NulInAttr { .. }));
}

#[test]
fn a_long_name_cannot_be_repeated_without_bound() {
    let name = "n".repeat(1_000_000);
    let members = (0..1_000).map(|i| format!("\"{i}\":1")).collect::<Vec<_>>().join(",");
    let error = refused(&format!("{{\"{name}\":{{{members}}}}}"), &JSON);
    assert_eq!(error, Error::AttrsTooLarge);
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
    let fits = format!("{{\"a\":\"{}\"}}", "x".repeat(FLAT_BYTES - 1));
    assert!(FlatAttrs::from_json(&fits, &JSON).is_ok());
    assert_eq!(refused(&fits.replace("\"a\"", "\"ab\""), &JSON), Error::AttrsTooLarge);
    let longer_name = format!("{{\"abc\":\"{}\"}}", "x".repeat(FLAT_BYTES - 3));
    assert!(FlatAttrs::from_json(&longer_name, &JSON).is_ok());
}

#[test]
fn pairs_follow_the_same_rules() {
    let attrs = FlatAttrs::from_pairs(
        [
            ("profile.tier".to_owned(), json!("gold")),
            ("address.city".to_owned(), json!("Bern")),
            ("address".to_owned(), json!({"zip": 3000})),
            ("tags".to_owned(), json!(["a"])),
            ("gone".to_owned(), Value::Null),
        ],
        &JSON,
    );
    let attrs = attrs.expect("attrs");
    assert_eq!(
        pairs(&attrs),
        [
            ("address.city", "Bern"),
            ("address.zip", "3000"),
            ("tags", r#"["a"]"#),
            ("tier", "gold")
        ]
    );
}

#[test]
fn a_later_value_wins_a_merge() {
    let attrs = |json| FlatAttrs::from_json(json, &JSON).expect(json);
    let mut merged = FlatAttrs::default();
    assert!(merged.is_empty());
    for json in [r#"{"a":1,"b":1}"#, r#"{"b":2,"c":2}"#, r#"{"c":"","A":3}"#] {
        merged.merge(attrs(json));
    }
    assert_eq!(pairs(&merged), [("A", "3"), ("a", "1"), ("b", "2"), ("c", "")]);
    assert_eq!(merged.clone().into_iter().count(), 4);
}

#[test]
fn stored_attributes_keep_their_names() {
    let attrs = FlatAttrs::from_json(
        r#"{"profile.profile.a":1,"b":{"c":"\"\\\u0001\n\u007f\u2028é😀"}}"#,
        &JSON,
    )
    .expect("attrs");
    let text = attrs.to_json_text();
    assert_eq!(
        text,
        "{\"b.c\":\"\\\"\\\\\\u0001\\u000a\u{7f}\u{2028}é😀\",\"profile.a\":\"1\"}"
    );
    assert_eq!(FlatAttrs::from_stored_json(&text), Ok(attrs));
    assert_eq!(FlatAttrs::default().to_json_text(), "{}");
    let plain = FlatAttrs::from_json(r#"{"a b": "c d"}"#, &JSON).expect("attrs");
    assert_eq!(plain.to_json_text(), r#"{"a b":"c d"}"#);
}

#[test]
fn stored_attributes_that_were_edited_are_read_as_far_as_they_can_be() {
    let attrs = FlatAttrs::from_stored_json(r#"{"profile.a": 1.10, "b": true, "c": null, "d": "x"}"#).expect("attrs");
    assert_eq!(pairs(&attrs), [("b", "true"), ("d", "x"), ("profile.a", "1.10")]);
    for (json, found) in [(r#"{"a":{"b":1}}"#, JsonType::Object), (r#"{"a":[]}"#, JsonType::Array)] {
        let error = FlatAttrs::from_stored_json(json).expect_err(json);
        assert!(
            matches!(error, Error::StoredAttrNested { found: kind, .. } if kind == found),
            "{error:?}"
        );
    }
}

#[test]
fn arrays_setting_is_read_by_exact_name() {
    for arrays in [Arrays::Json, Arrays::Indexed] {
        assert_eq!(Arrays::parse(arrays.as_str()), Ok(arrays));
    }
    assert_eq!((Arrays::Json.as_str(), Arrays::Indexed.as_str()), ("json", "indexed"));
    assert_eq!(Arrays::default(), Arrays::Json);
    for name in ["", "JSON", "index", "json "] {
        assert!(matches!(Arrays::parse(name), Err(Error::UnknownArrays { .. })));
    }
}

#[test]
fn serde_jsons_own_key_is_nothing_special_at_the_top() {
    // serde_json passes a number of any precision around as an object with this key.
    let key = "$serde_json::private::Number";
    check(&format!("{{\"{key}\":\"1\"}}"), &JSON, &[(key, "1")]);
    let attrs = FlatAttrs::from_json(&format!("{{\"{key}\":\"x\"}}"), &JSON).expect("attrs");
    assert_eq!(FlatAttrs::from_stored_json(&attrs.to_json_text()), Ok(attrs));
}

/// Text of any characters; `any::<String>()` would leave out the controls.
pub fn text() -> impl Strategy<Value = String> + Clone {
    let any_char = prop_oneof![8 => any::<char>(), 1 => (0_u8..=0x20).prop_map(char::from)];
    prop::collection::vec(any_char, 0..24).prop_map(|chars| chars.into_iter().collect())
}

/// JSON of every shape, with keys that are likely to collide, to be blank, or to look prefixed.
pub fn values() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        4 => "[ab]",
        2 => prop::sample::select(vec!["profile", "profile.", "profile.a", "a.b", "a.", ".", "", " ", "0", "\u{2028}"])
            .prop_map(str::to_owned),
        1 => text(),
    ];
    let number = "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,25})?";
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        number.prop_map(|text| serde_json::from_str(&text).expect("a number")),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 48, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..5)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn options() -> impl Strategy<Value = FlattenOptions> {
    (any::<bool>(), prop::option::of("[-a]{0,2}")).prop_map(|(json, null_value)| FlattenOptions {
        arrays: if json { Arrays::Json } else { Arrays::Indexed },
        null_value,
    })
}

/// The same rules once more, written for clarity instead of speed: every leaf with its unprefixed name.
fn leaves(name: &str, value: &Value, options: &FlattenOptions, out: &mut Vec<(String, Option<String>)>) {
    let join = |key: &str| {
        if name.is_empty() {
            key.to_owned()
        } else {
            format!("{name}.{key}")
        }
    };
    match value {
        Value::Object(members) => members
            .iter()
            .for_each(|(key, value)| leaves(&join(key), value, options, out)),
        Value::Array(elements) if options.arrays == Arrays::Indexed => {
            elements
                .iter()
                .enumerate()
                .for_each(|(i, value)| leaves(&join(&i.to_string()), value, options, out));
        }
        _ => {
            let text = match value {
                Value::Null => options.null_value.clone(),
                Value::String(text) => Some(text.clone()),
                other => Some(serde_json::to_string(other).expect("JSON")),
            };
            out.push((name.strip_prefix("profile.").unwrap_or(name).to_owned(), text));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn flattening_agrees_with_the_rules(value in values(), options in options()) {
        let flat = FlatAttrs::from_json(&value.to_string(), &options);
        let mut expected = Vec::new();
        leaves("", &value, &options, &mut expected);
        let names = expected.iter().map(|(name, _)| name).collect::<std::collections::BTreeSet<_>>();
        match flat {
            Ok(flat) => {
                prop_assert_eq!(names.len(), expected.len(), "a collision was missed");
                let sent = expected.into_iter().filter_map(|(name, text)| Some((name, text?)));
                let mut expected: Vec<_> = sent.collect();
                expected.sort_unstable();
                prop_assert_eq!(flat.clone().into_iter().collect::<Vec<_>>(), expected);
                prop_assert!(flat.iter().all(|(name, _)| !name.trim().is_empty()));
                prop_assert!(flat.iter().all(|(name, value)| !name.contains('\0') && !value.contains('\0')));
            }
            Err(Error::AttrCollision { .. }) => prop_assert!(names.len() < expected.len()),
            Err(Error::NothingToSend) => prop_assert!(expected.iter().all(|(_, text)| text.is_none())),
            Err(Error::AttrsNotObject { .. }) => prop_assert!(!value.is_object()),
            Err(Error::NulInAttr { .. }) => prop_assert!(value.to_string().contains("\\u0000")),
            Err(Error::BlankAttr { .. }) => {}
            Err(other) => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn pairs_and_json_agree(value in values(), options in options()) {
        if let Value::Object(members) = value {
            let json = Value::Object(members.clone()).to_string();
            prop_assert_eq!(FlatAttrs::from_pairs(members, &options), FlatAttrs::from_json(&json, &options));
        }
    }

    #[test]
    fn stored_text_is_json_and_reads_back(
        members in prop::collection::btree_map(text(), text(), 0..8),
    ) {
        let pairs = members.into_iter().map(|(name, value)| (name, Value::from(value)));
        if let Ok(flat) = FlatAttrs::from_pairs(pairs, &JSON) {
            let text = flat.to_json_text();
            let independent: Map<String, Value> = serde_json::from_str(&text)?;
            prop_assert_eq!(independent.len(), flat.len());
            for (name, value) in flat.iter() {
                prop_assert_eq!(independent.get(name).and_then(Value::as_str), Some(value));
            }
            // As jsonb prints it: other spacing, other escapes.
            let spaced = serde_json::to_string_pretty(&independent)?;
            prop_assert_eq!(FlatAttrs::from_stored_json(&spaced), Ok(flat.clone()));
            prop_assert_eq!(FlatAttrs::from_stored_json(&text), Ok(flat));
        }
    }

    #[test]
    fn arbitrary_text_never_panics(
        text in prop_oneof![text(), "[\\[\\]{}\",:0-9a\\\\u. e+-]{0,60}"],
        options in options(),
    ) {
        for flat in [FlatAttrs::from_json(&text, &options), FlatAttrs::from_stored_json(&text)].into_iter().flatten() {
            prop_assert!(!flat.is_empty());
            prop_assert_eq!(FlatAttrs::from_stored_json(&flat.to_json_text()), Ok(flat));
        }
    }

    #[test]
    fn merge_is_a_union_in_which_the_later_wins(one in values(), other in values()) {
        if let (Ok(one), Ok(other)) = (
            FlatAttrs::from_json(&one.to_string(), &JSON),
            FlatAttrs::from_json(&other.to_string(), &JSON),
        ) {
            let mut merged = one.clone();
            merged.merge(other.clone());
            for (name, value) in merged.iter() {
                prop_assert_eq!(Some(value), other.get(name).or_else(|| one.get(name)));
            }
            prop_assert!(one.iter().chain(other.iter()).all(|(name, _)| merged.get(name).is_some()));
        }
    }
}

#[test]
fn what_is_nested_in_arrays_of_columns_is_bounded_too() {
    let nested = |levels: usize, member: fn(Value) -> Value| {
        let mut value = member(json!(1)).as_array().map_or(json!({}), |_| json!([]));
        for _ in 1..levels {
            value = member(value);
        }
        json!([value])
    };
    for member in [|value| json!({ "a": value }), |value| json!([value])] {
        let column = |levels| FlatAttrs::from_columns(&[("c", nested(levels, member))], &JSON);
        // The row is one level, and so is the array around all.
        assert!(column(JSON_DEPTH - 2).is_ok());
        assert_eq!(column(JSON_DEPTH - 1), Err(Error::AttrsTooDeep));
    }
}

#[test]
fn the_memory_of_attributes_is_at_least_their_text_and_not_much_more() {
    let attrs = FlatAttrs::from_pairs(
        [("n".repeat(100), "v".repeat(1_000).into()), ("m".into(), "w".into())],
        &JSON,
    )
    .expect("attributes");
    // Two strings each, in a node that is hardly more than half full, and two pieces of the heap.
    assert!(
        (1_102 + 2 * 120..1_102 + 2 * 150).contains(&attrs.memory()),
        "{}",
        attrs.memory()
    );
    let (mut merged, other) = (attrs.clone(), attrs);
    assert_eq!(merged.merge(other), 0);
}

#[test]
fn what_is_no_json_is_not_called_too_deep_as_long_as_it_is_not() {
    for (depth, error) in [
        (64, Error::AttrsNotJson { line: 1, column: 320 }),
        (65, Error::AttrsTooDeep),
    ] {
        // Each level is five characters long, and the innermost is not closed.
        let text = "{\"a\":".repeat(depth);
        assert_eq!(
            FlatAttrs::from_json(&text, &FlattenOptions::default()),
            Err(error),
            "{depth}"
        );
    }
}
