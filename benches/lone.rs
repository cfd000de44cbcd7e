//! The instructions of a call that is alone, counted by valgrind, which noise does not touch.
//!
//! ```text
//! apt-get install valgrind
//! cargo bench --bench lone
//! ```

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use std::{
    convert::Infallible,
    env,
    hint::black_box,
    pin::pin,
    process::Command,
    task::{Context, Poll, Waker},
};
use tower::{Layer, Service, service_fn};
use tower_singleflight::SingleflightLayer;

/// Makes so many calls.
type Calls = fn(u64);

const KINDS: [(&str, Calls); 4] = [
    ("by_key, ready at once", ready),
    ("by_key, yields once", yields),
    ("http, bare", bare),
    ("http, the layer", layer),
];

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [kind, calls] => {
            KINDS[kind.parse::<usize>().expect("a number")].1(calls.parse().expect("a number"))
        }
        _ => report(),
    }
}

fn report() {
    for (kind, (name, _)) in KINDS.iter().enumerate() {
        match (instructions(kind, 1000), instructions(kind, 3000)) {
            (Some(few), Some(many)) => {
                println!("{name}: {} instructions a call", (many - few) / 2000)
            }
            _ => println!("{name}: not counted, valgrind is missing or failed"),
        }
    }
}

/// Of this program with so many calls.
fn instructions(kind: usize, calls: u64) -> Option<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(env::current_exe().ok()?);
    let output = valgrind.args([kind.to_string(), calls.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stderr).ok()?;
    text.split("Collected : ").nth(1)?.split_whitespace().next()?.parse().ok()
}

fn ready(calls: u64) {
    let inner = service_fn(|number: u64| async move { Ok::<_, Infallible>(number) });
    let mut service = SingleflightLayer::by_key(|number: &u64| *number).layer(inner);
    for number in 0..calls {
        let _ = black_box(drive(service.call(number)));
    }
}

fn yields(calls: u64) {
    let inner = service_fn(|number: u64| async move {
        yield_once().await;
        Ok::<_, Infallible>(number)
    });
    let mut service = SingleflightLayer::by_key(|number: &u64| *number).layer(inner);
    for number in 0..calls {
        let _ = black_box(drive(service.call(number)));
    }
}

fn bare(calls: u64) {
    let mut service = service_fn(answer);
    for _ in 0..calls {
        let _ = black_box(drive(service.call(request())));
    }
}

fn layer(calls: u64) {
    let mut service = SingleflightLayer::new(|req| req.uri().to_string()).layer(service_fn(answer));
    for _ in 0..calls {
        let _ = black_box(drive(service.call(request())));
    }
}

/// With five headers.
fn request() -> Request<Full<Bytes>> {
    let request =
        Request::get("http://example.com/items/7?fields=name").header("host", "example.com");
    let request = request
        .header("accept", "*/*")
        .header("accept-encoding", "gzip")
        .header("user-agent", "curl/8");
    request.header("x-request-id", "1234567890").body(Full::default()).unwrap()
}

async fn answer(_: Request<Full<Bytes>>) -> Result<Response<Full<Bytes>>, Infallible> {
    yield_once().await;
    Ok(Response::new(Full::from("hello")))
}

async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|_| {
        if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

fn drive<F: Future>(future: F) -> F::Output {
    let (mut future, mut cx) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}
