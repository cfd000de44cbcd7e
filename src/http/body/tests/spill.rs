//! Lag that goes to a file: a disk that is stepped by hand, and fails when it is told to.

use super::super::spill::{Disk, DiskJob, Limits, Spill, Storage};
use super::*;

const LIMITS: Limits = Limits { slot: 4, piece: 8, chunk: 8, slack: 16 };

/// A disk in memory. Each job waits for a [`step`](TestDisk::step).
#[derive(Clone, Default)]
pub(super) struct TestDisk(Arc<Mutex<DiskState>>);

#[derive(Default)]
struct DiskState {
    jobs: VecDeque<DiskJob>,
    data: Vec<u8>,
    open_files: usize,
    opened: usize,
    reads: usize,
    elsewhere: usize,
    is_absent: bool,
    fails_to_open: bool,
    fails_to_write: bool,
    fails_to_read: bool,
}

struct TestFile(TestDisk);

impl TestDisk {
    pub(super) fn spill(&self, bytes: u64, limits: Limits) -> Spill {
        Spill::on(Box::new(self.clone()), bytes, limits)
    }

    /// A body with a window of 8 bytes, and 100 slots on this disk.
    fn config(&self, slow: SlowReader) -> BodyConfig {
        BodyConfig { spill: Some(self.spill(400, LIMITS)), ..config(8, slow) }
    }

    /// Runs the oldest job. False: there is none.
    pub(super) fn step(&self) -> bool {
        let job = self.0.lock().jobs.pop_front();
        job.map(|job| job()).is_some()
    }

    /// Drops the oldest job, as a runtime that shuts down does.
    pub(super) fn lose(&self) -> bool {
        let job = self.0.lock().jobs.pop_front();
        job.is_some()
    }

    fn run_all(&self) {
        while self.step() {}
    }

    fn set(&self, change: impl FnOnce(&mut DiskState)) {
        change(&mut self.0.lock());
    }

    pub(super) fn fail(&self, fails: bool) {
        self.set(|disk| (disk.fails_to_write, disk.fails_to_read) = (fails, fails));
    }

    pub(super) fn jobs(&self) -> usize {
        self.0.lock().jobs.len()
    }

    pub(super) fn open_files(&self) -> usize {
        self.0.lock().open_files
    }
}

impl Disk for TestDisk {
    fn is_ready(&self) -> bool {
        !self.0.lock().is_absent
    }

    fn run(&self, job: DiskJob) {
        self.set(|disk| disk.jobs.push_back(job));
    }

    fn run_elsewhere(&self, job: DiskJob) {
        self.set(|disk| disk.elsewhere += 1);
        self.run(job);
    }

