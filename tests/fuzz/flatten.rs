//! Flattens arbitrary text and holds the result to what `FlatAttrs` and `request` promise.
#![no_main]

use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value};
use target_profile_core::attrs::{Arrays, FlatAttrs, FlattenOptions};
use target_profile_core::client_code::ClientCode;
use target_profile_core::endpoint::Endpoint;
use target_profile_core::id::{IdKind, ProfileKey};
use target_profile_core::request::{MethodPolicy, build, check_fits};

/// The first byte chooses the options; a digit from 0 to 3, in the seeds.
fuzz_target!(|input: &[u8]| {
    let Some((choice, text)) = input.split_first() else {
        return;
    };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let options = FlattenOptions {
        arrays: if choice & 1 == 0 { Arrays::Json } else { Arrays::Indexed },
        null_value: (choice & 2 != 0).then(|| "-".to_owned()),
    };

    let flat = match FlatAttrs::from_json(text, &options) {
        Ok(flat) => flat,
        Err(error) => {
            for said in [Some(error.message()), error.detail(), error.hint()]
                .into_iter()
                .flatten()
            {
                assert!(said.len() < 8_000 && !said.contains(char::is_control), "{said:?}");
            }
            // What was written as stored attributes may be read as such only.
            if let Ok(stored) = FlatAttrs::from_stored_json(text) {
                check(&stored);
            }
            return;
        }
    };
    check(&flat);

    let object: Map<String, Value> = serde_json::from_str(text).expect("it has just been read");
    // No attribute hides another: there are as many as there are leaves.
    assert_eq!(
        flat.len(),
        object.values().map(|value| leaves(value, &options)).sum::<usize>()
    );
    // A value per column gives the same as the object of all columns.
    assert_eq!(FlatAttrs::from_pairs(object, &options), Ok(flat.clone()));

    // Merging an update with itself changes nothing.
    let mut merged = flat.clone();
    merged.merge(flat.clone());
    assert_eq!(merged, flat);

    let client = ClientCode::parse("acme").expect("a client code");
    let key = ProfileKey::new(client, IdKind::MboxPc, "1.28_20").expect("a key");
    let endpoint = Endpoint::default();
    for policy in [MethodPolicy::Auto, MethodPolicy::Get, MethodPolicy::Post] {
        let requests = build(&endpoint, &key, &flat, policy);
        assert_eq!(check_fits(&endpoint, &key, &flat, policy), requests.clone().map(drop));
        let Ok(requests) = requests else { continue };
        let mut pairs = 0;
        for request in &requests {
            assert!(request.bytes() <= request.method.max_bytes());
            let text = request.body.as_ref().unwrap_or(&request.url);
            assert!(text.bytes().all(|byte| byte.is_ascii_graphic()), "{text:?}");
            pairs += text.matches("&profile.").count();
        }
        assert_eq!(pairs, flat.len());
    }
});

/// How many attributes a value gives.
fn leaves(value: &Value, options: &FlattenOptions) -> usize {
    match value {
        Value::Object(members) => members.values().map(|value| leaves(value, options)).sum(),
        Value::Array(elements) if options.arrays == Arrays::Indexed => {
            elements.iter().map(|value| leaves(value, options)).sum()
        }
        Value::Null => usize::from(options.null_value.is_some()),
        _ => 1,
    }
}

/// What holds for all attributes: names and values that can be sent, and the way to a `jsonb` column and back.
fn check(flat: &FlatAttrs) {
    assert!(!flat.is_empty());
    for (name, value) in flat.iter() {
        assert!(!name.trim().is_empty(), "{name:?}");
        assert!(!name.contains('\0') && !value.contains('\0'));
    }
    let stored = flat.to_json_text();
    assert_eq!(FlatAttrs::from_stored_json(&stored).as_ref(), Ok(flat));
    let independent: Map<String, Value> = serde_json::from_str(&stored).expect("valid JSON");
    assert!(
        flat.iter().eq(independent
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str().expect("a string"))))
    );
}
