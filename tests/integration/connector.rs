//! The connector between real parts: PostgreSQL with its functions, mutual TLS, the simulator as upstream.
mod flow;
mod https;
mod inbox;
mod peers;
mod receipts;
mod report;
mod stage;
mod upstream;
