//! The one place where a fault becomes an error of Postgres: SQLSTATE, message, DETAIL and HINT.

use std::sync::OnceLock;

use pgrx::pg_sys::panic::ErrorReport;
use pgrx::prelude::*;
use target_profile_core::error::{Error as CoreError, ErrorKind};
use target_profile_core::settings::SettingError;
use thiserror::Error;

use super::backfill_fault::BackfillFault;
use super::warning;

/// Whatever can be wrong with a call, before it becomes an error of Postgres.
#[derive(Debug, Error)]
pub enum Fault {
    /// Target's rules.
    #[error(transparent)]
    Core(#[from] CoreError),
    /// A client's settings.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// An argument that must not be NULL.
    #[error("{0} must not be null")]
    NullArgument(&'static str),
    /// A client code that `client` does not hold.
    #[error("client is not registered")]
    UnknownClient(String),
    /// A client whose row in `client` is not valid (written by hand without the trigger that checks it).
    #[error("the settings of client \"{client}\" are not valid: {fault}")]
    BadClient {
        /// Its code.
        client: String,
        /// What is wrong.
        fault: SettingError,
    },
    /// A pause that is not one.
    #[error("paused_at and paused_by must be set together, paused_by to admin or unauthorized")]
    Pause,
    /// The transaction may not write.
    #[error("cannot enqueue a profile update in a read-only transaction")]
    ReadOnly,
    /// `wait` on an entry of its own transaction.
    #[error("cannot wait for an entry of the same transaction")]
    WaitForOwn(i64),
    /// `wait` in a transaction that never sees what others commit.
    #[error("cannot wait in a transaction with a fixed snapshot")]
    WaitInFixedSnapshot,
    /// `wait` where no worker can be.
    #[error("nothing drains the outbox: target_profile is not in shared_preload_libraries")]
    NotPreloaded,
    /// An id that no entry has.
    #[error("there is no entry with this id")]
    UnknownEntry(i64),
    /// A table that cannot be watched so.
    #[error("{0}")]
    Watch(WatchFault),
    /// A backfill that cannot run.
    #[error(transparent)]
    Backfill(#[from] BackfillFault),
    /// The same, found by the worker after it has happened.
    #[error("{0}: rename it back, or move it back")]
    Renamed(String),
    /// A table of the extension that is not there, or was taken out of it (ALTER EXTENSION … DROP TABLE).
    #[error("target_profile.{0} is not a table of extension target_profile")]
    NoTable(String),
    /// A statement has changed fewer rows than it had to, without an error.
    #[error("{statement} target_profile.{table} left out rows: a trigger or rule on the table suppresses them")]
    Suppressed {
        /// With its preposition.
        statement: &'static str,
        /// Without its schema.
        table: &'static str,
    },
    /// A name that the extension goes by.
    #[error("cannot rename or move {0}")]
    OwnName(String),
    /// A sequence of the extension whose numbers would no longer be in the order in which they are drawn.
    #[error("the numbers of {0} have to be in the order in which they are drawn")]
    OwnSequence(String),
    /// A trigger function that no trigger has called.
    #[error("{0}() can only be called as a trigger")]
    NoTrigger(&'static str),
    /// A trigger that cannot do its work as it was created.
    #[error("{0}")]
    Trigger(TriggerFault),
    /// Something of the extension that belongs to another role than its outbox.
    #[error(
        "{object} belongs to role {owner}, which does not have the rights of the owner of target_profile.outbox: give all that \
         target_profile has to one role (ALTER … OWNER TO)"
    )]
    ForeignOwner {
        /// As Postgres describes it.
        object: String,
        /// Whose it is.
        owner: String,
    },
    /// What Postgres says of a table or a sequence of ours, where it must not end what somebody else does.
    #[error("the tables of target_profile cannot be used: {0}")]
    Refused(String),
    /// A result of our own SQL that is not what it must be: a bug, or tables changed by hand.
    #[error("unexpected result of an internal query: {0}")]
    Spi(#[from] pgrx::spi::Error),
    /// The same, for a value that is missing or cannot be read.
    #[error("unexpected result of an internal query: {0}")]
    Internal(&'static str),
}

/// What is wrong with a trigger as it was created.
#[derive(Debug, Error, PartialEq)]
pub enum TriggerFault {
    /// Not AFTER … FOR EACH ROW.
    #[error("a trigger with target_profile_trigger must be AFTER and FOR EACH ROW")]
    NotAfterRow,
    /// Too few arguments.
    #[error("target_profile_trigger needs a client code, an id kind, an id column and at least one column")]
    Arguments,
    /// Options that `watch` does not write.
    #[error("invalid options of a trigger with target_profile._watch_row")]
    Options,
    /// A column that the table does not have (any more).
    #[error("column \"{column}\" of table {table} does not exist")]
    NoColumn {
        /// The column.
        column: String,
        /// The table.
        table: String,
    },
    /// The id is an expression that cannot be computed.
    #[error("the id of the row cannot be computed")]
    IdExpression {
        /// The expression, as it was given.
        expression: String,
        /// What Postgres says.
        message: String,
    },
    /// A value that cannot be read.
    #[error("a value of the row cannot be sent")]
    Value {
        /// The attribute, or that it is the id.
        what: String,
        /// What is wrong with it.
        message: String,
    },
    /// The row has no id.
    #[error("the id column \"{0}\" is null")]
    NullId(String),
    /// The same, where it is an expression.
    #[error("the id is null")]
    NullIdExpression(String),
}

/// Why a table cannot be watched, or no longer.
#[derive(Debug, Error, PartialEq)]
pub enum WatchFault {
    /// It was dropped meanwhile.
    #[error("there is no table with OID {0}")]
    NoTable(u32),
    /// A view, a foreign table, or another relation without such triggers.
    #[error("only tables can be watched")]
    NotTable {
        /// Its name.
        name: String,
        /// What it is.
        what: &'static str,
    },
    /// A table of the extension.
    #[error("tables of target_profile cannot be watched")]
    OwnTable(String),
    /// Somebody else's table.
    #[error("must be owner of table {0}")]
    NotOwner(String),
    /// A column that the table does not have.
    #[error("column \"{column}\" of table {table} does not exist")]
    NoColumn {
        /// The column.
        column: String,
        /// The table.
        table: String,
    },
    /// No columns, or a NULL among them.
    #[error("attrs must name at least one column and contain no nulls")]
    NoColumns,
    /// Neither `all` nor `changed`.
    #[error("unrecognized value of send")]
    Send(String),
    /// Neither `warn` nor `error`.
    #[error("unrecognized value of on_invalid")]
    OnInvalid(String),
    /// What is not one expression, or not of the row.
    #[error("not a single expression over the columns of the row")]
    Expression {
        /// The expression, as it was given.
        expression: String,
        /// What is wrong with it, if that is known.
        error: Option<String>,
    },
    /// What cannot be the id of a row.
    #[error("the id cannot be computed from one row alone")]
    IdExpression {
        /// The expression, as it was given.
        expression: String,
        /// What is wrong with it.
        error: String,
    },
    /// A table that ends with the session.
    #[error("temporary tables cannot be watched")]
    Temporary(String),
    /// A partition of a table with the same watch.
    #[error("table {0} is a partition of a table that is watched already")]
    Partition(String),
    /// There is nothing to end.
    #[error("table {0} has no such watch")]
    NotWatched(String),
}

impl WatchFault {
    fn sqlstate(&self) -> PgSqlErrorCode {
        match self {
            Self::NoTable(_) => PgSqlErrorCode::ERRCODE_UNDEFINED_TABLE,
            Self::NotTable { .. } | Self::OwnTable(_) | Self::Temporary(_) => PgSqlErrorCode::ERRCODE_WRONG_OBJECT_TYPE,
            Self::NotOwner(_) => PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            Self::NoColumn { .. } => PgSqlErrorCode::ERRCODE_UNDEFINED_COLUMN,
            Self::NoColumns
            | Self::Send(_)
            | Self::OnInvalid(_)
            | Self::Expression { .. }
            | Self::IdExpression { .. } => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Partition(_) | Self::NotWatched(_) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::NotTable { name, what } => Some(format!("{name} is {what}.")),
            Self::OwnTable(name) => Some(format!("{name} is one.")),
            Self::Send(given) | Self::OnInvalid(given) => Some(format!("The value is {}.", quoted(given))),
            Self::Expression { expression, error } => Some(match error {
                Some(error) => format!("The expression is {}: {error}.", quoted(expression)),
                None => format!("The expression is {}.", quoted(expression)),
            }),
            Self::IdExpression { expression, error } => {
                Some(format!("The expression is {}: {error}.", quoted(expression)))
            }
            Self::Temporary(name) => Some(format!("{name} is one.")),
            _ => None,
        }
    }

    const fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotTable { .. } => {
                Some("Watch the table that the rows are stored in, on the server where they are written.")
            }
            Self::OwnTable(_) => Some("Watch a table with customers' data."),
            Self::NotOwner(_) | Self::NoTable(_) => None,
            Self::NoColumn { .. } => {
                Some("Name columns as in the catalog, without quotes: 'column' or 'attribute=column'.")
            }
            Self::NoColumns => Some("Give an array of 'column' or 'attribute=column'."),
            Self::Send(_) => Some("Use all or changed."),
            Self::OnInvalid(_) => Some("Use warn or error."),
            Self::Expression { .. } => {
                Some("Give what could stand between the parentheses of WHEN (…) in CREATE TRIGGER, such as NEW.active.")
            }
            Self::IdExpression { .. } => Some(
                "Make the id of columns of the table itself; what another table knows goes into a column by a trigger of yours.",
            ),
            Self::Temporary(_) => {
                Some("Watch the permanent table that its rows are written to, or call target_profile_update.")
            }
            Self::Partition(_) => Some("The watch of its parent covers it."),
            Self::NotWatched(_) => Some("target_profile.watched_table lists what is watched."),
        }
    }
}

impl Fault {
    /// There is no outbox.
    pub fn no_outbox() -> Self {
        Self::NoTable("outbox".to_owned())
    }

    /// The SQLSTATE: what a program can act on.
    fn sqlstate(&self) -> PgSqlErrorCode {
        match self {
            Self::Core(error) => match error.kind() {
                ErrorKind::InvalidArgument => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                ErrorKind::LimitExceeded => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            },
            Self::Setting(SettingError::Rule(error)) => match error.kind() {
                ErrorKind::InvalidArgument => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
                ErrorKind::LimitExceeded => PgSqlErrorCode::ERRCODE_PROGRAM_LIMIT_EXCEEDED,
            },
            Self::Setting(_)
            | Self::NullArgument(_)
            | Self::UnknownClient(_)
            | Self::UnknownEntry(_)
            | Self::Pause
            | Self::Trigger(_) => PgSqlErrorCode::ERRCODE_INVALID_PARAMETER_VALUE,
            Self::Watch(fault) => fault.sqlstate(),
            Self::Backfill(fault) => fault.sqlstate(),
            Self::ReadOnly => PgSqlErrorCode::ERRCODE_READ_ONLY_SQL_TRANSACTION,
            Self::BadClient { .. }
            | Self::ForeignOwner { .. }
            | Self::OwnName(_)
            | Self::NoTable(_)
            | Self::Suppressed { .. }
            | Self::OwnSequence(_)
            | Self::Renamed(_)
            | Self::WaitForOwn(_)
            | Self::WaitInFixedSnapshot
            | Self::NotPreloaded
            | Self::Refused(_) => PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
            Self::NoTrigger(_) => PgSqlErrorCode::ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED,
            Self::Spi(_) | Self::Internal(_) => PgSqlErrorCode::ERRCODE_INTERNAL_ERROR,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Self::Core(error) | Self::Setting(SettingError::Rule(error)) => error.detail(),
            Self::Setting(SettingError::OutOfRange { value, .. }) => Some(format!("The value is {value}.")),
            Self::UnknownClient(code) => Some(format!("The client code is {}.", quoted(code))),
            Self::Watch(fault) => fault.detail(),
            Self::Backfill(fault) => fault.detail(),
            Self::Trigger(TriggerFault::NullIdExpression(expression)) => {
                Some(format!("The id is {}.", quoted(expression)))
            }
            Self::Trigger(TriggerFault::IdExpression { expression, message }) => {
                Some(format!("The expression is {}: {message}.", quoted(expression)))
            }
            Self::OwnSequence(_) => {
                Some("Of two updates of a profile, the one with the higher id counts as the later one.".to_owned())
            }
            Self::OwnName(_) => Some("The extension target_profile finds it by its name.".to_owned()),
            Self::Trigger(TriggerFault::Value { what, message }) => Some(format!("It is {what}: {message}.")),
            Self::WaitForOwn(id) | Self::UnknownEntry(id) => Some(format!("The entry is {id}.")),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Core(error) | Self::Setting(SettingError::Rule(error)) => return error.hint(),
            Self::Watch(fault) => return fault.hint().map(str::to_owned),
            Self::Backfill(fault) => fault.hint(),
            Self::Setting(SettingError::OutOfRange { .. }) => return None,
            Self::Setting(SettingError::Token) => {
                "A token is at most 4096 printable ASCII characters without spaces; give it without \"Bearer\"."
            }
            Self::NullArgument(_) => "Give a value, or leave out rows without one in the query.",
            Self::UnknownClient(_) => {
                "Register it with target_profile.add_client; target_profile.client lists the clients that are."
            }
            Self::BadClient { .. } => "Correct the settings with target_profile.set_client.",
            Self::ForeignOwner { .. } => "Give it to the role that owns the rest, with ALTER … OWNER TO.",
            Self::Suppressed { .. } => {
                "psql's \\d shows the triggers and rules of the table. Drop it, or have the trigger return the row."
            }
            Self::Renamed(_) => "Use ALTER … RENAME TO and ALTER … SET SCHEMA.",
            Self::NoTable(_) => {
                "If there is such a table, run ALTER EXTENSION target_profile ADD TABLE. If not, restore it, or create the extension anew."
            }
            Self::OwnSequence(_) => {
                "Leave it at CACHE 1, INCREMENT BY 1 and NO CYCLE, restart it at a higher number only, and truncate its table with CONTINUE IDENTITY."
            }
            Self::OwnName(_) => "Leave the name as it is; a view of your own can have the name that you want.",
            Self::NoTrigger(_) => {
                "To send a table's changes, call target_profile.watch, or create a trigger with EXECUTE FUNCTION target_profile_trigger(…)."
            }
            Self::Pause => "Use target_profile.pause and target_profile.resume.",
            Self::ReadOnly => "Call it on the primary server, in a transaction that may write.",
            Self::WaitForOwn(_) => {
                "An entry is sent after the commit of the transaction that enqueued it: commit first, then wait."
            }
            Self::WaitInFixedSnapshot => "Wait in a transaction with isolation level READ COMMITTED.",
            Self::NotPreloaded => "Add target_profile to shared_preload_libraries and restart the server.",
            Self::UnknownEntry(_) => {
                "Give an id that target_profile_update returned. Records of old entries go with \
                 target_profile.response_retention."
            }
            Self::Trigger(TriggerFault::NotAfterRow) => {
                "Create it with CREATE TRIGGER … AFTER INSERT OR UPDATE ON … FOR EACH ROW."
            }
            Self::Trigger(TriggerFault::Arguments) => {
                "Create it with EXECUTE FUNCTION target_profile_trigger('client', 'mbox3rdPartyId', 'id_column', \
                 'column', 'attribute=column', …)."
            }
            Self::Trigger(TriggerFault::Options) => "Call target_profile.watch, which creates such triggers.",
            Self::Trigger(TriggerFault::NoColumn { .. }) => {
                "Create the trigger again with columns that the table has, or call target_profile.watch again."
            }
            Self::Trigger(TriggerFault::IdExpression { .. }) => {
                "Call target_profile.watch again with an id_column that can be computed for every row."
            }
            Self::Trigger(TriggerFault::Value { .. }) => {
                "Leave out the column, or exclude such rows with WHEN in the trigger."
            }
            Self::Refused(_) => "Find out what was changed in the schema target_profile, and undo it.",
            Self::Trigger(TriggerFault::NullId(_) | TriggerFault::NullIdExpression(_)) => {
                "Leave out such rows with WHEN (NEW.… IS NOT NULL) in the trigger."
            }
            Self::Spi(_) | Self::Internal(_) => {
                if let Some(hint) = version_hint() {
                    return Some(hint);
                }
                "If nobody has changed the tables of target_profile, this is a bug: please report it."
            }
        };
        Some(hint.to_owned())
    }

    /// Message and detail in one line, for a dead letter.
    pub fn reason(&self) -> String {
        self.detail()
            .map_or_else(|| self.to_string(), |detail| format!("{self}: {detail}"))
    }

    fn report(&self) -> ErrorReport {
        let mut report = ErrorReport::new(self.sqlstate(), self.to_string(), "target_profile");
        if let Some(detail) = self.detail() {
            report = report.set_detail(detail);
        }
        if let Some(hint) = self.hint() {
            report = report.set_hint(hint);
        }
        report
    }

    /// Ends the statement with this error.
    pub fn raise(&self) -> ! {
        self.report().report(PgLogLevel::ERROR);
        unreachable!("an error report of level ERROR does not return")
    }

    /// Raises it as a WARNING; `more` says what was done instead.
    pub fn warn(&self, more: &str) {
        let detail = self
            .detail()
            .map_or_else(|| more.to_owned(), |detail| format!("{detail} {more}"));
        let hint = self.hint();
        warning::raise(self.sqlstate(), &self.to_string(), Some(&detail), hint.as_deref());
    }
}

static VERSION_HINT: OnceLock<fn() -> Option<String>> = OnceLock::new();

/// Has the HINT of an error that may come of two different versions from there.
pub fn take_version_hints_from(source: fn() -> Option<String>) {
    // Set once, when the library is loaded.
    let _ = VERSION_HINT.set(source);
}

/// The HINT of an error that may come of two different versions.
pub fn version_hint() -> Option<String> {
    VERSION_HINT.get().and_then(|source| source())
}

/// The value, or the end of the statement with its error.
pub fn or_raise<T>(result: Result<T, Fault>) -> T {
    result.unwrap_or_else(|fault| fault.raise())
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", target_profile_core::error::Excerpt::of(text))
}
