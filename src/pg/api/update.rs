//! `target_profile_update` and `target_profile_preview`: an update by a function call.

use std::rc::Rc;

use pgrx::callconv::{Arg, ArgAbi};
use pgrx::datum::FromDatum;
use pgrx::iter::TableIterator;
use pgrx::nullable::Nullable;
use pgrx::pgrx_sql_entity_graph::metadata::{
    ArgumentError, ReturnsError, ReturnsRef, SqlMappingRef, SqlTranslatable, TypeOrigin,
};
use pgrx::prelude::*;
use target_profile_core::attrs::{FlatAttrs, FlattenOptions};
use target_profile_core::client_code::ClientCode;
use target_profile_core::id::{IdKind, ProfileKey};
use target_profile_core::request;
use target_profile_core::settings::ClientSettings;

use crate::pg::enqueue::{clients, jsonb, outbox};
use crate::pg::support::allocator::with_reserve;
use crate::pg::support::errors::{Fault, or_raise};
use crate::pg::support::text::Text;
use crate::pg::triggers::value;

/// A `jsonb` argument: pgrx's own type would panic on deep nesting before anybody could say what is wrong.
pub struct Attrs(pg_sys::Datum);

impl Attrs {
    /// As attributes of an update.
    ///
    /// # Errors
    /// As [`FlatAttrs::from_json`], and if it is too large to be taken apart.
    pub fn flatten(&self, options: &FlattenOptions) -> Result<FlatAttrs, Fault> {
        // SAFETY: a jsonb.
        unsafe { value::check_size(self.0)? };
        // SAFETY: a jsonb, which lives as long as the call of the function that it is an argument of.
        let flat = match unsafe { jsonb::members(self.0) } {
            Some(members) => FlatAttrs::from_pairs(members, options)?,
            None => FlatAttrs::from_json(&self.text()?, options)?,
        };
        Ok(flat)
    }

    /// Its text.
    ///
    /// # Errors
    /// It is too large.
    pub fn text(&self) -> Result<String, Fault> {
        // SAFETY: a jsonb.
        unsafe { value::check_size(self.0)? };
        // SAFETY: as above; the output function gives a palloc'd string.
        let text = unsafe { std::ffi::CStr::from_ptr(pg_sys::OidOutputFunctionCall(jsonb_out(), self.0)) };
        Ok(text.to_string_lossy().into_owned())
    }
}

impl FromDatum for Attrs {
    unsafe fn from_polymorphic_datum(datum: pg_sys::Datum, is_null: bool, _type: pg_sys::Oid) -> Option<Self> {
        (!is_null).then_some(Self(datum))
    }
}

fn jsonb_out() -> pg_sys::Oid {
    pg_sys::Oid::from(pg_sys::F_JSONB_OUT)
}

// SAFETY: declared as jsonb in SQL, read as jsonb above.
unsafe impl SqlTranslatable for Attrs {
    const TYPE_IDENT: &'static str = "target_profile::Attrs";
    const TYPE_ORIGIN: TypeOrigin = TypeOrigin::External;
    const ARGUMENT_SQL: Result<SqlMappingRef, ArgumentError> = Ok(SqlMappingRef::literal("jsonb"));
    const RETURN_SQL: Result<ReturnsRef, ReturnsError> = Ok(ReturnsRef::One(SqlMappingRef::literal("jsonb")));
}

// SAFETY: goes through FromDatum, as pgrx's own types do.
unsafe impl<'fcx> ArgAbi<'fcx> for Attrs {
    unsafe fn unbox_arg_unchecked(arg: Arg<'_, 'fcx>) -> Self {
        // SAFETY: the caller's promise; used for arguments that may not be null, of which there are none.
        unsafe {
            arg.unbox_arg_using_from_datum()
                .unwrap_or_else(|| Fault::NullArgument("attrs").raise())
        }
    }

    unsafe fn unbox_nullable_arg(arg: Arg<'_, 'fcx>) -> Nullable<Self> {
        // SAFETY: the caller's promise.
        unsafe { arg.unbox_arg_using_from_datum().into() }
    }
}

/// An update that has passed every rule.
struct CheckedUpdate {
    key: ProfileKey,
    attrs: FlatAttrs,
    settings: Rc<ClientSettings>,
}

impl CheckedUpdate {
    fn of(
        client_code: Option<&str>,
        id_kind: Option<&str>,
        id: Option<&str>,
        attrs: Option<Attrs>,
    ) -> Result<Self, Fault> {
        let code = ClientCode::parse(client_code.ok_or(Fault::NullArgument("client_code"))?)?;
        let kind = IdKind::parse(id_kind.ok_or(Fault::NullArgument("id_kind"))?)?;
        let key = ProfileKey::new(code, kind, id.ok_or(Fault::NullArgument("id"))?)?;
        let settings = clients::registered(key.client.as_str())?;
        let attrs = attrs.ok_or(Fault::NullArgument("attrs"))?;
        let attrs = attrs.flatten(&settings.flatten)?;
        Ok(Self { key, attrs, settings })
    }
}

/// Enqueues an update in the caller's transaction; the answer is the id of its outbox entry.
#[pg_extern(sql = r#"
CREATE FUNCTION @extschema@.target_profile_update(
    client_code text, id_kind text, id text, attrs jsonb, priority smallint DEFAULT 0
) RETURNS bigint LANGUAGE c VOLATILE PARALLEL UNSAFE AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
pub fn target_profile_update(
    client_code: Option<Text<'_>>,
    id_kind: Option<Text<'_>>,
    id: Option<Text<'_>>,
    attrs: Option<Attrs>,
    priority: default!(Option<i16>, 0),
) -> i64 {
    let enqueue = || {
        let CheckedUpdate { key, attrs, settings } =
            CheckedUpdate::of(client_code.as_deref(), id_kind.as_deref(), id.as_deref(), attrs)?;
        let priority = priority.ok_or(Fault::NullArgument("priority"))?;
        request::check_fits(&settings.endpoint, &key, &attrs, settings.method)?;
        outbox::enqueue(&key, &attrs, priority, "function")
    };
    with_reserve(|| or_raise(enqueue()))
}

/// The requests that an update would become, one row each; sends and stores nothing.
#[pg_extern(sql = r#"
CREATE FUNCTION @extschema@.target_profile_preview(client_code text, id_kind text, id text, attrs jsonb)
    RETURNS TABLE (method text, url text, body text, bytes integer)
    LANGUAGE c STABLE PARALLEL UNSAFE AS '@MODULE_PATHNAME@', '@FUNCTION_NAME@';
"#)]
pub fn target_profile_preview(
    client_code: Option<Text<'_>>,
    id_kind: Option<Text<'_>>,
    id: Option<Text<'_>>,
    attrs: Option<Attrs>,
) -> TableIterator<
    'static,
    (
        name!(method, String),
        name!(url, String),
        name!(body, Option<String>),
        name!(bytes, i32),
    ),
> {
    let build = || {
        let CheckedUpdate { key, attrs, settings } =
            CheckedUpdate::of(client_code.as_deref(), id_kind.as_deref(), id.as_deref(), attrs)?;
        Ok(request::build(&settings.endpoint, &key, &attrs, settings.method)?)
    };
    let requests = with_reserve(|| or_raise(build()));
    TableIterator::new(requests.into_iter().map(|request| {
        let bytes = i32::try_from(request.bytes()).unwrap_or(i32::MAX);
        (request.method.as_str().to_owned(), request.url, request.body, bytes)
    }))
}
