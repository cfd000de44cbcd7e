//! What can come next.

use super::{
    Checks, LEASE, Setup,
    world::{CallPhase, Command, World, Writer, name},
};
use crate::fleet::{
    engine::{Epoch, Token},
    follow::Asking,
    lead::{Act, Deserted, Leading},
    testing::store::Store,
};
use std::time::Duration;

/// What happens, and the state that follows.
pub(super) type Successor = (String, Checks<World>);

type StoreFault = fn(&mut Store);

impl World {
    /// All states that can come next, with what leads there.
    pub(super) fn steps(&self, setup: &Setup) -> Vec<Successor> {
        let mut all = Vec::new();
        self.steps_of_members(setup, &mut all);
        if self.faults > 0 {
            self.faults_of_members(setup, &mut all);
            self.faults_of_store(&mut all);
        }
        self.steps_of_writer(setup, &mut all);
        if all.is_empty() {
            self.time_passes(setup, &mut all);
        }
        all
    }

    /// Adds the state after this change.
    fn add(
        &self,
        all: &mut Vec<Successor>,
        what: String,
        change: impl FnOnce(&mut World) -> Checks<()>,
    ) {
        let mut world = self.clone();
        let result = change(&mut world);
        all.push((what, result.map(|()| world.tidy())));
    }

    fn steps_of_members(&self, setup: &Setup, all: &mut Vec<Successor>) {
        for (at, member) in self.members.iter().enumerate().filter(|(_, member)| member.is_alive) {
            if member.command.is_some() {
                self.add(all, format!("{at}: {:?}", member.command), |world| {
                    world.execute(at, setup)
                });
            }
            if member.reply.is_some() {
                self.add(all, format!("{at} hears {:?}", member.reply), |world| {
                    world.hear_reply(at, setup)
                });
            }
            let hears = member.waits.is_some() || member.leading.is_some();
            if !member.pushes.is_empty() && hears {
                self.add(all, format!("{at} hears {:?}", member.pushes[0]), |world| {
                    world.hear_push(at, setup)
                });
            }
            if member.phase == CallPhase::Idle {
                self.add(all, format!("{at} asks"), |world| {
                    let (asking, step) = Asking::new(setup.start + LEASE * 20, Duration::ZERO);
                    let answered = world.answered;
                    let member = &mut world.members[at];
                    (member.phase, member.asking, member.least) =
                        (CallPhase::Asks, Some(asking), answered);
                    world.go(at, step, setup)
                });
            }
            if member.phase == CallPhase::Calls {
                self.add(all, format!("{at} has its head"), |world| world.head(at, setup));
            }
            if member.phase == CallPhase::Reads {
                for value in [Some(member.read), None] {
                    self.add(all, format!("{at} has its body: {value:?}"), |world| {
                        let member = &mut world.members[at];
                        let tokens = member.tokens.clone();
                        (member.phase, member.command) =
                            (CallPhase::Done, Some(Command::Land(tokens, value)));
                        Ok(())
                    });
                }
            }
        }
    }

    fn faults_of_members(&self, setup: &Setup, all: &mut Vec<Successor>) {
        for (at, member) in self.members.iter().enumerate().filter(|(_, member)| member.is_alive) {
            if !matches!(member.phase, CallPhase::Idle | CallPhase::Done) {
                self.add(all, format!("{at} dies"), |world| {
                    world.faults -= 1;
                    let member = &mut world.members[at];
                    (member.is_alive, member.command, member.reply) = (false, None, None);
                    Ok(())
                });
                if member.command.is_some() || member.reply.is_some() || !member.pushes.is_empty() {
                    self.add(all, format!("{at} is disconnected"), |world| {
                        world.faults -= 1;
                        world.disconnect(at, setup)
                    });
                }
                let leads = member.leading.as_ref().filter(|_| member.phase == CallPhase::Calls);
                if leads.is_some_and(|leading| leading.deserted() == Deserted::Drop) {
                    self.add(all, format!("the clients of {at} leave"), |world| {
                        world.faults -= 1;
                        let member = &mut world.members[at];
                        let act = member.leading.as_mut().map(Leading::release);
                        member.command = (act == Some(Act::Release)).then_some(Command::Release);
                        member.phase = CallPhase::Done;
                        Ok(())
                    });
                }
            }
        }
    }

    fn faults_of_store(&self, all: &mut Vec<Successor>) {
        let faults: [(&str, StoreFault); 3] = [
            ("the lease ends", Store::end_open_flights),
            ("closed flights end", Store::end_closed_flights),
            ("who waits is evicted", Store::drop_waiting),
        ];
        for (what, fault) in faults {
            let before = self.store.entries();
            let mut store = self.store.clone();
            fault(&mut store);
            if store.entries() != before {
                self.add(all, what.to_owned(), |world| {
                    (world.store, world.faults) = (store.clone(), world.faults - 1);
                    Ok(())
                });
            }
        }
    }

    fn steps_of_writer(&self, setup: &Setup, all: &mut Vec<Successor>) {
        match self.writer {
            Writer::Rests if self.version < setup.writes => {
                self.add(all, "a write is done".to_owned(), |world| {
                    (world.version, world.writer) = (world.version + 1, Writer::Applied);
                    Ok(())
                })
            }
            Writer::Rests => {}
            Writer::Applied => self.add(all, "the write seals".to_owned(), |world| {
                let epoch = Epoch::new(world.version.to_be_bytes());
                world.store.seal(
                    setup.start,
                    name().tag(),
                    "",
                    epoch,
                    LEASE * 100,
                    &mut Vec::new(),
                );
                world.writer = Writer::Sealed;
                Ok(())
            }),
            Writer::Sealed => self.add(all, "the write is answered".to_owned(), |world| {
                (world.answered, world.writer) = (world.answered + 1, Writer::Rests);
                Ok(())
            }),
        }
    }

    /// Nothing else can happen: leases of dead members end, and the members that wait look after
    /// their flights.
    fn time_passes(&self, setup: &Setup, all: &mut Vec<Successor>) {
        for (at, member) in self.members.iter().enumerate().filter(|(_, member)| member.is_alive) {
            let Some(until) = member.waits else { continue };
            let mut world = self.clone();
            let lives = |flight: Token| {
                self.members.iter().any(|other| other.token == flight && other.is_busy())
            };
            if world.store.leader_of(&name()).is_some_and(|leader| !lives(leader)) {
                world.store.end_open_flights();
            }
            if member.follows.is_some_and(|flight| !lives(flight)) {
                world.store.end_closed_flights();
            }
            let asking = world.members[at].asking.as_mut().expect("it waits");
            let step = asking.alarm(until);
            let result = world.go(at, step, setup);
            all.push((format!("{at} looks"), result.map(|()| world.tidy())));
        }
    }
}
