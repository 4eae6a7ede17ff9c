//! Verdicts: the vectors, what tries to pass for a success, and totality over any status and any bytes.

use proptest::prelude::*;
use target_profile_core::limits::{MESSAGE_BYTES, VERDICT_BODY_BYTES, VERDICT_XML_DEPTH};
use target_profile_core::verdict::{Outcome, body_for_record, judge};

const XML: &str =
    "<response><success>true</success><pcId></pcId><message>Request successfully submitted</message></response>";
const TEXT: &str = "trueRequest successfully submitted";

#[track_caller]
fn check(status: u16, body: &str, outcome: Outcome, message: Option<&str>) {
    let verdict = judge(status, body.as_bytes());
    assert_eq!(
        (verdict.outcome, verdict.message.as_deref()),
        (outcome, message),
        "{status} {body}"
    );
}

#[test]
fn both_forms_of_success_are_accepted() {
    let message = Some("Request successfully submitted");
    for body in [
        XML,
        TEXT,
        "true\nRequest successfully submitted\n",
        "\r\n  true  \r\n\r\n  Request successfully submitted  \r\n",
        "\u{feff}trueRequest successfully submitted",
        "true Request\tsuccessfully\nsubmitted",
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<response>\n  <success>true</success>\n  <pcId/>\n  \
         <message>Request successfully submitted</message>\n</response>\n",
        "\u{feff}\n<response>\n\t<success>\n\ttrue\n\t</success>\r\n\
         <message>Request successfully\n submitted</message></response>",
        "<!DOCTYPE response><!-- <success>false</success> --><response><!-- > --><success>true</success>\
         <message><![CDATA[Request successfully submitted]]></message></response><!-- -->",
        "<response xmlns=\"urn:x\" a='>'><success type=\"b\">true</success ><message>Request&#32;successfully submitted\
         </message></response >",
        "<response><success a='/>' b=\"'/>\" c='\"/>'>true</success><message>Request successfully submitted</message></response>",
        "<response><success>true</success><success>true</success>\
         <message>Request successfully submitted</message></response>",
    ] {
        for status in [200, 201, 202, 299] {
            check(status, body, Outcome::Accepted, message);
        }
    }
    check(
        200,
        "<response><success>true</success></response>",
        Outcome::Accepted,
        None,
    );
    check(
        200,
        "<response><success>true</success><message/></response>",
        Outcome::Accepted,
        None,
    );
}

#[test]
fn success_false_is_rejected_with_its_reason() {
    for body in [
        "<response><success>false</success><message>Invalid id</message></response>",
        "<response>\n <message>\n  Invalid  id\n </message>\n <success> false </success>\n</response>",
        "falseInvalid id",
        "false\nInvalid id\n",
        "<response><success>false</success><message>Invalid id</message>",
    ] {
        check(200, body, Outcome::Rejected, Some("Invalid id"));
    }
    check(
        200,
        "<response><success>false</success><message>Request successfully submitted</message></response>",
        Outcome::Rejected,
        Some("Request successfully submitted"),
    );
    check(
        200,
        "falseRequest successfully submitted",
        Outcome::Rejected,
        Some("Request successfully submitted"),
    );
    check(200, "false", Outcome::Rejected, None);
}

#[test]
fn what_says_neither_is_unrecognised() {
    for body in [
        "",
        " \n",
        "\u{feff}",
        "{}",
        "[]",
        "<",
        "<>",
        "</response>",
        "&",
        "<response/>",
        "<response></response>",
    ] {
        assert_eq!(judge(200, body.as_bytes()).outcome, Outcome::Unrecognised, "{body}");
    }
    check(204, "", Outcome::Unrecognised, None);
    check(200, "OK", Outcome::Unrecognised, Some("OK"));
    check(200, "{\"message\": \"hello\"}", Outcome::Unrecognised, Some("hello"));
    let html = "<!DOCTYPE html><html><head><title>Welcome</title></head>\
                <body><p>Request successfully submitted<br>true</body></html>";
    check(200, html, Outcome::Unrecognised, None);
}

