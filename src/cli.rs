//! The command line.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::message::Durability;
use crate::telemetry;

mod addr_file;
mod backup;
mod demo;
mod doctor;
mod output;
mod serve;
mod tree_file;
mod validate;

/// The environment variable that names the file of the key, as it does for the server.
const KEY_FILE: &str = "CAXTON_KEY_FILE";

/// A server for multi-agent systems: WebAssembly agents, FIPA messages, OTP supervision, atomic turns.
#[derive(Debug, Parser)]
#[command(name = "caxton", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server until SIGTERM or Ctrl-C.
    Serve(ServeArgs),
    /// Copy the data folder of a running server to a folder on its machine.
    ///
    /// The copy is consistent, and has everything that was acknowledged before the call. The server keeps serving meanwhile.
    Backup(BackupArgs),
    /// Make a data folder from a backup.
    ///
    /// Every file is checked against the backup's manifest before the first is written.
    Restore(RestoreArgs),
    /// Check a data folder that no server uses, and repair it on request. Exit status: 0 sound, 1 findings, 2 it cannot be checked.
    ///
    /// Reads every frame of the log, every module and the projections, and compares the key with the sealed values. Changes nothing
    /// without --rebuild or --salvage.
    Doctor(DoctorArgs),
    /// Compile one module for the server that started this process.
    #[command(name = crate::wasm::compiler::SUBCOMMAND, hide = true)]
    CompileModule { job: String },
    /// Check an agent before it is deployed. Needs no server.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Run a demonstration on a server of its own: a buyer, three sellers, a crash, a deal.
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the log and of everything else that is stored; one server at a time [default: caxton-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// `durable`, or `memory`: everything is lost when the process ends [default: durable]
    #[arg(long, value_name = "HOW", value_parser = |text: &str| Durability::parse(text).ok_or(Durability::EXPECTED))]
    durability: Option<Durability>,
    /// Address of REST and WebSocket; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address of gRPC; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<SocketAddr>,
    /// Supervision groups and agents that the server makes at its start (TOML).
    #[arg(long, value_name = "FILE")]
    tree: Option<PathBuf>,
    /// Write the addresses as JSON to this file once both listen.
    #[arg(long, value_name = "FILE")]
    addr_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct BackupArgs {
    /// Folder of the backup. It must be empty, or not exist yet.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The server's REST address. The server must run on this machine, because it writes the folder itself.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// Folder of the backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The data folder to make. It must be empty, or not exist yet.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The file of the key that the backup's values are sealed with. It is copied into the data folder. Default: the file that
    /// `CAXTON_KEY_FILE` names, which is not copied.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// The data folder.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Rebuild the projections from the log. Refused if the log no longer has all its segments.
    #[arg(long, conflicts_with = "salvage")]
    rebuild: bool,
    /// Cut a damaged log before the damage. The damaged part and everything after it are moved to `damaged-<time>`.
    #[arg(long)]
    salvage: bool,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Report what a deploy of a module would report, and deploy nothing. Exit status: 0 it can be deployed, 1 findings, 2 it cannot
    /// be checked.
    Validate(ValidateArgs),
}

#[derive(Debug, Args)]
struct ValidateArgs {
    /// The module: a component, a core module, or a core module with the type of a component in a custom section.
    file: PathBuf,
    /// The `config` of the deploy (JSON), for its limits and permissions. Without it, all have their defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what `POST /api/v1/agents/validate` answers.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Leave the server running after the demonstration, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Address of REST and WebSocket; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

impl ServeArgs {
    fn into_config(self) -> Result<(Config, Option<PathBuf>), ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        config.data_dir = self.data_dir.unwrap_or(config.data_dir);
        config.durability = self.durability.unwrap_or(config.durability);
        config.listen = self.listen.unwrap_or(config.listen);
        config.grpc_listen = self.grpc_listen.unwrap_or(config.grpc_listen);
        config.check()?;
        config.tree = self.tree.or(config.tree);
        Ok((config, self.addr_file))
    }
}

/// The path of this program, to start it again. On Linux the path leads to the running program even if its file was replaced
/// meanwhile, so that both processes have the same version.
fn this_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe()
}

/// What a command found that checks something.
enum Checked {
    Sound,
    /// How many findings it has printed.
    Findings(usize),
}

/// The exit status of a check that could not be made, and of wrong arguments.
const UNCHECKED: u8 = 2;

/// The exit status of a check.
fn verdict(checked: Result<Checked, Box<dyn Error>>) -> ExitCode {
    match checked {
        Ok(Checked::Sound) => ExitCode::SUCCESS,
        Ok(Checked::Findings(count)) => {
            let noun = if count == 1 { "finding" } else { "findings" };
            failed(&format!("{count} {noun}"), 1)
        }
        Err(error) => failed(&error.to_string(), UNCHECKED),
    }
}

fn failed(why: &str, status: u8) -> ExitCode {
    telemetry::say(&format!("caxton: {why}"));
    ExitCode::from(status)
}

/// Runs the program. Its exit status is 0 for success, 1 for failure, and 2 for wrong arguments. Commands that check something have
/// 1 for findings, and 2 if they cannot check.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Before any thread is started: threads would take part of the address space that a compilation may use.
    if let Command::CompileModule { job } = command {
        return crate::wasm::compiler::run(&job);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // If guests cannot run on a thread, that must fail here and not in a turn.
    builder
        .enable_all()
        .on_thread_start(crate::wasm::Runtime::prepare_thread);
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&format!("cannot start: {error}"), 1),
    };
    let done = |result: Result<(), Box<dyn Error>>| match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error.to_string(), 1),
    };
    let status = match command {
        Command::Serve(args) => done(match args.into_config() {
            Ok((config, addr_file)) => runtime.block_on(serve::serve(config, addr_file)),
            Err(error) => Err(error.into()),
        }),
        Command::Backup(args) => done(runtime.block_on(backup::backup(&args.to, &args.server))),
        Command::Restore(args) => done(backup::restore(&args.from, &args.data_dir, args.key_file.as_deref())),
        Command::Doctor(args) => verdict(doctor::doctor(&args.data_dir, args.rebuild, args.salvage)),
        Command::Agent(AgentCommand::Validate(args)) => {
            verdict(runtime.block_on(validate::validate(&args.file, args.config.as_deref(), args.json)))
        }
        Command::Demo(args) => done(runtime.block_on(demo::demo(args.listen, args.keep))),
        Command::CompileModule { .. } => unreachable!("it was run above"),
    };
    // Blocking work, such as a compilation, may still be running. Nothing durable depends on it, so nobody waits for it.
    runtime.shutdown_background();
    telemetry::flush();
    status
}
