//! What a call costs that is alone, in instructions and allocations, which noise does not touch:
//! valgrind counts them. Beside the HTTP layer are the layers of tower-http and tower that most
//! services have.
//!
//! ```text
//! apt-get install valgrind
//! cargo bench -p flights --bench lone
//! ```

mod calls;
mod costs;

use calls::{Plan, by_key, http, http_beside_others, http_fresh, yield_once};
use costs::Costs;
use http::StatusCode;
use std::{env, time::Duration};
use tower::layer::util::Identity;
use tower_http::{
    compression::CompressionLayer, cors::CorsLayer, timeout::TimeoutLayer, trace::TraceLayer,
};
use tower_singleflight::{HttpPolicy, SingleflightLayer};

type Kind = (&'static str, fn(Plan));

const BY_KEY: [Kind; 2] = [
    ("`by_key`, ready at once", |plan| by_key(plan, || async {})),
    ("`by_key`, yields once", |plan| by_key(plan, yield_once)),
];

/// The first is what the others are compared with.
const HTTP: [Kind; 9] = [
    ("no layer", |plan| http(plan, Identity::new())),
    ("`SingleflightLayer::new(|req| req.uri().to_string())`", |plan| {
        http(plan, SingleflightLayer::new(|req| req.uri().to_string()))
    }),
    ("the same with `|req| req.uri().path().to_owned()`", |plan| {
        http(plan, SingleflightLayer::new(|req| req.uri().path().to_owned()))
    }),
    ("the first with `HttpPolicy::default().trust_key()`", |plan| {
        let layer = SingleflightLayer::new(|req| req.uri().to_string());
        http(plan, layer.policy(HttpPolicy::default().trust_key()))
    }),
    ("tower-http `CorsLayer::permissive()`", |plan| http(plan, CorsLayer::permissive())),
    ("tower-http `CompressionLayer::new()`, too short to compress", |plan| {
        http(plan, CompressionLayer::new())
    }),
    ("tower-http `TraceLayer::new_for_http()`, no subscriber", |plan| {
        http(plan, TraceLayer::new_for_http())
    }),
    ("tower-http `TimeoutLayer`", |plan| {
        http(plan, TimeoutLayer::with_status_code(StatusCode::GATEWAY_TIMEOUT, MINUTE))
    }),
    ("tower `TimeoutLayer`", |plan| http(plan, tower::timeout::TimeoutLayer::new(MINUTE))),
];

/// Each with no layer, and then with the first of the layers above.
const OTHERWISE: [[Kind; 2]; 2] = [
    [
        ("no layer, beside others", |plan| http_beside_others(plan, Identity::new())),
        ("beside 49 other calls, each with a path of its own", |plan| {
            http_beside_others(plan, SingleflightLayer::new(|req| req.uri().to_string()))
        }),
    ],
    [
        ("no layer, fresh", |plan| http_fresh(plan, Identity::new())),
        ("with a fresh response of five headers, read to its end", |plan| {
            http_fresh(plan, SingleflightLayer::new(|req| req.uri().to_string()))
        }),
    ],
];

const MINUTE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [name, calls, reads] => {
            let mut kinds = BY_KEY.iter().chain(&HTTP).chain(OTHERWISE.as_flattened());
            let (_, run) = kinds.find(|kind| kind.0 == name).expect("a kind");
            let calls = calls.parse().expect("a number");
            run(Plan { calls, reads: reads.parse().expect("a flag") });
        }
        _ => report(),
    }
}

fn report() {
    let Some(bare) = Costs::of(HTTP[0].0, true) else {
        return println!("nothing is counted: valgrind is missing or failed");
    };
    println!("| `by_key` | instructions | allocations | bytes |\n|---|---|---|---|");
    for (name, _) in BY_KEY {
        let Costs { instructions, allocations, bytes, .. } = Costs::counted(name, false);
        println!("| {name} | {instructions} | {allocations} | {bytes} |");
    }
    println!("\nA call of the bare service: {}.\n", bare.prose());
    println!("| more than that | instructions | and the body read | allocations | bytes |");
    println!("|---|---|---|---|---|");
    for (name, _) in &HTTP[1..] {
        let Costs { instructions, with_body, allocations, bytes } =
            Costs::counted(name, true).above(&bare);
        let name = name.replace('|', r"\|");
        println!("| {name} | {instructions} | {with_body} | {allocations} | {bytes} |");
    }
    println!("\n| the first layer | instructions | allocations | bytes |\n|---|---|---|---|");
    for [bare, with] in OTHERWISE {
        let costs = Costs::counted(with.0, false).above(&Costs::counted(bare.0, false));
        let Costs { instructions, allocations, bytes, .. } = costs;
        println!("| {} | {instructions} | {allocations} | {bytes} |", with.0);
    }
}
