//! An endpoint that cannot be reached.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::TcpSocket;

/// A port of 127.0.0.1 that refuses connections. It stays bound, without listening, so nobody else can take it.
pub struct RefusedPort {
    _bound: TcpSocket,
    port: u16,
}

impl RefusedPort {
    /// Takes a free port.
    #[track_caller]
    pub fn new() -> Self {
        let bind = || {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
            let port = socket.local_addr()?.port();
            Ok::<_, std::io::Error>(Self { _bound: socket, port })
        };
        bind().unwrap_or_else(|error| panic!("cannot bind a port that shall refuse connections: {error}"))
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The endpoint template to give to `target_profile.add_client`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}/m2/{{client}}/profile/update", self.port)
    }
}

impl Default for RefusedPort {
    fn default() -> Self {
        Self::new()
    }
}
