//! The least of an HTTP/1.1 client: one kept connection, one request after the other.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::Result;
use crate::bridge::{JSON, PATH};

/// Nothing that is asked here takes so long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A kept connection.
pub(crate) struct Connection(BufReader<TcpStream>);

/// An answer.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case, with their values.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        Ok(Self(BufReader::new(stream)))
    }

    pub(crate) fn get(&mut self, path: &str) -> Result<Answer> {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n"))
    }

    pub(crate) fn post(&mut self, path: &str, kind: &str, body: &str) -> Result<Answer> {
        self.send("POST", path, kind, body)
    }

    /// Asks the API of the bridge, with a token.
    pub(crate) fn ask(&mut self, token: &str, body: &str) -> Result<Answer> {
        self.exchange(&format!(
            "POST {PATH} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n\
             content-type: {JSON}\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    pub(crate) fn send(
        &mut self,
        method: &str,
        path: &str,
        kind: &str,
        body: &str,
    ) -> Result<Answer> {
        self.exchange(&format!(
            "{method} {path} HTTP/1.1\r\nhost: bench\r\ncontent-type: {kind}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        ))
    }

    fn exchange(&mut self, request: &str) -> Result<Answer> {
        self.0.get_mut().write_all(request.as_bytes())?;
        let mut answer = Answer::default();
        let status = self.line()?;
        answer.status = read_status(&status).ok_or(format!("no status: {status:?}"))?;
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or("a header without a colon")?;
            let header = (name.to_ascii_lowercase(), value.trim().to_owned());
            answer.headers.push(header);
        }
        if answer.status == 204 {
            return Ok(answer);
        }
        let length = answer.header("content-length").ok_or("no length")?;
        answer.body.resize(length.parse()?, 0);
        self.0.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let end = line.trim_end_matches(['\r', '\n']).len();
        line.truncate(end);
        Ok(line)
    }
}

impl Answer {
    /// The value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

fn read_status(line: &str) -> Option<u16> {
    line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_line_has_its_status() {
        assert_eq!(read_status("HTTP/1.1 200 OK"), Some(200));
        assert_eq!(read_status("HTTP/1.1 503 "), Some(503));
        assert_eq!(read_status("HTTP/1.1 2"), None);
        assert_eq!(read_status(""), None);
    }
}
