//! The rounds.

use crate::{
    args::Args,
    burst::{SIZES, burst},
    distinct::distinct,
    error::BoxError,
    origin::{Kind, Origin},
    report::{Report, Sample},
    server::{self, Server},
    traffic::Traffic,
};
use std::time::Duration;
use tokio::{runtime::Builder, time::sleep};

const OPEN_FILES: u64 = 8192;
/// For what a burst left behind to be over.
const RESTS: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &Args) -> Result<(), BoxError> {
    // Of the servers too, which inherit it.
    rlimit::increase_nofile_limit(OPEN_FILES)?;
    let origin = Origin::start()?;
    if !args.distinct {
        bursts(args, &origin)?;
    }
    if args.wants("proxy") {
        traffic(args, &origin)?;
    }
    Ok(())
}

fn bursts(args: &Args, origin: &Origin) -> Result<(), BoxError> {
    let mut servers = Vec::new();
    for found in server::start_all(origin.addr, |name| args.wants(name))? {
        match found {
            Ok(server) => {
                println!("- {}: {}", server.name, server.version);
                servers.push(server);
            }
            Err(missing) => println!("- {}: LEFT OUT, it is {}", missing.name, missing.why),
        }
    }
    if servers.is_empty() {
        return Err("no such server".into());
    }
    let names = servers.iter().map(|server| server.name).collect();
    let mut report = Report::new(names);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    // What a server does but once is not what this is about.
    for server in &servers {
        runtime.block_on(one(server, origin, Kind::Shared, SIZES[1], "warm-up"))?;
    }
    for round in 0..args.rounds {
        fastrand::shuffle(&mut servers);
        for (kind, size) in Kind::BURSTS.into_iter().flat_map(|kind| SIZES.map(|size| (kind, size)))
        {
            for server in &servers {
                let sample =
                    runtime.block_on(one(server, origin, kind, size, &round.to_string()))?;
                report.add(server.name, kind, size, sample);
            }
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    println!("\n{}", report.tables());
    println!("{}", report.verdicts());
    Ok(())
}

/// The proxy with and without the layer, by turns.
fn traffic(args: &Args, origin: &Origin) -> Result<(), BoxError> {
    let proxies = server::start_proxies(origin.addr)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut report = Traffic::default();
    // The first round warms up.
    for round in 0..=args.rounds {
        for kind in Kind::DISTINCT {
            let mut rates = [0.0; 2];
            let first = round % 2;
            for nth in [first, 1 - first] {
                let path = format!("/{}/{nth}/{round}", kind.as_str());
                let hits = origin.hits_of(kind);
                let (answers, rate) = runtime.block_on(distinct(proxies[nth].addr, &path))?;
                let hits = origin.hits_of(kind) - hits;
                if hits != answers {
                    return Err(format!(
                        "{hits} hits for {answers} answers of {}",
                        proxies[nth].name
                    )
                    .into());
                }
                rates[nth] = rate;
            }
            if round > 0 {
                report.add(kind, rates);
            }
        }
        eprintln!("traffic: round {round} of {}", args.rounds);
    }
    println!("{}", report.tell());
    Ok(())
}

async fn one(
    server: &Server,
    origin: &Origin,
    kind: Kind,
    size: usize,
    round: &str,
) -> Result<Sample, BoxError> {
    let path = format!("/{}/{}/{size}/{round}", kind.as_str(), server.name);
    let latencies = burst(server.addr, size, &path)
        .await
        .map_err(|error| format!("{}: {error}", server.name))?;
    sleep(RESTS).await;
    Ok(Sample::new(origin.hits(&path), &latencies))
}
