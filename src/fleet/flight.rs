//! A flight that this replica leads for the fleet.

use crate::fleet::{
    ask::BLOCKS,
    engine::{Closed, EngineError, Landing, Token},
    handle::Fleet,
    lead::{Act, CLOSE_WITHIN, Deserted, Leading},
    name::Subject,
    report::FleetEvent,
    slots::{MayFollow, TokenSlot, Told},
    wire::{Answer, Go, WireResult},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::Body;
use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::{
    runtime::Handle,
    task::spawn_blocking,
    time::{Instant, sleep, timeout, timeout_at},
};

/// Leads a flight until its result is known. Dropped before that, it releases the flight.
pub(crate) struct Lead {
    fleet: Fleet,
    subject: Subject,
    slot: TokenSlot,
    leading: Leading,
    /// True if the flight was closed before its head. Without followers, the engine has forgotten
    /// it since.
    was_shut: bool,
    runtime: Handle,
}

/// What the others get of a response.
pub(crate) enum FleetOutcome<B> {
    Share(Shared<B>),
    /// `mark`: how long other replicas pass without waiting.
    Go(Go, Option<Duration>),
}

/// A response for others, whose body is still on its way.
pub(crate) struct Shared<B> {
    pub(crate) vary: Vec<(HeaderName, Vec<HeaderValue>)>,
    pub(crate) response: Response<B>,
    /// How long other replicas pass without waiting if it is too large or too slow.
    pub(crate) mark: Duration,
}

/// How much longer than a lease a result is kept.
const KEPT: Duration = Duration::from_secs(2);

/// How long a flight may take to be closed before its head.
const LONGEST_SHUT: Duration = Duration::from_secs(60);

/// A result that is larger is not pushed, but fetched.
const INLINE: usize = 8 * 1024;

impl Lead {
    pub(super) fn new(fleet: Fleet, subject: Subject, slot: TokenSlot, runtime: Handle) -> Self {
        slot.leads(subject.name(), fleet.config.lease);
        Self { fleet, subject, slot, leading: Leading::new(), was_shut: false, runtime }
    }

    pub(crate) fn token(&self) -> Token {
        self.slot.token()
    }

    pub(crate) fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Hears what the others tell. Registers the waker.
    pub(crate) fn hear(&mut self, cx: &mut Context<'_>) {
        while let Poll::Ready(told) = self.slot.poll_recv(cx) {
            self.told(told);
        }
    }

    fn told(&mut self, told: Told) {
        match told {
            Told::Joined => self.leading.joined(),
            Told::Sealed => self.shut(),
            Told::LeaseLost => {
                if self.has_lease() {
                    self.fleet.tell(FleetEvent::LeaseLost);
                }
                self.leading.lost();
                self.slot.rests();
            }
            Told::Closed | Told::Landed(_) | Told::Again | Told::Checked(_) | Told::Lost => {}
        }
    }

    /// A flight that was shut, and that no other replica follows, has none.
    fn has_lease(&self) -> bool {
        !self.was_shut || self.leading.is_followed()
    }

    /// Closes the flight before its head, so that no other replica follows. The followers go on
    /// waiting.
    pub(crate) fn shut(&mut self) {
        if let Act::Close { tells } = self.leading.shut() {
            self.was_shut = true;
            self.slot.takes_no_more();
            let (fleet, name, token) = (self.fleet.clone(), *self.subject.name(), self.token());
            // The timers are made inside the task: this may run in the drop of a call, outside of
            // the runtime.
            drop(self.runtime.spawn(async move {
                let (engine, lease) = (&fleet.node.engine, fleet.config.lease);
                // An open flight would be renewed for as long as its call takes.
                let close = async {
                    loop {
                        if engine.is_up() {
                            let close = engine.close(&name, token, lease, tells);
                            if let Ok(Ok(_)) = timeout(lease, close).await {
                                return;
                            }
                        }
                        sleep(LOOK_AGAIN).await;
                    }
                };
                drop(timeout(LONGEST_SHUT, close).await);
            }));
        }
    }

    /// What to do with the call when all callers here have gone.
    pub(crate) fn deserted(&mut self) -> Deserted {
        while let Some(told) = self.slot.try_recv() {
            self.told(told);
        }
        self.leading.deserted()
    }

    /// The call goes on for others alone. Calls here that `may_follow` says may follow it, as long
    /// as it takes more.
    pub(crate) fn goes_on(&self, may_follow: MayFollow) {
        if !self.leading.is_shut() {
            self.slot.goes_on_for_others(may_follow);
        }
    }

    /// True if nobody elsewhere can get the result any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.leading.is_lost()
    }

    /// The head is known. A task closes the flight, and gives the others their result.
    pub(crate) fn head<B>(mut self, outcome: FleetOutcome<B>)
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Send,
    {
        let head = Instant::now();
        if self.leading.head(head) == Act::Nothing {
            return;
        }
        let runtime = self.runtime.clone();
        let mut finish = Box::pin(self.finish(head, outcome));
        // The flight is closed before callers here have the head, as far as that needs no waiting.
        let polled = {
            let _here = runtime.enter();
            finish.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        if polled.is_pending() {
            drop(runtime.spawn(finish));
        }
    }

    /// The call failed.
    pub(crate) fn failed(self) {
        self.head::<http_body_util::Empty<Bytes>>(FleetOutcome::Go(Go::Failed, None));
    }

    async fn finish<B>(mut self, head: Instant, outcome: FleetOutcome<B>)
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: Send,
    {
        let (mut shared, go, mark) = match outcome {
            FleetOutcome::Go(go, mark) => (None, Some(go), mark),
            FleetOutcome::Share(shared) => match self.too_large(&shared.response) {
                true => (None, Some(Go::TooLarge), Some(shared.mark)),
                false => (Some(shared), None, None),
            },
        };
        let reply = self.close(|| drop(shared.take())).await;
        match self.leading.closed(Instant::now(), reply, go) {
            Act::Land(tokens) => {
                let Some(Shared { vary, response, mark }) = shared else { return };
                match self.read(response, head).await {
                    Ok((response, body, trailers)) => {
                        let answer = Answer { vary, head: response, body, trailers };
                        self.land(&tokens, WireResult::Value(Box::new(answer)), Some(mark)).await;
                    }
                    Err(go) => {
                        let mark = Some(mark).filter(|_| go != Go::Failed);
                        self.land(&tokens, WireResult::Go(go), mark).await;
                    }
                }
            }
            Act::Go(tokens, go) => {
                drop(shared);
                let mark = mark.filter(|_| go != Go::Late);
                self.land(&tokens, WireResult::Go(go), mark).await;
            }
            Act::Nothing | Act::Close { .. } | Act::Release => {}
        }
    }

    /// Closes the flight. `late` is called if that takes too long.
    async fn close(&self, late: impl FnOnce()) -> Option<Closed> {
        let (engine, lease) = (&self.fleet.node.engine, self.fleet.config.lease);
        let mut close = engine.close(self.subject.name(), self.token(), lease, true);
        let reply = match timeout(CLOSE_WITHIN, &mut close).await {
            Ok(reply) => Ok(reply),
            Err(_) => {
                late();
                timeout(lease, close).await
            }
        };
        let closed = reply.ok()?.ok()?;
        if closed == Closed::Lost && self.has_lease() {
            self.fleet.tell(FleetEvent::LeaseLost);
        }
        Some(self.without_own(closed))
    }

    /// Leaves out the tokens of this replica for which nobody waits: a flight that found its own
    /// replica leading went alone.
    fn without_own(&self, closed: Closed) -> Closed {
        let Closed::Followed(mut tokens) = closed else { return closed };
        let (own, slots) = (self.token().replica(), &self.fleet.node.slots);
        tokens.retain(|token| token.replica() != own || slots.has(*token));
        if tokens.is_empty() {
            self.release();
            return Closed::Alone;
        }
        Closed::Followed(tokens)
    }

    /// Gives the flight up in a task.
    fn release(&self) {
        let (node, name, token) = (self.fleet.node.clone(), *self.subject.name(), self.token());
        let lease = self.fleet.config.lease;
        drop(
            self.runtime.spawn(async move {
                drop(timeout(lease, node.engine.release(&name, token)).await)
            }),
        );
    }

    /// Whether the response says that its body is too large.
    fn too_large<B: Body>(&self, response: &Response<B>) -> bool {
        response.body().size_hint().lower() > self.fleet.config.body_limit
    }

    /// Reads the whole body, so that no slow client delays the others.
    async fn read<B>(
        &self,
        response: Response<B>,
        head: Instant,
    ) -> Result<(Response<()>, Bytes, Option<HeaderMap>), Go>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let (parts, mut body) = response.into_parts();
        let (end, limit) = (head + self.fleet.config.body_within, self.fleet.config.body_limit);
        let (mut chunks, mut length, mut trailers) = (Vec::new(), 0, None);
        loop {
            let frame = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx));
            match timeout_at(end, frame).await {
                Err(_) => return Err(Go::TooSlow),
                Ok(None) => break,
                Ok(Some(Err(_))) => return Err(Go::Failed),
                Ok(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        length += data.len() as u64;
                        if length > limit {
                            return Err(Go::TooLarge);
                        }
                        chunks.push(data);
                    }
                    Err(frame) => trailers = frame.into_trailers().ok(),
                },
            }
        }
        Ok((Response::from_parts(parts, ()), concat(chunks), trailers))
    }

    /// Gives the result to the followers.
    async fn land(&self, tokens: &[Token], landed: WireResult, mark: Option<Duration>) {
        let is_value = matches!(landed, WireResult::Value(_));
        let Some(payload) = self.seal(tokens, landed).await else { return };
        let length = payload.len();
        let mark = mark.filter(|_| !is_value);
        match self.land_payload(payload, mark).await {
            Ok(true) if is_value => {
                self.fleet.tell(FleetEvent::Published(length as u64));
            }
            Err(EngineError::Refused) if length > INLINE => {
                let go = self.seal(tokens, WireResult::Go(Go::TooLarge)).await;
                if let Some(go) = go {
                    let _ = self.land_payload(go, None).await;
                }
            }
            Ok(_) | Err(_) => {}
        }
    }

    async fn seal(&self, tokens: &[Token], landed: WireResult) -> Option<Bytes> {
        let (secret, subject, flight) =
            (self.fleet.node.secret.clone(), self.subject.clone(), self.token());
        let is_large = matches!(&landed, WireResult::Value(answer) if answer.body.len() > BLOCKS);
        let tokens = tokens.to_vec();
        let seal = move || secret.seal(&subject, flight, &tokens, &landed.encode());
        if is_large { spawn_blocking(seal).await.ok()? } else { seal() }
    }

    /// Lands. It is repeated once if the connection was lost: landing twice is as landing once.
    async fn land_payload(
        &self,
        payload: Bytes,
        mark: Option<Duration>,
    ) -> Result<bool, EngineError> {
        let (engine, lease) = (&self.fleet.node.engine, self.fleet.config.lease);
        let landing = Landing { payload, keep: lease + KEPT, mark };
        let land =
            || timeout(lease, engine.land(self.subject.name(), self.token(), landing.clone()));
        match land().await {
            Ok(Err(EngineError::Down)) => {}
            Ok(reply) => return reply,
            Err(_) => return Err(EngineError::Down),
        }
        let end = Instant::now() + lease;
        while !engine.is_up() {
            if Instant::now() >= end {
                return Err(EngineError::Down);
            }
            sleep(LOOK_AGAIN).await;
        }
        land().await.unwrap_or(Err(EngineError::Down))
    }
}

/// How often a task looks whether its engine is up again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

fn concat(mut chunks: Vec<Bytes>) -> Bytes {
    if chunks.len() <= 1 {
        return chunks.pop().unwrap_or_default();
    }
    let mut all = BytesMut::with_capacity(chunks.iter().map(Bytes::len).sum());
    chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
    all.freeze()
}

impl Drop for Lead {
    fn drop(&mut self) {
        if self.leading.release() == Act::Release {
            self.release();
        }
    }
}
