//! Webhooks, from the call that sets one up to what a real HTTPS server is told.
mod managing;
mod receiver;
mod rights;
mod scene;
mod telling;
mod trying;
