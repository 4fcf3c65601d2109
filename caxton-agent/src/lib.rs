//! Agents for Caxton in Rust: a trait, typed messages and state, and a host for their tests.
//!
//! An agent is a type that implements [`Agent`]. [`export!`] makes its crate a module that can be deployed without further steps:
//!
//! ```toml
//! [lib]
//! crate-type = ["cdylib"]
//!
//! [dependencies]
//! caxton-agent = { git = "https://github.com/caxton/caxton" }
//! ```
//!
//! ```sh
//! cargo build --release --target wasm32-unknown-unknown     # then upload target/wasm32-unknown-unknown/release/*.wasm
//! ```
//!
//! # An agent and its test
//!
//! ```
//! use caxton_agent::{Agent, Host, Message, Performative, Result};
//!
//! struct Counter;
//!
//! impl Agent for Counter {
//!     fn init(_: &mut Host) -> Result<Self> {
//!         Ok(Self)
//!     }
//!
//!     fn handle(&mut self, message: &Message, host: &mut Host) -> Result {
//!         match message.performative {
//!             Performative::Request => {
//!                 let count = 1 + host.get::<u64>("count")?.unwrap_or(0);
//!                 host.set("count", &count)?;
//!                 caxton_agent::info!(host, "request number {count}");
//!                 host.inform(&count)?;
//!                 Ok(())
//!             }
//!             act if act.asks() => Ok(host.not_understood("unsupported_act")?),
//!             _ => Ok(()),
//!         }
//!     }
//! }
//!
//! caxton_agent::export!(Counter);
//!
//! // In its tests, on any machine:
//! use caxton_agent::Draft;
//! use caxton_agent::testing::TestHost;
//!
//! let mut counter = TestHost::<Counter>::start()?;
//! for expected in 1..=3 {
//!     let answer = counter.deliver("ann", Draft::new(Performative::Request, "counter")).only();
//!     assert_eq!(answer.performative, Performative::Inform);
//!     assert_eq!(answer.content.read::<u64>()?, expected);
//! }
//! # Ok::<(), caxton_agent::Failure>(())
//! ```
//!
//! # Turns
//!
//! Each call of an agent is a turn. The messages, writes and timers of a turn take effect together when the call returns
//! `Ok`. None of them takes effect when it returns an error or panics. The fields of the agent are only memory: they are
//! lost with the instance, after a panic or a restart of the server, and an error does not undo changes of them. What
//! must last belongs in the state ([`Host::set`]).
//!
//! Every agent may reply, log and read the clock. For everything else its deploy must grant a permission; without it the
//! call fails with [`HostError::NotPermitted`].

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod guest;
mod host;
mod message;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;
mod time;

pub use host::{Description, Host, HostError, Level, TimerId};
pub use message::{Content, Draft, Message, Performative};
pub use time::Timestamp;

/// Why a turn ended in error. `?` makes one from any error, and `"a reason".into()` makes one from a text.
pub type Failure = Box<dyn std::error::Error>;

/// How a turn ends.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// The calls that the server makes to an agent. They never overlap.
pub trait Agent: Sized {
    /// Makes the agent: called once for each new instance, before its first message. With an error the start fails.
    fn init(host: &mut Host) -> Result<Self>;

    /// One turn. After an error the message is done, and its sender gets a `failure` with the reason. After a panic a new
    /// instance gets the message again, up to `delivery.max_deliveries` times; [`Message::delivery_attempt`] counts them.
    fn handle(&mut self, message: &Message, host: &mut Host) -> Result;

    /// A turn like that of [`handle`](Self::handle), for a timer that fired. An agent that sets timers must implement it:
    /// the default ends in error.
    fn timer(&mut self, id: TimerId, host: &mut Host) -> Result {
        let _ = host;
        Err(format!("timer {id} fired, and this agent has no `timer`").into())
    }

    /// The last call of an instance before an ordered end: a stop, a restart, or a shutdown of the server. It is a turn without
    /// a message, and has effects like any other. There is no such call after a crash or a kill, so nothing that must not be
    /// lost may be left for it.
    fn shutdown(&mut self, host: &mut Host) {
        let _ = host;
    }
}

/// Exports an agent from its crate. Use it once in a crate, with the type that implements [`Agent`].
#[macro_export]
macro_rules! export {
    ($agent:ty) => {
        const _: () = {
            const fn is_agent<A: $crate::Agent>() {}
            is_agent::<$agent>();
        };

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static AGENT: $crate::guest::Slot<$agent> = const { $crate::guest::Slot::new(None) };
            }

            struct Component;

            impl $crate::guest::Handler for Component {
                fn init() -> ::std::result::Result<(), ::std::string::String> {
                    $crate::guest::init(&AGENT)
                }

                fn handle(message: $crate::guest::Incoming) -> ::std::result::Result<(), ::std::string::String> {
                    $crate::guest::handle(&AGENT, message)
                }
            }

            impl $crate::guest::Lifecycle for Component {
                fn timer(id: u32) -> ::std::result::Result<(), ::std::string::String> {
                    $crate::guest::timer(&AGENT, id)
                }

                fn shutdown() {
                    $crate::guest::shutdown(&AGENT);
                }
            }

    $crate::guest::export_component!(Component with_types_in $crate::guest);
        };
    };
}

macro_rules! log_macros {
    ($dollar:tt $($name:ident $level:ident $doc:literal)+) => {$(
        #[doc = concat!("Logs ", $doc, ": `", stringify!($name), "!(host, \"{n} left\")`. The line is kept even if the turn has no effects.")]
        #[macro_export]
        macro_rules! $name {
            ($dollar host:expr, $dollar ($dollar text:tt)+) => {
                $dollar host.log($dollar crate::Level::$level, &::std::format!($dollar ($dollar text)+))
            };
        }
    )+};
}

log_macros! { $
    trace Trace "a line for the search of a fault"
    debug Debug "a line for the agent's author"
    info Info "a line for the operator"
    warn Warn "a problem that the agent could handle"
    error Error "a problem that it could not handle"
}

/// Compiles the example in the README with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
