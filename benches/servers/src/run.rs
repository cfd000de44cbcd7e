//! The rounds.

use crate::{
    args::Args,
    distinct::distinct,
    error::BoxError,
    origin::{Kind, Origin},
    report::Report,
    scenario::{SIZES, Scenario},
    server::{self, Server},
    traffic::{Traffic, Turn},
};
use std::{fs, time::Duration};
use tokio::{runtime::Builder, time::sleep};

const OPEN_FILES: u64 = 8192;
/// For what a scenario left behind to be over.
const RESTS: Duration = Duration::from_millis(200);

pub(crate) fn run(args: &Args) -> Result<(), BoxError> {
    // Of the servers too, which inherit it.
    rlimit::increase_nofile_limit(OPEN_FILES)?;
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("Load at the start: {}.\n", load.split(' ').next().unwrap_or("unknown"));
    let origin = Origin::start()?;
    if !args.distinct {
        compare(args, &origin)?;
    }
    if args.wants("proxy") {
        traffic(args, &origin)?;
    }
    Ok(())
}

/// All servers, in all scenarios.
fn compare(args: &Args, origin: &Origin) -> Result<(), BoxError> {
    let mut servers = start(args, origin)?;
    let names: Vec<_> = servers.iter().map(|server| server.name).collect();
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let scenarios = Scenario::all(args.quick);
    let mut report = Report::default();
    // What a server does but once is not what this is about.
    for server in &servers {
        let warm_up = Scenario::Burst(Kind::Shared, SIZES[usize::from(!args.quick)]);
        runtime.block_on(one(server, origin, warm_up, "warm-up"))?;
    }
    for round in 0..args.rounds {
        fastrand::shuffle(&mut servers);
        for scenario in scenarios.clone() {
            for server in servers.iter().filter(|server| server.takes_part(scenario)) {
                let sample = runtime.block_on(one(server, origin, scenario, &round.to_string()));
                match sample {
                    Err(error) if server.is_ours() => return Err(error),
                    _ => {
                        report.add(server.name, scenario, sample.map_err(|error| error.to_string()))
                    }
                }
            }
        }
        eprintln!("round {} of {}", round + 1, args.rounds);
    }
    println!();
    for scenario in scenarios.clone() {
        println!("{}", report.table(scenario, &names));
    }
    println!("{}", report.verdicts(scenarios));
    Ok(())
}

/// Those that are wanted and there. Tells which they are, and loudly which are not.
fn start(args: &Args, origin: &Origin) -> Result<Vec<Server>, BoxError> {
    let mut servers = Vec::new();
    for found in server::start_all(origin.addr, |name| args.wants(name))? {
        match found {
            Ok(server) => {
                println!("- {}: {}", server.name, server.version);
                servers.push(server);
            }
            Err(missing) => {
                let left_out = format!("{}: LEFT OUT, it is {}", missing.name, missing.why);
                println!("- {left_out}");
                eprintln!("{left_out}");
            }
        }
    }
    if servers.is_empty() { Err("no such server".into()) } else { Ok(servers) }
}

async fn one(
    server: &Server,
    origin: &Origin,
    scenario: Scenario,
    round: &str,
) -> Result<Vec<f64>, BoxError> {
    let (kind, size) = match scenario {
        Scenario::Burst(kind, size) => (kind, size),
        other => (other.kind(), 2),
    };
    let path = format!("/{}/{}/{size}/{round}", kind.as_str(), server.path());
    let sample = scenario.measure(server.addr, origin, &path).await;
    sleep(RESTS).await;
    sample.map_err(|error| format!("{}: {error}", server.name).into())
}

/// The proxy with and without the layer, by turns.
fn traffic(args: &Args, origin: &Origin) -> Result<(), BoxError> {
    let proxies = server::start_proxies(origin.addr)?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let mut report = Traffic::default();
    // The first round warms up.
    for round in 0..=args.rounds {
        for kind in Kind::DISTINCT {
            let mut turns = [Turn::default(); 2];
            let first = round % 2;
            for nth in [first, 1 - first] {
                let path = format!("/{}/{nth}/{round}", kind.as_str());
                let (hits, cpu) = (origin.hits_of(kind), proxies[nth].cpu());
                let answers = distinct(proxies[nth].addr, &path, args.quick);
                let (answers, rate) = runtime.block_on(answers)?;
                let hits = origin.hits_of(kind) - hits;
                if hits != answers {
                    let name = proxies[nth].name;
                    return Err(format!("{hits} hits for {answers} answers of {name}").into());
                }
                let used = proxies[nth].cpu().zip(cpu).map(|(now, then)| now.saturating_sub(then));
                let cpu = used.map(|used| used.as_secs_f64() * 1e6 / answers as f64);
                turns[nth] = Turn { rate, cpu };
            }
            if round > 0 {
                report.add(kind, turns);
            }
        }
        eprintln!("traffic: round {round} of {}", args.rounds);
    }
    println!("{}", report.tell());
    Ok(())
}
