//! What a call costs that is alone, in instructions and allocations, which noise does not touch:
//! valgrind counts them. Beside the HTTP layer are the layers of tower-http and tower that most
//! services have.
//!
//! ```text
//! apt-get install valgrind
//! cargo bench -p flights --bench lone
//! ```

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::Full;
use std::{
    convert::Infallible,
    env,
    fmt::Debug,
    future::poll_fn,
    hint::black_box,
    mem,
    pin::{Pin, pin},
    process::Command,
    task::{Context, Poll, Waker},
    time::Duration,
};
use tokio::runtime::Builder;
use tower::{Layer, Service, layer::util::Identity, service_fn};
use tower_http::{
    compression::CompressionLayer, cors::CorsLayer, timeout::TimeoutLayer, trace::TraceLayer,
};
use tower_singleflight::{HttpPolicy, SingleflightLayer};

/// How many calls, and what is done with each.
#[derive(Clone, Copy)]
struct Plan {
    calls: u64,
    /// Whether the body of the response is read to its end, or dropped with its head.
    reads: bool,
}

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

const MINUTE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<_> = env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match &arguments[..] {
        [name, calls, reads] => {
            let (_, run) = BY_KEY.iter().chain(&HTTP).find(|kind| kind.0 == name).expect("a kind");
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
}

/// Of one call.
struct Costs {
    instructions: i64,
    with_body: i64,
    allocations: i64,
    bytes: i64,
}

impl Costs {
    /// `None` if valgrind does not run.
    fn of(name: &str, has_body: bool) -> Option<Self> {
        let instructions = |reads| a_call(|calls| Some([instructions(name, calls, reads)?]));
        let [head] = instructions(false)?;
        let [with_body] = if has_body { instructions(true)? } else { [head] };
        let [allocations, bytes] = a_call(|calls| allocations(name, calls))?;
        Some(Self { instructions: head, with_body, allocations, bytes })
    }

    fn counted(name: &str, has_body: bool) -> Self {
        Self::of(name, has_body).expect("valgrind ran before")
    }

    fn above(self, bare: &Self) -> Self {
        Self {
            instructions: self.instructions - bare.instructions,
            with_body: self.with_body - bare.with_body,
            allocations: self.allocations - bare.allocations,
            bytes: self.bytes - bare.bytes,
        }
    }

    fn prose(&self) -> String {
        let Self { instructions, with_body, allocations, bytes } = self;
        format!(
            "{instructions} instructions, {with_body} with the body read, {allocations} \
            allocations of {bytes} bytes; most of it makes the request"
        )
    }
}

/// Without what the program costs besides.
fn a_call<const N: usize>(measure: impl Fn(u64) -> Option<[i64; N]>) -> Option<[i64; N]> {
    let (few, many) = (measure(1000)?, measure(3000)?);
    Some(std::array::from_fn(|nth| (many[nth] - few[nth] + 1000) / 2000))
}

fn instructions(name: &str, calls: u64, reads: bool) -> Option<i64> {
    let tool = ["--tool=callgrind", "--callgrind-out-file=/dev/null"];
    let text = valgrind(tool, name, calls, reads)?;
    text.split("Collected : ").nth(1)?.split_whitespace().next()?.parse().ok()
}

/// How many, and of how many bytes together.
fn allocations(name: &str, calls: u64) -> Option<[i64; 2]> {
    let text = valgrind(["--tool=memcheck", "--leak-check=no"], name, calls, false)?;
    let usage = text.split("total heap usage: ").nth(1)?.lines().next()?.replace(',', "");
    let mut words = usage.split_whitespace();
    // "7 allocs 5 frees 1024 bytes allocated"
    Some([words.next()?.parse().ok()?, words.nth(3)?.parse().ok()?])
}

/// What it says of this program with so many calls.
fn valgrind(tool: [&str; 2], name: &str, calls: u64, reads: bool) -> Option<String> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(tool).arg(env::current_exe().ok()?).arg(name);
    let output = valgrind.args([calls.to_string(), reads.to_string()]).output().ok()?;
    String::from_utf8(output.stderr).ok()
}

fn by_key<W, F>(plan: Plan, work: W)
where
    W: Fn() -> F + Copy + Send + 'static,
    F: Future + Send,
{
    let inner = service_fn(move |number: u64| async move {
        work().await;
        Ok::<_, Infallible>(number)
    });
    let mut service = SingleflightLayer::by_key(|number: &u64| *number).layer(inner);
    for number in 0..plan.calls {
        let _ = black_box(drive(service.call(number)));
    }
}

fn http<L, B>(plan: Plan, layer: L)
where
    L: Layer<Bare, Service: Service<Request<Full<Bytes>>, Response = Response<B>, Error: Debug>>,
    B: Body<Error: Debug>,
{
    // A layer for timeouts asks for its timer.
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let _in = runtime.enter();
    let mut service = layer.layer(Bare);
    for _ in 0..plan.calls {
        let response = black_box(drive(service.call(request()))).unwrap();
        if plan.reads {
            read(response.into_body());
        }
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

/// Yields once, and allocates nothing.
#[derive(Clone)]
struct Bare;

impl Service<Request<Full<Bytes>>> for Bare {
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<Full<Bytes>>) -> Answer {
        Answer { yielded: false }
    }
}

struct Answer {
    yielded: bool,
}

impl Future for Answer {
    type Output = Result<Response<Full<Bytes>>, Infallible>;

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        if mem::replace(&mut self.yielded, true) {
            Poll::Ready(Ok(Response::new(Full::from("hello"))))
        } else {
            Poll::Pending
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|_| if mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending })
        .await;
}

fn read(body: impl Body<Error: Debug>) {
    let mut body = pin!(body);
    while let Some(frame) = drive(poll_fn(|cx| body.as_mut().poll_frame(cx))) {
        let _ = black_box(frame.unwrap());
    }
}

fn drive<F: Future>(future: F) -> F::Output {
    let (mut future, mut cx) = (pin!(future), Context::from_waker(Waker::noop()));
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
}
