//! Explores all interleavings of a few replicas with one request each, a write and some faults,
//! over the real state machines and the real store. It checks that no request joins a flight that
//! was closed, that no answer is from before a write that was answered before the request, and that
//! no request waits for ever.

use super::store::{Store, StorePush};
use crate::fleet::{
    engine::{
        Checked, Closed, EngineError, Entry, Epoch, Landing, Name, Push, Replica, Tag, Token,
        Waiting,
    },
    follow::{Asking, Step},
    lead::{Act, Deserted, Leading},
};
use bytes::Bytes;
use std::{
    collections::{HashSet, VecDeque, hash_map::DefaultHasher},
    hash::{Hash, Hasher},
    time::Duration,
};
use tokio::time::Instant;

const LEASE: Duration = Duration::from_secs(3);

/// A fault in the protocol, made on purpose.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mutant {
    None,
    /// Entering ignores writes.
    NoEpoch,
    /// Closing ignores whose flight it is, and results open for any flight.
    NoFence,
}

#[derive(Clone, Copy, Debug)]
struct Setup {
    start: Instant,
    replicas: usize,
    faults: usize,
    writes: u64,
    mutant: Mutant,
}

#[derive(Clone, Debug)]
enum Command {
    Enter(Option<Token>),
    Check(Token),
    Fetch(Token),
    Close,
    /// `None` is "go".
    Land(Vec<Token>, Option<u64>),
    Release,
}

#[derive(Clone, Debug)]
enum StoreReply {
    Entered(Entry),
    Checked(Checked),
    Fetched(Option<Bytes>),
    Closed(Closed),
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum CallPhase {
    Idle,
    Asks,
    /// Its own call runs. The others get its result if it leads.
    Calls,
    Closes,
    Reads,
    Done,
}

#[derive(Clone, Debug)]
struct Member {
    phase: CallPhase,
    asking: Option<Asking>,
    leading: Option<Leading>,
    token: Token,
    command: Option<Command>,
    reply: Option<StoreReply>,
    pushes: VecDeque<Push>,
    /// Until when it waits for a push.
    waits: Option<Instant>,
    follows: Option<Token>,
    tokens: Vec<Token>,
    /// The flight under which it lands. Another's, with a mutant.
    lands_as: Token,
    /// How many writes had been answered when it asked.
    least: u64,
    /// The version that its call read.
    read: u64,
    is_alive: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Writer {
    Rests,
    Applied,
    Sealed,
}

#[derive(Clone)]
struct World {
    members: Vec<Member>,
    store: Store,
    version: u64,
    answered: u64,
    writer: Writer,
    faults: usize,
    next: u64,
    closed: Vec<Token>,
}

type StoreFault = fn(&mut Store);

/// A result, or what went wrong.
type Checks<T> = Result<T, String>;

fn name() -> Name {
    Name::new(Tag::new([1; 16]), [1; 32])
}

fn payload(flight: Token, tokens: &[Token], value: Option<u64>) -> Bytes {
    let value = value.unwrap_or(u64::MAX).to_be_bytes();
    [&value[..], flight.as_bytes()]
        .into_iter()
        .chain(tokens.iter().map(|token| &token.as_bytes()[..]))
        .collect::<Vec<_>>()
        .concat()
        .into()
}

impl World {
    fn new(setup: &Setup) -> Self {
        let member = |at: usize| Member {
            phase: CallPhase::Idle,
            asking: None,
            leading: None,
            token: Token::new(Replica::new([at as u8 + 1; 8]), 0),
            command: None,
            reply: None,
            pushes: VecDeque::new(),
            waits: None,
            follows: None,
            tokens: Vec::new(),
            lands_as: Token::MARK,
            least: 0,
            read: 0,
            is_alive: true,
        };
        Self {
            members: (0..setup.replicas).map(member).collect(),
            store: Store::default(),
            version: 0,
            answered: 0,
            writer: Writer::Rests,
            faults: setup.faults,
            next: 1,
            closed: Vec::new(),
        }
    }

    fn digest(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        let rest = (self.version, self.answered, self.writer, self.faults, self.next, &self.closed);
        format!("{:?} {rest:?} {}", self.members, self.store.digest()).hash(&mut hasher);
        hasher.finish()
    }

