//! The command line.

use crate::gateway::{Coalesce, Options};
use http::{Uri, uri::Authority};
use lexopt::{
    Parser,
    prelude::{Long, Short, ValueExt},
};
use std::time::Duration;

pub(crate) const USAGE: &str = "\
Usage: proxy --listen ADDR --upstream URL [options]

  --listen ADDR          where clients connect, such as 127.0.0.1:3000; port 0 takes a free one
  --upstream URL         where requests go, such as http://127.0.0.1:8000
  --no-coalesce          leave the layer out
  --body-limit BYTES     how far a reader of a shared response may lag behind (default: 16 MiB)
  --spill BYTES          keep what slow readers lag behind beyond that in a temporary file of this
                         size, and share responses up to this length (needs the feature `spill`;
                         default: no file)
  --join-within SECONDS  how old a request in progress may be for another to join it (default: 30)
  --cache-status NAME    tell clients how each response came, in a Cache-Status header
  --key-from-body BYTES  share requests with equal bodies of up to so many bytes, POST and QUERY
                         too; only for an upstream whose POSTs are reads";

pub(crate) struct Args {
    pub(crate) listen: String,
    pub(crate) options: Options,
}

/// `None` if help is all that was asked for.
pub(crate) fn parse() -> Result<Option<Args>, lexopt::Error> {
    let (mut listen, mut upstream, mut coalesces, mut coalesce) =
        (None, None, true, Coalesce::default());
    let mut parser = Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("listen") => listen = Some(parser.value()?.string()?),
            Long("upstream") => upstream = Some(parser.value()?.parse_with(authority)?),
            Long("no-coalesce") => coalesces = false,
            Long("body-limit") => coalesce.body_limit = Some(parser.value()?.parse()?),
            #[cfg(feature = "spill")]
            Long("spill") => coalesce.spill = Some(parser.value()?.parse()?),
            Long("join-within") => {
                coalesce.join_within = Some(parser.value()?.parse_with(seconds)?)
            }
            Long("key-from-body") => coalesce.key_from_body = Some(parser.value()?.parse()?),
            Long("cache-status") => {
                coalesce.cache_status = Some(parser.value()?.parse_with(printable)?)
            }
            Long("help") | Short('h') => return Ok(None),
            other => return Err(other.unexpected()),
        }
    }
    let listen = listen.ok_or("--listen is missing")?;
    let upstream = upstream.ok_or("--upstream is missing")?;
    Ok(Some(Args {
        listen,
        options: Options { upstream, coalesce: coalesces.then_some(coalesce) },
    }))
}

fn authority(url: &str) -> Result<Authority, &'static str> {
    let url: Uri = url.parse().map_err(|_| "not a URL")?;
    if url.scheme_str() != Some("http") || url.path_and_query().is_some_and(|path| path != "/") {
        return Err("the upstream is a plain http://HOST:PORT");
    }
    let authority = url.authority().ok_or("the URL has no host")?;
    if authority.as_str().contains('@') {
        Err("the URL must not have credentials")
    } else {
        Ok(authority.clone())
    }
}

fn seconds(text: &str) -> Result<Duration, &'static str> {
    let duration = text.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    duration.filter(|duration| !duration.is_zero()).ok_or("not a time longer than none")
}

fn printable(name: &str) -> Result<String, &'static str> {
    let is_printable = !name.is_empty() && name.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if is_printable { Ok(name.to_owned()) } else { Err("not printable ASCII") }
}
