//! Finds the relations of the extension, also where they were renamed or moved.
//!
//! Usually a relation has its own name. Otherwise it is found in `pg_extension.extconfig`, which lists the relations that pg_dump keeps the
//! rows of, in the order in which the SQL scripts register them.

use std::borrow::Cow;
use std::cell::RefCell;
use std::ffi::CStr;
use std::rc::Rc;

use pgrx::pg_sys;
use pgrx::prelude::*;
use pgrx::spi::quote_qualified_identifier;

use super::catalog;

/// The extension, and the schema of its objects.
const EXTENSION: &CStr = c"target_profile";

/// What a write needs.
const WRITTEN: [&CStr; 3] = [c"client", c"outbox", c"dead_letter"];

/// `extconfig` as sql/tables.sql makes it; sql/queries/installation/renamed.sql has the same list.
const MADE: [&CStr; 12] = [
    c"binding",
    c"client",
    c"outbox",
    c"outbox_id_seq",
    c"dead_letter",
    c"overtaken",
    c"activity",
    c"response_id_seq",
    c"watched_table",
    c"backfill_run",
    c"backfill_run_id_seq",
    c"superseded",
];

/// The extension's own number; `None`: it is not installed.
pub fn extension() -> Option<pg_sys::Oid> {
    // SAFETY: a look-up, inside a transaction.
    let oid = unsafe { pg_sys::get_extension_oid(EXTENSION.as_ptr(), true) };
    (oid != pg_sys::InvalidOid).then_some(oid)
}

/// Whether an object belongs to the extension.
pub fn is_member(extension: pg_sys::Oid, class: pg_sys::Oid, object: pg_sys::Oid) -> bool {
    // SAFETY: a look-up, inside a transaction.
    unsafe { pg_sys::getExtensionOfObject(class, object) == extension }
}

/// A table that a write needs; `None`: there is none any more.
pub fn table(name: &CStr) -> Option<pg_sys::Oid> {
    let extension = extension()?;
    by_name(extension, name).or_else(|| by_config(extension, name))
}

fn by_name(extension: pg_sys::Oid, name: &CStr) -> Option<pg_sys::Oid> {
    // SAFETY: look-ups in the system cache, inside a transaction.
    let oid = unsafe {
        let schema = pg_sys::get_namespace_oid(EXTENSION.as_ptr(), true);
        pg_sys::get_relname_relid(name.as_ptr(), schema)
    };
    (oid != pg_sys::InvalidOid && is_member(extension, pg_sys::RelationRelationId, oid)).then_some(oid)
}

fn by_config(extension: pg_sys::Oid, name: &CStr) -> Option<pg_sys::Oid> {
    let place = MADE.iter().position(|made| *made == name)?;
    let oid = *config(extension).get(place)?;
    // SAFETY: a look-up, inside a transaction.
    let is_table = unsafe { pg_sys::get_rel_relkind(oid) }.cast_unsigned() == pg_sys::RELKIND_RELATION;
    // After ALTER EXTENSION … DROP TABLE another one has this place.
    let is_another = MADE.iter().any(|made| by_name(extension, made) == Some(oid));
    (is_table && !is_another && is_member(extension, pg_sys::RelationRelationId, oid)).then_some(oid)
}