    fn deliver(&mut self, told: Vec<StorePush>) {
        for told in told {
            let StorePush::Token(token, push) = told else { continue };
            let member =
                self.members.iter_mut().find(|member| member.token == token && member.is_alive);
            if let Some(member) = member {
                member.pushes.push_back(push);
            }
        }
    }

    /// The store does the command of this member.
    fn execute(&mut self, at: usize, setup: &Setup) -> Checks<()> {
        let (now, name, mut told) = (setup.start, name(), Vec::new());
        let member = &mut self.members[at];
        let (token, command) = (member.token, member.command.take().expect("it has one"));
        let reply = match command {
            Command::Enter(shuts) => {
                if let Some(sealed) = shuts {
                    self.store.shut(now, &name, sealed);
                    self.closed.push(sealed);
                }
                let kept = self.store.clone();
                if setup.mutant == Mutant::NoEpoch {
                    self.store.drop_epochs();
                }
                let entry = self.store.enter(now, &name, token, LEASE, &mut told);
                self.store.take_epochs_of(&kept);
                if let Entry::Follow { flight, .. } = &entry {
                    if self.closed.contains(flight) {
                        return Err(format!("{at} joined a flight that was closed"));
                    }
                }
                StoreReply::Entered(entry)
            }
            Command::Check(flight) => {
                StoreReply::Checked(self.store.check(now, &Waiting { name, flight, token }))
            }
            Command::Fetch(flight) => StoreReply::Fetched(self.store.fetch(now, &name, flight)),
            Command::Close => {
                let open = self.store.leader_of(&name).filter(|_| setup.mutant == Mutant::NoFence);
                let flight = open.unwrap_or(token);
                self.members[at].lands_as = flight;
                let closed = self.store.close(now, &name, flight, LEASE, true, &mut told);
                if closed != Closed::Lost {
                    self.closed.push(flight);
                }
                StoreReply::Closed(closed)
            }
            Command::Land(tokens, value) => {
                let flight = member.lands_as;
                let landing =
                    Landing { payload: payload(flight, &tokens, value), keep: LEASE, mark: None };
                self.store.land(now, &name, flight, landing, true, &mut told);
                StoreReply::Nothing
            }
            Command::Release => {
                self.store.release(now, &name, token, &mut told);
                StoreReply::Nothing
            }
        };
        self.members[at].reply = Some(reply);
        self.deliver(told);
        Ok(())
    }

    fn hear_reply(&mut self, at: usize, setup: &Setup) -> Checks<()> {
        let now = setup.start;
        let member = &mut self.members[at];
        let reply = member.reply.take().expect("it has one");
        let step = match reply {
            StoreReply::Entered(entry) => {
                member.follows = match &entry {
                    Entry::Follow { flight, .. } => Some(*flight),
                    _ => None,
                };
                member.asking.as_mut().map(|asking| asking.entered(now, Some(Ok(entry))))
            }
            StoreReply::Checked(checked) => {
                member.asking.as_mut().map(|asking| asking.checked(now, Some(Ok(checked))))
            }
            StoreReply::Fetched(payload) => {
                member.asking.as_mut().map(|asking| asking.fetched(now, Some(Ok(payload))))
            }
            StoreReply::Closed(closed) => {
                self.close_replied(at, Some(closed), setup);
                None
            }
            StoreReply::Nothing => None,
        };
        step.map_or(Ok(()), |step| self.go(at, step, setup))
    }

    fn close_replied(&mut self, at: usize, closed: Option<Closed>, setup: &Setup) {
        let member = &mut self.members[at];
        let leading = member.leading.as_mut().expect("it leads");
        member.phase = match leading.closed(setup.start, closed, None) {
            Act::Land(tokens) => {
                member.tokens = tokens;
                CallPhase::Reads
            }
            _ => CallPhase::Done,
        };
    }

