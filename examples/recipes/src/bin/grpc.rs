//! Unary calls of a tonic client, coalesced by the bytes of their message.
//!
//! ```sh
//! cargo run -p recipes --bin grpc
//! ```
//!
//! It starts a server of its own on loopback, which answers once all have asked. It prints
//!
//! ```text
//! user 7, for 20 callers: Grace
//! user 7, with another token: Grace
//! user 8: Ada
//! team 7: Compilers
//! user 9, for 3 callers: status NotFound, "no user 9"
//! 26 calls of the client, 5 of the server
//! ```

use generated::{DirectoryClient, GetTeam, GetUser, Team, User};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use std::{
    collections::BTreeSet,
    convert::Infallible,
    future::ready,
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};
use tokio::{net::TcpListener, sync::Semaphore, task::JoinSet};
use tonic::{
    Request, Response, Status,
    body::Body,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;
use tower::{BoxError, Service, ServiceBuilder, ServiceExt};
use tower_singleflight::SingleflightLayer;

/// A unary method of a generated client, as a service that makes one call of it for all who ask for
/// the same at once.
///
/// What is shared is the message of the response, which is `Clone` (tonic's `Response` is not), and
/// a `Status` as it is.
///
/// Every service has flights of its own, so two methods never mix, though `GetUser { id: 7 }` and
/// `GetTeam { id: 7 }` are the same bytes. If you send several methods through one service, put the
/// method's path into the key as well.
///
/// The call is made with the metadata of whoever came first. So let a request have no deadline of
/// its own (`Request::set_timeout`): it would fail the call for all. A timeout over this service
/// ends one caller's wait alone.
fn coalesced<M, R, F>(
    method: impl Fn(Request<M>) -> F + Clone + Send + 'static,
) -> impl Service<Request<M>, Response = R, Error = Status, Future: Send + 'static> + Clone
where
    M: Message + 'static,
    R: Clone + Send + Sync + 'static,
    F: Future<Output = Result<Response<R>, Status>> + Send + 'static,
{
    ServiceBuilder::new()
        .layer(SingleflightLayer::by_key(Key::of))
        .map_response(Response::into_inner)
        .service_fn(method)
}

/// All that an answer depends on.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    /// Whatever the server knows a caller by.
    token: Option<MetadataValue<Ascii>>,
    /// Equal bytes are equal messages. The reverse fails for `map` fields, which have no order
    /// unless they are generated as `BTreeMap`: equal messages might then be two calls.
    message: Vec<u8>,
}

impl Key {
    fn of<M: Message>(request: &Request<M>) -> Self {
        let token = request.metadata().get("authorization").cloned();
        Self { token, message: request.get_ref().encode_to_vec() }
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let client = DirectoryClient::new(start_server().await?);
    let directory = client.clone();
    let mut users = coalesced(move |request| {
        let mut directory = directory.clone();
        async move { directory.get_user(request).await }
    });
    let mut teams = coalesced(move |request| {
        let mut directory = client.clone();
        async move { directory.get_team(request).await }
    });

    let user = |id| Request::new(GetUser { id });
    let mut stranger = user(7);
    stranger.metadata_mut().insert("authorization", "Bearer another".parse()?);
    let (mut callers_of_7, mut callers_of_9) = (JoinSet::new(), JoinSet::new());
    // A request joins or leads when it is made, not when its response is first polled.
    for _ in 0..20 {
        callers_of_7.spawn(users.ready().await?.call(user(7)));
    }
    for _ in 0..3 {
        callers_of_9.spawn(users.ready().await?.call(user(9)));
    }
    let stranger = users.ready().await?.call(stranger);
    let user_8 = users.ready().await?.call(user(8));
    let team_7 = teams.ready().await?.call(Request::new(GetTeam { id: 7 }));
    ALL_HAVE_ASKED.add_permits(1);

    let found = callers_of_7.join_all().await.into_iter().collect::<Result<Vec<_>, _>>()?;
    println!(
        "user 7, for {} callers: {}",
        found.len(),
        one(found.into_iter().map(|user| user.name))
    );
    println!("user 7, with another token: {}", stranger.await?.name);
    println!("user 8: {}", user_8.await?.name);
    println!("team 7: {}", team_7.await?.name);
    let refused: Vec<_> =
        callers_of_9.join_all().await.into_iter().filter_map(Result::err).collect();
    let describe = |status: Status| format!("status {:?}, {:?}", status.code(), status.message());
    println!("user 9, for {} callers: {}", refused.len(), one(refused.into_iter().map(describe)));
    println!("26 calls of the client, {} of the server", CALLS.load(Relaxed));
    Ok(())
}

/// What all of them got.
fn one(answers: impl Iterator<Item = String>) -> String {
    answers.collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" and ")
}

