//! HTTP/1.1 as bytes, read without the help of the code under test.

use std::io::{self, ErrorKind::UnexpectedEof};
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt};

/// What tells where a message ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request,
    Response,
    ResponseToHead,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Vec<(String, String)>,
}

impl Message {
    pub(crate) async fn read(
        from: &mut (impl AsyncBufRead + Unpin),
        kind: Kind,
    ) -> io::Result<Self> {
        let mut message = Self::read_head(from).await?;
        message.read_body(from, kind).await?;
        Ok(message)
    }

    pub(crate) async fn read_head(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Self> {
        let start = line(from).await?;
        Ok(Self { start, headers: fields(from).await?, ..Self::default() })
    }

    pub(crate) async fn read_body(
        &mut self,
        from: &mut (impl AsyncBufRead + Unpin),
        kind: Kind,
    ) -> io::Result<()> {
        if kind == Kind::ResponseToHead
            || [Some(100), Some(204), Some(304)].contains(&self.status())
        {
            return Ok(());
        }
        if self.get("transfer-encoding").is_some() {
            self.body = chunks(from).await?;
            self.trailers = fields(from).await?;
        } else if let Some(length) = self.get("content-length") {
            self.body = vec![0; length.parse().unwrap()];
            from.read_exact(&mut self.body).await?;
        } else if kind == Kind::Response {
            from.read_to_end(&mut self.body).await?;
        }
        Ok(())
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.start.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()
    }

    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str()).collect()
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

async fn line(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or(UnexpectedEof.into())
}

async fn fields(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<(String, String)>> {
    let mut fields = Vec::new();
    loop {
        let line = line(from).await?;
        let Some((name, value)) = line.split_once(": ") else { return Ok(fields) };
        fields.push((name.to_owned(), value.to_owned()));
    }
}

async fn chunks(from: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let size = usize::from_str_radix(&line(from).await?, 16).unwrap();
        if size == 0 {
            return Ok(body);
        }
        let mut chunk = vec![0; size];
        from.read_exact(&mut chunk).await?;
        body.extend(chunk);
        assert_eq!(line(from).await?, "");
    }
}