    fn hear_push(&mut self, at: usize, setup: &Setup) -> Checks<()> {
        let now = setup.start;
        let member = &mut self.members[at];
        let push = member.pushes.pop_front().expect("there is one");
        if let Push::Joined { .. } = push {
            member.leading.iter_mut().for_each(Leading::joined);
            return Ok(());
        }
        let Some(asking) = &mut member.asking else { return Ok(()) };
        let step = match push {
            Push::Closed { .. } => asking.closed(now),
            Push::Landed { payload, .. } => asking.landed(now, payload),
            Push::Again { .. } => asking.again(now),
            Push::Joined { .. } | Push::Sealed { .. } | Push::Reconnected => return Ok(()),
        };
        self.go(at, step, setup)
    }

    /// Does what the state machine says.
    fn go(&mut self, at: usize, step: Step, setup: &Setup) -> Checks<()> {
        let (next, version) = (self.next, self.version);
        let member = &mut self.members[at];
        member.waits = None;
        match step {
            Step::Enter => {
                member.token = Token::new(member.token.replica(), next);
                member.pushes.clear();
                member.command = Some(Command::Enter(None));
                self.next += 1;
            }
            Step::ShutAndEnter(sealed) => member.command = Some(Command::Enter(Some(sealed))),
            Step::Wait(until) | Step::CloseHere(until) => member.waits = Some(until),
            Step::Check(flight) => member.command = Some(Command::Check(flight)),
            Step::Fetch(flight) => member.command = Some(Command::Fetch(flight)),
            Step::Open(flight, payload) => {
                let value = u64::from_be_bytes(payload[..8].try_into().expect("it has a value"));
                let is_flights =
                    payload[8..24] == flight.as_bytes()[..] || setup.mutant == Mutant::NoFence;
                let is_named =
                    payload[24..].chunks(16).any(|named| named == member.token.as_bytes());
                let asking = member.asking.as_mut().expect("it asks");
                let step = asking.opened(setup.start, is_flights && is_named);
                if step != Step::Take {
                    return self.go(at, step, setup);
                }
                member.asking = None;
                if value == u64::MAX {
                    (member.phase, member.read) = (CallPhase::Calls, version);
                } else {
                    return self.answer(at, value);
                }
            }
            Step::Lead { .. } => {
                (member.asking, member.leading) = (None, Some(Leading::new()));
                (member.phase, member.read) = (CallPhase::Calls, version);
            }
            Step::Alone(_) => {
                member.asking = None;
                (member.phase, member.read) = (CallPhase::Calls, version);
            }
            Step::Take => unreachable!("it follows opening"),
        }
        Ok(())
    }

    fn answer(&mut self, at: usize, value: u64) -> Checks<()> {
        let member = &mut self.members[at];
        if member.leading.is_none() {
            member.phase = CallPhase::Done;
        }
        if value < member.least {
            return Err(format!("{at} asked after {} writes and got {value}", member.least));
        }
        Ok(())
    }

    /// The head of its own call.
    fn head(&mut self, at: usize, setup: &Setup) -> Checks<()> {
        let member = &mut self.members[at];
        let read = member.read;
        match member.leading.as_mut().map(|leading| leading.head(setup.start)) {
            Some(Act::Close { .. }) => {
                (member.phase, member.command) = (CallPhase::Closes, Some(Command::Close))
            }
            _ => member.phase = CallPhase::Done,
        }
        self.answer(at, read)
    }

