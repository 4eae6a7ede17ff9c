//! Makes an update from a row, for triggers and backfill alike, or the reason why there can be none.

use serde_json::Value;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::burial;
use target_profile_core::error::Error as CoreError;
use target_profile_core::id::ProfileKey;
use target_profile_core::request;

use super::value::Unread;
use crate::pg::enqueue::clients;
use crate::pg::enqueue::outbox::Origin;
use crate::pg::support::errors::Fault;

/// Whose update it is, and what is sent.
pub type Update = (ProfileKey, FlatAttrs);

/// The update that a row makes; `None`: there is nothing to send, all mapped columns are NULL.
///
/// # Errors
/// It cannot be sent.
pub fn update(origin: &Origin, id: &str, values: &[(&str, Value)]) -> Result<Option<Update>, Fault> {
    let key = ProfileKey::new(origin.client.clone(), origin.kind, id)?;
    let settings = clients::registered_for_row(key.client.as_str())?;
    let attrs = match FlatAttrs::from_columns(values, &settings.flatten) {
        Ok(attrs) => attrs,
        Err(CoreError::NothingToSend) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    request::check_fits(&settings.endpoint, &key, &attrs, settings.method)?;
    Ok(Some((key, attrs)))
}

/// The values of a row, by attribute.
#[derive(Default)]
pub struct Values<'w> {
    /// As far as they could be read; in place of the others something that nobody sends.
    pub read: Vec<(&'w str, Value)>,
    /// Why the first of those that could not be read was not.
    pub fault: Option<Fault>,
}

impl<'w> Values<'w> {
    /// One more.
    pub fn push(&mut self, name: &'w str, value: Result<Value, Unread>) {
        match value {
            Ok(value) => self.read.push((name, value)),
            Err(unread) => {
                // Something stands for it in any case: what is left of the row must not be sent without it.
                let text = unread.text.as_deref().unwrap_or("not read");
                self.read.push((name, burial::unsendable_text(text)));
                if self.fault.is_none() {
                    self.fault = Some(unread.fault(|| format!("the attribute \"{name}\"")));
                }
            }
        }
    }
}