#[test]
fn what_only_looks_like_success_is_not_accepted() {
    let deep = VERDICT_XML_DEPTH;
    let nested = format!(
        "<response>{}<success>true</success>{}</response>",
        "<a>".repeat(deep),
        "</a>".repeat(deep)
    );
    for body in [
        // Another document.
        "<html><body><response><success>true</success></response></body></html>",
        "<html><success>true</success></html>",
        "<p>The body <code>&lt;response>&lt;success>true&lt;/success>&lt;/response></code> means success</p>",
        "<Response><success>true</success></Response>",
        "<RESPONSE><SUCCESS>true</SUCCESS></RESPONSE>",
        "<response><Success>true</Success></response>",
        "<response><Success>true</success></response>",
        "<responses><success>true</success></responses>",
        "<x:response><success>true</success></x:response>",
        "<success>true</success>",
        "x<response><success>true</success></response>",
        "<?xml version='1.0'?>x<response><success>true</success></response>",
        "<a/><response><success>true</success></response>x",
        // Not there.
        "<response><!-- <success>true</success> --></response>",
        "<response><![CDATA[<success>true</success>]]></response>",
        "<response><?x <success>true</success> ?></response>",
        "<response a=\"<success>true</success>\"></response>",
        "<response><data><success>true</success></data></response>",
        "<response><message><success>true</success></message></response>",
        &nested,
        // Not true.
        "<response><success></success></response>",
        "<response><success/></response>",
        "<response><success>TRUE</success></response>",
        "<response><success>True</success></response>",
        "<response><success>1</success></response>",
        "<response><success>truefalse</success></response>",
        "<response><success>true false</success></response>",
        "<response><success><b>true</b></success></response>",
        "<response><success>tr<b/>ue</success></response>",
        "<response><success>true</success><success/></response>",
        // Both.
        "<response><success>true</success><success>false</success></response>",
        "<response><success>false</success><success>true</success></response>",
        // Cut short, or broken.
        "<response><success>true</success>",
        "<response><success>true</success><message>Request succ",
        "<response><success>true",
        "<response><success>true</success></respons",
        "<response><success>true</success></other>",
        "<response><success>true</response></success>",
        "<response><success>true</success><!-- </response>",
        "<response><a b=\"><success>true</success></response>",
        "<!DOCTYPE response [<!ENTITY x \"y\">]><response><success>true</success></response>",
        // Text that is not quite it.
        "true",
        "Request successfully submitted",
        "TrueRequest successfully submitted",
        "trueRequest successfully submitted.",
        "trueRequest successfully submitted, or so we hope",
        "trueRequest unsuccessfully submitted",
        "true request successfully submitted",
        "xtrueRequest successfully submitted",
        "<trueRequest successfully submitted",
        "<p>trueRequest successfully submitted</p>",
        "\"trueRequest successfully submitted\"",
        // No JSON is a success.
        "{\"success\":true}",
        "{\"success\":true,\"message\":\"Request successfully submitted\"}",
        "true ",
    ] {
        assert_eq!(judge(200, body.as_bytes()).outcome, Outcome::Unrecognised, "{body}");
    }
    // A claim beyond what is looked at, and one that the limit cuts short.
    let late = format!("{}{XML}", " ".repeat(VERDICT_BODY_BYTES));
    assert_eq!(judge(200, late.as_bytes()).outcome, Outcome::Unrecognised);
    let long = format!(
        "<response><success>true</success><a>{}</a></response>",
        "x".repeat(VERDICT_BODY_BYTES)
    );
    assert_eq!(judge(200, long.as_bytes()).outcome, Outcome::Unrecognised);
    let utf_16: Vec<u8> = XML.encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(judge(200, &utf_16).outcome, Outcome::Unrecognised);
}

#[test]
fn status_decides_where_it_is_no_success() {
    let expected = |status: u16| match status {
        300..=399 => Outcome::Rejected,
        401 | 403 => Outcome::Unauthorized,
        420 | 429 | 503 => Outcome::Throttled,
        408 | 425 => Outcome::Failed,
        400..=499 => Outcome::Rejected,
        _ => Outcome::Failed,
    };
    for status in (0..200).chain(300..=u16::MAX) {
        for body in ["", XML, TEXT] {
            assert_eq!(judge(status, body.as_bytes()).outcome, expected(status), "{status}");
        }
    }
    // Those that the facts name.
    for (outcome, statuses) in [
        (Outcome::Rejected, [400, 404, 302].as_slice()),
        (Outcome::Unauthorized, &[401, 403]),
        (Outcome::Failed, &[408, 425, 500, 502, 504, 599, 100, 0, 999]),
        (Outcome::Throttled, &[420, 429, 503]),
    ] {
        for &status in statuses {
            assert_eq!(judge(status, b"").outcome, outcome, "{status}");
        }
    }
}

#[test]
fn a_redirect_says_that_it_was_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let message = judge(status, b"<html>moved</html>").message.expect("a message");
        assert!(
            message.contains("not followed") && message.contains("endpoint"),
            "{message}"
        );
    }
}

