//! The lag of slow readers in a temporary file, through the layer and on a real disk.

use crate::{
    net::until,
    support::{get, name, settle, within},
};
use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::{BodyExt, Empty};
use std::{
    convert::Infallible,
    fs,
    path::Path,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Context, Poll, Wake, Waker},
    thread,
    time::Duration,
};
use tempfile::TempDir;
use tokio::runtime;
use tower::{Layer, ServiceExt, service_fn};
use tower_singleflight::{HttpPolicy, SharedBody, SharedError, SingleflightLayer, SlowReader};

const MIB: usize = 1 << 20;
const FRAME: usize = 16 << 10;

/// Each eight bytes say where they are.
fn frame(at: usize) -> Bytes {
    (at..at + FRAME).step_by(8).flat_map(|at| (at as u64).to_be_bytes()).collect()
}

/// A body of this length, which it announces if it is to.
struct Blob {
    at: usize,
    len: usize,
    announces: bool,
    fails_at: usize,
}

impl Body for Blob {
    type Data = Bytes;
    type Error = &'static str;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, &'static str>>> {
        let at = self.at;
        self.at += FRAME;
        Poll::Ready(match at {
            _ if at >= self.fails_at => Some(Err("upstream failed")),
            _ if at < self.len => Some(Ok(Frame::data(frame(at)))),
            _ if at == self.len => {
                let trailer = (name("x-check"), "sum".parse().unwrap());
                Some(Ok(Frame::trailers([trailer].into_iter().collect())))
            }
            _ => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        match self.announces {
            true => SizeHint::with_exact((self.len - self.at.min(self.len)) as u64),
            false => SizeHint::default(),
        }
    }
}

/// The bodies that `N` clients get at once, and how many calls that took.
async fn bodies<const N: usize>(
    policy: HttpPolicy,
    blob: fn() -> Blob,
) -> ([SharedBody; N], usize) {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let inner = service_fn(move |_: Request<Empty<Bytes>>| {
        counted.fetch_add(1, SeqCst);
        async move {
            settle().await;
            Ok::<_, Infallible>(Response::new(blob()))
        }
    });
    let service = SingleflightLayer::new(|req| req.uri().to_string()).policy(policy).layer(inner);
    let calling = [(); N]
        .map(|()| tokio::spawn(service.clone().oneshot(get("/blob", &[]).map(|_| Empty::new()))));
    let mut bodies = Vec::new();
    for call in calling {
        bodies.push(within(call).await.unwrap().unwrap().into_body());
    }
    (bodies.try_into().unwrap(), calls.load(SeqCst))
}

fn announced() -> Blob {
    Blob { at: 0, len: 32 * MIB, announces: true, fails_at: usize::MAX }
}

fn unannounced() -> Blob {
    Blob { announces: false, ..announced() }
}

fn failing() -> Blob {
    Blob { fails_at: 24 * MIB, ..announced() }
}

fn policy(folder: &Path) -> HttpPolicy {
    HttpPolicy::new().body_limit(MIB as u64).spill(64 * MIB as u64).spill_to(folder)
}

/// What a reader gets to its end, checked: how many bytes, whether trailers came, and the error.
async fn read(mut body: SharedBody) -> (usize, bool, Option<SharedError>) {
    let (mut at, mut rest, mut has_trailers) = (0, Vec::new(), false);
    while let Some(item) = within(body.frame()).await {
        match item.map(Frame::into_data) {
            Ok(Ok(data)) => {
                rest.extend_from_slice(&data);
                let whole = rest.len() / 8 * 8;
                for word in rest.drain(..whole).as_slice().chunks_exact(8) {
                    assert_eq!(word, (at as u64).to_be_bytes());
                    at += 8;
                }
            }
            Ok(Err(_)) => has_trailers = true,
            Err(error) => return (at, has_trailers, Some(error)),
        }
    }
    (at, has_trailers, None)
}

#[track_caller]
fn all((len, has_trailers, error): (usize, bool, Option<SharedError>)) {
    assert!(error.is_none(), "{error:?}");
    assert_eq!(len, 32 * MIB);
    assert!(has_trailers);
}

/// The files of this folder that are open, though they have no name.
#[cfg(target_os = "linux")]
fn open_files(folder: &Path) -> usize {
    let open = fs::read_dir("/proc/self/fd").unwrap();
    open.filter(|file| {
        fs::read_link(file.as_ref().unwrap().path()).is_ok_and(|file| file.starts_with(folder))
    })
    .count()
}

#[tokio::test]
async fn a_body_over_the_limit_is_shared_by_clients_of_any_speed() {
    let folder = TempDir::new().unwrap();
    let ([first, second, slow], calls) = bodies(policy(folder.path()), announced).await;
    assert_eq!(calls, 1);
    let (first, second) = tokio::join!(read(first), read(second));
    all(first);
    all(second);
    #[cfg(target_os = "linux")]
    assert_eq!(open_files(folder.path()), 1);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "it has no name");
    all(read(slow).await);
    #[cfg(target_os = "linux")]
    until("the file is closed", || open_files(folder.path()) == 0).await;
}

#[tokio::test]
async fn a_body_that_is_longer_than_the_file_is_not_shared() {
    let folder = TempDir::new().unwrap();
    let policy = policy(folder.path()).spill(31 * MIB as u64);
    let (bodies, calls) = bodies::<3>(policy, announced).await;
    assert_eq!(calls, 3);
    drop(bodies);
}

#[tokio::test]
async fn a_reader_that_never_reads_costs_nobody_anything_and_leaves_no_file() {
    let folder = TempDir::new().unwrap();
    let ([first, stopped], _) = bodies(policy(folder.path()), announced).await;
    all(read(first).await);
    drop(stopped);
    #[cfg(target_os = "linux")]
    until("the file is closed", || open_files(folder.path()) == 0).await;
}

#[tokio::test]
async fn without_its_folder_it_is_as_no_file() {
    let folder = TempDir::new().unwrap();
    let policy = policy(&folder.path().join("gone"))
        .slow_reader(SlowReader::PauseThenEvict(Duration::from_millis(50)));
    let ([first, stopped], _) = bodies(policy, unannounced).await;
    all(read(first).await);
    let (len, _, error) = read(stopped).await;
    assert_eq!(len, 0);
    assert!(error.unwrap().to_string().contains("this reader fell more than half"));
}

#[tokio::test]
async fn an_upstream_that_fails_is_an_error_after_the_same_bytes() {
    let folder = TempDir::new().unwrap();
    let ([first, slow], _) = bodies(policy(folder.path()), failing).await;
    for body in [first, slow] {
        let (len, _, error) = read(body).await;
        assert_eq!(len, 24 * MIB);
        assert_eq!(error.unwrap().to_string(), "upstream failed");
    }
}

/// The slow reader of a body whose runtime has shut down.
fn orphan(folder: &Path) -> SharedBody {
    let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let slow = runtime.block_on(async {
        let ([first, slow], _) = bodies(policy(folder), announced).await;
        all(read(first).await);
        slow
    });
    runtime.shutdown_background();
    slow
}

#[tokio::test]
async fn a_file_is_read_though_the_runtime_that_wrote_it_has_shut_down() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_owned();
    let slow = thread::spawn(move || orphan(&path)).join().unwrap();
    all(read(slow).await);
}

