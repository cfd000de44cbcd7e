//! The origin: HTTP/1.1 by hand, so that it can break every promise that a library would keep.

use super::{
    identity::{self, Page, REQUEST_ID},
    pattern::Pattern,
    plan::{Break, Framing, Kind, Opening, Plan},
    truth::Truth,
};
use crate::{calls::Call, sabotage::Sabotage, world::World};
use fastrand::Rng;
use std::{
    io::{self, ErrorKind::InvalidData},
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    time::sleep,
};

#[derive(Clone)]
pub(super) struct Origin {
    pub(super) truth: Arc<Truth>,
    world: Arc<World>,
    seed: u64,
}

struct Request {
    method: String,
    path: String,
    headers: Vec<(String, String)>,
}

/// Whether the connection can be used again.
type GoesOn = bool;

impl Origin {
    pub(super) async fn start(
        world: &Arc<World>,
        seed: u64,
    ) -> io::Result<(SocketAddr, Arc<Truth>)> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let addr = listener.local_addr()?;
        let origin = Self { truth: Arc::default(), world: world.clone(), seed };
        let truth = origin.truth.clone();
        tokio::spawn(async move {
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(tokio::spawn(origin.clone().serve(stream))),
                    Err(error) => origin
                        .world
                        .report
                        .fail("http", &format!("the origin cannot accept: {error}")),
                }
            }
        });
        Ok((addr, truth))
    }

    /// Until the connection breaks, whoever broke it.
    async fn serve(self, stream: TcpStream) {
        let mut stream = BufReader::new(stream);
        while let Ok(request) = Request::read(&mut stream).await {
            match self.answer(&request, stream.get_mut()).await {
                Ok(true) => {}
                Ok(false) | Err(_) => return,
            }
        }
    }

    async fn answer(&self, request: &Request, to: &mut TcpStream) -> io::Result<GoesOn> {
        let page = Page::at(&request.path).ok_or(InvalidData)?;
        let answer = self.truth.next_answer();
        let plan = Plan::new(&mut Rng::with_seed(self.seed.wrapping_add(answer)));
        let version = match request.method.as_str() {
            "POST" => self.truth.write(page),
            _ => self.truth.read(page),
        };
        sleep(plan.before).await;
        match plan.opening {
            Opening::Head => {
                if plan.end_early.is_some() {
                    self.truth.will_cut_short(page, answer);
                }
                self.send(request, answer, version, &plan, to).await
            }
            Opening::Garbage => {
                self.truth.will_not_answer(page);
                to.write_all(b"HTP/9 what?\r\n\r\n").await.map(|()| false)
            }
            Opening::Break(how) => {
                self.truth.will_not_answer(page);
                end(to, how)
            }
        }
    }

    async fn send(
        &self,
        request: &Request,
        answer: u64,
        version: u64,
        plan: &Plan,
        to: &mut TcpStream,
    ) -> io::Result<GoesOn> {
        let identity = identity::of(
            &request.method,
            &request.path,
            |name| request.header(name),
            plan.kind.varies,
        );
        let pattern = Pattern::new(answer, &identity);
        let head = head(
            answer,
            version,
            &identity,
            request.header(REQUEST_ID.as_str()).unwrap_or_default(),
            plan,
        );
        let told = self.world.calls.open_longer(Duration::ZERO, format!("origin: answer {answer}"));
        if request.method == "HEAD" {
            return to
                .write_all(head.as_bytes())
                .await
                .map(|()| plan.framing != Framing::UntilClose);
        }
        to.write_all(head.as_bytes()).await?;
        self.send_body(pattern, plan, to, &told).await
    }

    async fn send_body(
        &self,
        pattern: Pattern,
        plan: &Plan,
        to: &mut TcpStream,
        told: &Call,
    ) -> io::Result<GoesOn> {
        let (until, how) =
            plan.end_early.map_or((plan.length, None), |(until, how)| (until, Some(how)));
        let mut stall = plan.stall;
        let mut sent = 0;
        while sent < until {
            let next = (sent + plan.piece).min(until);
            send_piece(plan.framing, &pattern.bytes(sent, next), to).await?;
            sent = next;
            told.tell("the origin", format!("sent {sent} of {} bytes", plan.length));
            sleep(plan.pause).await;
            if let Some((_, time)) = stall.take_if(|(after, _)| *after <= sent) {
                sleep(time).await;
            }
        }
        let ends_well = how.is_none() || self.world.sabotages(Sabotage::ShortBody);
        if ends_well && plan.framing == Framing::Chunked {
            to.write_all(b"0\r\n\r\n").await?;
        }
        match how {
            Some(how) => end(to, how),
            None => Ok(plan.framing != Framing::UntilClose),
        }
    }
}

fn head(answer: u64, version: u64, identity: &str, request_id: &str, plan: &Plan) -> String {
    let Kind { status, headers, for_one, .. } = plan.kind;
    let framing = match plan.framing {
        Framing::Length => format!("content-length: {}\r\n", plan.length),
        Framing::Chunked => "transfer-encoding: chunked\r\n".into(),
        Framing::UntilClose => "connection: close\r\n".into(),
    };
    let for_one = if for_one { "x-for-one: yes\r\n" } else { "" };
    format!(
        "HTTP/1.1 {status}\r\n{headers}{framing}{for_one}x-answer: {answer}\r\n\
         x-version: {version}\r\n\
         x-request-id: {request_id}\r\nx-for: {identity}\r\nx-length: {}\r\n\r\n",
        plan.length
    )
}

async fn send_piece(framing: Framing, bytes: &[u8], to: &mut TcpStream) -> io::Result<()> {
    if framing != Framing::Chunked {
        return to.write_all(bytes).await;
    }
    let mut chunk = format!("{:x}\r\n", bytes.len()).into_bytes();
    chunk.extend_from_slice(bytes);
    chunk.extend_from_slice(b"\r\n");
    to.write_all(&chunk).await
}

fn end(connection: &TcpStream, how: Break) -> io::Result<GoesOn> {
    if how == Break::Reset {
        connection.set_zero_linger()?;
    }
    Ok(false)
}

impl Request {
    async fn read(from: &mut BufReader<TcpStream>) -> io::Result<Self> {
        let start = line(from).await?;
        let mut words = start.split(' ').map(str::to_owned);
        let (Some(method), Some(path)) = (words.next(), words.next()) else {
            return Err(InvalidData.into());
        };
        let mut request = Self { method, path, headers: Vec::new() };
        loop {
            let line = line(from).await?;
            let Some((name, value)) = line.split_once(": ") else { break };
            request.headers.push((name.to_owned(), value.to_owned()));
        }
        let length =
            request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
        from.read_exact(&mut vec![0; length]).await?;
        Ok(request)
    }

    fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

async fn line(from: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut line = String::new();
    from.read_line(&mut line).await?;
    line.strip_suffix("\r\n").map(str::to_owned).ok_or(InvalidData.into())
}