#[test]
fn the_message_is_found_whatever_the_form() {
    let body = |message: &str| {
        format!(
            "<com.adobe.tnt.profileservice.crud.ResponseErrorBody>\n  <status>400</status>\n\
               <message>{message}</message>\n\
             </com.adobe.tnt.profileservice.crud.ResponseErrorBody>"
        )
    };
    check(400, &body("Invalid client"), Outcome::Rejected, Some("Invalid client"));
    check(
        403,
        &body("Token is missing"),
        Outcome::Unauthorized,
        Some("Token is missing"),
    );
    check(
        404,
        r#"{"status" : 404, "message" : "No profile found for client \u00e9 1"}"#,
        Outcome::Rejected,
        Some("No profile found for client é 1"),
    );
    check(400, "{\"message\": 1}", Outcome::Rejected, None);
    check(400, "{\"message\": \"cut", Outcome::Rejected, None);
    check(400, "Bad  client\r\n", Outcome::Rejected, Some("Bad client"));
    check(
        502,
        "<html><body><h1>502 Bad Gateway</h1></body></html>",
        Outcome::Failed,
        None,
    );
    check(
        200,
        "<error><details><message>x</message></details></error>",
        Outcome::Unrecognised,
        Some("x"),
    );
    check(
        200,
        "<a><message>one</message><message>two</message></a>",
        Outcome::Unrecognised,
        Some("one"),
    );
    check(200, "<message>top</message>", Outcome::Unrecognised, None);
    check(
        200,
        "<a><message>in <b>bold</b> text</message></a>",
        Outcome::Unrecognised,
        Some("in text"),
    );
    check(400, "<a><message>cut sho", Outcome::Rejected, Some("cut sho"));

    for (raw, message) in [
        ("&lt;a&gt; &amp;amp; &quot;x&quot; &apos;y&apos;", "<a> &amp; \"x\" 'y'"),
        ("&#233;&#xE9;&#Xe9;&#x1F600;", "ééé😀"),
        (
            "&;&#;&#x;&#xZ;&nbsp;&#xD800;&#x110000;&#99999999999;&",
            "&;&#;&#x;&#xZ;&nbsp;&#xD800;&#x110000;&#99999999999;&",
        ),
        ("a&amp", "a&amp"),
        ("&&amp;&amp;&", "&&&&"),
        ("é&日本;&😀;", "é&日本;&😀;"),
        ("<![CDATA[&lt;b> ]] > ]]&gt;]]>&lt;", "&lt;b> ]] > ]]&gt;<"),
        ("a<!-- <b> -->b", "ab"),
        ("a&#0;b&#1;c&#x9;d&#x85;e\u{7f}", "abc d e"),
    ] {
        check(400, &body(raw), Outcome::Rejected, Some(message));
    }
    for blank in ["", " \n ", "&#0;", "\u{7}", "<b/>"] {
        check(400, &body(blank), Outcome::Rejected, None);
    }
}

#[test]
fn a_message_is_one_line_of_bounded_length() {
    let long = "é ".repeat(MESSAGE_BYTES);
    let message = judge(400, format!("<a><message>{long}</message></a>").as_bytes())
        .message
        .expect("a message");
    assert!(
        message.len() <= MESSAGE_BYTES && message.len() > MESSAGE_BYTES - 4,
        "{}",
        message.len()
    );
    for (bytes, kept) in [(MESSAGE_BYTES, MESSAGE_BYTES), (MESSAGE_BYTES + 1, MESSAGE_BYTES)] {
        let message = "a".repeat(bytes);
        let verdict = judge(400, format!("<a><message>{message}</message></a>").as_bytes());
        assert_eq!(verdict.message.map(|message| message.len()), Some(kept));
    }
    let verdict = judge(400, b"<a><message>a\xff\0b\r\n\x1b[2Jc</message></a>");
    assert_eq!(verdict.message.as_deref(), Some("a\u{fffd}b [2Jc"));
    assert_eq!(judge(400, b"\xff\xfe\x00").message, None);
}

#[test]
fn judging_is_linear_and_looks_at_the_beginning_only() {
    let size = 16 * VERDICT_BODY_BYTES;
    for piece in [
        "<",
        "<a>",
        "<a/>",
        "<!--",
        "&",
        "&#x",
        "<![CDATA[",
        "]]>",
        "<a b='",
        "a",
        "{\"",
        "[",
        "<!",
        "</",
        "<?",
        "\0",
        "\u{feff}",
    ] {
        for start in ["", "<a><message>", "<response><success>", "{\"message\":\""] {
            let body = start.to_owned() + &piece.repeat(size / piece.len());
            let begun = std::time::Instant::now();
            let _ = judge(200, body.as_bytes());
            assert!(
                begun.elapsed().as_millis() < 500,
                "{start}{piece}: {:?}",
                begun.elapsed()
            );
        }
    }
}

#[test]
fn a_recorded_body_is_valid_text_within_its_cap() {
    for (bytes, cap, text) in [
        (b"abc".as_slice(), 10, "abc"),
        (b"abc", 3, "abc"),
        (b"abc", 2, "ab"),
        (b"abc", 0, ""),
        (b"", 5, ""),
        (b"a\0b\0", 2, "ab"),
        (b"\xff", 2, ""),
        (b"\xff", 3, "\u{fffd}"),
        (b"a\xc3\xa9\xc3", 9, "aé\u{fffd}"),
        ("aé".as_bytes(), 2, "a"),
        ("日本".as_bytes(), 5, "日"),
        ("日本".as_bytes(), 6, "日本"),
        (b"\r\n\t\x1b", 9, "\r\n\t\x1b"),
    ] {
        assert_eq!(body_for_record(bytes, cap), text, "{bytes:?} {cap}");
    }
}

