//! The processes of a system: its server, and the clients that do what they are told over a pipe.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command as Program, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use headwater_benches::process::Process;
use headwater_compare_adapter::{Answer, Command};

use crate::Result;

/// How long one command may take. What needs longer did not finish.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const START: Duration = Duration::from_secs(20);

/// How a process is started.
#[derive(Clone)]
pub(crate) struct Launch {
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
}

impl Launch {
    pub(crate) fn new(program: impl Into<PathBuf>, arguments: &[&str]) -> Launch {
        Launch { program: program.into(), arguments: arguments.iter().map(|&word| word.to_owned()).collect() }
    }

    fn command(&self) -> Program {
        let mut command = Program::new(&self.program);
        command.args(&self.arguments);
        command
    }
}

/// A server that runs. Ends when this is dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts it on a free port, and waits until it accepts. `{port}` and `{directory}` stand for what they say in its arguments.
    pub(crate) fn start(launch: &Launch, directory: &Path, log: &Path) -> Result<Server> {
        std::fs::create_dir_all(directory)?;
        let address = free_address()?;
        let mut filled = launch.clone();
        for argument in &mut filled.arguments {
            *argument = argument
                .replace("{port}", &address.port().to_string())
                .replace("{directory}", &directory.to_string_lossy());
        }
        let log = std::fs::File::create(log)?;
        let child = filled.command().stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let mut server = Server { child, address };
        let started = Instant::now();
        while TcpStream::connect(address).is_err() {
            if let Some(status) = server.child.try_wait()? {
                return Err(format!("{} ended at once: {status}", launch.program.display()).into());
            }
            if started.elapsed() > START {
                return Err(format!("{} does not accept", launch.program.display()).into());
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(server)
    }

    /// What the system says of it.
    pub(crate) fn process(&self) -> Process {
        Process::of(self.child.id())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// A client process, which does one command after the other. Ends when this is dropped.
pub(crate) struct Client {
    child: Child,
    commands: ChildStdin,
    answers: mpsc::Receiver<String>,
}

impl Client {
    /// Starts it, for a server and a directory of its own.
    pub(crate) fn start(launch: &Launch, server: SocketAddr, directory: &Path, log: &Path) -> Result<Client> {
        std::fs::create_dir_all(directory)?;
        let log = std::fs::File::create(log)?;
        let mut child = launch.command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let commands = child.stdin.take().ok_or("no pipe to the client")?;
        let output = BufReader::new(child.stdout.take().ok_or("no pipe from the client")?);
        let (sender, answers) = mpsc::channel();
        // Ends with the process: its output closes then.
        thread::spawn(move || {
            output.lines().map_while(|line| line.ok()).all(|line| sender.send(line).is_ok())
        });
        let mut client = Client { child, commands, answers };
        let (url, directory) = (format!("ws://{server}"), directory.to_owned());
        client.run(&Command::Open { url, directory })?;
        Ok(client)
    }

    /// Has it do something.
    pub(crate) fn run(&mut self, command: &Command) -> Result<Answer> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        self.commands.write_all(&line)?;
        self.commands.flush()?;
        let answer = self.answers.recv_timeout(PATIENCE).map_err(|error| match error {
            mpsc::RecvTimeoutError::Timeout => format!("not done in {} s", PATIENCE.as_secs()),
            mpsc::RecvTimeoutError::Disconnected => "the client process ended".to_owned(),
        })?;
        match serde_json::from_str(&answer)? {
            Answer::Failed { error } => Err(error.into()),
            answer => Ok(answer),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// It may be hanging, and everything of it is thrown away.
fn end(child: &mut Child) {
    let _ended = child.kill().and_then(|()| child.wait());
}

/// The servers want to be told a port. Between here and there it could be taken by somebody else, and then the run says so.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
