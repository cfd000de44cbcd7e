//! Asks the fleet about one flight: to lead it, to take the result of another replica, or to go
//! alone.

use crate::fleet::{
    breaker::REPLY_WITHIN,
    engine::{Entry, Token, Waiting},
    flight::Lead,
    follow::{Asking, Step},
    handle::Fleet,
    name::Subject,
    report::FleetEvent,
    slots::{TokenSlot, Told},
    stats::FleetReason,
    wire::WireResult,
};
use bytes::Bytes;
use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    task::spawn_blocking,
    time::{Instant, timeout, timeout_at},
};

/// What a flight does.
pub(crate) enum Asked {
    /// It makes the call, for all.
    Lead(Box<Lead>),
    /// It takes the result of another replica, for which it waited so long.
    Take(WireResult, Duration),
    /// It makes the call, for this replica.
    Alone(FleetReason),
}

/// A payload that is larger is opened and sealed on a thread of its own.
pub(crate) const BLOCKS: usize = 256 * 1024;

impl Fleet {
    /// Asks about a flight. It waits for another replica for `wait` at most. `close_here` is called
    /// when the head of the other replica's response is known, so that no more calls should join
    /// here.
    pub(crate) async fn ask(
        &self,
        subject: Subject,
        wait: Duration,
        close_here: impl FnMut(),
    ) -> Asked {
        let node = &self.node;
        if let Some(reason) = node.reason_not_to_ask(subject.name()) {
            return Asked::Alone(reason);
        }
        let (Ok(runtime), Some(slot)) = (Handle::try_current(), node.open_slot()) else {
            return Asked::Alone(FleetReason::Down);
        };
        node.used(&runtime);
        let inquiry =
            Inquiry { fleet: self, subject, slot, runtime, opened: None, has_followed: false };
        let runtime = inquiry.runtime.clone();
        Inside { runtime, future: Box::pin(inquiry.run(wait, close_here)) }.await
    }
}

/// Polls a future inside a runtime, wherever this is polled: timers need one.
struct Inside<F> {
    runtime: Handle,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Inside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let _inside = this.runtime.enter();
        this.future.as_mut().poll(cx)
    }
}

/// One request to the fleet.
struct Inquiry<'a> {
    fleet: &'a Fleet,
    subject: Subject,
    slot: TokenSlot,
    runtime: Handle,
    opened: Option<WireResult>,
    has_followed: bool,
}