/// `extconfig` of the extension.
fn config(extension: pg_sys::Oid) -> Vec<pg_sys::Oid> {
    // SAFETY: a scan of a catalog by its key, as get_extension_oid does it; the value is read before the tuple goes.
    unsafe {
        let lock = pg_sys::AccessShareLock as pg_sys::LOCKMODE;
        let catalog = pg_sys::table_open(pg_sys::ExtensionRelationId, lock);
        let mut key = pg_sys::ScanKeyData::default();
        pg_sys::ScanKeyInit(
            &mut key,
            pg_sys::Anum_pg_extension_oid as pg_sys::AttrNumber,
            pg_sys::BTEqualStrategyNumber as pg_sys::StrategyNumber,
            pg_sys::F_OIDEQ.into(),
            extension.into(),
        );
        let scan = pg_sys::systable_beginscan(
            catalog,
            pg_sys::ExtensionOidIndexId.into(),
            true,
            std::ptr::null_mut(),
            1,
            &mut key,
        );
        let tuple = pg_sys::systable_getnext(scan);
        let mut found = Vec::new();
        if !tuple.is_null() {
            let mut is_null = true;
            let datum = pg_sys::SPI_getbinval(
                tuple,
                (*catalog).rd_att,
                pg_sys::Anum_pg_extension_extconfig as i32,
                &mut is_null,
            );
            found = Vec::<pg_sys::Oid>::from_datum(datum, is_null).unwrap_or_default();
        }
        pg_sys::systable_endscan(scan);
        pg_sys::table_close(catalog, lock);
        found
    }
}

/// The present names of what a write needs, where they are not those that our statements have.
#[derive(Default)]
pub struct Renamed {
    /// As our statements name it, and as it is to be named.
    names: Vec<(String, String)>,
}

/// `None`, nearly always: everything is called as it was made.
pub fn renamed() -> Option<Rc<Renamed>> {
    thread_local! {
        static KNOWN: RefCell<(u64, Option<Rc<Renamed>>)> = const { RefCell::new((0, None)) };
    }
    let generation = catalog::generation();
    if let Some(known) = KNOWN.with_borrow(|(then, known)| (*then == generation).then(|| known.clone())) {
        return known;
    }
    let renamed = Renamed::look_up()
        .filter(|renamed| !renamed.names.is_empty())
        .map(Rc::new);
    KNOWN.replace((generation, renamed.clone()));
    renamed
}

impl Renamed {
    fn look_up() -> Option<Self> {
        let extension = extension()?;
        let mut renamed = Self::default();
        for name in WRITTEN {
            if by_name(extension, name).is_none()
                && let Some(oid) = by_config(extension, name)
            {
                renamed.add(&name.to_string_lossy(), oid);
            }
        }
        if let Some(outbox) = table(c"outbox")
            && let Some(sequence) = sequence_of(outbox)
            && by_name(extension, c"outbox_id_seq") != Some(sequence)
        {
            renamed.add("outbox_id_seq", sequence);
        }
        Some(renamed)
    }

    fn add(&mut self, name: &str, oid: pg_sys::Oid) {
        // SAFETY: look-ups; the answers are C strings or null.
        let found = unsafe {
            let (schema, name) = (
                pg_sys::get_namespace_name(pg_sys::get_rel_namespace(oid)),
                pg_sys::get_rel_name(oid),
            );
            (!schema.is_null() && !name.is_null()).then(|| {
                (
                    CStr::from_ptr(schema).to_string_lossy().into_owned(),
                    CStr::from_ptr(name).to_string_lossy().into_owned(),
                )
            })
        };
        // A name also stands in literals. One with an apostrophe in it is left alone: the statement fails as without this.
        if let Some((schema, present)) = found
            && !schema.contains(['\'', '\\'])
            && !present.contains(['\'', '\\'])
        {
            self.names.push((
                format!("target_profile.{name}"),
                quote_qualified_identifier(schema, present),
            ));
        }
    }

    /// A statement of ours with the present names.
    pub fn in_statement<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.names.iter().fold(
            Cow::Borrowed(text),
            |text, (name, present)| match target_profile_core::names::replaced(&text, name, present) {
                Some(replaced) => Cow::Owned(replaced),
                None => text,
            },
        )
    }
}

/// The sequence that the ids of a table come from.
pub fn sequence_of(table: pg_sys::Oid) -> Option<pg_sys::Oid> {
    // SAFETY: a look-up, inside a transaction; a list of OIDs.
    unsafe {
        let sequences = pg_sys::getOwnedSequences(table);
        (pg_sys::list_length(sequences) > 0).then(|| pg_sys::list_nth_oid(sequences, 0))
    }
}
