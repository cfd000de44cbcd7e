//! Who asks for what: all that an answer depends on.

use http::HeaderName;
use std::fmt::Write;

pub(super) const USERS: [(&str, &str); 6] = [
    ("authorization", "one"),
    ("authorization", "two"),
    ("cookie", "sid=one; _ga=1"),
    ("cookie", "_ga=2; sid=one"),
    ("proxy-authorization", "one"),
    ("x-nobody", "x"),
];
pub(super) const LANGUAGES: [&str; 2] = ["de", "eo"];
/// By this header a response may vary; it is not in the partition.
pub(super) const KIND: &str = "x-kind";
pub(super) const KINDS: [&str; 3] = ["k1", "k2", "k3"];

const COMPARED: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "accept-language"];

/// The cookie that the first gateway compares, and no other.
pub(super) const SESSION: &str = "sid";
/// Each caller gets its own back.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// `varies`: by [`KIND`] too. The second gateway is told to leave the query out.
pub(super) fn of<'a>(
    method: &str,
    path: &str,
    header: impl Fn(&str) -> Option<&'a str>,
    varies: bool,
) -> String {
    let (path, is_first) = match path.split_once('?') {
        Some((path, _)) if path.starts_with("/1/") => (path, false),
        _ => (path, path.starts_with("/0/")),
    };
    let mut identity = format!("{method} {path}");
    for name in COMPARED.into_iter().chain(varies.then_some(KIND)) {
        let value = header(name)
            .map(|value| if is_first && name == "cookie" { session(value) } else { value });
        // No blanks, so that it can stand in a line of the head.
        write!(identity, " {name}={}", value.unwrap_or("-").replace(' ', ""))
            .expect("a string grows");
    }
    identity
}

fn session(cookies: &str) -> &str {
    let session = cookies
        .split("; ")
        .find(|cookie| cookie.strip_prefix(SESSION).is_some_and(|rest| rest.starts_with('=')));
    session.unwrap_or(cookies)
}

/// A page of a gateway.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) gateway: usize,
    pub(super) page: usize,
}

pub(super) const GATEWAYS: usize = 3;
pub(super) const PAGES: usize = 2;

impl Page {
    pub(super) fn path(self) -> String {
        format!("/{}/{}", self.gateway, self.page)
    }

    pub(super) fn at(path: &str) -> Option<Self> {
        let path = path.split_once('?').map_or(path, |(path, _)| path);
        let (gateway, page) = path.strip_prefix('/')?.split_once('/')?;
        // Its other spelling.
        let page = page.strip_prefix("%3").unwrap_or(page);
        Some(Self { gateway: gateway.parse().ok()?, page: page.parse().ok()? })
    }

    pub(super) fn index(self) -> usize {
        self.gateway * PAGES + self.page
    }
}
