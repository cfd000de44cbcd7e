//! Which flights are being polled around the running code: how a flight is kept from waiting on itself.

use crate::{core::slots::Slot, sync::thread_local};
use std::{
    any::Any,
    cell::RefCell,
    fmt,
    sync::{Arc, Weak},
};

thread_local! {
    /// What this thread is polling, outermost first.
    #[allow(clippy::missing_const_for_thread_local, reason = "loom's macro knows no `const`")]
    static POLLING: RefCell<Vec<Polled>> = RefCell::new(Vec::new());
}

/// A flight that is being polled.
#[derive(Clone)]
pub(crate) enum Polled {
    Flight(Arc<dyn Underway>),
    /// One that is alone, and at which gate it stands. Only a call inside it makes more of it.
    Lone(Arc<dyn Gates>, Slot),
}

/// A flight, as seen by those led inside it.
pub(crate) trait Underway: Send + Sync {
    /// Whether its work goes on.
    fn is_underway(&self) -> bool;
    /// The flights inside which it was led.
    fn lineage(&self) -> Lineage;
}

/// Where lone flights stand, as seen by those led inside them.
pub(crate) trait Gates: Send + Sync {
    /// The flight at this gate, as one that others can know of. Call it under no lock.
    fn flight(self: Arc<Self>, gate: Slot) -> Arc<dyn Underway>;
    /// The flights inside which the one at this gate was led. Call it under no lock.
    #[cfg(feature = "http")]
    fn lineage(&self, gate: Slot) -> Lineage;
    /// Puts itself into `to`, an `Option` of what it was before it was seen as `Gates`.
    fn give_back(self: Arc<Self>, to: &mut dyn Any);
}

/// The flights inside which some code runs, wherever they are polled by now: those that would wait on
/// it, directly or through others. A `Weak` keeps an address from being used again, so an address
/// identifies a flight as a unique number would.
#[derive(Clone, Default)]
pub(crate) struct Lineage(Option<Arc<[Weak<dyn Underway>]>>);

impl Lineage {
    /// Of the code that runs now. Call it under no lock.
    #[inline]
    pub(crate) fn here() -> Self {
        let is_alone = POLLING.try_with(|stack| stack.borrow().is_empty()).unwrap_or(true);
        if is_alone { Self(None) } else { Self::inside() }
    }

    #[cold]
    fn inside() -> Self {
        Self::of(polling(), Self::default())
    }

    /// Of what the innermost flight leaves behind when it lands: all around that flight, which is over by then. Call it
    /// under no lock.
    #[cfg(feature = "http")]
    pub(crate) fn around() -> Self {
        let mut around = polling();
        let own = match around.pop() {
            Some(Polled::Flight(flight)) => flight.lineage(),
            Some(Polled::Lone(gates, gate)) => gates.lineage(gate),
            None => Self::default(),
        };
        Self::of(around, own)
    }

    /// Of code that is polled inside all these, and of `more`.
    fn of(polling: Vec<Polled>, more: Self) -> Self {
        let mut all: Vec<Weak<dyn Underway>> = more.living().collect();
        for polled in polling {
            let flight = match polled {
                Polled::Flight(flight) => flight,
                Polled::Lone(gates, gate) => gates.flight(gate),
            };
            insert(&mut all, Arc::downgrade(&flight));
            flight.lineage().living().for_each(|ancestor| insert(&mut all, ancestor));
        }
        Self((!all.is_empty()).then(|| all.into()))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn contains<F>(&self, flight: &Arc<F>) -> bool {
        self.iter().any(|ancestor| ancestor.as_ptr().cast::<()>() == Arc::as_ptr(flight).cast())
    }

    /// Both lineages in one.
    pub(crate) fn and(self, other: Self) -> Self {
        match (&self.0, &other.0) {
            (_, None) => self,
            (None, _) => other,
            (Some(one), Some(two)) => {
                let mut all = one.to_vec();
                two.iter().cloned().for_each(|ancestor| insert(&mut all, ancestor));
                Self(Some(all.into()))
            }
        }
    }

    /// Flights that ended wait on nobody. Without this, a chain of flights, each led by the one before,
    /// would grow for ever.
    fn living(&self) -> impl Iterator<Item = Weak<dyn Underway>> {
        let lives = |flight: &&Weak<dyn Underway>| flight.upgrade().is_some_and(|flight| flight.is_underway());
        self.iter().filter(lives).cloned()
    }

    fn iter(&self) -> impl Iterator<Item = &Weak<dyn Underway>> {
        self.0.iter().flat_map(|all| all.iter())
    }
}

impl fmt::Debug for Lineage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lineage({})", self.iter().count())
    }
}

/// The innermost flight that is being polled here.
#[cfg(feature = "http")]
pub(crate) fn innermost() -> Option<Polled> {
    POLLING.try_with(|stack| stack.borrow().last().cloned()).ok().flatten()
}

/// A copy: what is done with it may poll.
fn polling() -> Vec<Polled> {
    POLLING.try_with(|stack| stack.borrow().clone()).unwrap_or_default()
}

fn insert(all: &mut Vec<Weak<dyn Underway>>, one: Weak<dyn Underway>) {
    if !all.iter().any(|known| known.as_ptr().cast::<()>() == one.as_ptr().cast()) {
        all.push(one);
    }
}

/// Until it is left or dropped, this thread is polling `flight`.
#[must_use]
#[inline]
pub(crate) fn enter(polled: Polled) -> Entered {
    let mut polled = Some(polled);
    // A thread that is ending has no stack left, and nothing else to poll on it either.
    let _ = POLLING.try_with(|stack| polled.take().map(|polled| stack.borrow_mut().push(polled)));
    Entered(polled)
}

/// Holds what found no stack.
pub(crate) struct Entered(Option<Polled>);

impl Entered {
    /// Gives back what was entered.
    #[inline]
    pub(crate) fn leave(mut self) -> Option<Polled> {
        let left = self.take();
        std::mem::forget(self);
        left
    }

    #[inline]
    fn take(&mut self) -> Option<Polled> {
        self.0.take().or_else(|| POLLING.try_with(|stack| stack.borrow_mut().pop()).ok().flatten())
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        // Dropped after the borrow: this may be the last hold on the flight.
        let _left = self.take();
    }
}