#[test]
fn outcomes_have_the_names_of_the_column() {
    let outcomes = [
        Outcome::Accepted,
        Outcome::Rejected,
        Outcome::Unrecognised,
        Outcome::Unauthorized,
        Outcome::Throttled,
        Outcome::Failed,
    ];
    let names = [
        "accepted",
        "rejected",
        "unrecognised",
        "unauthorized",
        "throttled",
        "failed",
    ];
    assert_eq!(outcomes.map(Outcome::as_str), names);
}

/// Bytes that are nothing, and bytes that are nearly an answer of Target's.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop::sample::select(vec![
        "<response>",
        "</response>",
        "<success>",
        "</success>",
        "<success/>",
        "true",
        "false",
        "<message>",
        "</message>",
        "<a>",
        "</a>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<?",
        "?>",
        "<!",
        ">",
        "<",
        "</",
        "/>",
        "&",
        "&amp;",
        "&#0;",
        "&#x41;",
        ";",
        "'",
        "\"",
        " ",
        "\n",
        "x",
        "{\"message\":\"",
        "\"}",
        "Request successfully submitted",
        "\0",
        "\u{feff}",
        "é",
        "\u{1b}",
    ]);
    prop_oneof![
        1 => prop::collection::vec(any::<u8>(), 0..200),
        3 => prop::collection::vec(piece.clone(), 0..24).prop_map(|pieces| pieces.concat().into_bytes()),
        1 => (prop::collection::vec(piece, 0..24), prop::collection::vec(any::<(prop::sample::Index, u8)>(), 0..4))
            .prop_map(|(pieces, edits)| {
                let mut bytes = pieces.concat().into_bytes();
                for (at, byte) in edits {
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] = byte;
                    }
                }
                bytes
            }),
    ]
}

proptest! {
    /// Escaped by the rules of XML, any message comes back as one line.
    #[test]
    fn an_escaped_message_is_read_back(words in prop::collection::vec("[^\\s\\p{C}]{1,12}", 1..6)) {
        let message = words.join(" ");
        let escaped = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let body = format!("<response><success>false</success><message>{escaped}</message></response>");
        let verdict = judge(200, body.as_bytes());
        prop_assert_eq!(verdict.message, Some(message));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn total_over_any_status_and_any_bytes(
        status in prop_oneof![3 => Just(200), 1 => any::<u16>(), 1 => 0_u16..700],
        body in bodies(),
    ) {
        let verdict = judge(status, &body);
        if let Some(message) = &verdict.message {
            prop_assert!(!message.is_empty() && message.len() <= MESSAGE_BYTES);
            prop_assert!(!message.contains(char::is_control));
        }
        let text = String::from_utf8_lossy(&body);
        match verdict.outcome {
            Outcome::Accepted => {
                prop_assert!((200..300).contains(&status) && text.contains("true"));
                let words: Vec<&str> = text.trim_start_matches('\u{feff}').split_whitespace().collect();
                let is_text = words.concat() == "trueRequestsuccessfullysubmitted";
                prop_assert!(is_text || text.contains("<response") && text.contains("</response"));
            }
            Outcome::Unrecognised => prop_assert!((200..300).contains(&status)),
            Outcome::Rejected if (200..300).contains(&status) => prop_assert!(text.contains("false")),
            _ => prop_assert!(!(200..300).contains(&status)),
        }
    }

    /// A document cut anywhere is no success: it might have gone on to say otherwise.
    #[test]
    fn a_success_cut_short_is_none(cut in 1..XML.len(), text_cut in 1..TEXT.len()) {
        prop_assert_eq!(judge(200, &XML.as_bytes()[..cut]).outcome, Outcome::Unrecognised);
        prop_assert_eq!(judge(200, &TEXT.as_bytes()[..text_cut]).outcome, Outcome::Unrecognised);
    }

    #[test]
    fn a_recorded_body_fits_and_is_a_prefix(body in bodies(), cap in 0_usize..300) {
        let text = body_for_record(&body, cap);
        prop_assert!(text.len() <= cap && !text.contains('\0'));
        let whole = String::from_utf8_lossy(&body).replace('\0', "");
        prop_assert!(whole.starts_with(&text));
        // Nothing is left out that would have fitted.
        let next = whole[text.len()..].chars().next();
        prop_assert!(next.is_none_or(|c| text.len() + c.len_utf8() > cap));
    }
}
