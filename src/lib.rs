//! Caxton: a server for multi-agent systems.
