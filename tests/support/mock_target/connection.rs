//! One connection: reads requests, writes answers, and misbehaves as told. HTTP by hand, because a proper library
//! refuses to write most of what is scripted here.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::admin;
use super::answer::{self, Answer};
use super::interpret::{self, BodyLength, Head};
use super::reply::{Content, Hold, Reply, Stop, StopAt};
use super::request::{Ending, Request};
use super::shared::{Exchange, Shared};
use super::state::Recording;

const HEAD_LIMIT: usize = 1 << 20;
const BODY_LIMIT: usize = 64 << 20;
/// What is read at once, at least, if it is there.
const ROOM: usize = 4096;

pub(super) struct Connection {
    stream: TcpStream,
    number: u64,
    shared: Arc<Shared>,
    input: BytesMut,
    output: Vec<u8>,
}

/// Why a connection ends.
struct Over(Ending);

/// The client is not there any more.
const GONE: Over = Over(Ending::ClientGone);
/// The stand-in cuts the connection on purpose.
const CUT: Over = Over(Ending::Cut);

impl Connection {
    pub(super) fn new(stream: TcpStream, number: u64, shared: Arc<Shared>) -> Self {
        Self {
            stream,
            number,
            shared,
            input: BytesMut::with_capacity(ROOM),
            output: Vec::with_capacity(512),
        }
    }

    pub(super) async fn serve(mut self) {
        while let Ok(true) = self.turn().await {}
    }

    /// One request and its answer. True if the connection can be used again.
    async fn turn(&mut self) -> Result<bool, Over> {
        let Some((mut request, keep_alive)) = self.read_request().await? else {
            return Ok(false);
        };
        if self.shared.admin && request.target.starts_with("/_") {
            let answer = admin::answer(&self.shared, &request);
            self.write_answer(&answer, keep_alive).await?;
            return Ok(keep_alive);
        }
        request.connection = self.number;
        let mut exchange = Shared::begin(&self.shared, request).await;
        let done = match exchange.reply.take() {
            None => {
                exchange.status = Some(exchange.answer.status);
                let answer = exchange.answer.clone();
                self.write_answer(&answer, keep_alive).await.map(|()| keep_alive)
            }
            Some(reply) => self.play(&mut exchange, reply, keep_alive).await,
        };
        match &done {
            Ok(_) => exchange.finish(Ending::Answered),
            Err(Over(ending)) => exchange.finish(*ending),
        }
        done
    }

