//! Qualified names in a statement.

use target_profile_core::names::replaced;

#[test]
fn a_whole_name_is_replaced_wherever_it_stands() {
    let other = |text| replaced(text, "s.outbox", "crm.\"Queue\"");
    assert_eq!(
        other("INSERT INTO s.outbox (id) SELECT nextval('s.outbox_id_seq') FROM s.outbox;s.outbox").as_deref(),
        Some("INSERT INTO crm.\"Queue\" (id) SELECT nextval('s.outbox_id_seq') FROM crm.\"Queue\";crm.\"Queue\"")
    );
    assert_eq!(other("s.outbox").as_deref(), Some("crm.\"Queue\""));
    for kept in [
        "s.outbox_id_seq",
        "s.outbox1",
        "s.outbox$",
        "s.outbox.id",
        "as.outbox",
        "x.s.outbox",
        "\"s.outbox\"",
        "_s.outbox",
        "s.outboxs.outbox",
        "",
    ] {
        assert_eq!(other(kept), None, "{kept}");
    }
}
