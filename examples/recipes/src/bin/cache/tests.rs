use super::Quotes;
use std::sync::atomic::Ordering::Relaxed;
use tower::ServiceExt;

/// As a caller does who looked into the cache before a flight landed, and asks after it.
#[tokio::test(start_paused = true)]
async fn a_flight_that_finds_the_cache_filled_loads_nothing() {
    let quotes = Quotes::new();
    let first = quotes.get("ACME".to_owned()).await.unwrap();
    let second = quotes.flights.clone().oneshot("ACME".to_owned()).await.unwrap();
    assert_eq!((second, quotes.loads.load(Relaxed)), (first, 1));
    assert_eq!((quotes.handle.stats().led, quotes.hits.load(Relaxed)), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn an_error_is_not_kept() {
    let quotes = Quotes::new();
    for loads in 1..=2 {
        assert!(quotes.get("CLOSED".to_owned()).await.is_err());
        assert_eq!(quotes.loads.load(Relaxed), loads);
    }
}
