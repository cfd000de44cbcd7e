//! Who asks for what: all that an answer depends on.

use std::fmt::Write;

pub(super) const USERS: [(&str, &str); 5] = [
    ("authorization", "one"),
    ("authorization", "two"),
    ("cookie", "one"),
    ("proxy-authorization", "one"),
    ("x-nobody", "x"),
];
pub(super) const LANGUAGES: [&str; 2] = ["de", "eo"];
/// By this header a response may vary; it is not in the partition.
pub(super) const KIND: &str = "x-kind";
pub(super) const KINDS: [&str; 3] = ["k1", "k2", "k3"];

const COMPARED: [&str; 4] = ["authorization", "cookie", "proxy-authorization", "accept-language"];

/// `varies`: by [`KIND`] too.
pub(super) fn of<'a>(method: &str, path: &str, header: impl Fn(&str) -> Option<&'a str>, varies: bool) -> String {
    let mut identity = format!("{method} {path}");
    for name in COMPARED.into_iter().chain(varies.then_some(KIND)) {
        write!(identity, " {name}={}", header(name).unwrap_or("-")).expect("a string grows");
    }
    identity
}

/// A page of a gateway.
#[derive(Clone, Copy)]
pub(super) struct Page {
    pub(super) gateway: usize,
    pub(super) page: usize,
}

pub(super) const GATEWAYS: usize = 2;
pub(super) const PAGES: usize = 2;

impl Page {
    pub(super) fn path(self) -> String {
        format!("/{}/{}", self.gateway, self.page)
    }

    pub(super) fn at(path: &str) -> Option<Self> {
        let (gateway, page) = path.strip_prefix('/')?.split_once('/')?;
        Some(Self { gateway: gateway.parse().ok()?, page: page.parse().ok()? })
    }

    pub(super) fn index(self) -> usize {
        self.gateway * PAGES + self.page
    }
}
