//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};
use crate::message::Durability;

mod backup;
mod demo;
mod doctor;
mod serve;
mod tree_file;
mod validate;

/// The variable that names the file of the key; the server has it from its configuration.
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
    /// Copy the data folder of a running server, whole and consistent, to a folder of its machine.
    ///
    /// Everything that was acknowledged before the call is in the copy. The server goes on meanwhile.
    Backup(BackupArgs),
    /// Make a data folder from a backup.
    ///
    /// Every file is checked against the backup's manifest before the first is written.
    Restore(RestoreArgs),
    /// Look at a data folder that no server uses, and mend it. Exit status: 0 sound, 1 findings.
    ///
    /// Reads every frame of the log, every module and the projections, and tries the key of sealed values. Without --rebuild or --salvage nothing is changed.
    Doctor(DoctorArgs),
    /// Compile one module for the server that started this process.
    #[command(name = crate::wasm::compiler::SUBCOMMAND, hide = true)]
    CompileModule { job: String },
    /// Look at an agent before it is deployed. Needs no server.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Play a story on a server of its own: a buyer, three sellers, a crash, a deal.
    Demo(DemoArgs),
}

#[derive(Debug, Args)]
struct ServeArgs {
    /// Configuration file (TOML).
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the journal and all that is stored. One server at a time.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// `durable`, or `memory`: nothing is kept when the process ends [default: durable]
    #[arg(long, value_name = "HOW", value_parser = |text: &str| Durability::parse(text).map_err(|invalid| invalid.problem))]
    durability: Option<Durability>,
    /// Address of REST and WebSocket; port 0 takes a free one [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// Address of gRPC; port 0 takes a free one [default: 127.0.0.1:50051]
    #[arg(long, value_name = "ADDR")]
    grpc_listen: Option<SocketAddr>,
    /// Supervision groups and agents to be there at start (TOML).
    #[arg(long, value_name = "FILE")]
    tree: Option<PathBuf>,
    /// Write the addresses as JSON to this file once both listen.
    #[arg(long, value_name = "FILE")]
    addr_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct BackupArgs {
    /// Folder of the backup, which must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// The server's REST address. It must run on this machine: it writes the folder itself.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
}

#[derive(Debug, Args)]
struct RestoreArgs {
    /// Folder of the backup.
    #[arg(long, value_name = "DIR")]
    from: PathBuf,
    /// The data folder to make, which must not exist or be empty.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// The key of the backup's sealed values, to be copied into the data folder. Without it the file that `CAXTON_KEY_FILE`
    /// names counts, and stays where it is.
    #[arg(long, value_name = "FILE")]
    key_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DoctorArgs {
    /// The data folder.
    #[arg(long, value_name = "DIR")]
    data_dir: PathBuf,
    /// Make the projections again from the log. Refused if segments that they would be made from are gone.
    #[arg(long, conflicts_with = "salvage")]
    rebuild: bool,
    /// Cut a damaged log: what is before the damage stays, what is damaged or after it is put aside in `damaged-<time>`.
    #[arg(long)]
    salvage: bool,
}

#[derive(Debug, Subcommand)]
enum AgentCommand {
    /// Say what a deploy would say of a module, and deploy nothing. Exit status: 0 it can be deployed, 1 findings.
    Validate(ValidateArgs),
}

#[derive(Debug, Args)]
struct ValidateArgs {
    /// The module: a component, a core module, or a core module that has its component's type in a section.
    file: PathBuf,
    /// The `config` of the deploy (JSON), for its limits and permissions. Without it, those of an agent with all defaults.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print what `POST /api/v1/agents/validate` answers.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct DemoArgs {
    /// Leave the server running when the story is over, until Ctrl-C.
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

/// This program, to be run again. On Linux even when the file at its path was replaced meanwhile, so that both are of one version.
fn this_program() -> std::io::Result<PathBuf> {
    if cfg!(target_os = "linux") {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    std::env::current_exe()
}

/// Runs the program and says how it ended: 0 well, 1 badly, 2 called wrongly.
pub fn main() -> ExitCode {
    let command = Cli::parse().command;
    // Before there are threads: they cost the memory that this one may use.
    if let Command::CompileModule { job } = command {
        return crate::wasm::compiler::run(&job);
    }
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    // A thread on which guests cannot run must fail now and not in a turn.
    builder
        .enable_all()
        .on_thread_start(crate::wasm::Runtime::prepare_thread);
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("caxton: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = match command {
        Command::Serve(args) => match args.into_config() {
            Ok((config, addr_file)) => runtime.block_on(serve::serve(config, addr_file)),
            Err(error) => Err(error.into()),
        },
        Command::Backup(args) => runtime.block_on(backup::backup(&args.to, &args.server)),
        Command::Restore(args) => backup::restore(&args.from, &args.data_dir, args.key_file.as_deref()),
        Command::Doctor(args) => doctor::doctor(&args.data_dir, args.rebuild, args.salvage),
        Command::Agent(AgentCommand::Validate(args)) => {
            runtime.block_on(validate::validate(&args.file, args.config.as_deref(), args.json))
        }
        Command::Demo(args) => runtime.block_on(demo::demo(args.listen, args.keep)),
        Command::CompileModule { .. } => unreachable!("it was done above"),
    };
    // Blocking work that is still going on (a compilation) is not waited for: nothing durable hangs on it.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("caxton: {error}");
            ExitCode::FAILURE
        }
    }
}
