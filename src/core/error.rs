//! The reasons why an update cannot become a request.

use std::fmt;

use crate::id_kind::IdKind;
use crate::limits::{
    CLIENT_CODE_BYTES, ENDPOINT_URL_BYTES, EXCERPT_CHARS, FLAT_ATTRS, FLAT_BYTES, GET_URL_BYTES, JSON_DEPTH,
    MBOX_PC_DOTS, POST_BODY_BYTES, STORED_BYTES,
};
use crate::method::Method;

/// Text that may be long and may hold anything, made fit for a message: cut after [`EXCERPT_CHARS`] characters, and
/// whatever a terminal would act upon or not show at all written as an escape. Made at once, so that an error never
/// drags a large value along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt(String);

impl Excerpt {
    /// Takes the beginning of `text`.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let mut shown = String::new();
        let mut rest = text.chars();
        for c in rest.by_ref().take(EXCERPT_CHARS) {
            if is_invisible(c) {
                shown.extend(c.escape_default());
            } else {
                shown.push(c);
            }
        }
        if rest.next().is_some() {
            shown.push('…');
        }
        Self(shown)
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Controls, line separators, marks of text direction and characters without width: what could hide in a message, or
/// rearrange it.
const fn is_invisible(c: char) -> bool {
    matches!(c,
        '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// What a caller can do about an error, by class; the SQLSTATE follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The argument itself is wrong (22023).
    InvalidArgument,
    /// The argument would do if it were smaller (54000).
    LimitExceeded,
}

/// Why a request cannot be made.
///
/// `Display` is the message in Postgres' style: lower case, no full stop, no value in it. The offending value is in
/// [`Error::detail`], what to do about it in [`Error::hint`]. None of them ever holds a token: a text that was meant to
/// be an endpoint is not shown before it is known to contain no credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Not a label of a host name in lower case.
    #[error("invalid client code")]
    InvalidClientCode {
        /// What was given.
        given: Excerpt,
    },
    /// Neither a name of `mboxPC` nor one of `mbox3rdPartyId`.
    #[error("unrecognized id kind")]
    UnknownIdKind {
        /// What was given.
        given: Excerpt,
    },
    /// An id without a visible character.
    #[error("profile id must not be blank")]
    BlankId {
        /// The kind of the id.
        kind: IdKind,
    },
    /// An id with a character that Target does not allow, or a control character.
    #[error("invalid character in profile id")]
    IdCharacter {
        /// The kind of the id.
        kind: IdKind,
        /// The id.
        id: Excerpt,
        /// The first such character.
        character: char,
    },
    /// An `mboxPC` with more than the dot before the location hint.
    #[error("too many dots in profile id")]
    IdDots {
        /// The id.
        id: Excerpt,
    },
    /// An id of more characters than its kind may have.
    #[error("profile id is too long")]
    IdTooLong {
        /// The kind of the id.
        kind: IdKind,
        /// The id.
        id: Excerpt,
        /// How many characters it has.
        chars: usize,
    },
    /// Neither `json` nor `indexed`.
    #[error("unrecognized treatment of arrays")]
    UnknownArrays {
        /// What was given.
        given: Excerpt,
    },
    /// Neither `auto` nor `get` nor `post`.
    #[error("unrecognized method")]
    UnknownMethod {
        /// What was given.
        given: Excerpt,
    },
    /// Attributes that are not JSON at all. Never with the text of a `jsonb`.
    #[error("attributes are not valid JSON")]
    AttrsNotJson {
        /// The line of the fault, from 1.
        line: usize,
        /// The column of the fault, in bytes from 1.
        column: usize,
    },
    /// Attributes that are JSON, but not an object.
    #[error("attributes must be a JSON object")]
    AttrsNotObject {
        /// What they are.
        found: JsonType,
    },
    /// An attribute without a visible character in its name, or in a part of it.
    #[error("attribute name must not be blank")]
    BlankAttr {
        /// The keys that lead to it, outermost first, each in quotes.
        path: Excerpt,
    },
    /// A NUL character, which neither Postgres nor Target can keep.
    #[error("attribute must not contain a NUL character")]
    NulInAttr {
        /// The attribute's name.
        name: Excerpt,
    },
    /// Two keys that are one attribute once flattened.
    #[error("two keys give the same attribute")]
    AttrCollision {
        /// The attribute.
        name: Excerpt,
        /// The keys that lead to it, outermost first, each in quotes.
        first: Excerpt,
        /// The other keys that lead to it.
        second: Excerpt,
    },
    /// Nesting beyond [`JSON_DEPTH`] levels.
    #[error("attributes are nested too deeply")]
    AttrsTooDeep,
    /// Names and values of more than [`FLAT_BYTES`] bytes in all.
    #[error("attributes are too large")]
    AttrsTooLarge,
    /// More than [`FLAT_ATTRS`] attributes.
    #[error("there are too many attributes")]
    AttrsTooMany,
    /// A value of more than [`STORED_BYTES`] bytes.
    #[error("value is too large")]
    ValueTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Stored attributes with a value that is an object or an array, which [`to_json_text`] does not write.
    ///
    /// [`to_json_text`]: crate::attrs::FlatAttrs::to_json_text
    #[error("stored attributes must not be nested")]
    StoredAttrNested {
        /// The attribute's name.
        name: Excerpt,
        /// What its value is.
        found: JsonType,
    },
    /// No attribute is left once nulls are skipped. For a trigger this is no error: there is just nothing to do.
    #[error("nothing to send")]
    NothingToSend,
    /// One attribute that no request can hold, even alone.
    #[error("attribute is too large for a request")]
    AttrTooLarge {
        /// The attribute's name.
        name: Excerpt,
        /// What it takes in the request, in bytes after encoding: separator, name, equals sign and value.
        bytes: usize,
        /// How many bytes the rest of the request leaves to it.
        room: usize,
        /// The method of the request, which the limit depends on.
        method: Method,
    },
    /// An endpoint that is not the address of a host by http or https. What was given is not shown: it may be a token.
    #[error("endpoint must be an https URL")]
    EndpointNotUrl,
    /// An endpoint by http whose host is not this machine.
    #[error("endpoint must use https unless its host is loopback")]
    EndpointInsecure {
        /// The template.
        template: Excerpt,
    },
    /// An endpoint with a user name or a password. They are not shown.
    #[error("endpoint must not contain credentials")]
    EndpointCredentials,
    /// An endpoint with a query or a fragment. They are not shown.
    #[error("endpoint must have neither a query nor a fragment")]
    EndpointQuery {
        /// The template up to the query or fragment.
        base: Excerpt,
    },
    /// An endpoint with a brace that is not part of `{client}`.
    #[error("unrecognized placeholder in endpoint")]
    EndpointPlaceholder {
        /// The template.
        template: Excerpt,
    },
    /// An endpoint whose `{client}` could choose the host: it has to be a whole label, and not the last.
    #[error("endpoint must not leave its host to the client code")]
    EndpointHost {
        /// The template.
        template: Excerpt,
    },
    /// An endpoint with a percent sign that two hexadecimal digits do not follow.
    #[error("incomplete percent escape in endpoint")]
    EndpointEscape {
        /// The template.
        template: Excerpt,
    },
    /// An endpoint that is not written the way in which it is sent.
    #[error("endpoint is not in canonical form")]
    EndpointNotCanonical {
        /// The template.
        template: Excerpt,
        /// How to write it.
        canonical: Excerpt,
    },
    /// An endpoint of more than [`ENDPOINT_URL_BYTES`] bytes with the longest client code.
    #[error("endpoint is too long")]
    EndpointTooLong {
        /// The template.
        template: Excerpt,
        /// Its length with the longest client code, in bytes.
        bytes: usize,
    },
}

impl Error {
    /// The primary message: lower case, no full stop, no value in it.
    #[must_use]
    pub fn message(&self) -> String {
        self.to_string()
    }