    /// The next request, `None` when the client has closed or what comes is not HTTP.
    async fn read_request(&mut self) -> Result<Option<(Request, bool)>, Over> {
        let (recording, scheme) = {
            let state = self.shared.state();
            (state.settings.recording, state.settings.scheme)
        };
        let everything = recording == Recording::Everything;
        let mut arrival = (!self.input.is_empty()).then(|| (Instant::now(), SystemTime::now()));
        let head = loop {
            if !self.input.is_empty() {
                match interpret::head(&self.input, everything) {
                    Ok(Some((head, length))) => {
                        self.input.advance(length);
                        break head;
                    }
                    Ok(None) if self.input.len() <= HEAD_LIMIT => {}
                    Ok(None) => return self.refuse(431, "head too long").await,
                    Err(message) => return self.refuse(400, &message).await,
                }
            }
            self.read_more().await?;
            arrival.get_or_insert_with(|| (Instant::now(), SystemTime::now()));
        };
        let arrival = arrival.unwrap_or_else(|| (Instant::now(), SystemTime::now()));
        if head.expects_continue {
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        let Some(body) = self.read_body(&head).await? else {
            return self.refuse(413, "body exceeds 64 MiB").await;
        };
        let keep_alive = head.keep_alive;
        Ok(Some((
            interpret::request(head, &body, everything, scheme, arrival),
            keep_alive,
        )))
    }

    async fn read_body(&mut self, head: &Head) -> Result<Option<BytesMut>, Over> {
        match head.body {
            BodyLength::Known(0) => Ok(Some(BytesMut::new())),
            BodyLength::Known(length) if length > BODY_LIMIT => Ok(None),
            BodyLength::Known(length) => {
                while self.input.len() < length {
                    self.read_more().await?;
                }
                Ok(Some(self.input.split_to(length)))
            }
            BodyLength::Chunked => {
                let mut body = BytesMut::new();
                loop {
                    let line = self.read_line().await?;
                    let digits = line
                        .as_ref()
                        .split(|byte: &u8| *byte == b';')
                        .next()
                        .unwrap_or_default()
                        .trim_ascii();
                    let digits = std::str::from_utf8(digits).map_err(|_| CUT)?;
                    let length = usize::from_str_radix(digits, 16).map_err(|_| CUT)?;
                    if length == 0 {
                        while !self.read_line().await?.is_empty() {}
                        return Ok(Some(body));
                    }
                    if body.len() + length > BODY_LIMIT {
                        return Ok(None);
                    }
                    while self.input.len() < length {
                        self.read_more().await?;
                    }
                    body.extend_from_slice(&self.input.split_to(length));
                    self.read_line().await?;
                }
            }
        }
    }

    async fn read_line(&mut self) -> Result<BytesMut, Over> {
        loop {
            if let Some(end) = self.input.windows(2).position(|pair| pair == b"\r\n") {
                let line = self.input.split_to(end);
                self.input.advance(2);
                return Ok(line);
            }
            self.read_more().await?;
        }
    }

    async fn read_more(&mut self) -> Result<(), Over> {
        self.input.reserve(ROOM);
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) | Err(_) => Err(GONE),
            Ok(_) => Ok(()),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Over> {
        self.stream.write_all(bytes).await.map_err(|_| GONE)
    }

    async fn write_output(&mut self) -> Result<(), Over> {
        let written = self.stream.write_all(&self.output).await.map_err(|_| GONE);
        self.output.clear();
        written
    }

    async fn write_answer(&mut self, answer: &Answer, keep_alive: bool) -> Result<(), Over> {
        let headers = [("content-type", answer.content_type)];
        self.put_head(answer.status, headers.into_iter(), Some(answer.body.len()), keep_alive);
        self.output.extend_from_slice(answer.body.as_bytes());
        self.write_output().await
    }

    /// Refuses what cannot be recorded as a request.
    async fn refuse<T>(&mut self, status: u16, message: &str) -> Result<Option<T>, Over> {
        self.write_answer(&Answer::refusal(status, message), false).await?;
        Ok(None)
    }

    fn put_head<'a>(
        &mut self,
        status: u16,
        headers: impl Iterator<Item = (&'a str, &'a str)>,
        length: Option<usize>,
        keep_alive: bool,
    ) {
        let out = &mut self.output;
        // Writing to a Vec cannot fail.
        let _ = write!(out, "HTTP/1.1 {status} {}\r\n", answer::reason(status));
        for (name, value) in headers {
            let _ = write!(out, "{name}: {value}\r\n");
        }
        if let Some(length) = length {
            let _ = write!(out, "content-length: {length}\r\n");
        }
        out.extend_from_slice(if keep_alive {
            b"\r\n"
        } else {
            b"connection: close\r\n\r\n"
        });
    }

