//! What errors say: the style of Postgres, bounded, printable.

use target_profile_core::attrs::{Arrays, FlatAttrs, FlattenOptions};
use target_profile_core::client_code::ClientCode;
use target_profile_core::endpoint::Endpoint;
use target_profile_core::error::{Error, Excerpt};
use target_profile_core::id::{IdKind, ProfileId, ProfileKey};
use target_profile_core::limits::{EXCERPT_CHARS, POST_BODY_BYTES};
use target_profile_core::request::{Method, MethodPolicy, check_fits};

/// One of each kind, made of values that are long and hostile.
fn errors() -> Vec<Error> {
    let nasty = format!("a\0\u{1b}[2J\r\n\"\u{202e}\u{200b}{}", "ü".repeat(10_000));
    let options = FlattenOptions::default();
    let from_json = |json: &str| FlatAttrs::from_json(json, &options).expect_err(json);
    let quoted = serde_json::to_string(&nasty).expect("JSON");
    let client = ClientCode::parse("acme").expect("a code");
    let key = ProfileKey::new(client, IdKind::MboxPc, "1").expect("a key");
    let attrs = FlatAttrs::from_pairs([(nasty.replace('\0', ""), "x".repeat(60_000).into())], &options).expect("attrs");
    let too_large = |policy| check_fits(&Endpoint::default(), &key, &attrs, policy).expect_err("too large");
    let endpoint = |template: &str| Endpoint::parse(template).expect_err(template);
    vec![
        ClientCode::parse(&nasty).expect_err("client code"),
        IdKind::parse(&nasty).expect_err("kind"),
        ProfileId::parse(IdKind::MboxPc, "").expect_err("blank"),
        ProfileId::parse(IdKind::MboxPc, &nasty).expect_err("character"),
        ProfileId::parse(IdKind::Mbox3rdPartyId, &nasty).expect_err("character"),
        ProfileId::parse(IdKind::MboxPc, &"a.".repeat(1_000)).expect_err("dots"),
        ProfileId::parse(IdKind::Mbox3rdPartyId, &"\u{202e}".repeat(1_000)).expect_err("too long"),
        Arrays::parse(&nasty).expect_err("arrays"),
        MethodPolicy::parse(&nasty).expect_err("method"),
        from_json("{\n\"a\":"),
        from_json("7"),
        from_json(&format!("{{{quoted}:{{\" \":1}}}}")),
        from_json(&format!("{{{quoted}:1}}")),
        from_json("{\"a\":{\"b\":1},\"a.b\":2}"),
        from_json(&format!("{{\"a\":{}}}", "[".repeat(100))),
        from_json("{}"),
        FlatAttrs::from_pairs([("x".repeat(1 << 24), 1.into())], &options).expect_err("too large"),
        FlatAttrs::from_stored_json("{\"a\":[]}").expect_err("nested"),
        too_large(MethodPolicy::Get),
        too_large(MethodPolicy::Post),
        endpoint(&nasty),
        endpoint(&format!("http://example.com/{}", "x".repeat(1_000))),
        endpoint("https://a@b/"),
        endpoint(&format!("https://{nasty}?a")),
        endpoint(&format!("https://{nasty}{{")),
        endpoint(&format!("https://{nasty}.{{client}}")),
        endpoint(&format!("https://example.com/{nasty}")),
        endpoint(&format!("https://example.com/{}", "x".repeat(1_000))),
    ]
    .into_iter()
    .collect()
}

#[test]
fn messages_are_in_the_style_of_postgres() {
    for error in errors() {
        let message = error.message();
        assert_eq!(message, error.to_string());
        assert!(
            message.starts_with(|c: char| c.is_lowercase()) && !message.ends_with('.'),
            "{message}"
        );
        for sentence in [error.detail(), error.hint()].into_iter().flatten() {
            assert!(
                sentence.starts_with(|c: char| c.is_uppercase()) && sentence.ends_with('.'),
                "{sentence}"
            );
        }
        println!(
            "{message}\n  DETAIL:  {:?}\n  HINT:  {:?}",
            error.detail(),
            error.hint()
        );
    }
}

#[test]
fn what_an_error_shows_is_bounded_and_printable() {
    for error in errors() {
        let shown = [Some(error.message()), error.detail(), error.hint()];
        for text in shown.into_iter().flatten() {
            assert!(text.len() < 3_000, "{} bytes: {text}", text.len());
            assert!(
                !text.contains(|c: char| c.is_control() || matches!(c, '\u{202e}' | '\u{200b}')),
                "{text:?}"
            );
        }
        assert!(
            format!("{error:?}").len() < 4_000,
            "an error must not drag the value along"
        );
    }
}

