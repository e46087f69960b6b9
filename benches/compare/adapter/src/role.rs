//! The command line that the processes of all systems share.

use std::path::PathBuf;

use clap::Parser;

/// What a process of a system is started as.
#[derive(Clone, Debug, PartialEq, Parser)]
pub enum Role {
    /// Serve on 127.0.0.1 until the process is ended.
    Server {
        /// The port to listen on.
        #[arg(long)]
        port: u16,
        /// Where the server keeps its data.
        #[arg(long)]
        directory: PathBuf,
    },
    /// Do what the commands on stdin say.
    Client,
}

impl Role {
    /// What the command line says, or the end of the process with a message if it says nothing that makes sense.
    pub fn from_command_line() -> Role {
        Role::parse()
    }
}
