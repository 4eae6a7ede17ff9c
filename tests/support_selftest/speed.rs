//! How fast the stand-in is. Printed, not asserted.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::MockTarget;
use support::mock_target::Recording;

const CONNECTIONS: usize = 16;
const REQUESTS: usize = 3_000;
/// Requests that a connection has under way: 1 is what an HTTP/1.1 client does.
const DEPTHS: [usize; 2] = [1, 8];

#[test]
fn speed() {
    for recording in [Recording::Counters, Recording::Profiles, Recording::Everything] {
        for depth in DEPTHS {
            let mock = MockTarget::builder().create_unknown(true).recording(recording).start();
            let start = Instant::now();
            let port = mock.port();
            let clients: Vec<_> = (0..CONNECTIONS)
                .map(|client| std::thread::spawn(move || load(port, client, depth)))
                .collect();
            clients.into_iter().for_each(|client| client.join().unwrap());
            let rate = (CONNECTIONS * REQUESTS) as f64 / start.elapsed().as_secs_f64();
            mock.wait_answered((CONNECTIONS * REQUESTS) as u64, Duration::from_secs(10));
            let cpu = mock.cpu_time().as_secs_f64() * 1e6 / (CONNECTIONS * REQUESTS) as f64;
            println!(
                "{recording:?}, {CONNECTIONS} connections, {depth} deep: {rate:.0} requests/s, {cpu:.1} µs of CPU each"
            );
        }
    }
}

fn load(port: u16, client: usize, depth: usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let mut answer = [0; 65536];
    let mut length = 0;
    for number in (0..REQUESTS).step_by(depth) {
        let request: String = (number..number + depth)
            .map(|number| {
                format!(
                    "GET /m2/acme/profile/update?mbox3rdPartyId=c{client}-{number}&profile.city=New%20York&profile.age=41 \
                     HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\naccept: */*\r\n\r\n"
                )
            })
            .collect();
        stream.write_all(request.as_bytes()).unwrap();
        let mut read = 0;
        while length == 0 || read < length * depth {
            read += stream.read(&mut answer).unwrap();
            if length == 0 {
                let head = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap() + 4;
                let text = std::str::from_utf8(&answer[..head]).unwrap();
                let body: usize = text
                    .split("content-length: ")
                    .nth(1)
                    .unwrap()
                    .split("\r\n")
                    .next()
                    .unwrap()
                    .parse()
                    .unwrap();
                length = head + body;
            }
        }
        assert_eq!(read, length * depth);
    }
}
