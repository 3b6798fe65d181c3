//! One question of DNS, to see whether Remuda answers.

use std::net::UdpSocket;
use std::time::Duration;

/// A name that every dataplane knows.
const NAME: [&str; 3] = ["rancher-metadata", "rancher", "internal"];
/// Longest wait for the answer.
const WAIT: Duration = Duration::from_secs(2);
/// It is compared with the answer's; one question at a time is under way.
const ID: [u8; 2] = [0x52, 0x4d];

/// Asks a server at port 53 for a name of ours.
///
/// # Errors
/// Why there is no answer, for people.
pub(super) fn ask(address: &str) -> Result<(), String> {
    exchange(address).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut => {
            format!("no answer in {} s", WAIT.as_secs())
        }
        _ => error.to_string(),
    })
}

fn exchange(address: &str) -> std::io::Result<()> {
    let mut question = ID.to_vec();
    question.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in NAME {
        question.push(u8::try_from(label.len()).unwrap_or(0));
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(WAIT))?;
    socket.connect((address, 53))?;
    socket.send(&question)?;
    let mut answer = [0; 512];
    let length = socket.recv(&mut answer)?;
    let answer = answer.get(..length).unwrap_or_default();
    // An answer, without a failure.
    let good = answer.starts_with(&ID)
        && answer.get(2).is_some_and(|flags| flags & 0x80 != 0)
        && answer.get(3).is_some_and(|flags| flags & 0x0f == 0);
    match good {
        true => Ok(()),
        false => Err(std::io::Error::other("it does not know rancher-metadata.rancher.internal")),
    }
}
