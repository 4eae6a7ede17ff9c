//! Errors of setting up the transport, before anything is sent.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why the transport cannot be set up.
#[derive(Debug, Error)]
pub enum Error {
    /// The file of further certificates.
    #[error("could not read certificates from \"{}\": {reason}", path.display())]
    CaFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The proxy's address. Its text may hold a password and is not repeated.
    #[error("the proxy's address is not a URL")]
    Proxy,
    /// The TLS or HTTP library.
    #[error("could not set up the HTTP client: {0}")]
    Http(String),
    /// A system call.
    #[error("could not start the I/O thread: {0}")]
    Io(#[from] io::Error),
}
