//! Every limit that a request is held to: one constant each, with its unit and its source.
//!
//! Sources are tagged as in the fact sheet: **\[doc\]** Adobe's current documentation, **\[old\]** documentation that
//! Adobe has removed, **\[assumed\]** published by nobody, **\[own\]** a bound of this package, which Adobe does not
//! ask for.

/// Longest GET, in bytes of the whole URL after encoding. \[doc\] 8 KB for a GET. \[assumed\] KB is 1,000 bytes, and
/// the whole URL counts after encoding: of the possible readings the one that is safe under all of them.
pub const GET_URL_BYTES: usize = 8_000;

/// Longest body of a POST, in bytes after encoding. \[doc\] 60 KB for a POST. \[assumed\] KB is 1,000 bytes, measured
/// on the encoded body.
pub const POST_BODY_BYTES: usize = 60_000;

/// Longest `mbox3rdPartyId`, in characters before encoding. \[doc\] 256; \[old\] pages said 128 and 60.
pub const THIRD_PARTY_ID_CHARS: usize = 256;

/// Longest `mboxPC`, in characters before encoding. \[doc\] 128.
pub const MBOX_PC_CHARS: usize = 128;

/// Most dots that an `mboxPC` may contain: the one before the location hint, as in `….28_20`. \[doc\]
pub const MBOX_PC_DOTS: usize = 1;

/// Longest client code, in bytes, which are characters here. It becomes a label of a host name: RFC 1035, section
/// 2.3.4.
pub const CLIENT_CODE_BYTES: usize = 63;

/// Longest URL that an endpoint may give with any client code, in bytes. \[own\] Adobe's own takes at most 167. Beside
/// the longest id, 256 characters of 12 bytes, it leaves 3,900 bytes of a GET to the attributes.
pub const ENDPOINT_URL_BYTES: usize = 1_000;

/// Deepest nesting of attributes, in levels; the outermost object is the first. \[own\] It bounds the recursion of
/// everything that walks a value, and stays below the 127 levels at which `serde_json` gives up.
pub const JSON_DEPTH: usize = 64;

/// Most text that one update may flatten to, in bytes of names and values before encoding. \[own\] Flattening repeats
/// an object's name for each of its members, so that the result can be far larger than what it was made from; this
/// bounds the memory of the session. \[doc\] Target keeps at most 64 KB for a profile.
pub const FLAT_BYTES: usize = 16 * 1024 * 1024;

/// Most attributes that one update may have. \[own\] Each takes memory beside its text; Target keeps at most 64 KB for a profile, in
/// which no more than a few thousand have room.
pub const FLAT_ATTRS: usize = 65_536;

/// Largest value that is taken apart for its attributes, in bytes of what Postgres stores, uncompressed. \[own\] All that one update
/// may flatten to, and what `jsonb` needs beside the text. What is larger is refused by its size, before anything is copied.
pub const STORED_BYTES: usize = FLAT_BYTES + 16 * FLAT_ATTRS;

/// How much of a response is read for its verdict, in bytes. \[own\] Target's answers are some 100 bytes long; the
/// rest of a longer one, from a proxy perhaps, changes nothing.
pub const VERDICT_BODY_BYTES: usize = 64 * 1024;

/// How much of all answers together is held until they are judged, in bytes. \[own\] It bounds what many long answers at a time
/// take.
pub const ANSWERS_BYTES: usize = 4 * 1024 * 1024;

/// How much of an answer is read in any case, in bytes. \[own\] Many times what Target answers.
pub const ANSWER_FLOOR_BYTES: usize = 2 * 1024;

/// Longest answer on the wire, in bytes: with its head, all informational answers before it and what chunks add. \[own\] It bounds
/// what a server can cost that never comes to an end; an answer that is read to the end of what its verdict needs has room in it.
pub const ANSWER_WIRE_BYTES: usize = 1024 * 1024;

/// Longest head of an answer, in bytes. \[own\]
pub const ANSWER_HEAD_BYTES: usize = 64 * 1024;

/// Deepest nesting of XML elements that is followed in a response, in levels. \[own\] Target's answers have two.
pub const VERDICT_XML_DEPTH: usize = 32;

/// Longest message taken from a response, in bytes. \[own\]
pub const MESSAGE_BYTES: usize = 1_000;

/// How much of an offending value an error shows, in characters. \[own\]
pub const EXCERPT_CHARS: usize = 200;

// 127 is where `serde_json` stops by default.
const _: () = assert!(JSON_DEPTH < 127);
// Whatever fits in a GET fits in a POST: `request::build` relies on it.
const _: () = assert!(GET_URL_BYTES <= POST_BODY_BYTES);
