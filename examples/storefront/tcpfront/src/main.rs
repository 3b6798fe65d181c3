//! An echo on TCP port 9999: what comes in goes out, until the client or the server ends.

use serve::Connection;
use std::io::{self, Read, Write};
use std::process::ExitCode;
use std::time::Duration;

/// Longest silence of a client, and longest wait for it to take its bytes back.
const TIMEOUT: Duration = Duration::from_secs(300);

fn main() -> ExitCode {
    serve::main("tcpfront", 9999, |connection| {
        if let Err(error) = echo(connection) {
            eprintln!("a connection broke: {error}");
        }
    })
}

fn echo(connection: &Connection) -> io::Result<()> {
    let mut stream = connection.stream();
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    if !connection.waits() {
        return Ok(());
    }
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => stream.write_all(&buffer[..n])?,
        }
    }
}