    fn open(&self) -> io::Result<Box<dyn Storage>> {
        let mut disk = self.0.lock();
        if disk.fails_to_open {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.opened += 1;
        disk.open_files += 1;
        Ok(Box::new(TestFile(self.clone())))
    }
}

impl Storage for TestFile {
    fn write(&self, data: &[u8], at: u64) -> io::Result<()> {
        let mut disk = self.0.0.lock();
        if disk.fails_to_write {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let (at, end) = (at as usize, at as usize + data.len());
        let len = disk.data.len().max(end);
        disk.data.resize(len, 0);
        disk.data[at..end].copy_from_slice(data);
        Ok(())
    }

    fn read(&self, data: &mut [u8], at: u64) -> io::Result<()> {
        let mut disk = self.0.0.lock();
        disk.reads += 1;
        if disk.fails_to_read {
            return Err(io::Error::other("bad sector"));
        }
        let at = at as usize;
        data.copy_from_slice(&disk.data[at..at + data.len()]);
        Ok(())
    }
}

impl Drop for TestFile {
    fn drop(&mut self) {
        self.0.set(|disk| disk.open_files -= 1);
    }
}

/// Reads this from the file.
#[track_caller]
fn next_on_disk(reader: &mut Reader, disk: &TestDisk, data: &'static str) {
    pending(reader);
    disk.run_all();
    assert!(reader.is_woken(), "it asked the disk");
    assert_eq!(next(reader), data);
}

/// Feeds frames to a reader that keeps up, and lets the disk write each time.
#[track_caller]
fn stream(feed: &Feed, first: &mut Reader, disk: &TestDisk, data: &[&'static str]) {
    for data in data {
        feed.data(data);
        assert_eq!(next(first), *data);
        disk.run_all();
    }
}

#[track_caller]
fn nothing_left(disk: &TestDisk, config: &BodyConfig) {
    disk.run_all();
    assert_eq!(disk.open_files(), 0, "files are open");
    assert_eq!(config.spill.as_ref().unwrap().slots_in_use(), 0, "slots are in use");
    assert_eq!(config.budget.held(), 0, "bytes are held");
}

fn counted(config: BodyConfig) -> BodyConfig {
    BodyConfig { budget: Budget::new(1 << 20), ..config }
}

#[test]
fn lag_beyond_the_window_goes_to_the_file_and_comes_back() {
    let disk = TestDisk::default();
    let config = counted(disk.config(SlowReader::BackPressure));
    let (feed, mut first, [mut slow]) = ahead(config.clone(), ["aaaa", "bbbb"]);
    assert_eq!(disk.jobs(), 0, "the window has room");
    for data in ["cccc", "dddd", "eeee", "ffff"] {
        stream(&feed, &mut first, &disk, &[data]);
        assert!(config.budget.held() <= 12);
    }
    feed.push(Event::End);
    end(&mut first);
    next_on_disk(&mut slow, &disk, "aaaa");
    next_on_disk(&mut slow, &disk, "bbbb");
    next_on_disk(&mut slow, &disk, "cccc");
    next_on_disk(&mut slow, &disk, "dddd");
    next_on_disk(&mut slow, &disk, "eeee");
    assert_eq!(next(&mut slow), "ffff");
    end(&mut slow);
    nothing_left(&disk, &config);
}

#[test]
fn a_reader_that_keeps_up_does_not_wait_for_the_disk() {
    let disk = TestDisk::default();
    let (feed, mut first, [_slow]) = ahead(disk.config(PAUSE), ["aaaa", "bbbb"]);
    for data in ["cccc", "dddd", "eeee", "ffff"] {
        feed.data(data);
        assert_eq!(next(&mut first), data);
        assert_eq!(disk.jobs(), 1, "one write is begun");
    }
}

#[test]
fn upstream_pauses_while_the_disk_is_slower() {
    let disk = TestDisk::default();
    let config = counted(disk.config(SlowReader::BackPressure));
    let (feed, mut first, [mut slow]) =
        ahead(config.clone(), ["aaaa", "bbbb", "cccc", "dddd", "eeee", "ffff"]);
    feed.data("gggg");
    pending(&mut first);
    assert_eq!(config.budget.held(), 24, "the window, and what may be on its way");
    assert!(disk.step());
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "gggg");
    drop(feed);
    for data in ["aaaa", "bbbbcccc", "ddddeeee"] {
        next_on_disk(&mut slow, &disk, data);
    }
    assert_eq!([next(&mut slow), next(&mut slow)], ["ffff", "gggg"]);
}

#[tokio::test(start_paused = true)]
async fn a_pause_for_the_disk_is_not_one_that_slow_readers_cause() {
    let disk = TestDisk::default();
    let config = BodyConfig { hold_back: Duration::from_millis(10), ..disk.config(PAUSE) };
    let (feed, mut first, [mut slow]) = ahead(config, ["aaaa"; 6]);
    for _ in 0..5 {
        feed.data("bbbb");
        while poll(&mut first).is_ready() {
            feed.data("bbbb");
        }
        advance(900).await;
        pending(&mut first);
        disk.run_all();
        assert_eq!(next(&mut first), "bbbb");
    }
    next_on_disk(&mut slow, &disk, "aaaa");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_given_up_and_the_usual_rule_holds() {
    for slow in [PAUSE, SlowReader::Evict] {
        let disk = TestDisk::default();
        let config = counted(disk.config(slow));
        let (feed, mut first, [mut slow]) = ahead(config.clone(), ["aaaa"; 6]);
        feed.data("bbbb");
        pending(&mut first);
        advance(999).await;
        pending(&mut first);
        advance(1).await;
        if config.slow == PAUSE {
            pending(&mut first);
            advance(1_000).await;
        }
        assert_eq!(next(&mut first), "bbbb");
        evicted(&mut slow);
        disk.run_all();
        nothing_left(&disk, &config);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_is_waited_for_by_readers_that_wait_for_ever() {
    let disk = TestDisk::default();
    let (feed, mut first, [mut slow]) = ahead(disk.config(SlowReader::BackPressure), ["aaaa"; 6]);
    feed.data("bbbb");
    pending(&mut first);
    advance(100_000).await;
    pending(&mut first);
    for _ in 0..5 {
        assert_eq!(next(&mut slow), "aaaa");
    }
    assert!(first.is_woken(), "the slow reader made room");
    assert_eq!(next(&mut first), "bbbb");
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_in_the_middle_is_as_none_from_there_on() {
    let disk = TestDisk::default();
    let config = counted(disk.config(PAUSE));
    let (feed, mut first, [mut slow]) = ahead(config.clone(), ["aaaa", "bbbb"]);
    stream(&feed, &mut first, &disk, &["cccc", "dddd"]);
    disk.fail(true);
    feed.data("eeee");
    assert_eq!(next(&mut first), "eeee");
    disk.run_all();
    feed.data("ffff");
    pending(&mut first);
    assert_eq!(disk.jobs(), 0, "no other write is begun");
    disk.fail(false);
    // What is in the file is still read, and then what is in memory.
    next_on_disk(&mut slow, &disk, "aaaa");
    next_on_disk(&mut slow, &disk, "bbbb");
    for data in ["cccc", "dddd"] {
        assert_eq!(next(&mut slow), data);
    }
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "ffff");
    for data in ["eeee", "ffff"] {
        assert_eq!(next(&mut slow), data);
    }
    nothing_left(&disk, &config);
}

#[tokio::test(start_paused = true)]
async fn after_a_failed_write_a_stopped_reader_is_evicted_as_without_a_file() {
    for fails_to_open in [true, false] {
        let disk = TestDisk::default();
        disk.set(|disk| {
            (disk.fails_to_open, disk.fails_to_write) = (fails_to_open, !fails_to_open)
        });
        let config = counted(disk.config(PAUSE));
        let (feed, mut first, [mut slow]) = ahead(config.clone(), ["aaaa", "bbbb", "cccc"]);
        disk.run_all();
        feed.data("dddd");
        pending(&mut first);
        advance(1_000).await;
        assert_eq!(next(&mut first), "dddd");
        evicted(&mut slow);
        nothing_left(&disk, &config);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_for_good_is_evicted_when_the_file_is_full() {
    let disk = TestDisk::default();
    let config = counted(BodyConfig { spill: Some(disk.spill(8, LIMITS)), ..disk.config(PAUSE) });
    let (feed, mut first, [mut slow]) = ahead(config.clone(), ["aaaa", "bbbb"]);
    stream(&feed, &mut first, &disk, &["cccc", "dddd"]);
    assert_eq!(config.spill.as_ref().unwrap().slots_in_use(), 2);
    feed.data("eeee");
    pending(&mut first);
    advance(999).await;
    pending(&mut first);
    advance(1).await;
    assert_eq!(next(&mut first), "eeee");
    evicted(&mut slow);
    nothing_left(&disk, &config);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_reads_makes_room_in_a_full_file() {
    let disk = TestDisk::default();
    let config = BodyConfig { spill: Some(disk.spill(8, LIMITS)), ..disk.config(PAUSE) };
    let (feed, mut first, [mut slow]) = ahead(config, ["aaaa", "bbbb"]);
    stream(&feed, &mut first, &disk, &["cccc", "dddd"]);
    feed.data("eeee");
    pending(&mut first);
    next_on_disk(&mut slow, &disk, "aaaa");
    next_on_disk(&mut slow, &disk, "bbbb");
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "eeee");
    disk.run_all();
    next_on_disk(&mut slow, &disk, "cccc");
}

#[test]
fn the_file_is_no_longer_than_the_lag() {
    let disk = TestDisk::default();
    let config = disk.config(SlowReader::BackPressure);
    let (feed, mut first, [mut slow]) = ahead(config.clone(), ["aaaa"; 2]);
    stream(&feed, &mut first, &disk, &["aaaa"; 6]);
    for _ in 0..50 {
        stream(&feed, &mut first, &disk, &["aaaa"]);
        next_on_disk(&mut slow, &disk, "aaaa");
        disk.run_all();
    }
    let len = disk.0.lock().data.len();
    assert!(len <= 8 * 4, "{len}");
    assert_eq!(disk.0.lock().opened, 1);
}

#[test]
fn all_bodies_of_a_group_share_the_file() {
    let disk = TestDisk::default();
    let config = counted(BodyConfig {
        spill: Some(disk.spill(8, LIMITS)),
        ..disk.config(SlowReader::BackPressure)
    });
    let (_feed, first, [slow]) = ahead(config.clone(), ["aaaa", "bbbb"]);
    let mut bodies = vec![(_feed, first, slow)];
    let (feed, first, slow) = &mut bodies[0];
    stream(feed, first, &disk, &["cccc", "dddd"]);
    let (feed, mut second, [mut behind]) = ahead(config.clone(), ["1111", "2222"]);
    feed.data("3333");
    pending(&mut second);
    assert_eq!(disk.jobs(), 0, "the file is full");
    next_on_disk(slow, &disk, "aaaa");
    next_on_disk(slow, &disk, "bbbb");
    drop(bodies);
    assert_eq!(next(&mut behind), "1111");
    assert_eq!(next(&mut second), "3333");
    stream(&feed, &mut second, &disk, &["4444"]);
    assert_eq!(next_on_disk(&mut behind, &disk, "2222"), ());
    drop((second, behind));
    nothing_left(&disk, &config);
}

#[test]
fn an_upstream_that_fails_gives_the_same_prefix_from_the_file() {
    let disk = TestDisk::default();
    let (feed, mut first, [mut slow]) = ahead(disk.config(PAUSE), ["aaaa", "bbbb"]);
    stream(&feed, &mut first, &disk, &["cccc", "dddd"]);
    feed.push(Event::Fail);
    assert_eq!(error(&mut first).to_string(), "upstream failed");
    for data in ["aaaa", "bbbb", "cccc"] {
        next_on_disk(&mut slow, &disk, data);
    }
    assert_eq!(next(&mut slow), "dddd");
    assert_eq!(error(&mut slow).to_string(), "upstream failed");
}

#[test]
fn trailers_come_after_data_from_the_file() {
    let disk = TestDisk::default();
    let config = BodyConfig { limit: 1, ..disk.config(PAUSE) };
    let (feed, mut first, [mut slow]) = ahead(config, ["aaaa"]);
    stream(&feed, &mut first, &disk, &["bbbb", "cccc"]);
    feed.push(Event::Trailers);
    assert_eq!(next_trailers(&mut first), trailers());
    feed.push(Event::End);
    end(&mut first);
    disk.run_all();
    let mut came = Vec::new();
    while came.len() < 12 {
        if let Poll::Ready(item) = poll(&mut slow) {
            came.extend(item.unwrap().unwrap().into_data().unwrap());
        }
        disk.run_all();
    }
    assert_eq!(came, b"aaaabbbbcccc");
    assert_eq!(next_trailers(&mut slow), trailers());
    end(&mut slow);
}

#[test]
fn a_clone_of_a_reader_in_the_middle_of_a_piece_goes_on_from_there() {
    let disk = TestDisk::default();
    let limits = Limits { slot: 4, piece: 12, chunk: 5, slack: 16 };
    let config = counted(BodyConfig {
        spill: Some(disk.spill(400, limits)),
        limit: 12,
        ..disk.config(PAUSE)
    });
    let (feed, mut first, [mut slow]) = ahead(config.clone(), ["abcd", "efgh", "ijkl"]);
    stream(&feed, &mut first, &disk, &["mnop"]);
    next_on_disk(&mut slow, &disk, "abcde");
    let mut clone = task::spawn(slow.clone());
    assert_eq!(slow.size_hint().lower(), 11);
    assert_eq!(clone.size_hint().lower(), 11);
    // It is dropped in the middle of a read.
    pending(&mut slow);
    let mut second = task::spawn(slow.clone());
    drop(slow);
    assert!(disk.step());
    assert_eq!(disk.0.lock().reads, 2, "the read of a reader that has gone is left out");
    for reader in [&mut clone, &mut second] {
        next_on_disk(reader, &disk, "fgh");
        assert_eq!([next(reader), next(reader)], ["ijkl", "mnop"]);
    }
    nothing_left(&disk, &config);
}

#[test]
fn a_reader_that_leaves_gives_its_part_of_the_file_back() {
    let disk = TestDisk::default();
    let config = counted(disk.config(PAUSE));
    let (feed, mut first, [slow]) = ahead(config.clone(), ["aaaa", "bbbb"]);
    stream(&feed, &mut first, &disk, &["cccc", "dddd", "eeee"]);
    assert_eq!(config.spill.as_ref().unwrap().slots_in_use(), 4);
    drop(slow);
    nothing_left(&disk, &config);
    stream(&feed, &mut first, &disk, &["ffff"]);
}

#[test]
fn all_readers_leave_while_the_disk_writes_and_reads() {
    let disk = TestDisk::default();
    let config = counted(disk.config(PAUSE));
    let (feed, mut first, [mut slow]) = ahead(config.clone(), ["aaaa", "bbbb"]);
    stream(&feed, &mut first, &disk, &["cccc"]);
    for data in ["dddd", "eeee"] {
        feed.data(data);
        assert_eq!(next(&mut first), data);
    }
    pending(&mut slow);
    assert_eq!(disk.jobs(), 2, "a write and a read");
    drop((first, slow));
    assert!(feed.is_dropped());
    assert_eq!(config.budget.held(), 0);
    nothing_left(&disk, &config);
}

#[tokio::test(start_paused = true)]
async fn a_write_that_its_runtime_drops_is_as_a_failed_one() {
    let disk = TestDisk::default();
    let config = counted(disk.config(PAUSE));
    let (feed, mut first, [mut slow]) = ahead(config.clone(), ["aaaa", "bbbb", "cccc"]);
    assert!(disk.lose());
    feed.data("dddd");
    pending(&mut first);
    assert_eq!([next(&mut slow), next(&mut slow)], ["aaaa", "bbbb"]);
    assert_eq!(next(&mut first), "dddd");
    assert_eq!(disk.jobs(), 0);
}

#[test]
fn a_read_that_its_runtime_drops_runs_elsewhere() {
    let disk = TestDisk::default();
    let (feed, mut first, [mut slow]) = ahead(disk.config(PAUSE), ["aaaa", "bbbb"]);
    stream(&feed, &mut first, &disk, &["cccc"]);
    pending(&mut slow);
    assert!(disk.lose());
    assert!(slow.is_woken());
    next_on_disk(&mut slow, &disk, "aaaa");
    assert_eq!(disk.0.lock().elsewhere, 1);
}

#[test]
fn a_read_that_nobody_runs_is_an_error_of_that_reader() {
    let disk = TestDisk::default();
    let (feed, mut first, [mut slow]) = ahead(disk.config(PAUSE), ["aaaa", "bbbb"]);
    stream(&feed, &mut first, &disk, &["cccc"]);
    for _ in 0..2 {
        pending(&mut slow);
        assert!(disk.lose());
    }
    assert!(error(&mut slow).to_string().ends_with("cannot be read: no thread can read it"));
    end(&mut slow);
}

#[test]
fn a_file_that_cannot_be_read_is_an_error_of_that_reader_alone() {
    let disk = TestDisk::default();
    let (feed, mut first, [mut slow]) = ahead(disk.config(PAUSE), ["aaaa", "bbbb"]);
    stream(&feed, &mut first, &disk, &["cccc"]);
    disk.fail(true);
    let mut clone = task::spawn(slow.clone());
    pending(&mut slow);
    disk.run_all();
    let error = error(&mut slow);
    assert!(
        error.to_string().ends_with("the rest of its body cannot be read: bad sector"),
        "{error}"
    );
    let source = std::error::Error::source(error.get_ref()).unwrap();
    assert!(source.is::<io::Error>());
    assert!(slow.is_end_stream());
    end(&mut slow);
    disk.fail(false);
    feed.data("dddd");
    assert_eq!(next(&mut first), "dddd");
    disk.run_all();
    next_on_disk(&mut clone, &disk, "aaaa");
}

#[test]
fn outside_of_a_runtime_it_is_as_no_file() {
    let disk = TestDisk::default();
    disk.set(|disk| disk.is_absent = true);
    let (feed, mut first, [mut slow]) =
        ahead(disk.config(SlowReader::BackPressure), ["aaaa", "bbbb"]);
    feed.data("cccc");
    pending(&mut first);
    assert_eq!(disk.jobs(), 0);
    assert_eq!(next(&mut slow), "aaaa");
    assert_eq!(next(&mut first), "cccc");
}

#[test]
fn nobody_is_evicted_at_once_while_the_file_has_room() {
    let disk = TestDisk::default();
    let (feed, mut first, [mut slow]) = ahead(disk.config(SlowReader::Evict), ["aaaa", "bbbb"]);
    stream(&feed, &mut first, &disk, &["cccc", "dddd"]);
    next_on_disk(&mut slow, &disk, "aaaa");
}

#[test]
fn lag_without_a_bound_goes_to_the_file() {
    let disk = TestDisk::default();
    let config = counted(disk.config(SlowReader::Unbounded));
    let (feed, mut first, [mut slow]) = ahead(config.clone(), ["aaaa", "bbbb"]);
    disk.run_all();
    stream(&feed, &mut first, &disk, &["cccc", "dddd", "eeee"]);
    assert!(config.budget.held() <= 8);
    next_on_disk(&mut slow, &disk, "aaaa");
}

#[test]
fn the_start_is_not_kept_in_the_file() {
    let disk = TestDisk::default();
    let feed = Feed::default();
    let body = SharedBody::new(feed.body(), disk.config(PAUSE));
    let newcomers = body.newcomers(None).unwrap();
    let (mut first, _slow) = (task::spawn(body.clone()), body);
    for data in ["aaaa", "bbbb"] {
        feed.data(data);
        assert_eq!(next(&mut first), data);
    }
    assert!(newcomers.join().is_some());
    feed.data("cccc");
    assert_eq!(next(&mut first), "cccc");
    disk.run_all();
    assert!(newcomers.join().is_none());
}

#[tokio::test(start_paused = true)]
async fn bytes_that_keep_a_newcomer_out_go_to_the_file_and_no_reader_is_evicted() {
    let disk = TestDisk::default();
    for data in [&["aaaa", "bbbb"][..], &["aaaabbbb"]] {
        let config = BodyConfig { limit: KIB, budget: Budget::new(8), ..disk.config(PAUSE) };
        let (feed, first, [mut slow]) = ahead(config.clone(), data.iter().copied());
        assert!(!config.budget.admits());
        disk.run_all();
        assert_eq!(config.budget.held(), 0);
        assert!(config.budget.admits());
        next_on_disk(&mut slow, &disk, "aaaabbbb");
        drop((feed, first));
    }
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_hangs_does_not_keep_newcomers_out() {
    for slow in [PAUSE, SlowReader::Evict] {
        let disk = TestDisk::default();
        let config = BodyConfig { limit: KIB, budget: Budget::new(8), ..disk.config(slow) };
        let (_feed, _first, [mut stopped]) = ahead(config.clone(), ["aaaa", "bbbb"]);
        for _ in 0..2 {
            assert!(!config.budget.admits(), "the disk has time");
            advance(500).await;
        }
        assert_eq!(disk.jobs(), 1);
        for _ in 0..2 {
            config.budget.admits();
            advance(1_000).await;
        }
        assert!(config.budget.admits());
        evicted(&mut stopped);
        disk.run_all();
        nothing_left(&disk, &config);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_waits_for_the_budget_writes_its_lag() {
    let disk = TestDisk::default();
    let config = BodyConfig { limit: KIB, budget: Budget::new(8), ..disk.config(PAUSE) };
    let (feed, mut first, [mut slow]) = ahead(config, ["aaaa", "bbbb"]);
    feed.data("cccc");
    pending(&mut first);
    assert!(disk.step());
    assert!(first.is_woken());
    assert_eq!(next(&mut first), "cccc");
    next_on_disk(&mut slow, &disk, "aaaabbbb");
    assert_eq!(next(&mut slow), "cccc");
}

#[test]
fn empty_frames_are_passed_without_the_disk() {
    let disk = TestDisk::default();
    let config = BodyConfig { limit: 1, ..disk.config(SlowReader::BackPressure) };
    let (feed, mut first, [mut slow]) = ahead(config, ["a", ""]);
    stream(&feed, &mut first, &disk, &["b", ""]);
    feed.push(Event::End);
    end(&mut first);
    let mut came = Vec::new();
    loop {
        match poll(&mut slow) {
            Poll::Pending => assert!(disk.step(), "it waits for the disk"),
            Poll::Ready(Some(frame)) => came.extend(frame.unwrap().into_data().unwrap()),
            Poll::Ready(None) => break,
        }
    }
    assert_eq!(came, b"ab");
}

#[test]
fn a_reader_that_is_evicted_while_its_lag_is_written_takes_nothing_from_the_others() {
    let disk = TestDisk::default();
    let config = counted(disk.config(PAUSE));
    let (feed, mut first, [mut stopped, mut slow]) = ahead(config.clone(), ["aaaa"]);
    assert_eq!(next(&mut slow), "aaaa");
    for data in ["bb", "cccc", "dddd", "eeee", "ffff", "gggg"] {
        feed.data(data);
        assert_eq!(next(&mut first), data);
    }
    assert_eq!(disk.jobs(), 1, "the disk writes");
    feed.data("hhhh");
    assert_eq!(next(&mut first), "hhhh", "outside of a runtime it does not wait");
    disk.run_all();
    evicted(&mut stopped);
    drop(stopped);
    next_on_disk(&mut slow, &disk, "bb");
    let mut got = String::new();
    while got.len() < 24 {
        match poll(&mut slow) {
            Poll::Ready(Some(Ok(frame))) => {
                got.push_str(std::str::from_utf8(&frame.into_data().unwrap()).unwrap())
            }
            Poll::Ready(_) => panic!("cut off after {got}"),
            Poll::Pending => assert!(disk.step(), "it waits for the disk"),
        }
    }
    assert_eq!(got, "ccccddddeeeeffffgggghhhh");
    feed.push(Event::End);
    end(&mut slow);
    end(&mut first);
    drop(slow);
    nothing_left(&disk, &config);
}
