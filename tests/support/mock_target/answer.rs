//! What Target answers when nothing is scripted.

use std::borrow::Cow;

/// The form of a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// XML on one line: what a server sends.
    Line,
    /// The same, indented.
    Indented,
    /// The text that Adobe's page prints: the XML without its tags.
    Text,
}

const LINE: &str =
    "<response><success>true</success><pcId></pcId><message>Request successfully submitted</message></response>";
const INDENTED: &str = "<response>\n  <success>true</success>\n  <pcId></pcId>\n  <message>Request successfully \
                        submitted</message>\n</response>\n";
const TEXT: &str = "trueRequest successfully submitted";

/// A status with a body.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) content_type: &'static str,
    pub(super) body: Cow<'static, str>,
}

impl Answer {
    pub(super) fn success(form: Form) -> Self {
        let (content_type, body) = match form {
            Form::Line => ("application/xml;charset=UTF-8", LINE),
            Form::Indented => ("application/xml;charset=UTF-8", INDENTED),
            Form::Text => ("text/plain;charset=UTF-8", TEXT),
        };
        Self {
            status: 200,
            content_type,
            body: Cow::Borrowed(body),
        }
    }

    /// 404 is answered in JSON, everything else with the error body in XML.
    pub(super) fn refusal(status: u16, message: &str) -> Self {
        if status == 404 {
            let body = serde_json::json!({ "status": status, "message": message }).to_string();
            return Self {
                status,
                content_type: "application/json;charset=UTF-8",
                body: Cow::Owned(body),
            };
        }
        const ROOT: &str = "com.adobe.tnt.profileservice.crud.ResponseErrorBody";
        let message = message.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let body = format!("<{ROOT}><status>{status}</status><message>{message}</message></{ROOT}>");
        Self {
            status,
            content_type: "application/xml;charset=UTF-8",
            body: Cow::Owned(body),
        }
    }
}

/// The reason phrase that goes with a status.
pub(super) fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        102 => "Processing",
        103 => "Early Hints",
        200 => "OK",
        301 => "Moved Permanently",
        302 => "Found",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Payload Too Large",
        414 => "URI Too Long",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        _ => "Scripted",
    }
}
