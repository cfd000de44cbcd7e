//! `Group` alone, in plain async code: no service, no HTTP.
//!
//! ```sh
//! cargo run -p recipes --bin group
//! ```
//!
//! It prints
//!
//! ```text
//! 20 callers at once: 1.09, loads: 1
//! 3 callers, the first goes away: 1.09, loads: 1
//! 3 callers, and no such currency: `no rate for XXX`, loads: 1
//! loaded ahead, then asked for: 0.61, loads: 1
//! asked for again later: 0.61, loads: 1
//! ```

use std::{
    collections::BTreeSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};
use tokio::{sync::Semaphore, task::JoinSet};
use tower_singleflight::Group;

/// Exchange rates, from somewhere slow.
#[derive(Clone, Default)]
struct Rates {
    /// Fallible work has a `Result` for its value. Values and errors are cloned for each caller: an
    /// `Arc` makes that cheap, and possible for errors that are not `Clone`.
    flights: Group<&'static str, Result<f64, Arc<NoRate>>>,
    source: Arc<Source>,
}

impl Rates {
    /// The rate, loaded once for all who ask for it at the same time.
    ///
    /// No `async fn`, because that would join a flight only when it is polled, and this does so at
    /// once. It makes no difference to a caller who awaits it right away.
    fn get(
        &self,
        currency: &'static str,
    ) -> impl Future<Output = Result<f64, Arc<NoRate>>> + use<> {
        let source = self.source.clone();
        let outcome = self
            .flights
            .run(currency, move || async move { source.load(currency).await.map_err(Arc::new) });
        async { outcome.await.value }
    }

    /// Starts to load a rate, whether anybody waits for it or not. Whoever asks meanwhile gets this
    /// one.
    fn load_ahead(&self, currency: &'static str) {
        let source = self.source.clone();
        drop(
            self.flights.spawn(currency, move || async move {
                source.load(currency).await.map_err(Arc::new)
            }),
        );
    }
}

#[tokio::main]
async fn main() {
    let rates = Rates::default();

    let callers: JoinSet<_> = (0..20).map(|_| rates.get("EUR")).collect();
    rates.source.answer();
    println!("20 callers at once: {}", rates.report(callers).await);

    let mut callers: Vec<_> = (0..3).map(|_| rates.get("EUR")).collect();
    drop(callers.remove(0)); // the one whose work it was
    rates.source.answer();
    println!(
        "3 callers, the first goes away: {}",
        rates.report(callers.into_iter().collect()).await
    );

    let callers: JoinSet<_> = (0..3).map(|_| rates.get("XXX")).collect();
    rates.source.answer();
    println!("3 callers, and no such currency: {}", rates.report(callers).await);

    rates.load_ahead("NZD");
    let callers: JoinSet<_> = [rates.get("NZD")].into_iter().collect();
    rates.source.answer();
    println!("loaded ahead, then asked for: {}", rates.report(callers).await);

    // A group is no cache: what has landed is gone.
    let callers: JoinSet<_> = [rates.get("NZD")].into_iter().collect();
    rates.source.answer();
    println!("asked for again later: {}", rates.report(callers).await);
}

impl Rates {
    /// What the callers got, all of them the same, and what it cost.
    async fn report(&self, callers: JoinSet<Result<f64, Arc<NoRate>>>) -> String {
        let describe = |answer: Result<f64, _>| {
            answer.map_or_else(|error| format!("`{error}`"), |rate| rate.to_string())
        };
        let answers: BTreeSet<_> = callers.join_all().await.into_iter().map(describe).collect();
        let answers: Vec<_> = answers.into_iter().collect();
        format!("{}, loads: {}", answers.join(" and "), self.source.loads.swap(0, Relaxed))
    }
}

/// Slow enough for this: it answers when it is told to.
struct Source {
    loads: AtomicUsize,
    answers: Semaphore,
}

#[derive(Debug)]
struct NoRate(&'static str);

impl Source {
    async fn load(&self, currency: &'static str) -> Result<f64, NoRate> {
        self.loads.fetch_add(1, Relaxed);
        self.answers.acquire().await.expect("it is never closed").forget();
        match currency {
            "EUR" => Ok(1.09),
            "NZD" => Ok(0.61),
            other => Err(NoRate(other)),
        }
    }

    /// Lets one load come to its end.
    fn answer(&self) {
        self.answers.add_permits(1);
    }
}

impl Default for Source {
    fn default() -> Self {
        Self { loads: AtomicUsize::new(0), answers: Semaphore::new(0) }
    }
}

impl fmt::Display for NoRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no rate for {}", self.0)
    }
}

impl std::error::Error for NoRate {}
