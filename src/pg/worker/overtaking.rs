//! Newer updates overtake dead letters: what a newer one has set, a dead letter that is sent again leaves out, so that no older value
//! follows a newer one.

use pgrx::datum::DatumWithOid;
use pgrx::spi::SpiClient;
use target_profile_core::attrs::FlatAttrs;
use target_profile_core::error::Error;
use target_profile_core::id::ProfileKey;
use target_profile_core::settlement::Arrived;

use super::queries::{
    ANY_DEAD_LETTER, ANY_TAKEN, MOVE_OVERTAKEN, OLDER_DEAD_LETTERS, OLDER_DEAD_LETTERS_0_1, OVERTAKE_0_1, OVERTAKEN,
    OVERTAKEN_0_1, SUPERSEDE, THIN_SUPERSEDED,
};
use crate::pg::enqueue::writer;
use crate::pg::support::errors::Fault;

/// Notes what has arrived of profiles that have older dead letters. The entries must be there still, which say what each has set.
pub fn overtake(client: &mut SpiClient<'_>, arrived: &[Arrived]) -> Result<(), Fault> {
    if arrived.is_empty() || !ANY_DEAD_LETTER.with(|statement| statement.is_true(client))? {
        return Ok(());
    }
    let older = older_dead_letters(client, arrived)?;
    if !writer::is_recorded() {
        return overtake_one_by_one(client, &older);
    }
    for (one, newest) in older {
        let names: Vec<&str> = one.attrs.iter().map(|(name, _)| name).collect();
        let mut args: Vec<DatumWithOid<'_>> = vec![
            one.key.client.as_str().into(),
            one.key.kind.as_str().into(),
            one.key.id.as_str().into(),
            names.into(),
            one.ids.clone().into(),
            newest.into(),
        ];
        if SUPERSEDE.with(|statement| Ok::<_, Fault>(!statement.update(client, &args)?.is_empty()))? {
            args.truncate(4);
            THIN_SUPERSEDED.with(|statement| statement.update(client, &args).map(|_| ()))?;
        }
    }
    Ok(())
}

/// Dead letters that are older than what has arrived: the newest ones, or all of them with SQL objects of version 0.1.0.
fn older_dead_letters<'a>(
    client: &mut SpiClient<'_>,
    arrived: &'a [Arrived],
) -> Result<Vec<(&'a Arrived, i64)>, Fault> {
    let text = |of: fn(&Arrived) -> &str| -> Vec<String> { arrived.iter().map(|one| of(one).to_owned()).collect() };
    let newest: Vec<Option<i64>> = arrived.iter().map(|one| one.ids.last().copied()).collect();
    let args = [
        text(|one| one.key.client.as_str()).into(),
        text(|one| one.key.kind.as_str()).into(),
        text(|one| one.key.id.as_str()).into(),
        newest.into(),
    ];
    let statement = if writer::is_recorded() {
        &OLDER_DEAD_LETTERS
    } else {
        &OLDER_DEAD_LETTERS_0_1
    };
    statement.with(|statement| {
        let mut older = Vec::new();
        for row in statement.update(client, &args)? {
            let number = row.get::<i32>(1)?.and_then(|n| usize::try_from(n - 1).ok());
            let (Some(one), Some(id)) = (number.and_then(|n| arrived.get(n)), row.get::<i64>(2)?) else {
                return Err(Fault::Internal("older_dead_letters"));
            };
            older.push((one, id));
        }
        Ok(older)
    })
}

/// Rows of `overtaken` that are written at a time.
const AT_A_TIME: usize = 5_000;

/// For SQL objects of version 0.1.0: each attribute of each dead letter, a product.
fn overtake_one_by_one(client: &mut SpiClient<'_>, older: &[(&Arrived, i64)]) -> Result<(), Fault> {
    for of_one in older.chunk_by(|(one, _), (other, _)| std::ptr::eq(*one, *other)) {
        let Some(&(one, _)) = of_one.first() else { continue };
        let pairs = of_one
            .iter()
            .flat_map(|(_, id)| one.attrs.iter().map(move |(name, _)| (*id, name)));
        let mut pairs = pairs.peekable();
        while pairs.peek().is_some() {
            let (ids, names): (Vec<i64>, Vec<&str>) = pairs.by_ref().take(AT_A_TIME).unzip();
            let args = [ids.into(), names.into(), one.ids.clone().into()];
            OVERTAKE_0_1.with(|statement| statement.update(client, &args).map(|_| ()))?;
        }
    }
    Ok(())
}

/// Notes of entries that are about to be buried under these spare ids what newer updates have set since. The entries must be there still.
pub fn follow(client: &mut SpiClient<'_>, ids: &[i64], spare: &[i64]) -> Result<(), Fault> {
    let is_taken = ANY_TAKEN.with(|statement| {
        let rows = statement.update(client, &[ids.to_vec().into()])?;
        Ok::<_, Fault>(rows.first().get_one::<bool>()?.unwrap_or(false))
    })?;
    if !is_taken || !writer::is_recorded() {
        return Ok(());
    }
    let args = [ids.to_vec().into(), spare.to_vec().into()];
    MOVE_OVERTAKEN.with(|statement| statement.update(client, &args).map(|_| ()))
}

/// What a dead letter that is sent again still sets.
pub fn without_overtaken(
    client: &SpiClient<'_>,
    id: i64,
    profile: &ProfileKey,
    mut attrs: FlatAttrs,
) -> Result<Result<FlatAttrs, Error>, Fault> {
    let mut args = vec![id.into()];
    let statement = if writer::is_recorded() {
        args.extend([
            profile.client.as_str().into(),
            profile.kind.as_str().into(),
            profile.id.as_str().into(),
        ]);
        &OVERTAKEN
    } else {
        &OVERTAKEN_0_1
    };
    statement.with(|statement| {
        statement.each(client, &args, |row| {
            if let Some(name) = row.get::<&str>(1)? {
                attrs.drop_one(name);
            }
            Ok(())
        })
    })?;
    Ok(if attrs.is_empty() {
        Err(Error::NothingToSend)
    } else {
        Ok(attrs)
    })
}
