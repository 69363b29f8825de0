//! The connector between real parts: PostgreSQL with its functions, mutual TLS, the simulator as upstream.
mod circuit;
mod flow;
mod https;
mod inbox;
mod longer;
mod mouth;
mod odd_receipts;
mod opting;
mod peers;
mod receipts;
mod report;
mod stage;
mod upstream;
