//! The stand-in for Target as a program, for the demo: one line per request, profiles and requests as JSON on demand.
#![allow(clippy::print_stdout)]

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use support::mock_target::{MockTarget, Recording, Request, timestamp};

const USAGE: &str = "\
usage: mock-target --port N [--create-unknown] [--profiles-at-end] [--quiet]

Serves GET and POST /m2/<client>/profile/update on 127.0.0.1, as Adobe Target does.
  --port N            the port; 0 takes any free one
  --create-unknown    an update of an unknown id creates its profile; Target ignores it
  --profiles-at-end   print the profiles as JSON when POST /_quit comes
  --quiet             keep and print nothing of the requests: for millions of them
Also: GET /_profiles, GET /_requests, POST /_quit.";

fn main() -> ExitCode {
    let (mut port, mut create_unknown, mut profiles_at_end, mut quiet) = (None, false, false, false);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--port" => port = arguments.next().and_then(|number| number.parse().ok()),
            "--create-unknown" => create_unknown = true,
            "--profiles-at-end" => profiles_at_end = true,
            "--quiet" => quiet = true,
            "--help" | "-h" => {
                println!("{USAGE}");
                return ExitCode::SUCCESS;
            }
            _ => port = None,
        }
    }
    let Some(port) = port else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let mock = MockTarget::builder()
        .port(port)
        .create_unknown(create_unknown)
        .admin(true);
    let mock = if quiet {
        mock.recording(Recording::Counters)
    } else {
        mock.observer(print_request)
    };
    let mock = mock.start();
    print_line(&format!("listening on 127.0.0.1:{}", mock.port()));
    while !mock.wait_quit(Duration::from_secs(3600)) {}
    if profiles_at_end {
        print_line(&mock.profiles_json());
    }
    ExitCode::SUCCESS
}

fn print_request(request: &Request) {
    print_line(&format!("{} {request}", timestamp(request.arrived_at)));
}

/// Prints at once, also into a pipe; a reader that has gone is no reason to stop.
fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
