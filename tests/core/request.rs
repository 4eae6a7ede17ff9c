//! Requests: encoding, the choice of method, the limits, and splitting without loss.

use crate::attrs::text;
use proptest::prelude::*;
use serde_json::Value;
use target_profile_core::attrs::{Arrays, FlatAttrs, FlattenOptions};
use target_profile_core::client_code::ClientCode;
use target_profile_core::endpoint::Endpoint;
use target_profile_core::error::{Error, ErrorKind};
use target_profile_core::id::{IdKind, ProfileKey};
use target_profile_core::limits::{GET_URL_BYTES, POST_BODY_BYTES};
use target_profile_core::request::{Method, MethodPolicy, Plan, Request, build, check_fits};
use url::{Url, form_urlencoded};

const POLICIES: [MethodPolicy; 3] = [MethodPolicy::Auto, MethodPolicy::Get, MethodPolicy::Post];

fn key(client: &str, kind: IdKind, id: &str) -> ProfileKey {
    ProfileKey::new(ClientCode::parse(client).expect(client), kind, id).expect(id)
}

fn acme() -> ProfileKey {
    key("acme", IdKind::Mbox3rdPartyId, "1")
}

fn attrs(json: &str) -> FlatAttrs {
    FlatAttrs::from_json(json, &FlattenOptions::default()).expect(json)
}

fn one(name: &str, value: &str) -> FlatAttrs {
    FlatAttrs::from_pairs([(name.to_owned(), value.into())], &FlattenOptions::default()).expect(name)
}

fn made(key: &ProfileKey, attrs: &FlatAttrs, policy: MethodPolicy) -> Vec<Request> {
    let endpoint = Endpoint::default();
    assert_eq!(check_fits(&endpoint, key, attrs, policy), Ok(()));
    let requests = build(&endpoint, key, attrs, policy).expect("requests");
    let plan = Plan::of(&endpoint, key, attrs, policy).expect("a plan");
    assert_eq!(plan.parts(), requests.len());
    requests
}

