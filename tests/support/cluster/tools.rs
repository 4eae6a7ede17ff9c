//! Running Postgres' programs, as the user postgres where they must be.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;

/// A program hangs, when it takes longer.
const TIMEOUT_SECONDS: &str = "300";

/// A command that runs as ourselves.
pub(super) fn as_self(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("timeout");
    command.args(["-k", "5", TIMEOUT_SECONDS]).arg(program);
    clean(&mut command);
    command
}

/// A command that runs as the user postgres when we are root, whom the server refuses, and as ourselves otherwise.
pub(super) fn as_postgres(program: impl AsRef<OsStr>) -> Command {
    if !rustix::process::geteuid().is_root() {
        return as_self(program);
    }
    let mut command = as_self("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

/// Nothing of our environment may reach the server or its clients: no PG* defaults, and no RUST_BACKTRACE, which would
/// put paths into error messages.
fn clean(command: &mut Command) {
    let ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("PG") || name.starts_with("LC_") || name == "RUST_BACKTRACE" || name == "RUST_LIB_BACKTRACE"
    };
    for (name, _) in std::env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command
        .env("LC_ALL", "C")
        .env("PGCLIENTENCODING", "UTF8")
        .env("PGCONNECT_TIMEOUT", "30")
        .current_dir("/");
}

/// Runs a command to its end; panics with its output if it fails.
#[track_caller]
pub(super) fn run(what: &str, command: &mut Command) -> Output {
    let output = output(what, command);
    checked(what, command, output)
}

/// Runs a command to its end, with this standard input; panics with its output if it fails.
#[track_caller]
pub(super) fn run_with_input(what: &str, command: &mut Command, input: &[u8]) -> Output {
    let output = output_with_input(what, command, input);
    checked(what, command, output)
}

/// Runs a command to its end.
#[track_caller]
pub(super) fn output(what: &str, command: &mut Command) -> Output {
    let output = command.stdin(Stdio::null()).output();
    output.unwrap_or_else(|error| panic!("cannot {what}: {command:?}: {error}"))
}

/// Runs a command to its end, with this standard input.
#[track_caller]
pub(super) fn output_with_input(what: &str, command: &mut Command, input: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command
        .spawn()
        .unwrap_or_else(|error| panic!("cannot {what}: {command:?}: {error}"));
    let pipe = child.stdin.take();
    let output = thread::scope(|scope| {
        // A command that ends before it has read everything says why by its exit code.
        scope.spawn(move || pipe.map(|mut pipe| pipe.write_all(input)));
        child.wait_with_output()
    });
    output.unwrap_or_else(|error| panic!("cannot {what}: {command:?}: {error}"))
}

#[track_caller]
fn checked(what: &str, command: &Command, output: Output) -> Output {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let Output { status, stdout, stderr } = &output;
    assert!(
        status.success(),
        "cannot {what}: {command:?}: {status}\n{}{}",
        text(stdout),
        text(stderr)
    );
    output
}
