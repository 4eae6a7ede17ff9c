//! Client codes, kinds of id and ids: what is accepted, what is refused, and how.

use crate::attrs::text;
use proptest::prelude::*;
use target_profile_core::client_code::ClientCode;
use target_profile_core::error::{Error, ErrorKind};
use target_profile_core::id::{IdKind, ProfileId, ProfileKey};
use target_profile_core::limits::{MBOX_PC_CHARS, THIRD_PARTY_ID_CHARS};

const KINDS: [IdKind; 2] = [IdKind::MboxPc, IdKind::Mbox3rdPartyId];

#[test]
fn client_code_is_a_lower_case_label() {
    let longest = "a".repeat(63);
    for code in [
        "acme",
        "segmentexchangepartn",
        "a",
        "7",
        "a-b",
        "a--b",
        "3m",
        "xn-a",
        &longest,
    ] {
        let parsed = ClientCode::parse(code).expect(code);
        assert_eq!(
            (parsed.as_str(), parsed.as_ref(), parsed.to_string()),
            (code, code, code.to_owned())
        );
    }
}

#[test]
fn client_code_that_could_choose_the_host_is_refused() {
    let too_long = "a".repeat(64);
    for code in [
        "Acme",
        "acme.evil.com/",
        "x@y",
        "a b",
        "-a",
        "",
        "a-",
        "-",
        " acme",
        "acme ",
        "acme\n",
        "a.b",
        "a/b",
        "a_b",
        "a:b",
        "a%2eb",
        "acmé",
        "а",
        "a\0",
        "{client}",
        "xn--80ak6aa92e",
        "xn--",
        "ＡＣＭＥ",
        &too_long,
    ] {
        let error = ClientCode::parse(code).expect_err(code);
        assert!(matches!(error, Error::InvalidClientCode { .. }), "{code:?}: {error:?}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.hint().is_some());
    }
}

#[test]
fn id_kinds_have_targets_names_and_aliases_by_exact_case() {
    for (kind, names) in [
        (IdKind::MboxPc, ["mboxPC", "pcId", "tntId"].as_slice()),
        (IdKind::Mbox3rdPartyId, ["mbox3rdPartyId", "thirdPartyId"].as_slice()),
    ] {
        assert_eq!(kind.as_str(), names[0]);
        assert_eq!(kind.to_string(), names[0]);
        for name in names {
            assert_eq!(IdKind::parse(name), Ok(kind));
        }
    }
    for name in [
        "",
        "mboxpc",
        "MBOXPC",
        "pcid",
        "tntID",
        "mbox3rdPartyID",
        "thirdpartyid",
        "mboxPC ",
        "id",
    ] {
        let error = IdKind::parse(name).expect_err(name);
        assert!(matches!(error, Error::UnknownIdKind { .. }));
        let hint = error.hint().expect("a hint");
        for name in ["mboxPC", "pcId", "tntId", "mbox3rdPartyId", "thirdPartyId"] {
            assert!(hint.contains(name), "{hint}");
        }
    }
}

#[test]
fn ids_are_kept_as_given() {
    let longest = "x".repeat(MBOX_PC_CHARS);
    for id in [
        "1368007744041-575948.01_00",
        "111492025094307-353046",
        "1.28_20",
        "a+b",
        "a/b",
        "1",
        " 1 ",
        "ключ",
        &longest,
    ] {
        assert_eq!(ProfileId::parse(IdKind::MboxPc, id).expect(id).as_str(), id);
    }
    // Characters, not bytes: 256 of four bytes each.
    let longest = "😀".repeat(THIRD_PARTY_ID_CHARS);
    for id in [
        "123456",
        "123-test",
        "a.b.c",
        "user@example.com",
        " 1",
        "1 ",
        "a b",
        "a&b=c#d%",
        "Ünï",
        "0",
        &longest,
    ] {
        assert_eq!(ProfileId::parse(IdKind::Mbox3rdPartyId, id).expect(id).as_str(), id);
    }
}

#[test]
fn ids_that_target_forbids_are_refused() {
    for id in ["", " ", "\t\n", "\u{a0}\u{3000}"] {
        for kind in KINDS {
            assert_eq!(ProfileId::parse(kind, id), Err(Error::BlankId { kind }));
        }
    }
    for (id, forbidden) in [("a+b", '+'), ("a/b", '/'), ("+", '+'), ("a/b+c", '/')] {
        let error = ProfileId::parse(IdKind::Mbox3rdPartyId, id).expect_err(id);
        assert!(
            matches!(error, Error::IdCharacter { character, .. } if character == forbidden),
            "{error:?}"
        );
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    }
    for id in ["a\0b", "a\nb", "\u{7f}", "a\u{85}", "a\u{9b}b"] {
        for kind in KINDS {
            let error = ProfileId::parse(kind, id).expect_err(id);
            assert!(
                matches!(error, Error::IdCharacter { character, .. } if character.is_control()),
                "{error:?}"
            );
            let detail = error.detail().expect("a detail");
            assert!(!detail.contains(char::is_control), "{detail:?}");
        }
    }
    for id in ["a.b.c", "..", "1.28_20."] {
        assert!(matches!(
            ProfileId::parse(IdKind::MboxPc, id),
            Err(Error::IdDots { .. })
        ));
    }
}

#[test]
fn ids_of_one_character_too_many_are_refused() {
    for (kind, most) in [(IdKind::MboxPc, 128), (IdKind::Mbox3rdPartyId, 256)] {
        assert_eq!(kind.max_chars(), most);
        for letter in ["x", "é"] {
            assert!(ProfileId::parse(kind, &letter.repeat(most)).is_ok());
            let error = ProfileId::parse(kind, &letter.repeat(most + 1)).expect_err("too long");
            assert!(
                matches!(error, Error::IdTooLong { chars, .. } if chars == most + 1),
                "{error:?}"
            );
            assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        }
    }
}

#[test]
fn a_key_checks_its_id_by_its_own_kind() {
    let client = ClientCode::parse("acme").expect("a code");
    assert!(ProfileKey::new(client.clone(), IdKind::MboxPc, "a+b").is_ok());
    assert!(ProfileKey::new(client.clone(), IdKind::Mbox3rdPartyId, "a+b").is_err());
    let key = ProfileKey::new(client, IdKind::Mbox3rdPartyId, "a.b.c").expect("a key");
    assert_eq!((key.kind, key.id.as_str()), (IdKind::Mbox3rdPartyId, "a.b.c"));
}

proptest! {
    #[test]
    fn whatever_is_accepted_is_a_label(
        text in prop_oneof![text(), "[a-z0-9-]{0,70}", "(xn--)?[A-Za-z0-9.-]{0,5}"],
    ) {
        let rfc_1035 = !text.is_empty()
            && text.len() <= 63
            && text.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-'))
            && !text.starts_with('-')
            && !text.ends_with('-');
        prop_assert_eq!(ClientCode::parse(&text).is_ok(), rfc_1035 && !text.starts_with("xn--"));
    }

    #[test]
    fn whatever_is_accepted_is_kept_and_allowed(text in prop_oneof![text(), "[a-c.+/ ]{0,6}"]) {
        for kind in KINDS {
            if let Ok(id) = ProfileId::parse(kind, &text) {
                prop_assert_eq!(id.as_str(), &text);
                prop_assert!(!text.trim().is_empty());
                prop_assert!(!text.contains(char::is_control));
                match kind {
                    IdKind::MboxPc => prop_assert!(text.split('.').count() <= 2),
                    IdKind::Mbox3rdPartyId => prop_assert!(!text.contains(['+', '/'])),
                }
            }
        }
    }
}

#[test]
fn an_id_is_shown_as_it_was_given() {
    let id = ProfileId::parse(IdKind::Mbox3rdPartyId, "C 1").unwrap();
    assert_eq!(id.to_string(), "C 1");
}

#[test]
fn each_part_of_a_profile_is_in_its_fingerprint() {
    let fingerprint = |client: &str, kind, id| {
        let client = ClientCode::parse(client).unwrap();
        ProfileKey::new(client, kind, id).unwrap().fingerprint()
    };
    let kind = IdKind::Mbox3rdPartyId;
    let one = fingerprint("acme", kind, "C1");
    assert_eq!(fingerprint("acme", kind, "C1"), one);
    let others = [
        fingerprint("beta", kind, "C1"),
        fingerprint("acme", IdKind::MboxPc, "C1"),
        fingerprint("acme", kind, "C2"),
    ];
    assert!(!others.contains(&one), "{one} {others:?}");
}
