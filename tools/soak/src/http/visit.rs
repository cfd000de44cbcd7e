//! One request of one user, and whether its answer is right.

use super::{
    PART,
    connection::{Sender, Version},
    event,
    gateway::{Gateway, NO_ANSWER},
    identity::{self, REQUEST_ID},
    pattern::Pattern,
    told::Told,
    truth::Truth,
    watched::CALL,
    wish::{Leaves, Wish},
};
use crate::{calls::Call, world::World};
use bytes::Bytes;
use fastrand::Rng;
use http::{HeaderValue, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::{sleep, timeout};

/// How a visit ended, and whether its connection is as good as before.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Whole,
    Over,
}

pub(super) struct Visit<'a> {
    world: &'a World,
    truth: &'a Truth,
    gateway: &'a Gateway,
    /// Its connection goes down with its gateway.
    is_doomed: bool,
    wish: Wish,
    call: Call,
    /// The latest write that somebody knew of before.
    floor: u64,
}

impl<'a> Visit<'a> {
    pub(super) fn new(
        world: &'a World,
        truth: &'a Truth,
        (nth, gateway): (usize, &'a Gateway),
        is_doomed: bool,
        version: Version,
        rng: &mut Rng,
    ) -> Self {
        let wish = Wish::any(nth, rng);
        let over = if version == Version::Http1 { "HTTP/1.1" } else { "HTTP/2" };
        let (method, path, at) = (&wish.method, &wish.path, gateway.name);
        let door = if is_doomed { "a door that goes down" } else { "the door" };
        let call = world.open(format!(
            "http: {method} {path} over {over} at {door} of {at} by {:?}",
            wish.headers
        ));
        let floor = truth.known(wish.page);
        Self { world, truth, gateway, is_doomed, wish, call, floor }
    }

    pub(super) async fn go(self, over: &mut Sender) -> End {
        let request = self.request(over);
        let sent = over.send(request);
        let response = match self.wish.leaves {
            Leaves::BeforeHead(time) => timeout(time, sent).await.ok(),
            _ => Some(sent.await),
        };
        match response {
            None => {
                self.world.report.count(event::LEFT_BEFORE_HEAD);
                End::Over
            }
            Some(Ok(response)) => self.receive(response).await,
            Some(Err(error)) => {
                self.got_no_head(&error);
                End::Over
            }
        }
    }

    /// A head that is on its way when its body breaks off goes down with it.
    fn got_no_head(&self, error: &hyper::Error) {
        if self.is_doomed {
            self.world.report.count(event::NO_GATEWAY);
        } else {
            let is_cut_off = self.gateway.cuts_off_beyond == 0;
            let ordered = self.truth.did_not_answer(self.wish.page) || self.truth.a_gateway_fell();
            self.allow(ordered || is_cut_off, event::NO_HEAD, || format!("no head: {error:?}"));
        }
    }

    fn request(&self, over: &Sender) -> Request<Full<Bytes>> {
        let body =
            if self.wish.method == Method::POST { Full::from("write") } else { Full::default() };
        let mut request = Request::new(body);
        *request.method_mut() = self.wish.method.clone();
        *request.headers_mut() = self.wish.headers.clone();
        request.headers_mut().insert(CALL, self.call.id().into());
        request.headers_mut().insert(REQUEST_ID, self.call.id().into());
        let path = &self.wish.path;
        *request.uri_mut() = match over {
            Sender::Http1(_) => {
                request.headers_mut().insert("host", HeaderValue::from_static("soak.example"));
                path.parse()
            }
            Sender::Http2(_) => format!("http://soak.example{path}").parse(),
        }
        .expect("a path is a URI");
        request
    }

    async fn receive(self, response: Response<Incoming>) -> End {
        self.call.note(format!(
            "head: {}, answer {:?}",
            response.status(),
            response.headers().get("x-answer")
        ));
        if response.headers().contains_key(NO_ANSWER) {
            let ordered = self.truth.did_not_answer(self.wish.page) || self.truth.a_gateway_fell();
            self.allow(ordered, event::NO_ANSWER, || "502 from the gateway".into());
            return End::Whole;
        }
        let Some(told) = Told::by(&response) else {
            self.fail(format!("a head that the origin never made: {response:?}"));
            return End::Over;
        };
        let mine = self.identity(told.varies);
        self.check(&told, &mine);
        if response.headers().get(REQUEST_ID) != Some(&self.call.id().into()) {
            self.fail(format!(
                "the request id of another: {:?}",
                response.headers().get(REQUEST_ID)
            ));
        }
        if self.wish.method == Method::POST {
            self.truth.learn(self.wish.page, told.version);
        }
        if self.wish.method == Method::HEAD {
            self.world.report.count(event::HEAD);
            return End::Whole;
        }
        self.read(&told, Pattern::new(told.answer, &mine), response.into_body()).await
    }

    fn check(&self, told: &Told, mine: &str) {
        if told.identity != mine {
            self.fail(format!("the answer of another: it is for `{}`", told.identity));
        }
        if told.version < self.floor {
            self.fail(format!(
                "a stale answer: version {} when {} was known",
                told.version, self.floor
            ));
        }
        if told.for_one && !self.truth.give_to_one(told.answer) {
            self.fail(format!(
                "answer {}, which was for one client, and another has it",
                told.answer
            ));
        }
    }

    async fn read(self, told: &Told, pattern: Pattern, mut body: Incoming) -> End {
        let (mut read, mut leaves) = (0, self.wish.leaves);
        loop {
            match leaves {
                Leaves::InBody(at) if at <= read => {
                    self.world.report.count(event::LEFT_IN_BODY);
                    return End::Over;
                }
                Leaves::Stalls(at, time) if at <= read => {
                    leaves = Leaves::Never;
                    self.call.note("stalls");
                    sleep(time).await;
                }
                _ => {}
            }
            match body.frame().await {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    if !pattern.is_at(read, &data) {
                        self.fail(format!(
                            "other bytes than answer {} has from {read} on",
                            told.answer
                        ));
                        return End::Over;
                    }
                    read += data.len();
                    self.call
                        .tell("the client", format!("has read {read} of {} bytes", told.length));
                }
                Some(Err(error)) => {
                    self.broke_off(told, read, &error);
                    return End::Over;
                }
                None if read == told.length => {
                    self.world.report.count(event::WHOLE);
                    return End::Whole;
                }
                None if read == 0 && self.is_head_alone(told) => {
                    self.world.report.count(event::HEAD_ALONE);
                    return End::Whole;
                }
                None => {
                    self.fail(format!(
                        "a clean end after {read} of {} bytes of answer {}",
                        told.length, told.answer
                    ));
                    return End::Over;
                }
            }
        }
    }

