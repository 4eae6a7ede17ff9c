//! A connection with a limit on the time that connecting takes and on the bytes of an answer.

use std::error::Error;
use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::rt::{Read, ReadBuf, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use target_profile_core::limits::ANSWER_WIRE_BYTES;
use tower_service::Service;

/// How long a connection may take to be made, whatever the request's own timeout is.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The most that is read at a time. After that others have their turn.
const READ_BYTES: usize = 16 * 1024;

type BoxError = Box<dyn Error + Send + Sync>;

/// Makes connections as `C` does.
#[derive(Debug, Clone)]
pub(crate) struct Connector<C>(pub(crate) C);

impl<C> Service<Uri> for Connector<C>
where
    C: Service<Uri>,
    C::Response: Send + 'static,
    C::Future: Send + 'static,
    C::Error: Into<BoxError>,
{
    type Response = Wire<C::Response>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, connecting).await {
                Ok(done) => Ok(Wire {
                    io: done.map_err(Into::into)?,
                    read: 0,
                }),
                Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut).into()),
            }
        })
    }
}

/// A connection, and how much was read from it since something was written: the head and body of one answer, and all that came
/// before it. HTTP lets a server send as many informational answers as it likes; reading them takes all of a processor.
#[derive(Debug)]
pub(crate) struct Wire<T> {
    io: T,
    read: usize,
}

impl<T: Read + Unpin> Read for Wire<T> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        if self.read >= ANSWER_WIRE_BYTES {
            let text = format!("the answer takes more than {ANSWER_WIRE_BYTES} bytes");
            return Poll::Ready(Err(io::Error::other(text)));
        }
        let mut bytes = [MaybeUninit::uninit(); READ_BYTES];
        let room = into.remaining().min(READ_BYTES);
        let mut buffer = ReadBuf::uninit(&mut bytes[..room]);
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer.unfilled());
        self.read += buffer.filled().len();
        into.put_slice(buffer.filled());
        polled
    }
}

impl<T: Write + Unpin> Wire<T> {
    fn wrote(&mut self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(polled, Poll::Ready(Ok(count)) if count > 0) {
            self.read = 0;
        }
        polled
    }
}

impl<T: Write + Unpin> Write for Wire<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, from);
        self.wrote(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        from: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, from);
        self.wrote(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

impl<T: Connection> Connection for Wire<T> {
    fn connected(&self) -> Connected {
        self.io.connected()
    }
}
