//! What a call costs alone, and what a flight costs with many followers, beside the floors: the
//! bare service, and as many tasks on a plain list of wakers.

use divan::{Bencher, black_box};
use std::{
    convert::Infallible,
    future::{Ready, ready},
    sync::{Arc, Mutex},
    task::{Poll, Waker},
};
use tokio::{runtime::Runtime, sync::oneshot, task::JoinSet};
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};
use tower_singleflight::{Group, SingleflightLayer};

#[global_allocator]
static ALLOCATOR: divan::AllocProfiler = divan::AllocProfiler::system();

fn main() {
    divan::main();
}

fn double(n: u64) -> Ready<Result<u64, Infallible>> {
    ready(Ok(n * 2))
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

mod solo {
    use super::*;

    fn drive<S>(bencher: Bencher, mut service: S)
    where
        S: Service<u64, Response = u64, Error = Infallible>,
    {
        let runtime = runtime();
        bencher.bench_local(|| {
            runtime.block_on(async { service.ready().await?.call(black_box(7)).await })
        });
    }

    #[divan::bench]
    fn bare(bencher: Bencher) {
        drive(bencher, service_fn(double));
    }

    #[divan::bench]
    fn by_key(bencher: Bencher) {
        drive(
            bencher,
            ServiceBuilder::new().layer(SingleflightLayer::by_key(|n: &u64| *n)).service_fn(double),
        );
    }

    #[divan::bench]
    fn group_run(bencher: Bencher) {
        let (runtime, group) = (runtime(), Group::new());
        bencher
            .bench_local(|| runtime.block_on(group.run(black_box(7_u64), || ready(14_u64))).value);
    }
}

/// From the end of the inner work until the last of `followers` tasks has its result.
mod fan_out {
    use super::*;

    const FOLLOWERS: [usize; 3] = [10, 1_000, 10_000];

    #[divan::bench(args = FOLLOWERS, sample_count = 30)]
    fn waker_list(bencher: Bencher, followers: usize) {
        let runtime = runtime();
        let _in = runtime.enter();
        bencher
            .with_inputs(|| {
                let list: Arc<Mutex<(bool, Vec<Waker>)>> = Arc::default();
                let mut tasks = JoinSet::new();
                for _ in 0..followers {
                    let list = list.clone();
                    tasks.spawn(std::future::poll_fn(move |cx| {
                        let mut list = list.lock().unwrap();
                        if list.0 {
                            return Poll::Ready(14_u64);
                        }
                        list.1.push(cx.waker().clone());
                        Poll::Pending
                    }));
                }
                settle(&runtime);
                (list, tasks)
            })
            .bench_local_values(|(list, tasks)| {
                let mut list = list.lock().unwrap();
                list.0 = true;
                let wakers = std::mem::take(&mut list.1);
                drop(list);
                wakers.into_iter().for_each(Waker::wake);
                runtime.block_on(tasks.join_all()).len()
            });
    }

    #[divan::bench(args = FOLLOWERS, sample_count = 30)]
    fn by_key(bencher: Bencher, followers: usize) {
        let runtime = runtime();
        let _in = runtime.enter();
        bencher
            .with_inputs(|| {
                let (land, landed) = oneshot::channel();
                let landed = Arc::new(Mutex::new(Some(landed)));
                let service = ServiceBuilder::new()
                    .layer(SingleflightLayer::by_key(|n: &u64| *n))
                    .service_fn(move |_: u64| {
                        let landed = landed.lock().unwrap().take().expect("called once");
                        async move { Ok::<u64, Infallible>(landed.await.unwrap()) }
                    });
                let mut tasks = JoinSet::new();
                for _ in 0..followers {
                    tasks.spawn(service.clone().oneshot(7));
                }
                settle(&runtime);
                (land, tasks)
            })
            .bench_local_values(|(land, tasks)| {
                land.send(14).unwrap();
                runtime.block_on(tasks.join_all()).len()
            });
    }

    /// Lets every task park.
    fn settle(runtime: &Runtime) {
        runtime.block_on(async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
        });
    }
}
