//! Checks whether a dead letter can be sent.

use pgrx::iter::TableIterator;
use pgrx::prelude::*;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::client_code::ClientCode;
use target_profile_core::id::{IdKind, ProfileKey};
use target_profile_core::request;

use super::update::Attrs;
use crate::pg::enqueue::clients;
use crate::pg::support::errors::Fault;
use crate::pg::support::text::Text;

/// The attributes as they would be sent, or what is against it. `raw`: they are as a row had them, and must pass all that an
/// update must pass.
#[pg_extern(schema = "target_profile", volatile, parallel_unsafe)]
pub fn _check_update(
    client_code: Option<Text<'_>>,
    id_kind: Option<Text<'_>>,
    profile_id: Option<Text<'_>>,
    attrs: Option<Attrs>,
    raw: bool,
) -> TableIterator<'static, (name!(attrs, Option<String>), name!(fault, Option<String>))> {
    let checked = check(
        client_code.as_deref(),
        id_kind.as_deref(),
        profile_id.as_deref(),
        attrs,
        raw,
    );
    TableIterator::once(match checked {
        Ok(attrs) => (Some(attrs.to_json_text()), None),
        Err(fault) => (None, Some(fault.reason())),
    })
}

fn check(
    client_code: Option<&str>,
    id_kind: Option<&str>,
    profile_id: Option<&str>,
    attrs: Option<Attrs>,
    raw: bool,
) -> Result<FlatAttrs, Fault> {
    let code = ClientCode::parse(client_code.ok_or(Fault::NullArgument("client_code"))?)?;
    let kind = IdKind::parse(id_kind.ok_or(Fault::NullArgument("id_kind"))?)?;
    let key = ProfileKey::new(code, kind, profile_id.ok_or(Fault::NullArgument("profile_id"))?)?;
    let settings = clients::registered(key.client.as_str())?;
    let attrs = attrs.ok_or(Fault::NullArgument("attrs"))?;
    let attrs = if raw {
        attrs.flatten(&settings.flatten)?
    } else {
        FlatAttrs::from_stored_json(&attrs.text()?)?
    };
    request::check_fits(&settings.endpoint, &key, &attrs, settings.method)?;
    Ok(attrs)
}