    /// The connection of this member breaks. The command under way is lost, done or not.
    fn disconnect(&mut self, at: usize, setup: &Setup) -> Checks<()> {
        let member = &mut self.members[at];
        member.pushes.clear();
        let lost = member.command.take().is_some() | member.reply.take().is_some();
        match member.phase {
            CallPhase::Asks if lost => {
                let asking = member.asking.as_mut().expect("it asks");
                // Whatever it asked for: an error lets it go alone.
                let step = match asking.entered(setup.start, Some(Err(EngineError::Down))) {
                    step @ Step::Alone(_) => step,
                    _ => asking.checked(setup.start, Some(Err(EngineError::Down))),
                };
                self.go(at, step, setup)
            }
            CallPhase::Asks => {
                let flight = member.follows.expect("it waits");
                (member.waits, member.command) = (None, Some(Command::Check(flight)));
                Ok(())
            }
            CallPhase::Closes if lost => {
                self.close_replied(at, None, setup);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// All states that can come next, with what leads there.
    fn steps(&self, setup: &Setup) -> Vec<(String, Checks<World>)> {
        let mut all = Vec::new();
        let mut add = |what: String, change: &dyn Fn(&mut World) -> Checks<()>| {
            let mut world = self.clone();
            let result = change(&mut world);
            all.push((what, result.map(|()| world)));
        };
        for (at, member) in self.members.iter().enumerate().filter(|(_, member)| member.is_alive) {
            if member.command.is_some() {
                add(format!("{at}: {:?}", member.command), &|world| world.execute(at, setup));
            }
            if member.reply.is_some() {
                add(format!("{at} hears {:?}", member.reply), &|world| world.hear_reply(at, setup));
            }
            let hears = member.waits.is_some() || member.leading.is_some();
            if !member.pushes.is_empty() && hears {
                add(format!("{at} hears {:?}", member.pushes[0]), &|world| {
                    world.hear_push(at, setup)
                });
            }
            if member.phase == CallPhase::Idle {
                add(format!("{at} asks"), &|world| {
                    let (asking, step) = Asking::new(setup.start + LEASE * 20, Duration::ZERO);
                    let answered = world.answered;
                    let member = &mut world.members[at];
                    (member.phase, member.asking, member.least) =
                        (CallPhase::Asks, Some(asking), answered);
                    world.go(at, step, setup)
                });
            }
            if member.phase == CallPhase::Calls {
                add(format!("{at} has its head"), &|world| world.head(at, setup));
            }
            if member.phase == CallPhase::Reads {
                for value in [Some(member.read), None] {
                    add(format!("{at} has its body: {value:?}"), &|world| {
                        let member = &mut world.members[at];
                        let tokens = member.tokens.clone();
                        (member.phase, member.command) =
                            (CallPhase::Done, Some(Command::Land(tokens, value)));
                        Ok(())
                    });
                }
            }
            if self.faults > 0 && !matches!(member.phase, CallPhase::Idle | CallPhase::Done) {
                add(format!("{at} dies"), &|world| {
                    world.faults -= 1;
                    let member = &mut world.members[at];
                    (member.is_alive, member.command, member.reply) = (false, None, None);
                    Ok(())
                });
                if member.command.is_some() || member.reply.is_some() || !member.pushes.is_empty() {
                    add(format!("{at} is disconnected"), &|world| {
                        world.faults -= 1;
                        world.disconnect(at, setup)
                    });
                }
                let leads = member.leading.as_ref().filter(|_| member.phase == CallPhase::Calls);
                if leads.is_some_and(|leading| leading.deserted() == Deserted::Drop) {
                    add(format!("the clients of {at} leave"), &|world| {
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
        if self.faults > 0 {
            let faults: [(&str, StoreFault); 3] = [
                ("the lease ends", Store::end_open_flights),
                ("closed flights end", Store::end_closed_flights),
                ("who waits is evicted", Store::drop_waiting),
            ];
            for (what, fault) in faults {
                let before = self.store.digest();
                let mut store = self.store.clone();
                fault(&mut store);
                if store.digest() != before {
                    add(what.to_owned(), &|world| {
                        (world.store, world.faults) = (store.clone(), world.faults - 1);
                        Ok(())
                    });
                }
            }
        }
        match self.writer {
            Writer::Rests if self.version < setup.writes => {
                add("a write is done".to_owned(), &|world| {
                    (world.version, world.writer) = (world.version + 1, Writer::Applied);
                    Ok(())
                })
            }
            Writer::Rests => {}
            Writer::Applied => add("the write seals".to_owned(), &|world| {
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
            Writer::Sealed => add("the write is answered".to_owned(), &|world| {
                (world.answered, world.writer) = (world.answered + 1, Writer::Rests);
                Ok(())
            }),
        }
        if !all.is_empty() {
            return all;
        }
        // Time passes: the leases of dead members end, and the members that wait look after their
        // flights.
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
            all.push((format!("{at} looks"), result.map(|()| world)));
        }
        all
    }
}

impl Member {
    fn is_busy(&self) -> bool {
        self.is_alive
            && self.leading.is_some()
            && (self.phase != CallPhase::Done || self.command.is_some())
    }
}

/// Explores all states, and returns how many there are, or the shortest way to one that is wrong.
fn explore(
    replicas: usize,
    faults: usize,
    writes: u64,
    mutant: Mutant,
) -> Result<usize, Vec<String>> {
    explore_after(&[], replicas, faults, writes, mutant)
}

/// The same, from the state after these steps: each begins with this text.
fn explore_after(
    steps: &[&str],
    replicas: usize,
    faults: usize,
    writes: u64,
    mutant: Mutant,
) -> Result<usize, Vec<String>> {
    let setup = Setup { start: Instant::now(), replicas, faults, writes, mutant };
    let mut start = World::new(&setup);
    for step in steps {
        let all = start.steps(&setup);
        let next =
            all.into_iter().find(|(what, _)| what.starts_with(step)).expect("there is such a step");
        start = next.1.expect("nothing is wrong yet");
    }
    let (mut seen, mut ways) = (HashSet::from([start.digest()]), vec![(0, String::new())]);
    let mut queue = VecDeque::from([(0, start)]);
    let way_to = |ways: &[(usize, String)], mut at: usize, last: String| {
        let mut way = vec![last];
        while at > 0 {
            way.push(ways[at].1.clone());
            at = ways[at].0;
        }
        way.reverse();
        way
    };
    while let Some((from, world)) = queue.pop_front() {
        let steps = world.steps(&setup);
        if steps.is_empty()
            && world.members.iter().any(|member| member.is_alive && member.phase != CallPhase::Done)
        {
            return Err(way_to(
                &ways,
                from,
                format!("a request waits for ever: {:?}", world.members),
            ));
        }
        for (what, next) in steps {
            match next {
                Err(wrong) => return Err(way_to(&ways, from, format!("{what}: {wrong}"))),
                Ok(next) => {
                    if seen.insert(next.digest()) {
                        ways.push((from, what));
                        queue.push_back((ways.len() - 1, next));
                    }
                }
            }
        }
    }
    Ok(seen.len())
}

#[test]
fn two_replicas_keep_their_promises() {
    for (faults, writes) in [(0, 1), (1, 1)] {
        let states =
            explore(2, faults, writes, Mutant::None).unwrap_or_else(|way| panic!("{way:#?}"));
        assert!(states > 500, "{states}");
    }
}

#[test]
#[ignore = "some minutes: cargo test --release"]
fn more_replicas_and_faults_keep_their_promises() {
    for (replicas, faults, writes) in [(2, 2, 1), (2, 2, 2), (3, 0, 1), (3, 1, 0)] {
        let states = explore(replicas, faults, writes, Mutant::None)
            .unwrap_or_else(|way| panic!("{way:#?}"));
        println!("{replicas} replicas, {faults} faults, {writes} writes: {states} states");
    }
}

#[test]
fn a_replica_whose_lease_ended_gives_nothing_to_those_who_wait_for_another() {
    let zombie = [
        "0 asks",
        "0: ",
        "0 hears",
        "the lease ends",
        "a write",
        "the write seals",
        "the write is answered",
    ];
    explore_after(&zombie, 3, 1, 1, Mutant::None).unwrap_or_else(|way| panic!("{way:#?}"));
}

#[test]
fn an_engine_that_ignores_writes_is_found_out() {
    let way =
        explore(2, 0, 1, Mutant::NoEpoch).expect_err("a read gets an answer from before a write");
    assert!(
        way.last().is_some_and(|last| last.contains("asked after 1 writes and got 0")),
        "{way:#?}"
    );
}

#[test]
fn an_engine_that_lets_a_replica_close_the_flight_of_another_is_found_out() {
    let zombie = [
        "0 asks",
        "0: ",
        "0 hears",
        "the lease ends",
        "a write",
        "the write seals",
        "the write is answered",
    ];
    let way = explore_after(&zombie, 3, 1, 1, Mutant::NoFence)
        .expect_err("a read gets an answer from before a write");
    assert!(
        way.last().is_some_and(|last| last.contains("asked after 1 writes and got 0")),
        "{way:#?}"
    );
}
