//! A session, used synchronously.

use std::future::poll_fn;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_postgres::error::DbError;
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_postgres::{AsyncMessage, Client, Config, Error, NoTls, Row, SimpleQueryMessage, Statement};

/// A statement that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(300);

/// Query parameters.
pub type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// A session with its own little runtime; moves between threads, and is closed when dropped.
///
/// The methods panic with the statement and the server's error; those that begin with `try_` return the error.
pub struct Db {
    runtime: Runtime,
    client: Option<Client>,
    connection: Option<JoinHandle<()>>,
    notices: Arc<Mutex<Vec<DbError>>>,
    pid: i32,
}

impl Db {
    pub(super) fn connect(host: &Path, port: u16, database: &str, user: &str) -> Result<Self, Error> {
        let mut config = Config::new();
        config
            .host_path(host)
            .port(port)
            .dbname(database)
            .user(user)
            .connect_timeout(Duration::from_secs(30));
        config.application_name("test");
        Self::connect_as(&config)
    }

    /// A session by any configuration: for options, or over TCP.
    pub fn connect_as(config: &Config) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.unwrap_or_else(|error| panic!("cannot make a runtime for a session: {error}"));
        let notices = Arc::new(Mutex::new(Vec::new()));
        let (client, connection) = runtime.block_on(async {
            let (client, mut connection) = config.connect(NoTls).await?;
            let notices = Arc::clone(&notices);
            let driver = tokio::spawn(async move {
                while let Some(Ok(message)) = poll_fn(|context| connection.poll_message(context)).await {
                    if let AsyncMessage::Notice(notice) = message {
                        notices.lock().unwrap_or_else(PoisonError::into_inner).push(notice);
                    }
                }
            });
            Ok::<_, Error>((client, driver))
        })?;
        let mut db = Self {
            runtime,
            client: Some(client),
            connection: Some(connection),
            notices,
            pid: 0,
        };
        db.pid = db.try_query("select pg_backend_pid()", &[])?[0].get(0);
        Ok(db)
    }

    /// The pid of the server's process for this session.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    #[track_caller]
    fn client(&self) -> &Client {
        self.client.as_ref().expect("the client lives until drop")
    }

    #[track_caller]
    fn wait<T>(&self, sql: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        match self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, work).await })
        {
            Ok(result) => result,
            Err(_) => panic!("waited {PATIENCE:?} in vain for the end of: {sql}"),
        }
    }

    /// Runs a statement; the number of rows it touched.
    #[track_caller]
    pub fn execute(&self, sql: &str, params: Params) -> u64 {
        or_panic(sql, self.try_execute(sql, params))
    }

    /// Runs a statement; the number of rows it touched.
    #[track_caller]
    pub fn try_execute(&self, sql: &str, params: Params) -> Result<u64, Error> {
        self.wait(sql, self.client().execute(sql, params))
    }

    /// Runs a query; its rows.
    #[track_caller]
    pub fn query(&self, sql: &str, params: Params) -> Vec<Row> {
        or_panic(sql, self.try_query(sql, params))
    }

    /// Runs a query; its rows.
    #[track_caller]
    pub fn try_query(&self, sql: &str, params: Params) -> Result<Vec<Row>, Error> {
        self.wait(sql, self.client().query(sql, params))
    }

    /// Runs a query that must yield one row.
    #[track_caller]
    pub fn query_one(&self, sql: &str, params: Params) -> Row {
        let mut rows = self.query(sql, params);
        assert!(rows.len() == 1, "{} rows instead of one from: {sql}", rows.len());
        rows.remove(0)
    }

    /// Runs a query that must yield one row with one value, not null.
    #[track_caller]
    pub fn value<T: FromSqlOwned>(&self, sql: &str, params: Params) -> T {
        let value = self.query_one(sql, params).try_get(0);
        value.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Prepares a statement, to be run many times with `execute_prepared`.
    #[track_caller]
    pub fn prepare(&self, sql: &str) -> Statement {
        or_panic(sql, self.wait(sql, self.client().prepare(sql)))
    }

    /// Runs a prepared statement; its rows.
    #[track_caller]
    pub fn query_prepared(&self, statement: &Statement, params: Params) -> Vec<Row> {
        or_panic(
            "prepared statement",
            self.wait("prepared statement", self.client().query(statement, params)),
        )
    }

    /// Runs statements in the simple protocol, without parameters.
    #[track_caller]
    pub fn batch(&self, sql: &str) {
        or_panic(sql, self.try_batch(sql));
    }

    /// Runs statements in the simple protocol, without parameters.
    #[track_caller]
    pub fn try_batch(&self, sql: &str) -> Result<(), Error> {
        self.wait(sql, self.client().batch_execute(sql))
    }

    /// Runs statements in the simple protocol; all rows of all of them as text.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        or_panic(sql, self.try_rows(sql))
    }

    /// Runs statements in the simple protocol; all rows of all of them as text.
    #[track_caller]
    pub fn try_rows(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, Error> {
        let messages = self.wait(sql, self.client().simple_query(sql))?;
        let row = |message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
            _ => None,
        };
        Ok(messages.into_iter().filter_map(row).collect())
    }

    /// The first row's first column as text; panics if there is no row or it is null.
    #[track_caller]
    pub fn text(&self, sql: &str) -> String {
        or_panic(sql, self.try_text(sql)).unwrap_or_else(|| panic!("no row, or null, from: {sql}"))
    }

    /// The first row's first column as text; `None` if there is no row or it is null.
    #[track_caller]
    pub fn try_text(&self, sql: &str) -> Result<Option<String>, Error> {
        Ok(self
            .try_rows(sql)?
            .into_iter()
            .next()
            .and_then(|row| row.into_iter().next())
            .flatten())
    }

    /// Runs `COPY … FROM STDIN` with this input; the number of rows.
    #[track_caller]
    pub fn copy_in(&self, sql: &str, input: Vec<u8>) -> u64 {
        or_panic(sql, self.try_copy_in(sql, input))
    }

    /// Runs `COPY … FROM STDIN` with this input; the number of rows.
    #[track_caller]
    pub fn try_copy_in(&self, sql: &str, input: Vec<u8>) -> Result<u64, Error> {
        const PIECE: usize = 64 * 1024;
        self.wait(sql, async {
            let sink = self.client().copy_in(sql).await?;
            tokio::pin!(sink);
            let mut input = Bytes::from(input);
            while !input.is_empty() {
                sink.send(input.split_to(input.len().min(PIECE))).await?;
            }
            sink.finish().await
        })
    }

    /// The notices and warnings that came since the last call, in order.
    pub fn take_notices(&self) -> Vec<DbError> {
        // Those that came with no statement are still in the socket.
        self.runtime.block_on(tokio::task::yield_now());
        std::mem::take(&mut *self.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether the server has closed the session.
    pub fn is_closed(&self) -> bool {
        self.runtime.block_on(async {
            for _ in 0..3 {
                tokio::task::yield_now().await;
            }
        });
        self.client().is_closed()
    }

    /// Cancels what the session is running, from another thread's session or after `cancel_token`.
    pub fn cancel_token(&self) -> tokio_postgres::CancelToken {
        self.client().cancel_token()
    }
}

impl Drop for Db {
    fn drop(&mut self) {
        drop(self.client.take());
        if let Some(connection) = self.connection.take() {
            // The connection says good-bye once the client is gone, unless the server hangs.
            let _ = self
                .runtime
                .block_on(async { tokio::time::timeout(Duration::from_secs(1), connection).await });
        }
    }
}

#[track_caller]
fn or_panic<T>(sql: &str, result: Result<T, Error>) -> T {
    result.unwrap_or_else(|error| panic!("{}\nin: {sql}", describe(&error)))
}

/// The server's own words, with SQLSTATE, DETAIL, HINT and CONTEXT.
pub fn describe(error: &Error) -> String {
    let Some(db) = error.as_db_error() else {
        return error.to_string();
    };
    let mut text = format!("{} {}: {}", db.severity(), db.code().code(), db.message());
    let parts = [("DETAIL", db.detail()), ("HINT", db.hint()), ("CONTEXT", db.where_())];
    for (name, part) in parts {
        if let Some(part) = part {
            text.push_str(&format!("\n{name}: {part}"));
        }
    }
    text
}

/// The SQLSTATE of a server's error; empty for an error of the client or the connection.
pub fn sqlstate(error: &Error) -> String {
    error.code().map(|code| code.code().to_owned()).unwrap_or_default()
}

/// A name quoted for SQL.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