/// The pairs of a request, by a decoder that is not ours.
fn decoded(request: &Request) -> Vec<(String, String)> {
    let text = match (&request.method, &request.body) {
        (Method::Get, None) => request.url.split_once('?').expect("a query").1,
        (Method::Post, Some(body)) => body,
        _ => panic!("{request:?}"),
    };
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

#[track_caller]
fn same_pairs(request: &Request, expected: &str) {
    let mut expected: Vec<_> = form_urlencoded::parse(expected.as_bytes()).into_owned().collect();
    let mut pairs = decoded(request);
    expected.sort_unstable();
    pairs.sort_unstable();
    assert_eq!(pairs, expected);
}

#[test]
fn vectors() {
    let doc = attrs(r#"{"attr":0,"attr2":1}"#);
    for (kind, id, query) in [
        (
            IdKind::MboxPc,
            "1368007744041-575948.01_00",
            "mboxPC=1368007744041-575948.01_00&profile.attr=0&profile.attr2=1",
        ),
        (
            IdKind::Mbox3rdPartyId,
            "123456",
            "mbox3rdPartyId=123456&profile.attr=0&profile.attr2=1",
        ),
    ] {
        for policy in POLICIES {
            let requests = made(&key("acme", kind, id), &doc, policy);
            assert_eq!(requests.len(), 1);
            same_pairs(&requests[0], query);
        }
    }

    let segment = attrs(r#"{"city":"New York City","name":"Rajul","age":"21","param1":"value1","param2":"value2"}"#);
    let requests = made(
        &key("segmentexchangepartn", IdKind::Mbox3rdPartyId, "123-test"),
        &segment,
        MethodPolicy::Auto,
    );
    let url = "https://segmentexchangepartn.tt.omtrdc.net/m2/segmentexchangepartn/profile/update\
               ?mbox3rdPartyId=123-test\
               &profile.city=New%20York%20City&profile.name=Rajul&profile.age=21\
               &profile.param1=value1&profile.param2=value2";
    let (base, query) = url.split_once('?').expect("a query");
    assert_eq!(requests.len(), 1);
    assert_eq!(requests[0].url.split_once('?').expect("a query").0, base);
    assert!(
        requests[0].url.contains("&profile.city=New%20York%20City&"),
        "{}",
        requests[0].url
    );
    assert_eq!(requests[0].url.len(), url.len());
    same_pairs(&requests[0], query);

    let indexed = FlattenOptions {
        arrays: Arrays::Indexed,
        null_value: None,
    };
    let tags = FlatAttrs::from_json(r#"{"tags":["a","b"],"n":0,"f":false,"e":"","x":1.5}"#, &indexed).expect("attrs");
    let expected = "profile.tags.0=a&profile.tags.1=b&profile.n=0&profile.f=false&profile.e=&profile.x=1.5";
    same_pairs(
        &made(&acme(), &tags, MethodPolicy::Auto)[0],
        &format!("mbox3rdPartyId=1&{expected}"),
    );

    let names = attrs(r#"{"profile.key1":"test1.!","key2":"test2~","profileLevel":1,"Attr":1,"attr":2}"#);
    let expected = "mbox3rdPartyId=1&profile.key1=test1.!&profile.key2=test2~\
                    &profile.profileLevel=1&profile.Attr=1&profile.attr=2";
    same_pairs(&made(&acme(), &names, MethodPolicy::Auto)[0], expected);
}

#[test]
fn the_last_get() {
    let empty = made(&acme(), &one("a", ""), MethodPolicy::Auto);
    assert_eq!(
        empty[0].url,
        "https://acme.tt.omtrdc.net/m2/acme/profile/update?mbox3rdPartyId=1&profile.a="
    );
    assert_eq!(empty[0].bytes(), 77);

    let last = made(&acme(), &one("a", &"a".repeat(7_923)), MethodPolicy::Auto);
    assert_eq!(
        (last.len(), last[0].method, last[0].url.len(), last[0].bytes()),
        (1, Method::Get, 8_000, 8_000)
    );
    let next = made(&acme(), &one("a", &"a".repeat(7_924)), MethodPolicy::Auto);
    assert_eq!((next.len(), next[0].method), (1, Method::Post));
    assert_eq!(next[0].url, "https://acme.tt.omtrdc.net/m2/acme/profile/update");
    assert_eq!(next[0].bytes(), "mbox3rdPartyId=1&profile.a=".len() + 7_924);
}

#[test]
fn size_counts_after_encoding() {
    // 9 bytes for a CJK character, 12 for an emoji.
    for (text, bytes) in [("日", 9), ("😀", 12), ("é", 6), ("&", 3), (" ", 3), ("~", 1)] {
        let fits = 7_923 / bytes;
        assert_eq!(
            made(&acme(), &one("a", &text.repeat(fits)), MethodPolicy::Auto)[0].method,
            Method::Get
        );
        assert_eq!(
            made(&acme(), &one("a", &text.repeat(fits + 1)), MethodPolicy::Auto)[0].method,
            Method::Post
        );
    }
}

#[test]
fn every_reserved_character_is_encoded() {
    let value = "&=+#%/?:@!$'()*,;[]\"<>\\^`{|} \t\r\n\u{7f}é日😀-._~aZ09";
    let encoded = "%26%3D%2B%23%25%2F%3F%3A%40%21%24%27%28%29%2A%2C%3B%5B%5D%22%3C%3E%5C%5E%60%7B%7C%7D%20%09%0D%0A%7F\
                   %C3%A9%E6%97%A5%F0%9F%98%80-._~aZ09";
    for policy in POLICIES {
        let requests = made(&key("acme", IdKind::MboxPc, "a+b&c=d"), &one(value, value), policy);
        let text = requests[0].body.as_ref().unwrap_or(&requests[0].url);
        assert!(
            text.ends_with(&format!("mboxPC=a%2Bb%26c%3Dd&profile.{encoded}={encoded}")),
            "{text}"
        );
        let expected = [
            ("mboxPC".to_owned(), "a+b&c=d".to_owned()),
            (format!("profile.{value}"), value.to_owned()),
        ];
        assert_eq!(decoded(&requests[0]), expected);
    }
}

#[test]
fn an_attribute_cannot_pose_as_the_id() {
    let requests = made(
        &acme(),
        &attrs(r#"{"mbox3rdPartyId":"2","x&mboxPC":"3"}"#),
        MethodPolicy::Auto,
    );
    same_pairs(
        &requests[0],
        "mbox3rdPartyId=1&profile.mbox3rdPartyId=2&profile.x%26mboxPC=3",
    );
}

#[test]
fn a_forced_method_is_used_whatever_the_size() {
    let small = one("a", "1");
    let posts = made(&acme(), &small, MethodPolicy::Post);
    assert_eq!(posts.len(), 1);
    assert_eq!((posts[0].method, posts[0].method.as_str()), (Method::Post, "POST"));
    assert_eq!(posts[0].body.as_deref(), Some("mbox3rdPartyId=1&profile.a=1"));

    let pairs = (0..20).map(|i| (format!("a{i:02}"), Value::from("x".repeat(1_000))));
    let large = FlatAttrs::from_pairs(pairs, &FlattenOptions::default()).expect("attrs");
    let gets = made(&acme(), &large, MethodPolicy::Get);
    assert_eq!(gets.len(), 3);
    assert!(
        gets.iter()
            .all(|get| get.method.as_str() == "GET" && get.body.is_none() && get.url.len() <= GET_URL_BYTES)
    );
}

#[test]
fn post_is_split_between_attributes_at_the_limit() {
    let head = "mbox3rdPartyId=1".len();
    let pair = "&profile.a=".len();
    // Two that fill a body to the byte.
    let half = (POST_BODY_BYTES - head) / 2 - pair;
    let two = |extra: usize| {
        let pairs = [("a", half), ("b", half + extra)].map(|(name, bytes)| (name.to_owned(), "x".repeat(bytes).into()));
        FlatAttrs::from_pairs(pairs, &FlattenOptions::default()).expect("attrs")
    };
    let together = made(&acme(), &two(0), MethodPolicy::Auto);
    assert_eq!((together.len(), together[0].bytes()), (1, POST_BODY_BYTES));
    // The next part begins with the same room as the first.
    let four = |extra: usize| {
        let pairs = [("a", half), ("b", half), ("c", half), ("d", half + extra)];
        let pairs = pairs.map(|(name, bytes)| (name.to_owned(), "x".repeat(bytes).into()));
        FlatAttrs::from_pairs(pairs, &FlattenOptions::default()).expect("attrs")
    };
    let sizes = |attrs| {
        made(&acme(), &attrs, MethodPolicy::Post)
            .iter()
            .map(Request::bytes)
            .collect::<Vec<_>>()
    };
    assert_eq!(sizes(four(0)), [POST_BODY_BYTES, POST_BODY_BYTES]);
    let single = POST_BODY_BYTES - half - pair;
    assert_eq!(sizes(four(1)), [POST_BODY_BYTES, single, single + 1]);

    let apart = made(&acme(), &two(1), MethodPolicy::Auto);
    assert_eq!(apart.len(), 2);
    for (request, name) in apart.iter().zip(["profile.a", "profile.b"]) {
        let pairs = decoded(request);
        assert_eq!((pairs[0].0.as_str(), pairs[0].1.as_str()), ("mbox3rdPartyId", "1"));
        assert_eq!((pairs.len(), pairs[1].0.as_str()), (2, name));
    }
}

/// The next request may be made of newer values than the plan was, and is never none as long as something is left.
#[test]
fn an_attribute_that_has_grown_beyond_the_limit_goes_by_itself() {
    let endpoint = Endpoint::default();
    let plan = Plan::of(&endpoint, &acme(), &one("a", "x"), MethodPolicy::Post).expect("a plan");
    let pairs = ["a", "b"].map(|name| (name.to_owned(), "x".repeat(POST_BODY_BYTES).into()));
    let grown = FlatAttrs::from_pairs(pairs, &FlattenOptions::default()).expect("attrs");
    assert_eq!(plan.next(&acme(), &grown).expect("a request").attrs, 1);
}

#[test]
fn what_cannot_fit_is_refused_with_its_size() {
    let endpoint = Endpoint::default();
    for (policy, method, limit, frame) in [
        (MethodPolicy::Get, Method::Get, GET_URL_BYTES, 66),
        (MethodPolicy::Post, Method::Post, POST_BODY_BYTES, 16),
        (MethodPolicy::Auto, Method::Post, POST_BODY_BYTES, 16),
    ] {
        assert_eq!(method.max_bytes(), limit);
        let room = limit - frame;
        let most = room - "&profile.big=".len();
        let fits = one("big", &"x".repeat(most));
        let requests = made(&acme(), &fits, policy);
        assert_eq!((requests.len(), requests[0].bytes()), (1, limit));

        let mut too_large = one("big", &"x".repeat(most + 1));
        too_large.merge(attrs(r#"{"a":1,"z":1}"#));
        let error = build(&endpoint, &acme(), &too_large, policy).expect_err("too large");
        assert_eq!(check_fits(&endpoint, &acme(), &too_large, policy), Err(error.clone()));
        assert!(
            matches!(error, Error::AttrTooLarge { bytes, room: left, method: m, .. }
            if bytes == room + 1 && left == room && m == method),
            "{error:?}"
        );
        assert_eq!(error.kind(), ErrorKind::LimitExceeded);
        let detail = error.detail().expect("a detail");
        for part in ["\"big\"", &(room + 1).to_string(), &limit.to_string(), method.as_str()] {
            assert!(detail.contains(part), "{detail}");
        }
        let hint = error.hint().expect("a hint");
        assert_eq!(hint.contains("method is auto or post"), policy == MethodPolicy::Get);
    }
}

#[test]
fn the_longest_id_leaves_room() {
    let longest = "😀".repeat(256);
    for policy in POLICIES {
        let requests = made(
            &key(&"c".repeat(63), IdKind::Mbox3rdPartyId, &longest),
            &one("a", &"x".repeat(3_000)),
            policy,
        );
        assert_eq!(requests.len(), 1);
    }
}

#[test]
fn nothing_makes_no_request() {
    for policy in POLICIES {
        assert_eq!(made(&acme(), &FlatAttrs::default(), policy), []);
    }
}

#[test]
fn building_is_linear() {
    let attrs = |count: usize| {
        let pairs = (0..count).map(|i| (format!("attribute{i}"), Value::from("é".repeat(10))));
        FlatAttrs::from_pairs(pairs, &FlattenOptions::default()).expect("attrs")
    };
    let (small, large) = (attrs(1_000), attrs(32_000));
    let time = |attrs: &FlatAttrs| {
        (0..3)
            .map(|_| {
                let start = std::time::Instant::now();
                assert!(made(&acme(), attrs, MethodPolicy::Get).len() > 1);
                start.elapsed()
            })
            .min()
            .expect("a time")
    };
    // 32 times the work; 1,024 times if it were quadratic.
    let (one, many) = (time(&small), time(&large));
    assert!(many < one * 320, "{one:?} and {many:?}");
}

#[test]
fn method_setting_is_read_by_exact_name() {
    for policy in POLICIES {
        assert_eq!(MethodPolicy::parse(policy.as_str()), Ok(policy));
    }
    assert_eq!(POLICIES.map(MethodPolicy::as_str), ["auto", "get", "post"]);
    assert_eq!(MethodPolicy::default(), MethodPolicy::Auto);
    for name in ["", "AUTO", "GET", "put", "post "] {
        assert!(matches!(MethodPolicy::parse(name), Err(Error::UnknownMethod { .. })));
    }
}

fn keys() -> impl Strategy<Value = ProfileKey> {
    let code = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
    let id = prop_oneof![text(), "[a-z0-9]{1,20}", "[😀-😏]{256}"];
    (code, any::<bool>(), id).prop_filter_map("not an id", |(code, pc, id)| {
        let kind = if pc { IdKind::MboxPc } else { IdKind::Mbox3rdPartyId };
        ProfileKey::new(ClientCode::parse(&code).ok()?, kind, &id).ok()
    })
}

fn policies() -> impl Strategy<Value = MethodPolicy> {
    prop::sample::select(&POLICIES[..])
}

/// Few and many attributes, small and large, up to and beyond what one request holds.
fn updates() -> impl Strategy<Value = FlatAttrs> {
    let name = prop_oneof![3 => "[a-z.]{1,12}", 1 => text()];
    let text = prop_oneof![
        8 => text(),
        4 => (prop::sample::select(vec!["a", "é", "日", "&", "😀 "]), 0_usize..9_000)
            .prop_map(|(text, times)| text.repeat(times)),
        1 => (59_900_usize..60_050).prop_map(|times| "x".repeat(times)),
        1 => (7_000_usize..8_050).prop_map(|times| "x".repeat(times)),
    ];
    let none_left = "no attribute is valid";
    prop::collection::btree_map(name, text, 1..12).prop_filter_map(none_left, |members| {
        let mut flat = FlatAttrs::default();
        for (name, value) in members {
            flat.merge(FlatAttrs::from_pairs([(name, value.into())], &FlattenOptions::default()).ok()?);
        }
        Some(flat)
    })
}

proptest! {

    #[test]
    fn requests_fit_lose_nothing_and_decode_to_what_was_given(key in keys(), attrs in updates(), policy in policies()) {
        let endpoint = Endpoint::default();
        let requests = match build(&endpoint, &key, &attrs, policy) {
            Ok(requests) => requests,
            Err(error) => {
                prop_assert!(matches!(error, Error::AttrTooLarge { .. }), "{:?}", error);
                return Ok(());
            }
        };
        let mut pairs = Vec::new();
        for request in &requests {
            match policy {
                MethodPolicy::Auto => prop_assert!(request.method == Method::Post || requests.len() == 1),
                MethodPolicy::Get => prop_assert_eq!(request.method, Method::Get),
                MethodPolicy::Post => prop_assert_eq!(request.method, Method::Post),
            }
            let base = endpoint.url_for(&key.client);
            match &request.body {
                None => {
                    prop_assert!(request.url.len() <= 8_000);
                    prop_assert_eq!(request.bytes(), request.url.len());
                    let start = format!("{base}?");
                    prop_assert!(request.url.starts_with(&start));
                    // What is measured is what is sent: parsing the URL changes nothing.
                    let url = Url::parse(&request.url)?;
                    prop_assert_eq!(url.as_str(), &request.url);
                }
                Some(body) => {
                    prop_assert!(body.len() <= 60_000);
                    prop_assert_eq!(request.bytes(), body.len());
                    prop_assert_eq!(&request.url, &base);
                }
            }
            let mut decoded = decoded(request);
            prop_assert_eq!(decoded.remove(0), (key.kind.as_str().to_owned(), key.id.as_str().to_owned()));
            prop_assert!(!decoded.is_empty(), "a request for nothing");
            pairs.append(&mut decoded);
        }
        let sent = attrs.iter().map(|(name, value)| (format!("profile.{name}"), value.to_owned()));
        let expected: Vec<_> = sent.collect();
        prop_assert_eq!(pairs, expected);
        // No request is begun before the last is full.
        for two in requests.windows(2) {
            let next = two[1].body.as_ref().unwrap_or(&two[1].url);
            let pair = next.split('&').nth(1).map_or(0, |pair| pair.len() + 1);
            prop_assert!(two[0].bytes() + pair > two[0].method.max_bytes());
        }
    }

    #[test]
    fn auto_is_a_get_exactly_if_the_whole_fits(key in keys(), attrs in updates()) {
        let endpoint = Endpoint::default();
        let gets = build(&endpoint, &key, &attrs, MethodPolicy::Get);
        let auto = build(&endpoint, &key, &attrs, MethodPolicy::Auto);
        if gets.as_ref().is_ok_and(|gets| gets.len() == 1) {
            prop_assert_eq!(auto, gets);
        } else {
            prop_assert_eq!(auto, build(&endpoint, &key, &attrs, MethodPolicy::Post));
        }
    }

    #[test]
    fn check_fits_agrees_with_build(key in keys(), attrs in updates(), policy in policies()) {
        let endpoint = Endpoint::default();
        prop_assert_eq!(check_fits(&endpoint, &key, &attrs, policy), build(&endpoint, &key, &attrs, policy).map(drop));
    }

    #[test]
    fn merging_what_fits_fits(key in keys(), one in updates(), other in updates(), policy in policies()) {
        let endpoint = Endpoint::default();
        let fits = |attrs: &FlatAttrs| check_fits(&endpoint, &key, attrs, policy).is_ok();
        if fits(&one) && fits(&other) {
            let mut merged = one.clone();
            merged.merge(other);
            prop_assert!(build(&endpoint, &key, &merged, policy).is_ok());
        }
    }
}
