//! From the bytes of a request to what it asks for, by the API's rules.

use std::time::{Instant, SystemTime};

use super::decode;
use super::request::{Attributes, Defect, Ending, IdKind, Request};

/// 8 KB and 60 KB, a KB taken as 1,000 bytes.
const URL_LIMIT: usize = 8_000;
const BODY_LIMIT: usize = 60_000;
const THIRD_PARTY_ID_LIMIT: usize = 256;
const MBOX_PC_LIMIT: usize = 128;

/// The head of a request.
pub(super) struct Head {
    pub(super) method: String,
    pub(super) target: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) host_bytes: usize,
    pub(super) body: BodyLength,
    pub(super) is_form: bool,
    pub(super) expects_continue: bool,
    pub(super) keep_alive: bool,
    pub(super) token: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyLength {
    Known(usize),
    Chunked,
}

/// The head at the start of `input` and its length, if it is all there.
pub(super) fn head(input: &[u8], keep_headers: bool) -> Result<Option<(Head, usize)>, String> {
    let mut slots = [httparse::EMPTY_HEADER; 100];
    let mut parsed = httparse::Request::new(&mut slots);
    let length = match parsed.parse(input).map_err(|error| format!("not HTTP: {error}"))? {
        httparse::Status::Partial => return Ok(None),
        httparse::Status::Complete(length) => length,
    };
    let mut head = Head {
        method: parsed.method.unwrap_or_default().to_owned(),
        target: parsed.path.unwrap_or_default().to_owned(),
        headers: Vec::new(),
        host_bytes: 0,
        body: BodyLength::Known(0),
        is_form: false,
        expects_continue: false,
        keep_alive: parsed.version == Some(1),
        token: None,
    };
    for header in parsed.headers.iter() {
        let value = header.value.trim_ascii();
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            head.host_bytes = value.len();
        } else if is("content-length") {
            let length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            head.body = BodyLength::Known(length.ok_or("bad Content-Length")?);
        } else if is("transfer-encoding") {
            head.body = BodyLength::Chunked;
        } else if is("content-type") {
            let name = value.split(|byte| *byte == b';').next().unwrap_or_default();
            head.is_form = name
                .trim_ascii()
                .eq_ignore_ascii_case(b"application/x-www-form-urlencoded");
        } else if is("expect") {
            head.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
        } else if is("connection") {
            head.keep_alive &= !value.eq_ignore_ascii_case(b"close");
        } else if is("authorization") {
            head.token = value
                .strip_prefix(b"Bearer ")
                .map(|token| String::from_utf8_lossy(token).into_owned());
        }
        if keep_headers {
            head.headers
                .push((header.name.to_owned(), String::from_utf8_lossy(value).into_owned()));
        }
    }
    Ok(Some((head, length)))
}

/// The request that a head and a body make.
pub(super) fn request(
    head: Head,
    body: &[u8],
    keep_body: bool,
    scheme: &str,
    arrival: (Instant, SystemTime),
) -> Request {
    let url_bytes = scheme.len() + "://".len() + head.host_bytes + head.target.len();
    let mut request = Request {
        seq: 0,
        connection: 0,
        arrived: arrival.0,
        arrived_at: arrival.1,
        finished: None,
        finished_at: None,
        method: head.method,
        target: head.target,
        headers: head.headers,
        body: if keep_body { body.to_vec() } else { Vec::new() },
        body_bytes: body.len(),
        url_bytes,
        client: None,
        kind: None,
        id: None,
        pairs: Vec::new(),
        attrs: Attributes::new(),
        applied: false,
        status: None,
        ending: Ending::Open,
        defect: None,
        token: head.token,
    };
    request.defect = read(&mut request, body, head.is_form).err();
    request
}

/// Fills in what the request asks for, as far as it can be read, and says what is wrong with it.
fn read(request: &mut Request, body: &[u8], is_form: bool) -> Result<(), Defect> {
    let refuse = |status, message: &str| {
        Err(Defect {
            status,
            message: message.to_owned(),
        })
    };
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let Some(client) = path
        .strip_prefix("/m2/")
        .and_then(|rest| rest.strip_suffix("/profile/update"))
    else {
        return refuse(404, "no such resource");
    };
    let client = client.to_owned();
    let mut unreadable = None;
    let mut pairs = decode::form(query.as_bytes()).unwrap_or_else(|error| {
        unreadable = Some(error);
        Vec::new()
    });
    if request.method == "POST" && is_form {
        match decode::form(body) {
            Ok(more) => pairs.extend(more),
            Err(error) => unreadable = Some(error),
        }
    }
    let ids: Vec<(IdKind, String)> = pairs
        .iter()
        .filter_map(|(name, value)| Some((id_kind(name)?, value.clone())))
        .collect();
    if let [(kind, id)] = &ids[..] {
        (request.kind, request.id) = (Some(*kind), Some(id.clone()));
    }
    let named = |(name, value): &(String, String)| Some((name.strip_prefix("profile.")?.to_owned(), value.clone()));
    request.attrs = pairs.iter().filter_map(named).collect();
    request.pairs = pairs;
    let label = is_dns_label(&client);
    request.client = Some(client);

    if !label {
        return refuse(400, "invalid client code");
    }
    if request.method != "GET" && request.method != "POST" {
        return refuse(405, "GET or POST");
    }
    if request.url_bytes > URL_LIMIT {
        return refuse(414, "URL exceeds 8 KB");
    }
    if request.body_bytes > BODY_LIMIT {
        return refuse(413, "body exceeds 60 KB");
    }
    if let Some(error) = unreadable {
        return refuse(400, &error);
    }
    match &ids[..] {
        [] => return refuse(400, "mboxPC or mbox3rdPartyId is required"),
        [(kind, id)] => check_id(*kind, id).or_else(|message| refuse(400, message))?,
        _ => return refuse(400, "more than one id"),
    }
    if request.attrs.keys().any(|name| name.trim().is_empty()) {
        return refuse(400, "blank attribute name");
    }
    Ok(())
}

fn id_kind(name: &str) -> Option<IdKind> {
    [IdKind::MboxPc, IdKind::Mbox3rdPartyId]
        .into_iter()
        .find(|kind| kind.name() == name)
}

fn check_id(kind: IdKind, id: &str) -> Result<(), &'static str> {
    let characters = id.chars().count();
    match kind {
        _ if id.is_empty() => Err("empty id"),
        IdKind::Mbox3rdPartyId if characters > THIRD_PARTY_ID_LIMIT => Err("mbox3rdPartyId exceeds 256 characters"),
        IdKind::Mbox3rdPartyId if id.contains(['+', '/']) => Err("mbox3rdPartyId contains + or /"),
        IdKind::MboxPc if characters > MBOX_PC_LIMIT => Err("mboxPC exceeds 128 characters"),
        IdKind::MboxPc if id.matches('.').count() > 1 => Err("mboxPC contains more than one dot"),
        _ => Ok(()),
    }
}

fn is_dns_label(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len()) && text.bytes().all(allowed) && !text.starts_with('-') && !text.ends_with('-')
}
