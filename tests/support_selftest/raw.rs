//! A client that shows what is on the wire.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

pub const DEADLINE: Duration = Duration::from_secs(10);

pub struct Raw {
    stream: TcpStream,
    input: Vec<u8>,
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Raw {
    pub fn connect(port: u16) -> Self {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self {
            stream,
            input: Vec::new(),
        }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    pub fn get(&mut self, client: &str, query: &str) -> Response {
        self.send_get(client, query);
        self.response().unwrap()
    }

    pub fn send_get(&mut self, client: &str, query: &str) {
        self.send(format!(
            "GET /m2/{client}/profile/update?{query} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
        ));
    }

    pub fn post(&mut self, client: &str, body: &str) -> Response {
        self.send(format!(
            "POST /m2/{client}/profile/update HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: \
             application/x-www-form-urlencoded\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ));
        self.response().unwrap()
    }

    fn more(&mut self) -> io::Result<usize> {
        let mut piece = [0; 65536];
        let read = self.stream.read(&mut piece)?;
        self.input.extend_from_slice(&piece[..read]);
        Ok(read)
    }

    /// The next head, interim ones too, and what has come after it.
    pub fn head(&mut self) -> io::Result<(u16, String)> {
        loop {
            if let Some(end) = self.input.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8(self.input.drain(..end + 4).collect()).unwrap();
                return Ok((head[9..12].parse().unwrap(), head));
            }
            if self.more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }

    /// The next response, with as much body as its head announces.
    pub fn response(&mut self) -> io::Result<Response> {
        let (status, head) = self.head()?;
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = announced.map_or(0, |length| length.parse().unwrap());
        while self.input.len() < length {
            if self.more()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(Response {
            status,
            head,
            body: self.input.drain(..length).collect(),
        })
    }

    /// Everything until the connection ends, and how it ends.
    pub fn rest(&mut self) -> (Vec<u8>, io::Result<()>) {
        let end = loop {
            match self.more() {
                Ok(0) => break Ok(()),
                Ok(_) => {}
                Err(error) => break Err(error),
            }
        };
        (std::mem::take(&mut self.input), end)
    }

    /// Whether nothing has come so far.
    pub fn is_silent(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let silent = self.input.is_empty() && matches!(self.more(), Err(e) if e.kind() == io::ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).unwrap();
        silent
    }
}