    /// The class of the error.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::IdTooLong { .. }
            | Self::AttrsTooDeep
            | Self::AttrsTooLarge
            | Self::AttrsTooMany
            | Self::ValueTooLarge { .. }
            | Self::AttrTooLarge { .. }
            | Self::EndpointTooLong { .. } => ErrorKind::LimitExceeded,
            _ => ErrorKind::InvalidArgument,
        }
    }

    /// The offending value, bounded and printable, in a sentence. `None` where the message says it all.
    #[must_use]
    pub fn detail(&self) -> Option<String> {
        Some(match self {
            Self::InvalidClientCode { given } => format!("The client code is \"{given}\"."),
            Self::UnknownIdKind { given } => format!("The id kind is \"{given}\"."),
            Self::BlankId { kind } => format!("The {kind} has no visible character."),
            Self::IdCharacter { kind, id, character } => {
                let character = Excerpt::of(character.encode_utf8(&mut [0; 4]));
                format!("The {kind} \"{id}\" contains \"{character}\".")
            }
            Self::IdDots { id } => format!("The mboxPC \"{id}\" contains more than {MBOX_PC_DOTS} dot."),
            Self::IdTooLong { kind, id, chars } => {
                let most = kind.max_chars();
                format!("The {kind} \"{id}\" has {chars} characters; at most {most} are allowed.")
            }
            Self::UnknownArrays { given } => format!("The treatment of arrays is \"{given}\"."),
            Self::UnknownMethod { given } => format!("The method is \"{given}\"."),
            Self::AttrsNotJson { line, column } => format!("The fault is in line {line}, column {column}."),
            Self::AttrsNotObject { found } => format!("The attributes are {found}."),
            Self::BlankAttr { path } => format!("The attribute is {path}."),
            Self::NulInAttr { name } => format!("The attribute is \"{name}\"."),
            Self::AttrCollision { name, first, second } => {
                format!("The keys {first} and {second} both give the attribute \"{name}\".")
            }
            Self::AttrsTooDeep => format!("At most {JSON_DEPTH} levels are allowed."),
            Self::AttrsTooLarge => {
                format!("Names and values take more than the {FLAT_BYTES} bytes that one update may have.")
            }
            Self::AttrsTooMany => format!("One update may have {FLAT_ATTRS} of them."),
            Self::ValueTooLarge { bytes } => {
                format!("It takes {bytes} bytes; a value of at most {STORED_BYTES} bytes can be sent.")
            }
            Self::StoredAttrNested { name, found } => format!("The value of attribute \"{name}\" is {found}."),
            Self::NothingToSend => "All attributes are null, or there are none.".to_owned(),
            Self::AttrTooLarge {
                name,
                bytes,
                room,
                method,
            } => {
                let limit = method.max_bytes();
                format!(
                    "Attribute \"{name}\" takes {bytes} bytes once encoded; the rest of the request leaves {room} of \
                     the {limit} bytes of a {method}."
                )
            }
            Self::EndpointNotUrl | Self::EndpointCredentials => return None,
            Self::EndpointQuery { base } => format!("The query or fragment follows \"{base}\"."),
            Self::EndpointInsecure { template }
            | Self::EndpointPlaceholder { template }
            | Self::EndpointHost { template }
            | Self::EndpointEscape { template }
            | Self::EndpointNotCanonical { template, .. } => format!("The endpoint is \"{template}\"."),
            Self::EndpointTooLong { template, bytes } => format!(
                "The endpoint \"{template}\" gives URLs of up to {bytes} bytes; at most {ENDPOINT_URL_BYTES} are \
                 allowed."
            ),
        })
    }

    /// What to do about it, in a sentence. `None` where there is no more to say.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::InvalidClientCode { .. } => {
                return Some(format!(
                    "A client code consists of 1 to {CLIENT_CODE_BYTES} characters out of a-z, 0-9 and -, and neither \
                     starts nor ends with -. Target shows it under Administration > Implementation."
                ));
            }
            Self::UnknownIdKind { .. } => {
                "Use mboxPC (or pcId, tntId) or mbox3rdPartyId (or thirdPartyId); case matters."
            }
            Self::IdCharacter {
                kind: IdKind::Mbox3rdPartyId,
                ..
            } => "An mbox3rdPartyId contains no +, no / and no control character.",
            Self::IdCharacter {
                kind: IdKind::MboxPc, ..
            } => "An mboxPC contains no control character.",
            Self::IdDots { .. } => "The only dot of an mboxPC is the one before the location hint.",
            Self::BlankId { .. } => {
                "Give the id that Target or your CRM knows the visitor by, or leave out rows without one."
            }
            Self::IdTooLong { .. } => {
                "Give an id that fits, or leave out such rows: Target knows no profile by a part of its id."
            }
            Self::AttrsNotJson { .. } => "Use an object of names and values, such as {\"age\": 42}.",
            Self::BlankAttr { .. } => "Give each key a name.",
            Self::NulInAttr { .. } => "Remove the character \\u0000 before the call: no request can carry it.",
            Self::AttrsTooDeep => "Send what is inside under a name of its own, or as text.",
            Self::AttrsTooLarge | Self::AttrsTooMany | Self::ValueTooLarge { .. } => {
                "Send fewer or shorter attributes: Target keeps at most 64 KB for a profile."
            }
            Self::StoredAttrNested { .. } => "Enqueue the update anew with target_profile_update, which flattens it.",
            Self::UnknownArrays { .. } => "Use json or indexed.",
            Self::UnknownMethod { .. } => "Use auto, get or post.",
            Self::AttrsNotObject { .. } => "Use an object of names and values, such as {\"age\": 42}.",
            Self::AttrCollision { .. } => "Nested names are joined by dots, and one leading \"profile.\" is dropped.",
            Self::NothingToSend => {
                "Nulls are skipped, because Target cannot delete an attribute. To send something in their place, set \
                 the client's null_value."
            }
            Self::AttrTooLarge {
                method: Method::Get,
                bytes,
                ..
            } if *bytes < POST_BODY_BYTES => {
                return Some(format!(
                    "A client whose method is auto or post may send up to {POST_BODY_BYTES} bytes in one request, \
                     instead of {GET_URL_BYTES}."
                ));
            }
            Self::AttrTooLarge { .. } => "Shorten the value, or leave out the attribute: it must fit into one request.",
            Self::EndpointInsecure { .. } => "Write https; http is for a host such as localhost or 127.0.0.1.",
            Self::EndpointTooLong { .. } => "Use a shorter path.",
            Self::EndpointNotUrl => "An example is https://{client}.tt.omtrdc.net/m2/{client}/profile/update.",
            Self::EndpointCredentials => "If Target asks for a token, set the client's auth_token.",
            Self::EndpointQuery { .. } => "The id and the attributes are added to the endpoint for every request.",
            Self::EndpointPlaceholder { .. } => "The only placeholder is {client}, the client code.",
            Self::EndpointHost { .. } => {
                "In the host, {client} must be a whole label, and not the last, as in {client}.example.com."
            }
            Self::EndpointEscape { .. } => "A percent sign is followed by two hexadecimal digits, and is itself %25.",
            Self::EndpointNotCanonical { canonical, .. } => return Some(format!("Write it as \"{canonical}\".")),
        };
        Some(hint.to_owned())
    }
}

/// The types of JSON, as a sentence names them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JsonType {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// a number
    Number,
    /// a string
    String,
    /// an array
    Array,
    /// an object
    Object,
}

impl JsonType {
    /// The type of `value`.
    #[must_use]
    pub const fn of(value: &serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::Bool(_) => Self::Boolean,
            serde_json::Value::Number(_) => Self::Number,
            serde_json::Value::String(_) => Self::String,
            serde_json::Value::Array(_) => Self::Array,
            serde_json::Value::Object(_) => Self::Object,
        }
    }
}

impl fmt::Display for JsonType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Null => "null",
            Self::Boolean => "a boolean",
            Self::Number => "a number",
            Self::String => "a string",
            Self::Array => "an array",
            Self::Object => "an object",
        })
    }
}