#[test]
fn an_excerpt_is_cut_at_a_character_and_shows_what_is_invisible() {
    for (text, shown) in [
        ("", ""),
        ("a \"b\" ü 日本 😀", "a \"b\" ü 日本 😀"),
        ("a\tb\nc\0d\u{85}e\u{feff}", "a\\tb\\nc\\u{0}d\\u{85}e\\u{feff}"),
    ] {
        assert_eq!(Excerpt::of(text).to_string(), shown);
    }
    let fits = "ü".repeat(EXCERPT_CHARS);
    assert_eq!(Excerpt::of(&fits).to_string(), fits);
    assert_eq!(Excerpt::of(&(fits.clone() + "x")).to_string(), fits + "…");
}

#[test]
fn another_method_is_suggested_only_where_the_attribute_fits_it() {
    let too_large = |method, bytes| Error::AttrTooLarge {
        name: Excerpt::of("a"),
        bytes,
        room: 7_000,
        method,
    };
    for (method, bytes, suggested) in [
        (Method::Get, POST_BODY_BYTES - 1, true),
        (Method::Get, POST_BODY_BYTES, false),
        (Method::Post, POST_BODY_BYTES - 1, false),
    ] {
        let hint = too_large(method, bytes).hint();
        assert_eq!(
            hint.is_some_and(|hint| hint.contains("auto or post")),
            suggested,
            "{method:?} {bytes}"
        );
    }
}

/// All that a reader sees, of values as they are.
#[test]
fn errors_say_what_is_wrong_and_what_to_do() {
    let options = FlattenOptions::default();
    let from_json = |json: &str| FlatAttrs::from_json(json, &options).unwrap_err();
    let id = |kind, id: &str| ProfileId::parse(kind, id).unwrap_err();
    let endpoint = |template: &str| Endpoint::parse(template).unwrap_err();
    let key = ProfileKey::new(ClientCode::parse("acme").unwrap(), IdKind::MboxPc, "1").unwrap();
    let too_large = |bytes: usize, policy| {
        let attrs = FlatAttrs::from_pairs([("bio".to_owned(), "x".repeat(bytes).into())], &options).unwrap();
        check_fits(&Endpoint::default(), &key, &attrs, policy).unwrap_err()
    };
    let errors = [
        ClientCode::parse("Acme Corp").unwrap_err(),
        IdKind::parse("email").unwrap_err(),
        id(IdKind::MboxPc, " "),
        id(IdKind::MboxPc, "a\tb"),
        id(IdKind::Mbox3rdPartyId, "a+b"),
        id(IdKind::MboxPc, "1.2.3"),
        id(IdKind::MboxPc, &"a".repeat(129)),
        Arrays::parse("flat").unwrap_err(),
        MethodPolicy::parse("put").unwrap_err(),
        from_json("{\"a\":"),
        from_json("null"),
        from_json("true"),
        from_json("7"),
        from_json("\"a\""),
        from_json("[]"),
        from_json("{\"a\":{\" \":1}}"),
        from_json("{\"a\\u0000\":1}"),
        from_json("{\"a\":{\"b\":1},\"a.b\":2}"),
        from_json(&format!("{{\"a\":{}}}", "[".repeat(100))),
        from_json("{}"),
        FlatAttrs::from_pairs([("x".repeat(1 << 24), 1.into())], &options).unwrap_err(),
        FlatAttrs::from_stored_json("{\"a\":{}}").unwrap_err(),
        Error::AttrsTooMany,
        Error::ValueTooLarge { bytes: 20_000_000 },
        too_large(10_000, MethodPolicy::Get),
        too_large(70_000, MethodPolicy::Get),
        too_large(70_000, MethodPolicy::Post),
        endpoint("example"),
        endpoint("http://example.com/update"),
        endpoint("https://user@example.com/"),
        endpoint("https://example.com/update?a=b"),
        endpoint("https://example.com/{tenant}"),
        endpoint("https://example.{client}/"),
        endpoint("https://example.com/%2"),
        endpoint("https://EXAMPLE.com/"),
        endpoint(&format!("https://example.com/{}", "x".repeat(1_000))),
    ];
    let mut text = String::new();
    for error in errors {
        text.push_str(&format!("{:?}: {}\n", error.kind(), error.message()));
        for (label, sentence) in [("DETAIL", error.detail()), ("HINT", error.hint())] {
            if let Some(sentence) = sentence {
                text.push_str(&format!("  {label}: {sentence}\n"));
            }
        }
    }
    assert_eq!(text, include_str!("errors.txt"), "\n{text}");
}
