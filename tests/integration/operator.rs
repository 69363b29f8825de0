//! The operator against a real API server and real databases. No kubelet and no controllers run: what those would say
//! is said by the tests.
mod bootstrap;
mod deletion;
mod healing;
mod keys;
mod leaders;
mod provisioning;
mod retention;
mod routes;
mod scene;
mod services;
mod suspension;
mod transit;
