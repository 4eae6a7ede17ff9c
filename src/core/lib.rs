//! Adobe Target's rules and the delivery policy of target_profile, as pure functions: no Postgres, no
//! network, no clock, no randomness. Whatever depends on time or chance takes `now` or `jitter` as an argument.
#![forbid(unsafe_code)]

pub mod ascii;
pub mod attrs;
pub mod backfill;
pub mod breaker;
pub mod budget;
pub mod burial;
pub mod client_code;
pub mod collected;
pub mod condition;
pub mod descriptors;
pub mod drain;
pub mod endpoint;
pub mod error;
pub mod horizon;
pub mod id;
pub mod id_kind;
pub mod lane;
pub mod launcher;
pub mod limits;
pub mod losses;
pub mod method;
pub mod names;
pub mod newest;
pub mod pace;
pub mod quota;
pub mod redraw;
pub mod replication;
pub mod request;
pub mod retry;
pub mod secret;
pub mod settings;
pub mod settlement;
pub mod status;
pub mod step;
pub mod time;
pub mod trouble;
pub mod verdict;
pub mod version;
pub mod wal;
pub mod watch;
