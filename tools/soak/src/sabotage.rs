//! What the soak does wrong on purpose, so that a test can see each check fail.

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sabotage {
    /// Keys without the user, and a policy that trusts them: a user gets what is another's.
    WrongAnswer,
    /// `forget` is not called.
    StaleAnswer,
    /// Writes seal nothing.
    StalePage,
    /// The origin ends a body that it cuts short as if it were whole.
    ShortBody,
    /// A work never ends.
    Strand,
    /// A waiter is kept, and never polled again.
    LeakFlight,
    LeakTask,
    LeakDescriptor,
    LeakMemory,
}

impl Sabotage {
    pub(crate) const ALL: [(Self, &str); 9] = [
        (Self::WrongAnswer, "wrong-answer"),
        (Self::StaleAnswer, "stale-answer"),
        (Self::StalePage, "stale-page"),
        (Self::ShortBody, "short-body"),
        (Self::Strand, "strand"),
        (Self::LeakFlight, "leak-flight"),
        (Self::LeakTask, "leak-task"),
        (Self::LeakDescriptor, "leak-descriptor"),
        (Self::LeakMemory, "leak-memory"),
    ];

    pub(crate) fn named(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|(_, name)| *name == text);
        found.map(|(sabotage, _)| sabotage).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|(_, name)| *name).collect();
            format!("it is one of {}", names.join(", "))
        })
    }
}
