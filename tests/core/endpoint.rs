//! Endpoint templates: which are accepted, and that no client code can turn one into the address of something else.

use crate::attrs::text;
use proptest::prelude::*;
use target_profile_core::client_code::ClientCode;
use target_profile_core::endpoint::{Endpoint, Way};
use target_profile_core::error::{Error, ErrorKind};
use target_profile_core::limits::ENDPOINT_URL_BYTES;
use url::{Position, Url};

fn code(text: &str) -> ClientCode {
    ClientCode::parse(text).expect(text)
}

#[test]
fn default_is_adobes_with_the_code_in_host_and_path() {
    assert_eq!(
        Endpoint::DEFAULT,
        "https://{client}.tt.omtrdc.net/m2/{client}/profile/update"
    );
    let endpoint = Endpoint::default();
    assert_eq!(Endpoint::parse(Endpoint::DEFAULT), Ok(endpoint.clone()));
    assert_eq!(endpoint.template(), Endpoint::DEFAULT);
    assert_eq!(
        endpoint.url_for(&code("acme")),
        "https://acme.tt.omtrdc.net/m2/acme/profile/update"
    );
}

#[test]
fn endpoints_that_are_accepted() {
    for (template, url) in [
        // As Adobe's page prints it.
        (
            "https://{client}.tt.omtrdc.net/m2/client/profile/update",
            "https://acme.tt.omtrdc.net/m2/client/profile/update",
        ),
        (
            "https://target.example.com/m2/{client}/profile/update",
            "https://target.example.com/m2/acme/profile/update",
        ),
        ("https://target.example.com/", "https://target.example.com/"),
        (
            "https://a.{client}.b.{client}.example.com/",
            "https://a.acme.b.acme.example.com/",
        ),
        (
            "https://{client}.example.com:8443/p-{client}.x/y",
            "https://acme.example.com:8443/p-acme.x/y",
        ),
        ("https://192.0.2.1/{client}", "https://192.0.2.1/acme"),
        ("https://[2001:db8::1]:8443/{client}", "https://[2001:db8::1]:8443/acme"),
        (
            "https://xn--e1afmkfd.example/%7B{client}%7D",
            "https://xn--e1afmkfd.example/%7Bacme%7D",
        ),
        (
            "http://localhost:8080/m2/{client}/profile/update",
            "http://localhost:8080/m2/acme/profile/update",
        ),
        ("http://127.0.0.1:1/{client}", "http://127.0.0.1:1/acme"),
        ("http://127.8.9.10/{client}", "http://127.8.9.10/acme"),
        ("http://[::1]:9/{client}", "http://[::1]:9/acme"),
        ("http://[::ffff:7f00:1]/{client}", "http://[::ffff:7f00:1]/acme"),
    ] {
        let endpoint = Endpoint::parse(template).expect(template);
        assert_eq!(endpoint.template(), template);
        assert_eq!(endpoint.url_for(&code("acme")), url);
    }
}

type Which = fn(&Error) -> bool;

