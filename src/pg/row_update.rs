//! What becomes of a row, however it was come by: an update, if it can be one.

use serde_json::Value;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::error::Error as CoreError;
use target_profile_core::id::ProfileKey;
use target_profile_core::request;

use super::clients;
use super::errors::Fault;
use super::outbox::Origin;

/// A dead letter keeps attributes up to this size, bytes of JSON.
const BURIED_ATTRS_BYTES: usize = 1024 * 1024;

/// Whose update it is, and what is sent.
pub type Update = (ProfileKey, FlatAttrs);

/// The update that a row makes; `None`: there is nothing to send, all mapped columns are NULL.
///
/// # Errors
/// It cannot be sent.
pub fn update(origin: &Origin, id: &str, values: &[(&str, Value)]) -> Result<Option<Update>, Fault> {
    let key = ProfileKey::new(origin.client.clone(), origin.kind, id)?;
    let settings = clients::registered(key.client.as_str())?;
    let attrs = match FlatAttrs::from_columns(values, &settings.flatten) {
        Ok(attrs) => attrs,
        Err(CoreError::NothingToSend) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    request::check_fits(&settings.endpoint, &key, &attrs, settings.method)?;
    Ok(Some((key, attrs)))
}

/// Its attributes, for a dead letter. What is far too large to be sent is not worth keeping twice, and jsonb would refuse its largest
/// strings.
pub fn attrs_to_bury(values: &[(&str, Value)]) -> Option<String> {
    (!values.is_empty())
        .then(|| {
            let object = values.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            Value::Object(object.collect()).to_string()
        })
        .filter(|text| text.len() <= BURIED_ATTRS_BYTES)
}
