//! The errors of a backfill.

use pgrx::prelude::PgSqlErrorCode;
use target_profile_core::backfill::{CHUNK_ROWS, Refusal};
use thiserror::Error;

/// Why a backfill cannot run.
#[derive(Debug, Error, PartialEq)]
pub enum BackfillFault {
    /// It commits, which a transaction block cannot have.
    #[error("target_profile.backfill cannot be called in a transaction block")]
    InTransaction,
    /// A size of a chunk that is none.
    #[error("chunk must be from {} to {}", CHUNK_ROWS.start(), CHUNK_ROWS.end())]
    Chunk(i32),
    /// A table with several watches.
    #[error("table {0} has several watches")]
    SeveralWatches(String),
    /// A table whose trigger is gone.
    #[error("a trigger of the watch of table {0} is missing")]
    NoTrigger(String),
    /// Ids without an order.
    #[error("ids of type {0} have no order")]
    NoOrder(String),
    /// Another session has it.
    #[error("a backfill of table {0} is running already")]
    Running(String),
    /// The last run is not finished, and another one is asked for.
    #[error("the last backfill of table {table} is not finished")]
    Unfinished {
        /// The table.
        table: String,
        /// In what they differ.
        refusal: Refusal,
        /// What the last one had there.
        last: Option<String>,
        /// Whose it is, if that is another role, whose words are not the caller's to read.
        other: Option<String>,
    },
    /// Somebody else's table.
    #[error("permission denied for table {0}")]
    NotReadable(String),
    /// An internal function, called by hand.
    #[error("this session runs no such backfill")]
    NotMine,
}

impl BackfillFault {
    /// What a program can act on.
    pub const fn sqlstate(&self) -> PgSqlErrorCode {
        match self {
            Self::InTransaction => PgSqlErrorCode::ERRCODE_INVALID_TRANSACTION_TERMINATION,
            Self::Chunk(_) | Self::SeveralWatches(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::NoOrder(_) => PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
            Self::Running(_) => PgSqlErrorCode::ERRCODE_OBJECT_IN_USE,
            Self::NotReadable(_) => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NoTrigger(_) | Self::Unfinished { .. } | Self::NotMine => {
                PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE
            }
        }
    }

    /// DETAIL.
    pub fn detail(&self) -> Option<String> {
        match self {
            Self::Chunk(given) => Some(format!("The value is {given}.")),
            Self::Unfinished {
                refusal: Refusal::OtherCondition,
                other: Some(role),
                ..
            } => Some(format!("Role {role} began it, with another condition.")),
            Self::Unfinished {
                refusal: Refusal::OtherMeaning,
                other,
                ..
            } => Some(match other {
                Some(role) => format!("Role {role} began it, to whom the same condition means something else."),
                None => "The same condition meant something else when it began.".to_owned(),
            }),
            Self::Unfinished { refusal, last, .. } => Some(match (refusal, last) {
                (Refusal::OtherCondition, Some(last)) => format!("It sends the rows where {last}."),
                (Refusal::OtherCondition, None) => "It sends all rows.".to_owned(),
                (Refusal::OtherOrder | Refusal::OtherMeaning, last) => format!(
                    "It began while the id of the watch was {}.",
                    last.as_deref().unwrap_or("another one")
                ),
            }),
            _ => None,
        }
    }

    /// HINT.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unfinished {
                refusal: Refusal::OtherMeaning,
                ..
            } => {
                "Call it as that role and with the search_path that it was called with to go on, or with restart => true to \
                 begin anew."
            }
            Self::InTransaction => "CALL it by itself: it commits after each chunk.",
            Self::Chunk(_) => "Give a number of rows in this range. The rows of a chunk are locked until it commits.",
            Self::SeveralWatches(_) => "Name one of them: client_code => '…', id_kind => '…'.",
            Self::NoTrigger(_) => "Call target_profile.watch again with the same arguments.",
            Self::NoOrder(_) => "Watch the table with an id_column that can be ordered, such as id::text.",
            Self::Running(_) => {
                "target_profile.backfill_progress shows it; target_profile.stop_backfill ends it after its chunk."
            }
            Self::Unfinished { .. } => {
                "Call it as it was called to go on, or with restart => true to begin anew with these arguments."
            }
            Self::NotReadable(_) => "Call it as a role that may read the table, or grant SELECT on it.",
            Self::NotMine => "Run CALL target_profile.backfill(…), which calls this function.",
        }
    }
}