#[test]
fn endpoints_that_are_refused() {
    let not_url: Which = |error| matches!(error, Error::EndpointNotUrl);
    let insecure: Which = |error| matches!(error, Error::EndpointInsecure { .. });
    let credentials: Which = |error| matches!(error, Error::EndpointCredentials);
    let query: Which = |error| matches!(error, Error::EndpointQuery { .. });
    let placeholder: Which = |error| matches!(error, Error::EndpointPlaceholder { .. });
    let host: Which = |error| matches!(error, Error::EndpointHost { .. });
    let escape: Which = |error| matches!(error, Error::EndpointEscape { .. });
    let not_canonical: Which = |error| matches!(error, Error::EndpointNotCanonical { .. });
    for (template, expected) in [
        ("", not_url),
        ("{client}", not_url),
        ("{client}.tt.omtrdc.net/m2", not_url),
        ("//{client}.tt.omtrdc.net/", not_url),
        ("ftp://{client}.example.com/", not_url),
        ("file:///etc/passwd", not_url),
        ("HTTPS://example.com/", not_url),
        (" https://example.com/", not_url),
        ("https:/example.com/", not_url),
        ("https:\\\\example.com/", not_url),
        ("https://", not_url),
        ("https://exa mple.com/", not_url),
        ("https://127.{client}.0.1/", not_url),
        ("https://[::{client}]/", host),
        ("https://example.com:99999/", not_url),
        ("http://{client}.tt.omtrdc.net/m2/{client}/profile/update", insecure),
        ("http://example.com/", insecure),
        ("http://localhost.example.com/", insecure),
        ("http://{client}.localhost/", insecure),
        ("http://128.0.0.1/", insecure),
        ("http://0.0.0.0/", insecure),
        ("http://[::]/", insecure),
        ("https://user:secret@example.com/", credentials),
        ("https://user@example.com/", credentials),
        ("https://x{client}@evil.example/", credentials),
        ("https://{client}.tt.omtrdc.net@evil.example/", credentials),
        ("https://{client}.evil/path@tt.omtrdc.net", credentials),
        ("https://u:p@example.com/?token=secret", credentials),
        ("https://example.com/?a=b", query),
        ("https://example.com/?", query),
        ("https://example.com?{client}", query),
        ("https://example.com/#f", query),
        ("https://{client}#.tt.omtrdc.net/", query),
        ("https://{Client}.example.com/", placeholder),
        ("https://{client.example.com/", placeholder),
        ("https://client}.example.com/", placeholder),
        ("https://{{client}}.example.com/", placeholder),
        ("https://example.com/{}", placeholder),
        ("https://example.com/{id}/{client}", placeholder),
        ("https://{client}/", host),
        ("https://{client}./", host),
        ("https://{client}:443/", host),
        ("https://example.{client}/", host),
        ("https://127.0.0.{client}/", host),
        ("http://127.0.0.{client}/", host),
        ("https://x{client}.example.com/", host),
        ("https://xn--{client}.example.com/", host),
        ("https://{client}{client}.example.com/", host),
        ("https://example.com:{client}/", host),
        ("https://example.com:80{client}/", host),
        ("https://example.com", not_canonical),
        ("https://{client}.example.com", not_canonical),
        ("https://Example.com/", not_canonical),
        ("https://example.com:443/", not_canonical),
        ("https:///example.com/", not_canonical),
        ("https://example.com\\@evil.example/", credentials),
        ("https://example.com\\.evil.example/", not_canonical),
        ("https://exam\tple.com/", not_canonical),
        ("https://example.com/\n", not_canonical),
        ("https://example.com/a b", not_canonical),
        ("https://example.com/ä", not_canonical),
        ("https://ä.example/", not_canonical),
        ("https://example.com/a/../b", not_canonical),
        ("https://example.com/./{client}", not_canonical),
        ("https://example.com/%2e%2e/{client}", not_canonical),
        ("https://example.com/%{client}", escape),
        ("https://example.com/%2{client}", escape),
        ("https://example.com/%zz", escape),
        ("https://example.com/%", escape),
        ("http://127.1/", not_canonical),
        ("http://0x7f000001/", not_canonical),
    ] {
        let error = Endpoint::parse(template).expect_err(template);
        assert!(expected(&error), "{template:?}: {error:?}");
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{template:?}");
    }
}

