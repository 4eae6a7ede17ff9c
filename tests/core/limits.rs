//! The limits, each as its documentation and the documents give it.

use target_profile_core::limits::*;

#[test]
fn limits_are_what_the_documents_say() {
    // Adobe's.
    assert_eq!((GET_URL_BYTES, POST_BODY_BYTES), (8_000, 60_000));
    assert_eq!((THIRD_PARTY_ID_CHARS, MBOX_PC_CHARS, MBOX_PC_DOTS), (256, 128, 1));
    // A label of a host name.
    assert_eq!(CLIENT_CODE_BYTES, 63);
    // Our own.
    assert_eq!((ENDPOINT_URL_BYTES, JSON_DEPTH), (1_000, 64));
    assert_eq!((FLAT_BYTES, FLAT_ATTRS, STORED_BYTES), (16_777_216, 65_536, 17_825_792));
    assert_eq!((VERDICT_BODY_BYTES, VERDICT_XML_DEPTH), (65_536, 32));
    assert_eq!((ANSWERS_BYTES, ANSWER_FLOOR_BYTES), (4_194_304, 2_048));
    assert_eq!((ANSWER_WIRE_BYTES, ANSWER_HEAD_BYTES), (1_048_576, 65_536));
    assert_eq!((MESSAGE_BYTES, EXCERPT_CHARS), (1_000, 200));
}
