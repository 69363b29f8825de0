//! Which route a message goes by: away from one that takes nothing, and back when it does.
use budstikke::config::sender::Cost;
use budstikke::domain::{Circuit, LocalError, MessageState, MilliOre};
use budstikke::smpp::CommandStatus;
use rusmpp::values::MessageState as Reported;

use super::connector::Fate;
use super::world::World;

fn written(world: &World) -> [usize; 2] {
    [0, 1].map(|route| world.connectors[route].state().written.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fault_of_the_routes_sends_the_message_by_the_next_and_a_fault_of_its_own_does_not() {
    // ESME_RSYSERR may pass, ESME_RBINDFAIL does not: neither is the message's fault.
    for status in [CommandStatus::EsmeRsyserr, CommandStatus::EsmeRbindfail] {
        let world = World::new(2, 10).await;
        world.connectors[0].script(move |_| Fate::Refused(status));
        let sender = world.start();
        world.queue(5, &"x".repeat(200)).await;
        world.all(MessageState::Delivered, 5).await;
        assert_eq!(written(&world), [0, 10], "{status:?}: each part once");
        sender.stop().await;
    }
    let world = World::new(2, 10).await;
    world.connectors[0].script(|_| Fate::Refused(CommandStatus::EsmeRinvsrcadr));
    let sender = world.start();
    world.queue(5, "Hej").await;
    world.all(MessageState::Rejected, 5).await;
    assert_eq!(written(&world), [0, 0]);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_every_route_fails_it_is_tried_a_few_times_and_then_refused() {
    let world = World::new(2, 10).await;
    for connector in &world.connectors {
        connector.script(|_| Fate::Refused(CommandStatus::EsmeRbindfail));
    }
    let sender = world.start();
    world.queue(1, "Hej").await;
    world.all(MessageState::Rejected, 1).await;
    assert_eq!(world.number("select error::bigint from message_log where tenant_id = $1").await, 0x0D);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_leave_a_route_whose_circuit_opens_and_come_back_when_it_closes() {
    let world = World::new(2, 10).await;
    let [first, second] = &world.connectors[..] else { panic!("two") };
    let sender = world.start();
    world.queue(10, "Hej").await;
    world.all(MessageState::Delivered, 10).await;
    assert_eq!(written(&world), [10, 0]);

    // No credit either, as where an upstream throttles without end.
    first.state().window = 0;
    world.queue(50, "Hej").await;
    first.circuit(Circuit::Open);
    second.wake();
    world.all(MessageState::Delivered, 60).await;
    assert_eq!(written(&world), [10, 50]);

    // Tried again, it gets one message; the others stay where they go.
    first.state().window = 10;
    first.script(|_| Fate::Late);
    first.circuit(Circuit::HalfOpen);
    world.queue(30, "Hej").await;
    second.wake();
    world.until("the others", async || (written(&world)[1] >= 79).then_some(())).await;
    assert_eq!(written(&world), [11, 79]);
    first.script(|_| Fate::Taken(Some(Reported::Delivered)));
    first.answer_late();
    first.circuit(Circuit::Closed);
    world.queue(20, "Hej").await;
    first.wake();
    world.until("the first again", async || (written(&world)[0] >= 31).then_some(())).await;
    assert_eq!(written(&world), [31, 79]);
    sender.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cheapest_route_goes_first_and_a_premium_number_by_its_own() {
    let world = World::new(2, 10).await;
    world.configure(|config| {
        for (leg, cost) in config.settings.routes.iter_mut().zip([20_000, 10_000]) {
            leg.costs = vec![Cost { prefix: "45".to_owned(), cost: MilliOre(cost) }];
        }
    });
    let sender = world.start();
    world.queue(10, "Hej").await;
    world.all(MessageState::Delivered, 10).await;
    assert_eq!(written(&world), [0, 10]);
    sender.stop().await;

    let world = World::new(2, 10).await;
    world.configure(|config| config.settings.routes[0].without_senders = vec!["Budstikke".to_owned()]);
    let sender = world.start();
    world.queue(10, "Hej").await;
    world.all(MessageState::Delivered, 10).await;
    assert_eq!(written(&world), [0, 10]);
    sender.stop().await;
    world.configure(|config| config.settings.routes[1].without_senders = vec!["Budstikke".to_owned()]);
    let sender = world.start();
    world.queue(1, "Hej").await;
    let no_route =
        format!("select count(*) from message_log where tenant_id = $1 and error = {}", LocalError::NoRoute.code());
    let no_route: &'static str = no_route.leak();
    world.until("a refusal", async || (world.number(no_route).await == 1).then_some(())).await;
    sender.stop().await;
}
