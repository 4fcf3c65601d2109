//! Agents for Caxton in Rust: a trait, typed messages and state, and a host for their tests.
//!
//! An agent is a type that implements [`Agent`]. [`export!`] makes its crate a module that a server takes as it is:
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
//!                 caxton_agent::info!(host, "asked for the {count}. time");
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
//! Each call of an agent is a turn. What it sends and stores and the timers that it sets take effect together when the
//! call returns `Ok`, and never do when it returns an error or panics. The fields of the agent are only memory: they are
//! gone with the instance, after a panic or a restart of the server, and an error does not take their changes back. What
//! has to last belongs into the state ([`Host::set`]).
//!
//! What an agent may do besides answering, logging and reading the clock is up to its deploy; all else fails with
//! [`HostError::NotPermitted`].

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

/// Why a turn ended in error: anything that has a text. `?` makes one of any error, and `"a reason".into()` of a text.
pub type Failure = Box<dyn std::error::Error>;

/// How a turn ends.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// What an agent is to the server. Calls never overlap.
pub trait Agent: Sized {
    /// Makes the agent, once for each new instance and before its first message. An error is a failed start.
    fn init(host: &mut Host) -> Result<Self>;

    /// One turn. After an error the message is done, and its sender gets a `failure` with the reason. After a panic a new
    /// instance gets the message again, as often as the agent's settings say; [`Message::delivery_attempt`] tells.
    fn handle(&mut self, message: &Message, host: &mut Host) -> Result;

    /// A turn like that of [`handle`](Self::handle), for a timer that fired. An agent that sets timers has one of its own:
    /// this one ends in error.
    fn timer(&mut self, id: TimerId, host: &mut Host) -> Result {
        let _ = host;
        Err(format!("timer {id} fired, and this agent has no `timer`").into())
    }

    /// The last call of an instance that is ended in order: by a stop, a restart, an end of the server. A turn without a
    /// message: what it sends and stores takes effect. After a crash or a kill there is none, so nothing that must not be lost
    /// may wait for it.
    fn shutdown(&mut self, host: &mut Host) {
        let _ = host;
    }
}

/// Makes an agent what its crate exports. Once in a crate, with the type that implements [`Agent`].
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
        #[doc = concat!("Logs ", $doc, ": `", stringify!($name), "!(host, \"{n} left\")`. Lines are kept whatever becomes of the turn.")]
        #[macro_export]
        macro_rules! $name {
            ($dollar host:expr, $dollar ($dollar text:tt)+) => {
                $dollar host.log($dollar crate::Level::$level, &::std::format!($dollar ($dollar text)+))
            };
        }
    )+};
}

log_macros! { $
    trace Trace "a line that only who hunts a fault wants to see"
    debug Debug "a line for the agent's author"
    info Info "a line of news for the operator"
    warn Warn "what is not as it should be, and was got over"
    error Error "what went wrong"
}

/// Its example is compiled with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
