//! Many requests at once for what nobody asked for before: at most one call a replica.

use super::{
    MORE_CALLS, ONE_CALL, PART, REFUSED,
    traffic::{Service, judge},
};
use crate::{
    fleet::{
        client::{read, request},
        event::{PATHS, USERS},
        replica::Inner,
        upstream::Upstream,
    },
    world::World,
};
use fastrand::Rng;
use http::{HeaderValue, Method};
use std::{
    collections::HashSet,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    time::Duration,
};
use tokio::{sync::Semaphore, task::JoinSet, time::timeout};
use tower::{Layer, ServiceExt, service_fn};
use tower_singleflight::{SingleflightLayer, mode::Http};

const CLIENTS: usize = 40;

/// Closed until all have asked. So a replica has one flight, which nobody comes too late for.
struct Gate {
    closed: Semaphore,
    to_ask: AtomicUsize,
}

pub(super) async fn burst(
    world: &Arc<World>,
    layers: &[SingleflightLayer<Http<String>>],
    rng: &mut Rng,
) {
    let (path, user) = (PATHS + world.now() as usize, rng.usize(..USERS));
    let (upstream, clients) = (Upstream::new(rng.u64(..)), rng.usize(2..=CLIENTS));
    let gate = Arc::new(Gate { closed: Semaphore::new(0), to_ask: AtomicUsize::new(clients) });
    let (inner, behind) = (upstream.clone(), gate.clone());
    let inner = Inner::new(service_fn(move |request| {
        let (upstream, gate) = (inner.clone(), behind.clone());
        async move {
            // An error is what it waits for.
            drop(gate.closed.acquire().await);
            upstream.answer(request).await
        }
    }));
    let services: Vec<_> = layers.iter().map(|layer| layer.layer(inner.clone())).collect();
    let (mut asked, mut tasks) = (HashSet::new(), JoinSet::new());
    for _ in 0..clients {
        let nth = rng.usize(..services.len());
        asked.insert(nth);
        let patience = (rng.u8(..12) == 0).then(|| Duration::from_millis(rng.u64(..400)));
        let (world, upstream, gate) = (world.clone(), upstream.clone(), gate.clone());
        let service = services[nth].clone();
        tasks.spawn(async move {
            let _call =
                world.open(format!("redis: /{path} of {user} at replica {nth}, in a burst"));
            let got = ask(service, (path, user), &gate, patience);
            judge(&world, got.await, (&format!("/{path} {user}"), 0), &upstream);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            world.report.fail(PART, &format!("a client of a burst ended with {error}"));
        }
    }
    let (calls, replicas) = (upstream.calls(), asked.len());
    if upstream.has_refused() {
        // Each of the others makes its own call.
        world.report.count(REFUSED);
    } else if calls > replicas {
        let what =
            format!("{calls} calls for a burst of {clients} requests at {replicas} replicas");
        world.report.fail(PART, &what);
    } else if replicas > 1 {
        world.report.count(if calls > 1 { MORE_CALLS } else { ONE_CALL });
    }
}

async fn ask(
    service: Service,
    (path, user): (usize, usize),
    gate: &Gate,
    patience: Option<Duration>,
) -> Option<crate::fleet::client::Read> {
    let mut request = request(Method::GET, path);
    request.headers_mut().insert("authorization", HeaderValue::from(user));
    let mut answer = pin!(service.oneshot(request));
    let first = poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
    gate.has_asked();
    let got = read(async {
        match first {
            Poll::Ready(answer) => answer,
            Poll::Pending => answer.await,
        }
    });
    match patience {
        Some(patience) => timeout(patience, got).await.ok(),
        None => Some(got.await),
    }
}

impl Gate {
    fn has_asked(&self) {
        if self.to_ask.fetch_sub(1, SeqCst) == 1 {
            self.closed.close();
        }
    }
}