#[test]
fn a_file_is_read_outside_of_a_runtime() {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let folder = TempDir::new().unwrap();
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut slow = orphan(folder.path());
    let mut len = 0;
    loop {
        match pin!(slow.frame()).poll(&mut Context::from_waker(&waker)) {
            Poll::Pending => thread::park(),
            Poll::Ready(Some(frame)) => {
                len += frame.unwrap().into_data().map_or(0, |data| data.len())
            }
            Poll::Ready(None) => break,
        }
    }
    assert_eq!(len, 32 * MIB);
}

/// How long the clients of a download of 1 GiB take beside one that reads 2 MiB/s, and alone; and
/// what that costs.
///
/// ```text
/// cargo test --release --all-features --test http spill::cost -- --ignored --nocapture
/// ```
#[cfg(target_os = "linux")]
mod cost {
    use super::*;
    use crate::net::{Gate, Origin, gateway};
    use std::{io, net::SocketAddr, time::Instant};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
        task::JoinSet,
        time::sleep,
    };

    const BLOCK: usize = 64 << 10;
    const WINDOW: usize = 16 << 20;

    fn block(number: usize) -> String {
        let fill = (b'a' + (number % 26) as u8) as char;
        let mut block = format!("{number:016}");
        block.extend(std::iter::repeat_n(fill, BLOCK - 16));
        block
    }

    async fn origin(len: usize, begin: Gate) -> Origin {
        Origin::new(move |mut exchange| {
            let begin = begin.clone();
            async move {
                let headers = format!("content-length: {len}\r\ncache-control: max-age=600\r\n");
                exchange.head("200 OK", &headers).await;
                begin.passed().await;
                for number in 0..len / BLOCK {
                    exchange.write(&block(number)).await;
                }
            }
        })
        .await
    }

    async fn ask(gateway: SocketAddr) -> io::Result<TcpStream> {
        let mut socket = TcpStream::connect(gateway).await?;
        socket.write_all(b"GET /blob HTTP/1.1\r\nhost: a\r\n\r\n").await?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(socket.read_u8().await?);
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
        Ok(socket)
    }

    /// Reads and checks all, no quicker than a block in this time.
    async fn download(mut socket: TcpStream, len: usize, pause: Duration) {
        let mut data = vec![0; BLOCK];
        for number in 0..len / BLOCK {
            socket.read_exact(&mut data).await.unwrap();
            assert!(data == block(number).as_bytes(), "block {number}");
            sleep(pause).await;
        }
    }

    fn status(what: &str) -> usize {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() << 10
    }

    /// The time of the quick clients, and how the peak of the memory grew.
    async fn run(len: usize, has_slow: bool, finishes: bool) -> (Duration, usize) {
        let folder = TempDir::new().unwrap();
        let policy = HttpPolicy::new().spill(2 << 30).spill_to(folder.path());
        let begin = Gate::new();
        let origin = origin(len, begin.clone()).await;
        let layer =
            SingleflightLayer::new(|req: &Request<()>| req.uri().to_string()).policy(policy);
        let gateway = gateway(layer, &origin).await;
        let mut quick = Vec::new();
        for _ in 0..7 {
            quick.push(ask(gateway.address).await.unwrap());
        }
        let slow = if has_slow { Some(ask(gateway.address).await.unwrap()) } else { None };
        // What was the peak so far does not count.
        fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = status("VmRSS:");
        let began = Instant::now();
        begin.open();
        // Two MiB a second, unless it is to finish.
        let pause = Duration::from_millis(if finishes { 1 } else { 31 });
        let slow = slow.map(|slow| tokio::spawn(download(slow, len, pause)));
        let mut quick: JoinSet<()> =
            quick.into_iter().map(|socket| download(socket, len, Duration::ZERO)).collect();
        while let Some(done) = quick.join_next().await {
            done.unwrap();
        }
        let time = began.elapsed();
        let grown = status("VmHWM:").saturating_sub(before);
        assert_eq!(origin.hits(), 1, "calls of upstream");
        if let Some(slow) = slow {
            println!("open files while the slow one reads: {}", open_files(folder.path()));
            if !finishes {
                slow.abort();
            }
            assert_eq!(slow.await.is_ok(), finishes);
        }
        until("no file is left", || open_files(folder.path()) == 0).await;
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
        (time, grown)
    }

    #[tokio::test(flavor = "multi_thread")]
    #[ignore = "it takes minutes, and its figures are for people"]
    async fn cost() {
        for _ in 0..3 {
            let (alone, grown_alone) = run(1 << 30, false, true).await;
            let (beside, grown) = run(1 << 30, true, false).await;
            let ratio = beside.as_secs_f64() / alone.as_secs_f64();
            println!(
                "seven alone {alone:.2?} (+{} MiB), beside a slow one {beside:.2?} (+{} MiB, \
                 window {}): {ratio:.2}",
                grown_alone >> 20,
                grown >> 20,
                WINDOW >> 20,
            );
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_slow_client_gets_every_byte_over_real_sockets() {
        run(64 << 20, true, true).await;
    }
}
