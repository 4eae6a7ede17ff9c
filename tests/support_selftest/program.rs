//! The stand-in as a program.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use crate::raw::Raw;

#[test]
fn the_program_prints_requests_and_profiles_but_no_token() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mock-target"));
    command.args(["--port", "0", "--create-unknown", "--profiles-at-end"]);
    let mut program = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(program.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    let ready = lines.next().unwrap();
    let port = ready.strip_prefix("listening on 127.0.0.1:").unwrap().parse().unwrap();
    let mut raw = Raw::connect(port);
    raw.send(
        "GET /m2/acme/profile/update?mbox3rdPartyId=7&profile.city=Z%C3%BCrich HTTP/1.1\r\nhost: x\r\nauthorization: \
         Bearer secret\r\n\r\n",
    );
    assert_eq!(raw.response().unwrap().status, 200);
    let line = lines.next().unwrap();
    assert!(
        line.ends_with("Z #1 GET acme mbox3rdPartyId=7 city=\"Zürich\" → 200"),
        "{line}"
    );
    raw.get("Acme", "mboxPC=1");
    assert!(lines.next().unwrap().ends_with("→ 400"));
    raw.send("POST /_quit HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(raw.response().unwrap().status, 200);
    let rest: String = lines.collect();
    assert!(
        rest.contains("\"city\": \"Zürich\"") && !rest.contains("secret"),
        "{rest}"
    );
    assert!(program.wait().unwrap().success());
}

#[test]
fn the_program_says_how_to_use_it() {
    for arguments in [&["--port"][..], &[], &["--nonsense", "--port"]] {
        let output = Command::new(env!("CARGO_BIN_EXE_mock-target"))
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&output.stderr).starts_with("usage: "));
    }
}
