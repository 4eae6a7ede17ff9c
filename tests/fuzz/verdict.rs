//! Judges arbitrary responses and holds the verdict to what `judge` promises.
#![no_main]

use libfuzzer_sys::fuzz_target;
use target_profile_core::limits::MESSAGE_BYTES;
use target_profile_core::verdict::{Outcome, body_for_record, judge};

/// The first two bytes are the status, so that a seed is readable text: `"  "` stands for 200.
fuzz_target!(|input: &[u8]| {
    let Some((status, body)) = input.split_first_chunk::<2>() else {
        return;
    };
    let status = if status == b"  " {
        200
    } else {
        u16::from_be_bytes(*status)
    };
    let is_success = (200..300).contains(&status);
    let verdict = judge(status, body);

    if let Some(message) = &verdict.message {
        assert!(!message.is_empty() && message.len() <= MESSAGE_BYTES);
        assert!(!message.contains(char::is_control), "{message:?}");
    }
    let says = |word: &[u8]| body.windows(word.len()).any(|window| window == word);
    match verdict.outcome {
        Outcome::Accepted => {
            assert!(is_success && says(b"true"));
            assert!((says(b"<response") && says(b"</response")) || says(b"submitted"));
        }
        Outcome::Rejected => assert!(if is_success {
            says(b"false")
        } else {
            (300..500).contains(&status)
        }),
        Outcome::Unrecognised => assert!(is_success),
        Outcome::Unauthorized => assert!(matches!(status, 401 | 403)),
        Outcome::Throttled => assert!(matches!(status, 420 | 429 | 503)),
        Outcome::Failed => assert!(!(200..400).contains(&status)),
    }
    // What is not understood must not depend on what surrounds it.
    let mut padded = b" \n".to_vec();
    padded.extend_from_slice(body);
    if !body.starts_with(b"\xef\xbb\xbf") {
        assert_eq!(judge(status, &padded), verdict);
    }

    for cap in [0, 1, 7, body.len(), usize::MAX / 2] {
        let record = body_for_record(body, cap);
        assert!(record.len() <= cap && !record.contains('\0'));
        assert!(String::from_utf8_lossy(body).replace('\0', "").starts_with(&record));
    }
});
