//! The calls in progress, each with a deadline and a story.
//!
//! A thread of its own looks after them, because a deadlock stops the timers of a runtime too.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fmt::Write,
    process,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

const LOOKED_AFTER_EVERY: Duration = Duration::from_millis(200);
/// What passes between two looks counts for no more, so that a machine that was suspended strands
/// nobody.
const COUNTS_AT_MOST: Duration = Duration::from_secs(1);
const PRINTED: usize = 16;

pub(crate) struct Calls {
    deadline: Duration,
    open: Mutex<Open>,
    before_exit: Mutex<Option<BeforeExit>>,
}

type BeforeExit = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct Open {
    next: u64,
    /// How long the process has been looked after.
    clock: Duration,
    stories: HashMap<u64, Story>,
    /// Of those that ended.
    slowest: Option<(Duration, String)>,
}

struct Story {
    what: String,
    began: Instant,
    /// By the clock, and so up to one look earlier.
    since: Duration,
    allowed: Duration,
    is_call: bool,
    notes: Vec<(Duration, Cow<'static, str>)>,
    /// The latest news of each who has any.
    news: BTreeMap<&'static str, (Duration, String)>,
}

/// A call in progress, until this is dropped.
pub(crate) struct Call {
    id: u64,
    calls: Arc<Calls>,
}

impl Calls {
    pub(crate) fn new(deadline: Duration) -> Arc<Self> {
        Arc::new(Self { deadline, open: Mutex::default(), before_exit: Mutex::default() })
    }

    /// For what has to end with the process. It is called when somebody is stranded.
    #[cfg(feature = "fleet")]
    pub(crate) fn before_exit(&self, end: impl FnOnce() + Send + 'static) {
        *self.before_exit.lock().unwrap() = Some(Box::new(end));
    }

    /// How long a call may take.
    pub(crate) fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn open(self: &Arc<Self>, what: String) -> Call {
        self.open_for(self.deadline, true, what)
    }

    /// Of something that takes `longer` than a call may.
    pub(crate) fn open_longer(self: &Arc<Self>, longer: Duration, what: String) -> Call {
        self.open_for(longer + 3 * self.deadline, false, what)
    }

    fn open_for(self: &Arc<Self>, allowed: Duration, is_call: bool, what: String) -> Call {
        let mut open = self.open.lock().unwrap();
        open.next += 1;
        let id = open.next;
        let (began, since) = (Instant::now(), open.clock);
        let (notes, news) = (Vec::new(), BTreeMap::new());
        open.stories.insert(id, Story { what, began, since, allowed, is_call, notes, news });
        drop(open);
        Call { id, calls: self.clone() }
    }

    /// What `who` has just done for a call, if that is still in progress.
    pub(crate) fn tell(&self, id: u64, who: &'static str, what: String) {
        let mut open = self.open.lock().unwrap();
        if let Some(story) = open.stories.get_mut(&id) {
            story.news.insert(who, (story.began.elapsed(), what));
        }
    }

    /// Ends the process when a call is over its deadline: nothing else would, if it has stopped a
    /// runtime.
    pub(crate) fn watch(self: &Arc<Self>, seed: u64) {
        let calls = self.clone();
        thread::spawn(move || {
            loop {
                let looked = Instant::now();
                thread::sleep(LOOKED_AFTER_EVERY);
                let (overdue, others) = calls.overdue(looked.elapsed().min(COUNTS_AT_MOST));
                if !overdue.is_empty() {
                    for story in overdue.iter().take(PRINTED) {
                        println!("FAILED: stranded: {story}");
                    }
                    for story in others.iter().take(PRINTED) {
                        println!("beside it: {story}");
                    }
                    println!("{} calls stranded, of a run with --seed {seed}", overdue.len());
                    if let Some(end) = calls.before_exit.lock().unwrap().take() {
                        end();
                    }
                    process::exit(1);
                }
            }
        });
    }

    /// The call that took the longest, of those that ended.
    pub(crate) fn slowest(&self) -> Option<String> {
        let open = self.open.lock().unwrap();
        open.slowest.as_ref().map(|(time, story)| format!("{:.1} s, {story}", time.as_secs_f64()))
    }

    /// And the others, if there is one; the oldest first.
    fn overdue(&self, passed: Duration) -> (Vec<String>, Vec<String>) {
        let mut open = self.open.lock().unwrap();
        open.clock += passed;
        let is_overdue =
            |story: &Story| story.since + story.allowed + LOOKED_AFTER_EVERY < open.clock;
        if !open.stories.values().any(is_overdue) {
            return Default::default();
        }
        let mut stories: Vec<_> = open.stories.iter().collect();
        stories.sort_by_key(|(id, _)| **id);
        let (overdue, others): (Vec<_>, Vec<_>) =
            stories.into_iter().partition(|(_, story)| is_overdue(story));
        let tell = |stories: Vec<(&u64, &Story)>| {
            stories.into_iter().map(|(id, story)| story.tell(*id)).collect()
        };
        (tell(overdue), tell(others))
    }
}

impl Call {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(crate) fn note(&self, what: impl Into<Cow<'static, str>>) {
        let mut open = self.calls.open.lock().unwrap();
        if let Some(story) = open.stories.get_mut(&self.id) {
            story.notes.push((story.began.elapsed(), what.into()));
        }
    }

    /// The latest of `who`.
    pub(crate) fn tell(&self, who: &'static str, what: String) {
        self.calls.tell(self.id, who, what);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut open = self.calls.open.lock().unwrap();
        let Some(story) = open.stories.remove(&self.id) else { return };
        let time = open.clock - story.since;
        if story.is_call && open.slowest.as_ref().is_none_or(|(slowest, _)| time > *slowest) {
            open.slowest = Some((time, story.tell(self.id)));
        }
    }
}

impl Story {
    fn tell(&self, id: u64) -> String {
        let mut text = format!(
            "{} (call {id}) has taken {:.1} s",
            self.what,
            self.began.elapsed().as_secs_f64()
        );
        for (when, what) in &self.notes {
            write!(text, "\n  {:9.3} s  {what}", when.as_secs_f64()).expect("a string grows");
        }
        for (who, (when, what)) in &self.news {
            write!(text, "\n  {:9.3} s  {who} {what}", when.as_secs_f64()).expect("a string grows");
        }
        text
    }
}
