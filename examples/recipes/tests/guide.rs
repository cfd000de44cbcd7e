//! The programs of the guide `start` for clients that the crate itself does not depend on. That
//! they compile is the test: `tests/readme.rs` compares them with the guide. The recipes
//! `reqwest_client` and `grpc` run such clients.

#![allow(dead_code)]

mod reqwest_client {
    use reqwest::Body;
    use tokio::task::JoinSet;
    use tower::{BoxError, ServiceBuilder, ServiceExt};
    use tower_singleflight::SingleflightLayer;

    #[tokio::main]
    async fn main() -> Result<(), BoxError> {
        let client = ServiceBuilder::new()
            .layer(SingleflightLayer::new(|req| req.uri().to_string()).shared_errors())
            .map_response(http::Response::<Body>::from)
            .filter(|request: http::Request<Body>| reqwest::Request::try_from(request))
            .service(reqwest::Client::new());

        let get = || http::Request::get("http://127.0.0.1:3000/reports/7").body(Body::default());
        let mut calls = JoinSet::new();
        for _ in 0..10 {
            calls.spawn(client.clone().oneshot(get()?)); // gives an `http::Response<SharedBody>`
        }
        for response in calls.join_all().await {
            // A response of reqwest again, with its `text`, `json` and `error_for_status`.
            let response = reqwest::Response::from(response?.map(Body::wrap));
            print!("{}", response.error_for_status()?.text().await?);
        }
        Ok(())
    }
}

mod reqwest_text {
    use tower::{BoxError, ServiceBuilder, ServiceExt};
    use tower_singleflight::SingleflightLayer;

    #[tokio::main]
    async fn main() -> Result<(), BoxError> {
        let client = reqwest::Client::new();
        let pages = ServiceBuilder::new()
            .layer(SingleflightLayer::by_key(|url: &String| url.clone()).shared_errors())
            .service_fn(move |url: String| {
                let client = client.clone();
                async move { client.get(url).send().await?.error_for_status()?.text().await }
            });

        let page: String =
            pages.clone().oneshot("http://127.0.0.1:3000/reports/7".to_owned()).await?;
        print!("{page}");
        Ok(())
    }
}

mod tonic_client {
    use generated::{DirectoryClient, GetUser};

    use http_body_util::BodyExt;
    use tonic::{body::Body, transport::Channel};
    use tower::{BoxError, ServiceBuilder};
    use tower_singleflight::SingleflightLayer;

    #[tokio::main]
    async fn main() -> Result<(), BoxError> {
        let channel = Channel::from_static("http://127.0.0.1:50051").connect().await?;
        let channel = ServiceBuilder::new()
            .map_request(|req: http::Request<Body>| req.map(BodyExt::boxed_unsync))
            .layer(
                SingleflightLayer::with_body(64 * 1024, |req| Some(req.body().clone()))
                    .filter(|req| req.uri().path() == "/example.Directory/GetUser")
                    .shared_errors(),
            )
            .map_request(|req: http::Request<_>| req.map(Body::new))
            .service(channel);

        let client = DirectoryClient::new(channel);
        let (mut one, mut two) = (client.clone(), client);
        let (one, two) =
            tokio::join!(one.get_user(GetUser { id: 7 }), two.get_user(GetUser { id: 7 }));
        println!("{} {}", one?.into_inner().name, two?.into_inner().name); // one call of the server
        Ok(())
    }

    /// What `tonic-prost-build` makes, in short.
    mod generated {
        use tonic::{Response, Status, body::Body, client::GrpcService};
        use tower::BoxError;

        pub(super) struct GetUser {
            pub(super) id: u32,
        }

        pub(super) struct User {
            pub(super) name: String,
        }

        #[derive(Clone)]
        pub(super) struct DirectoryClient<T>(T);

        impl<T> DirectoryClient<T>
        where
            T: GrpcService<Body>,
            T::Error: Into<BoxError>,
            T::ResponseBody: http_body::Body<Data = axum::body::Bytes> + Send + 'static,
            <T::ResponseBody as http_body::Body>::Error: Into<BoxError> + Send,
        {
            pub(super) fn new(service: T) -> Self {
                Self(service)
            }

            pub(super) async fn get_user(
                &mut self,
                user: GetUser,
            ) -> Result<Response<User>, Status> {
                Err(Status::not_found(user.id.to_string()))
            }
        }
    }
}
