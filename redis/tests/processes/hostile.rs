//! Somebody else who may read and write all of Redis.

use crate::{calls::replicas, server::server, upstream::Upstream};
use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::Duration,
};

/// Swaps, replays and garbles what is stored and told. Each request still gets its own right
/// answer.
#[tokio::test(flavor = "multi_thread")]
async fn swapped_replayed_and_garbled_results_open_for_nobody() {
    let (server, upstream) = (server!(), Upstream::start().await);
    let mut replicas = replicas(3, &server.url(), &upstream, Duration::from_millis(500)).await;
    let (stop, forged) = (AtomicBool::new(false), AtomicUsize::new(0));

    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                forged.fetch_add(forge(&server.url()), Relaxed);
            }
        });
        // Also if a request got a wrong answer: the scope waits for its thread.
        let _stop = StopAtEnd(&stop);
        let requests = async {
            for round in 0..20 {
                // Small results are told, large ones are stored. Two names at a time, to be
                // swapped.
                let paths = [format!("/100/100/{round}"), format!("/100/20000/{round}")];
                for path in &paths {
                    replicas.iter_mut().for_each(|replica| replica.get(5, path));
                }
                for replica in &mut replicas {
                    replica.got().await.all_right(5);
                    replica.got().await.all_right(5);
                }
            }
        };
        let runtime = tokio::runtime::Handle::current();
        tokio::task::block_in_place(|| runtime.block_on(requests));
    });
    assert!(forged.load(Relaxed) > 100, "only {} values were forged", forged.load(Relaxed));
}

struct StopAtEnd<'a>(&'a AtomicBool);

impl Drop for StopAtEnd<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

/// Forges all it finds, with what it finds. Returns how much that was.
fn forge(url: &str) -> usize {
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_connection().unwrap();
    let script = r"
        local forged, results = 0, redis.call('LRANGE', 'results', 0, 20)
        local keys = redis.call('KEYS', 'tsf1:*')
        for _, key in ipairs(keys) do
            if string.find(key, ':v:') then
                local result = redis.call('GET', key)
                redis.call('LPUSH', 'results', result)
                redis.call('LTRIM', 'results', 0, 20)
                local other = results[math.random(#results + 1)] or string.reverse(result)
                redis.call('SET', key, other, 'KEEPTTL')
                forged = forged + 1
            elseif string.find(key, ':[wr]:') then
                for _, token in ipairs(redis.call('HKEYS', key)) do
                    local inbox = 'tsf1:i:' .. string.sub(token, 1, 16)
                    local result = results[math.random(#results + 1)] or 'garbled'
                    redis.call('PUBLISH', inbox, 'L' .. token .. result)
                    if math.random(10) == 1 then redis.call('PUBLISH', inbox, 'A' .. token) end
                    forged = forged + 1
                end
            end
        end
        return forged";
    // A script in the middle of the others: KEYS are not declared, and need not be, as this is no
    // cluster.
    redis::cmd("EVAL").arg(script).arg(0).query(&mut connection).unwrap_or(0)
}