    /// After so many refusals in a row, followers have a 429 of their leader. If its body is too
    /// large to be shared, they have its head.
    fn is_head_alone(&self, told: &Told) -> bool {
        told.is_too_many && told.length > self.gateway.gives_heads_beyond
    }

    /// Only if the origin cut it short, a gateway went down with it, or the reader may have lagged
    /// behind.
    fn broke_off(&self, told: &Told, read: usize, error: &hyper::Error) {
        if self.truth.was_cut_short(told.answer) {
            self.world.report.count(event::CUT_SHORT);
        } else if self.is_doomed || told.is_doomed {
            self.world.report.count(event::FELL_WITH_GATEWAY);
        } else {
            self.allow(told.length > self.gateway.cuts_off_beyond, event::CUT_OFF, || {
                format!(
                    "no more than {read} of {} bytes of answer {}: {error:?}",
                    told.length, told.answer
                )
            });
        }
    }

    fn allow(&self, is_allowed: bool, event: &'static str, otherwise: impl FnOnce() -> String) {
        if is_allowed {
            self.world.report.count(event);
        } else {
            self.fail(otherwise());
        }
    }

    fn fail(&self, got: String) {
        let (gateway, method, path) = (self.gateway.name, &self.wish.method, self.wish.page.path());
        self.world.report.fail(
            PART,
            &format!("{gateway}: {method} {path} with {:?} got {got}", self.wish.headers),
        );
    }

    fn identity(&self, varies: bool) -> String {
        let header = |name: &str| self.wish.headers.get(name).and_then(|value| value.to_str().ok());
        identity::of(self.wish.method.as_str(), &self.wish.path, header, varies)
    }
}