/// What the server was asked.
static CALLS: AtomicUsize = AtomicUsize::new(0);

static ALL_HAVE_ASKED: Semaphore = Semaphore::const_new(0);

async fn start_server() -> Result<Channel, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let endpoint = Endpoint::try_from(format!("http://{}", listener.local_addr()?))?;
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let http = http2::Builder::new(TokioExecutor::new());
            tokio::spawn(http.serve_connection(TokioIo::new(socket), service_fn(serve)));
        }
    });
    Ok(endpoint.connect().await?)
}

async fn serve(request: hyper::Request<Incoming>) -> Result<hyper::Response<Body>, Infallible> {
    CALLS.fetch_add(1, Relaxed);
    let asked = ALL_HAVE_ASKED.acquire().await;
    drop(asked);
    Ok(match request.uri().path() {
        DirectoryClient::GET_USER => {
            let get_user = tower::service_fn(|request| ready(get_user(request)));
            tonic::server::Grpc::new(ProstCodec::default()).unary(get_user, request).await
        }
        DirectoryClient::GET_TEAM => {
            let get_team = tower::service_fn(|request| ready(get_team(request)));
            tonic::server::Grpc::new(ProstCodec::default()).unary(get_team, request).await
        }
        other => Status::unimplemented(other).into_http(),
    })
}

fn get_user(request: Request<GetUser>) -> Result<Response<User>, Status> {
    let name = match request.into_inner().id {
        7 => "Grace",
        8 => "Ada",
        other => return Err(Status::not_found(format!("no user {other}"))),
    };
    Ok(Response::new(User { name: name.to_owned() }))
}

fn get_team(_: Request<GetTeam>) -> Result<Response<Team>, Status> {
    Ok(Response::new(Team { name: "Compilers".to_owned() }))
}

/// The part that `tonic-prost-build` would write for a service with the methods `GetUser` and
/// `GetTeam`; by hand, so that it builds without `protoc`.
mod generated {
    use super::{Channel, ProstCodec, Request, Response, Status};
    use hyper::http::uri::PathAndQuery;
    use prost::Message;
    use tonic::client::Grpc;

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct GetUser {
        #[prost(uint32, tag = "1")]
        pub(crate) id: u32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct GetTeam {
        #[prost(uint32, tag = "1")]
        pub(crate) id: u32,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct User {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
    }

    #[derive(Clone, PartialEq, Message)]
    pub(crate) struct Team {
        #[prost(string, tag = "1")]
        pub(crate) name: String,
    }

    #[derive(Clone)]
    pub(crate) struct DirectoryClient(Grpc<Channel>);

    impl DirectoryClient {
        pub(crate) const GET_USER: &str = "/example.Directory/GetUser";
        pub(crate) const GET_TEAM: &str = "/example.Directory/GetTeam";

        pub(crate) fn new(channel: Channel) -> Self {
            Self(Grpc::new(channel))
        }

        pub(crate) async fn get_user(
            &mut self,
            request: Request<GetUser>,
        ) -> Result<Response<User>, Status> {
            self.unary(Self::GET_USER, request).await
        }

        pub(crate) async fn get_team(
            &mut self,
            request: Request<GetTeam>,
        ) -> Result<Response<Team>, Status> {
            self.unary(Self::GET_TEAM, request).await
        }

        async fn unary<M, R>(
            &mut self,
            path: &'static str,
            request: Request<M>,
        ) -> Result<Response<R>, Status>
        where
            M: Message + 'static,
            R: Message + Default + 'static,
        {
            self.0.ready().await.map_err(|error| Status::unknown(error.to_string()))?;
            self.0.unary(request, PathAndQuery::from_static(path), ProstCodec::default()).await
        }
    }
}
