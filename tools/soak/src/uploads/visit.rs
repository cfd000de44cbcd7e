//! One request with a body, and whether its answer is right.

use super::{
    BROKE_OFF, CUT_OFF, CUT_SHORT, FAILED, LEFT, PANICKED, PART, WHOLE, WROTE,
    body::{PANICS, Upload, UploadBody, WRITES, identity},
    origin::{ANSWER, FOR, Failure, LENGTH, VERSION},
    storm::{Service, Shared},
};
use crate::{
    http::Pattern,
    injected::Panic,
    sabotage::{Sabotage, garble_files},
};
use fastrand::Rng;
use futures_util::FutureExt;
use http::{HeaderName, HeaderValue, Method, Request, Response};
use http_body_util::BodyExt;
use std::{panic::AssertUnwindSafe, sync::Arc, sync::atomic::Ordering::SeqCst, time::Duration};
use tokio::time::{sleep, timeout};
use tower::ServiceExt;
use tower_singleflight::{BoxError, SharedBody};

const USERS: [&str; 2] = ["one", "two"];

pub(super) struct Visit {
    shared: Arc<Shared>,
    method: Method,
    user: &'static str,
    upload: Upload,
    /// The latest write that was answered before.
    floor: u64,
    rng: Rng,
}

impl Visit {
    pub(super) fn any(shared: &Arc<Shared>, mut rng: Rng) -> Self {
        let method = match rng.u8(..8) {
            0 => Method::GET,
            1 | 2 => Method::from_bytes(b"QUERY").expect("it is a method"),
            _ => Method::POST,
        };
        let (user, upload) = (USERS[rng.usize(..USERS.len())], Upload::any(&mut rng));
        Self { floor: shared.known.load(SeqCst), shared: shared.clone(), method, user, upload, rng }
    }

    pub(super) async fn go(mut self, service: Service) {
        let what = format!("{} {} bytes by {}", self.method, self.upload.data.len(), self.user);
        let _call = self.shared.world.open(format!("{PART}: {what}, with {:?}", self.shared.told));
        sleep(Duration::from_micros(self.rng.u64(..4_000))).await;
        // The floor is that of the moment when it asks.
        self.floor = self.shared.known.load(SeqCst);
        let answer = AssertUnwindSafe(service.oneshot(self.request())).catch_unwind();
        let answer = if self.rng.u8(..10) == 0 {
            timeout(Duration::from_micros(self.rng.u64(..4_000)), answer).await.ok()
        } else {
            Some(answer.await)
        };
        match answer {
            None => self.shared.world.report.count(LEFT),
            Some(Ok(Ok(response))) => self.receive(response).await,
            Some(Ok(Err(error))) => self.failed(&error),
            Some(Err(payload)) => match Panic::of(&*payload) {
                Panic::Injected(_) if self.upload.is(PANICS) => {
                    self.shared.world.report.count(PANICKED)
                }
                Panic::Injected(text) | Panic::Other(text) => self.fail(format!("a panic: {text}")),
                Panic::Lost => self.fail("no answer: its flight was lost".into()),
            },
        }
    }

    fn request(&self) -> Request<UploadBody> {
        let mut request = Request::new(self.upload.body());
        *request.method_mut() = self.method.clone();
        request.headers_mut().insert("authorization", HeaderValue::from_static(self.user));
        request
    }

    fn identity(&self) -> String {
        identity(self.method.as_str(), self.user, &self.upload.data, self.upload.has_trailers)
    }

    fn failed(&self, error: &Failure) {
        match error {
            Failure::Broken if self.upload.breaks.is_some() => {
                self.shared.world.report.count(BROKE_OFF)
            }
            Failure::Planned(of) if *of == self.identity() => {
                self.shared.world.report.count(FAILED)
            }
            error => self.fail(format!("the error of another: {error}")),
        }
    }

    async fn receive(mut self, response: Response<SharedBody>) {
        let text =
            |name: HeaderName| response.headers().get(name).and_then(|value| value.to_str().ok());
        let number = |name| text(name).and_then(|text| text.parse::<u64>().ok());
        let (Some(of), Some(answer), Some(version), Some(length)) =
            (text(FOR), number(ANSWER), number(VERSION), number(LENGTH))
        else {
            return self.fail(format!("a head that the upstream never made: {response:?}"));
        };
        let mine = self.identity();
        if self.upload.breaks.is_some() {
            self.fail("an answer, though its own body broke off".into());
        } else if of != mine {
            self.fail(format!("the answer of another: {of}"));
        } else if version < self.floor {
            self.fail(format!("version {version}, after a write of {}", self.floor));
        }
        if self.upload.is(WRITES) && self.method == Method::POST {
            self.shared.known.fetch_max(version, SeqCst);
            self.shared.world.report.count(WROTE);
        }
        let pattern = Pattern::new(answer, &mine);
        self.read(answer, length as usize, pattern, response.into_body()).await;
    }

    async fn read(&mut self, answer: u64, length: usize, pattern: Pattern, mut body: SharedBody) {
        let leaves = match self.rng.u8(..8) {
            0 => Some(0),
            1 => Some(self.rng.usize(..=length)),
            _ => self.shared.all_leave.then_some(length / 2),
        };
        let (mut stalls, mut read) = (self.rng.u8(..6) == 0, 0);
        loop {
            if leaves.is_some_and(|leaves| leaves <= read) {
                return self.shared.world.report.count(LEFT);
            }
            if stalls && read > 0 {
                stalls = false;
                sleep(Duration::from_millis(self.rng.u64(..40))).await;
            }
            if self.shared.world.sabotages(Sabotage::GarbleSpill) {
                garble_files();
            }
            match body.frame().await {
                Some(Ok(frame)) => {
                    let data = frame.into_data().unwrap_or_default();
                    if !pattern.is_at(read, &data) {
                        return self
                            .fail(format!("other bytes than answer {answer} has from {read} on"));
                    }
                    read += data.len();
                }
                Some(Err(error)) => return self.broke_off(answer, read, length, &error.into()),
                None if read == length => return self.shared.world.report.count(WHOLE),
                None => {
                    return self.fail(format!(
                        "a clean end after {read} of {length} bytes of answer {answer}"
                    ));
                }
            }
        }
    }

    fn broke_off(&self, answer: u64, read: usize, length: usize, error: &BoxError) {
        if self.shared.origin.cut_short(answer) {
            self.shared.world.report.count(CUT_SHORT);
        } else if self.shared.told.may_cut_off(length) {
            self.shared.world.report.count(CUT_OFF);
        } else {
            self.fail(format!("no more than {read} of {length} bytes of answer {answer}: {error}"));
        }
    }

    fn fail(&self, got: String) {
        self.shared.fail(&format!("{} {} got {got}", self.method, self.identity()));
    }
}