impl Inquiry<'_> {
    async fn run(mut self, wait: Duration, mut close_here: impl FnMut()) -> Asked {
        let jitter = jitter(self.slot.token(), self.fleet.config.lease);
        let start = Instant::now();
        let (mut asking, mut step) = Asking::new(start + wait, jitter);
        let mut is_first = true;
        loop {
            step = match step {
                Step::Enter => {
                    if !std::mem::take(&mut is_first) {
                        let Some(slot) = self.fleet.node.open_slot() else {
                            return Asked::Alone(FleetReason::Down);
                        };
                        self.slot = slot;
                    }
                    self.enter(&mut asking, None).await
                }
                Step::ShutAndEnter(sealed) => self.enter(&mut asking, Some(sealed)).await,
                Step::CloseHere(until) => {
                    close_here();
                    Step::Wait(until)
                }
                Step::Wait(until) => self.wait(&mut asking, until).await,
                Step::Check(flight) => self.check(&mut asking, flight).await,
                Step::Fetch(flight) => self.fetch(&mut asking, flight).await,
                Step::Open(flight, payload) => {
                    self.opened = self.open(flight, payload).await;
                    asking.opened(Instant::now(), self.opened.is_some())
                }
                Step::Lead { takes_over } => return Asked::Lead(Box::new(self.lead(takes_over))),
                Step::Alone(reason) => return Asked::Alone(reason),
                Step::Take => {
                    return Asked::Take(
                        self.opened.take().expect("it was opened"),
                        start.elapsed(),
                    );
                }
            }
        }
    }

    async fn enter(&mut self, asking: &mut Asking, shuts: Option<Token>) -> Step {
        let (node, name, token) = (&self.fleet.node, self.subject.name(), self.slot.token());
        let start = Instant::now();
        let reply = node.enter(name, token, shuts, self.fleet.times(), &self.runtime).await;
        if reply.is_some() {
            self.fleet.tell(FleetEvent::Entered(start.elapsed()));
        }
        if let Some(Ok(Entry::Follow { flight, .. })) = &reply {
            if flight.replica() == token.replica() && !node.slots.may_follow(*flight) {
                return asking.entered_own();
            }
            self.slot.waits(name, *flight);
            node.keep(&self.runtime);
            if !std::mem::replace(&mut self.has_followed, true) {
                self.fleet.tell(FleetEvent::Followed);
            }
        }
        asking.entered(Instant::now(), reply)
    }

    async fn wait(&mut self, asking: &mut Asking, until: Instant) -> Step {
        let told = timeout_at(until, self.slot.recv()).await;
        let now = Instant::now();
        match told {
            Err(_) => asking.alarm(now),
            Ok(Told::Closed) => asking.closed(now),
            Ok(Told::Landed(payload)) => asking.landed(now, payload),
            Ok(Told::Again) => asking.again(now),
            Ok(Told::Checked(checked)) => asking.checked(now, Some(Ok(checked))),
            Ok(Told::Lost) => asking.lost(),
            Ok(Told::Joined | Told::Sealed | Told::LeaseLost) => Step::Wait(until),
        }
    }

    async fn check(&self, asking: &mut Asking, flight: Token) -> Step {
        let waiting = [self.waiting(flight)];
        let reply = timeout(REPLY_WITHIN, self.fleet.node.engine.check(&waiting)).await.ok();
        let reply = reply.map(|reply| {
            reply.and_then(|checked| {
                checked.first().copied().ok_or(super::engine::EngineError::Garbled)
            })
        });
        asking.checked(Instant::now(), reply)
    }

    async fn fetch(&self, asking: &mut Asking, flight: Token) -> Step {
        let node = &self.fleet.node;
        let within = self.fleet.config.body_within.max(REPLY_WITHIN);
        let reply = timeout(within, node.engine.fetch(self.subject.name(), flight)).await.ok();
        let (node, waiting) = (node.clone(), self.waiting(flight));
        drop(
            self.runtime.spawn(async move {
                drop(timeout(REPLY_WITHIN, node.engine.done(&waiting)).await)
            }),
        );
        asking.fetched(Instant::now(), reply)
    }

    async fn open(&self, flight: Token, payload: Bytes) -> Option<WireResult> {
        let (secret, subject, token) =
            (self.fleet.node.secret.clone(), self.subject.clone(), self.slot.token());
        let is_large = payload.len() > BLOCKS;
        let open = move || WireResult::decode(secret.open(&subject, flight, token, &payload).ok()?);
        if is_large { spawn_blocking(open).await.ok()? } else { open() }
    }

    fn lead(self, takes_over: bool) -> Lead {
        let node = &self.fleet.node;
        self.fleet.tell(FleetEvent::Led { takes_over });
        let lead = Lead::new(self.fleet.clone(), self.subject, self.slot, self.runtime.clone());
        node.keep(&self.runtime);
        lead
    }

    fn waiting(&self, flight: Token) -> Waiting {
        Waiting { name: *self.subject.name(), flight, token: self.slot.token() }
    }
}

/// The first replica that looks has to be in time to tell the others: an engine keeps those who
/// wait for a second after the lease.
const MAX_JITTER: Duration = Duration::from_millis(500);

/// Returns a part of a tenth of the lease, so that the replicas that wait do not all look after a
/// flight at once. It depends on the token, so a test goes the same way each time.
fn jitter(token: Token, lease: Duration) -> Duration {
    let mixed = token.as_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (lease / 10).min(MAX_JITTER) * u32::from((mixed >> 32) as u16) / u32::from(u16::MAX)
}
