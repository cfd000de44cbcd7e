//! A `redis-server` of a test's own.

use std::{
    env, fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering::Relaxed},
    thread::sleep,
    time::{Duration, Instant},
};

/// Ends with the value.
pub(crate) struct Server {
    process: Child,
    pub(crate) port: u16,
    directory: PathBuf,
    arguments: Vec<String>,
}

/// Starts a server with these arguments. Ends the test if there is no `redis-server` on this
/// machine.
macro_rules! server {
    ($($argument:expr),*) => {{
        let arguments: &[&str] = &[$($argument),*];
        match $crate::server::Server::start(arguments) {
            Some(server) => server,
            None => return,
        }
    }};
}
pub(crate) use server;

impl Server {
    /// `None`: there is no `redis-server`.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        if let Err(error) =
            Command::new("redis-server").arg("--version").stdout(Stdio::null()).status()
        {
            assert!(env::var_os("CI").is_none(), "there is no redis-server: {error}");
            eprintln!("\n\nSKIPPED: no redis-server\n\n");
            return None;
        }
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Relaxed);
        let directory = env::temp_dir()
            .join(format!("tower-singleflight-redis-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        // Another process may take the port in between.
        for _ in 0..10 {
            let port = free_port();
            let mut server = Self {
                process: spawn(port, &directory, &arguments),
                port,
                directory: directory.clone(),
                arguments: arguments.clone(),
            };
            if server.is_there() {
                return Some(server);
            }
        }
        panic!("no redis-server comes up");
    }

    /// Starts the server at a given port.
    pub(crate) fn start_at(&mut self, port: u16) {
        self.port = port;
        self.process = spawn(port, &self.directory, &self.arguments);
        assert!(self.is_there());
    }

    pub(crate) fn restart(&mut self) {
        self.kill();
        self.start_at(self.port);
    }

    pub(crate) fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Stops the process until [`go_on`](Self::go_on).
    pub(crate) fn stop(&self) {
        self.signal("-STOP");
    }

    pub(crate) fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        assert!(
            Command::new("kill")
                .args([signal, &self.process.id().to_string()])
                .status()
                .unwrap()
                .success()
        );
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address())
    }

    /// Runs one command, with words that are parted by spaces.
    pub(crate) fn ask<T: redis::FromRedisValue>(&self, command: &str) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(10)).unwrap();
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>());
        command.query(&mut connection).unwrap()
    }

    /// All keys, in order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let mut keys: Vec<String> = self.ask("KEYS *");
        keys.sort();
        keys
    }

    /// How many clients there are beside the one that asks.
    pub(crate) fn clients(&self) -> usize {
        self.ask::<String>("CLIENT LIST").lines().count() - 1
    }

    /// Waits for an answer to `PING`. `false`: the process has ended.
    fn is_there(&mut self) -> bool {
        let client = redis::Client::open(self.url()).unwrap();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(20) {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(mut connection) = client.get_connection_with_timeout(Duration::from_secs(1)) {
                match redis::cmd("PING").exec(&mut connection) {
                    Ok(()) => return true,
                    // It asks for a password, so it is there.
                    Err(error) if error.code() == Some("NOAUTH") => return true,
                    Err(_) => {}
                }
            }
            sleep(Duration::from_millis(10));
        }
        panic!("the redis-server at port {} does not answer", self.port);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, directory: &PathBuf, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
        .arg("--dir")
        .arg(directory)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