#[test]
fn refusal_of_an_endpoint_shows_no_secret() {
    for template in [
        "s3cret",
        "Bearer s3cret",
        "https://s3cret@example.com/",
        "https://s3cret:s3cret@example.com/{x}",
        "http://u:s3cret@example.com/?a#b",
        "https://example.com/?token=s3cret",
        "https://example.com/#s3cret",
        "https:/s3cret@example.com",
    ] {
        let error = Endpoint::parse(template).expect_err(template);
        let said = format!("{error} {error:?} {:?} {:?}", error.detail(), error.hint());
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn refusal_says_how_to_write_it() {
    for (template, canonical) in [
        ("https://{client}.Example.com:443", "https://{client}.example.com/"),
        (
            "https://example.com/x/../{client}/ä",
            "https://example.com/{client}/%C3%A4",
        ),
    ] {
        let hint = Endpoint::parse(template).expect_err(template).hint().expect("a hint");
        assert_eq!(hint, format!("Write it as \"{canonical}\"."));
        assert!(Endpoint::parse(canonical).is_ok());
    }
}

#[test]
fn endpoint_leaves_room_for_the_id() {
    let base = "https://example.com/";
    let longest = format!("{base}{{client}}{}", "x".repeat(ENDPOINT_URL_BYTES - base.len() - 63));
    let endpoint = Endpoint::parse(&longest).expect("just short enough");
    assert_eq!(endpoint.url_for(&code(&"c".repeat(63))).len(), ENDPOINT_URL_BYTES);
    let error = Endpoint::parse(&(longest + "x")).expect_err("one byte too long");
    assert!(
        matches!(error, Error::EndpointTooLong { bytes, .. } if bytes == ENDPOINT_URL_BYTES + 1),
        "{error:?}"
    );
    assert_eq!(error.kind(), ErrorKind::LimitExceeded);
}

fn codes() -> impl Strategy<Value = ClientCode> {
    prop_oneof![
        "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?",
        "[0-9]{1,4}",
        "0x[0-9a-f]{1,8}",
        "[a-z0-9]{2}--[a-z0-9]{1,5}",
        Just("localhost".to_owned()),
    ]
    .prop_filter_map("reserved", |text| ClientCode::parse(&text).ok())
}

fn templates() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => Just("{client}".to_owned()),
        2 => prop::sample::select(vec![
            ".", "/", ":", "@", "%", "%2", "%2e", "-", "xn--", "..", "?", "#", "\\", "127", "0",
            "0x7f", "[", "]", "::1",
            "localhost", "com", ".com/", ".example.com/", "{", "}", "\t", " ", "ß", "\u{200d}", "//",
        ]).prop_map(str::to_owned),
        1 => "[a-z0-9.-]{1,6}",
        1 => any::<char>().prop_map(String::from),
    ];
    (
        prop::sample::select(vec![
            "https://",
            "http://",
            "http://127.0.0.1/",
            "https://{client}.a.com/",
        ]),
        prop::collection::vec(piece, 0..8),
    )
        .prop_map(|(scheme, pieces)| scheme.to_owned() + &pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    /// What an endpoint promises: see its documentation.
    #[test]
    fn no_client_code_changes_where_it_goes(template in templates(), one in codes(), other in codes()) {
        let Ok(endpoint) = Endpoint::parse(&template) else { return Ok(()) };
        let urls = [Url::parse(&endpoint.url_for(&one))?, Url::parse(&endpoint.url_for(&other))?];
        for (url, code) in urls.iter().zip([&one, &other]) {
            prop_assert_eq!(url.as_str(), endpoint.url_for(code));
            prop_assert_eq!((url.username(), url.password(), url.query(), url.fragment()), ("", None, None, None));
            prop_assert!(url.as_str().len() <= ENDPOINT_URL_BYTES);
            let host = url.host_str().unwrap_or_default();
            prop_assert!(url.scheme() == "https" || matches!(host, "localhost" | "[::1]") || host.starts_with("127."));
        }
        // The hosts are of one kind, and but for whole labels that are the code, the same.
        prop_assert_eq!(urls[0].port(), urls[1].port());
        prop_assert_eq!(urls[0].domain().is_some(), urls[1].domain().is_some());
        let labels = |url: &Url| url.host_str().unwrap_or_default().split('.').map(str::to_owned).collect::<Vec<_>>();
        let (left, right) = (labels(&urls[0]), labels(&urls[1]));
        prop_assert_eq!(left.len(), right.len());
        prop_assert_eq!(left.last(), right.last());
        for (left, right) in left.iter().zip(&right) {
            prop_assert!(left == right || (left == one.as_str() && right == other.as_str()), "{} {}", left, right);
        }
        // And so are the paths: the template's, with nothing resolved or decoded.
        let path = template.splitn(4, '/').nth(3).unwrap_or_default();
        for (url, code) in urls.iter().zip([&one, &other]) {
            prop_assert_eq!(&url[Position::BeforePath..], format!("/{}", path.replace("{client}", code.as_str())));
        }
    }

    #[test]
    fn never_panics(template in text()) {
        if let Err(error) = Endpoint::parse(&template) {
            prop_assert!(!error.message().is_empty());
        }
    }
}

#[test]
fn the_way_of_a_request_is_that_of_its_endpoint() {
    for (url, way) in [
        ("http://localhost/a?b", Way::Loopback),
        ("https://localhost/a", Way::Loopback),
        ("http://LOCALHOST:80/", Way::Loopback),
        ("http://127.9.9.9:1/", Way::Loopback),
        ("http://2130706433/", Way::Loopback),
        ("http://[::1]/", Way::Loopback),
        ("http://[::ffff:127.0.0.1]/", Way::Loopback),
        ("https://[::ffff:7f00:1]/", Way::Loopback),
        ("https://acme.tt.omtrdc.net/m2/acme/profile/update?mboxPC=1", Way::Tls),
        ("https://localhost.example/", Way::Tls),
        ("https://[::ffff:10.0.0.1]/", Way::Tls),
        ("https://app.localhost/", Way::Tls),
        ("https://localhost./", Way::Tls),
        ("http://acme.tt.omtrdc.net/?http://localhost/", Way::Refused),
        ("http://acme.tt.omtrdc.net#@localhost/", Way::Refused),
        ("http://10.0.0.1/", Way::Refused),
        ("http://[::2]/", Way::Refused),
        ("http://0.0.0.0/", Way::Refused),
        ("ftp://localhost/", Way::Refused),
        ("localhost", Way::Refused),
        ("", Way::Refused),
    ] {
        assert_eq!(Way::of(url), way, "{url}");
    }
}