    /// Plays a scripted reply. True if the connection can be used again.
    async fn play(&mut self, exchange: &mut Exchange, reply: Reply, keep_alive: bool) -> Result<bool, Over> {
        self.hold(exchange, reply.hold).await?;
        for status in &reply.interim {
            let line = format!("HTTP/1.1 {status} {}\r\n\r\n", answer::reason(*status));
            self.write(line.as_bytes()).await?;
        }
        if let Some((StopAt::Start, stop)) = reply.stop {
            self.stop(stop).await?;
        }
        let (status, headers, body) = match reply.content {
            Content::Raw(bytes) => {
                self.write(&bytes).await?;
                return Ok(false);
            }
            Content::Answer { status, headers, body } => (status, headers, body),
            Content::Ordinary => {
                let Answer {
                    status,
                    content_type,
                    body,
                } = exchange.answer.clone();
                (
                    status,
                    vec![("content-type".to_owned(), content_type.to_owned())],
                    body.into_owned().into_bytes(),
                )
            }
        };
        let bodiless = status < 200 || status == 204 || status == 304;
        let announced = reply.announced.unwrap_or(body.len());
        let keep_alive = keep_alive && reply.at_end.is_none();
        let given = headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        self.put_head(status, given, (!bodiless).then_some(announced), keep_alive);
        exchange.status = Some(status);
        let whole = body.get(announced..).is_none_or(<[u8]>::is_empty);
        if reply.pace.is_none() && reply.stop.is_none() && whole {
            self.output.extend_from_slice(&body);
            self.write_output().await?;
        } else {
            self.write_output().await?;
            self.write_body(exchange, &body, announced, reply.pace, reply.stop)
                .await?;
        }
        if let Some(stop) = reply.at_end {
            if announced > body.len() {
                // The client is still waiting for what was announced.
                self.stop(stop).await?;
            } else {
                exchange.finish(Ending::Answered);
                self.stop(stop).await?;
            }
        }
        Ok(keep_alive)
    }

    /// Writes a body with pauses and a stop. What exceeds the announced length goes out after the request is finished:
    /// for the client, it is.
    async fn write_body(
        &mut self,
        exchange: &mut Exchange,
        body: &[u8],
        announced: usize,
        pace: Option<(usize, Duration)>,
        stop: Option<(StopAt, Stop)>,
    ) -> Result<(), Over> {
        let mut stop = match stop {
            Some((StopAt::Body(at), stop)) => Some((at.min(body.len()), stop)),
            _ => None,
        };
        let (piece, pause) = pace.unwrap_or((usize::MAX, Duration::ZERO));
        let mut sent = 0;
        loop {
            if let Some((at, what)) = stop
                && sent >= at
            {
                self.stop(what).await?;
                stop = None;
            }
            if sent == body.len() {
                return Ok(());
            }
            let mut end = sent.saturating_add(piece).min(body.len());
            end = stop.map_or(end, |(at, _)| end.min(at.max(sent + 1)));
            if sent < announced {
                end = end.min(announced);
            } else if sent == announced {
                exchange.finish(Ending::Answered);
            }
            self.write(&body[sent..end]).await?;
            sent = end;
            if pause > Duration::ZERO && sent < body.len() {
                self.pause(tokio::time::sleep(pause)).await?;
            }
        }
    }

    /// The wait before an answer, and the update that was to come at its end, even when the client has gone.
    async fn hold(&mut self, exchange: &mut Exchange, hold: Hold) -> Result<(), Over> {
        let shared = Arc::clone(&self.shared);
        let over: std::pin::Pin<Box<dyn Future<Output = ()> + Send>> = match hold {
            Hold::None => Box::pin(async {}),
            Hold::For(wait) => Box::pin(tokio::time::sleep(wait)),
            Hold::UntilReleased => Box::pin(async move { shared.hang().await }),
        };
        let mut over = over;
        let waited = match hold {
            Hold::None => Ok(()),
            _ => self.pause(&mut over).await,
        };
        if waited.is_err() && exchange.is_late() {
            exchange.finish(Ending::ClientGone);
            over.await;
        }
        exchange.apply_late();
        waited
    }

    async fn stop(&mut self, stop: Stop) -> Result<(), Over> {
        match stop {
            Stop::Close => Err(CUT),
            Stop::Reset => {
                // Closing with a zero linger time sends RST instead of FIN.
                let _ = self.stream.set_zero_linger();
                Err(CUT)
            }
            Stop::Hang => {
                let shared = Arc::clone(&self.shared);
                self.pause(async move { shared.hang().await }).await
            }
        }
    }

    /// Waits, and notices when the client goes meanwhile.
    async fn pause(&mut self, wait: impl Future<Output = ()>) -> Result<(), Over> {
        tokio::pin!(wait);
        loop {
            tokio::select! {
                () = &mut wait => return Ok(()),
                read = self.stream.read_buf(&mut self.input) => match read {
                    Ok(0) | Err(_) => return Err(GONE),
                    Ok(_) => {}
                }
            }
        }
    }
}
