//! Longer SMS from handsets: parts in every form and at all the wrong times become one message, and none is lost.
use budstikke::domain::{Clock as _, SystemClock, TenantId, copenhagen_day};
use budstikke::keyring::seal::{Field, PublicKey};
use budstikke::smpp::CommandStatus;
use budstikke::store::received;
use jiff_sqlx::ToSqlx as _;
use rusmpp::pdus::DeliverSm;
use uuid::Uuid;

use super::inbox::Inbox;
use super::mouth::{FROM, Mouth, TO, part, payload, sar, written};
use super::stage::{Stage, settings};
use crate::support::postgres::Databases;

const TAKEN: CommandStatus = CommandStatus::EsmeRok;

/// A tenant with a number, on a route of two binds.
struct Scene {
    stage: Stage,
    mouth: Mouth,
    inbox: Inbox,
}

impl Scene {
    async fn set() -> Self {
        Self::on(Databases::start().await).await
    }

    async fn on(databases: Databases) -> Self {
        let tenant = databases.tenant("one").await;
        let (stage, mouth) = stage(databases, &[tenant]).await;
        let inbox = Inbox::open(&stage.databases, tenant).await;
        inbox.give(&stage, TO).await;
        // An endpoint, which every message is told to once.
        stage
            .run("insert into webhook (tenant_id, webhook_id, events, sealed, secret) values ($1, gen_random_uuid(), '{message.received}', '', '')", tenant)
            .await;
        mouth.insist(0, written(FROM, 1, &[], b"begin")).await;
        Self { stage, mouth, inbox }
    }

    async fn say(&self, bind: usize, pdu: DeliverSm) {
        assert_eq!(self.mouth.say(bind, pdu).await, TAKEN);
    }

    /// What was received after the first message, and that each was told once.
    async fn texts(&self) -> Vec<String> {
        let texts = self.inbox.messages().await.into_iter().map(|message| {
            assert!(message.missing.is_empty());
            message.text.expect("a text").reveal().clone()
        });
        let texts: Vec<String> = texts.skip(1).collect();
        assert_eq!(self.told().await.len(), texts.len() + 1);
        texts
    }

    /// What the tenant's endpoint is to be told of, in order.
    async fn told(&self) -> Vec<Uuid> {
        let told =
            sqlx::query_scalar("select subject from webhook_job where event = 'message.received' order by place");
        told.fetch_all(&self.inbox.owner).await.expect("jobs")
    }

    /// An hour passes for all that is awaited.
    async fn an_hour_later(&self) {
        let past = "update inbound set open_until = now() - interval '1 second' where open_until is not null and tenant_id = $1";
        self.stage.run(past, self.inbox.tenant).await;
    }

    async fn give_up(&self) -> u64 {
        let worker = self.stage.databases.data.pool("budstikke_worker");
        received::give_up(&worker).await.expect("given up")
    }
}

async fn stage(databases: Databases, tenants: &[TenantId]) -> (Stage, Mouth) {
    let mouth = Mouth::open().await;
    let mut settings = settings(mouth.port);
    settings.binds = 2;
    let shares: Vec<_> = tenants.iter().map(|tenant| (*tenant, 1)).collect();
    let stage = Stage::start(databases, &shares, settings).await;
    stage.bound(2).await;
    (stage, mouth)
}

#[tokio::test]
async fn parts_in_any_order_by_any_bind_and_twice_are_one_message() {
    let scene = Scene::set().await;
    let part = |number, text| part(FROM, 7, number, 3, text);
    scene.say(0, part(3, "Tre")).await;
    scene.say(1, part(1, "En ")).await;
    scene.say(0, part(1, "En ")).await;
    scene.say(1, part(3, "Tre")).await;
    assert_eq!(scene.texts().await, [""; 0], "one is missing");
    scene.say(1, part(2, "To ")).await;
    assert_eq!(scene.texts().await, ["En To Tre"]);
    scene.say(0, part(2, "To ")).await;
    scene.say(1, part(3, "Tre")).await;
    assert_eq!(scene.texts().await, ["En To Tre"], "what comes once more when it is whole is not new either");
    assert_eq!(scene.inbox.all().await.len(), 2, "nothing else is awaited");
    let message = scene.inbox.messages().await.remove(1);
    assert_eq!((message.from.reveal().as_str(), message.to.reveal().as_str(), message.parts), (FROM, TO, 3));

    // The same reference for another text, as after 256 of them.
    scene.say(0, part(2, "og ")).await;
    scene.say(0, part(1, "Sol ")).await;
    scene.say(0, part(3, "hav")).await;
    assert_eq!(scene.texts().await[1], "Sol og hav");
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn all_parts_at_once_are_one_message() {
    let scene = Scene::set().await;
    let texts: Vec<String> = (1..=8).map(|number| format!("del {number}. ")).collect();
    for reference in 1..=5 {
        let parts = (1_u8..).zip(&texts).map(|(number, text)| part(FROM, reference, number, 8, text));
        let said = parts.enumerate().map(|(nth, pdu)| scene.mouth.say(nth % 2, pdu));
        assert_eq!(futures::future::join_all(said).await, [TAKEN; 8]);
    }
    assert_eq!(scene.texts().await, vec![texts.concat(); 5]);
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn who_wrote_keeps_texts_with_the_same_reference_apart() {
    let scene = Scene::set().await;
    let other = "4520999999";
    scene.say(0, part(FROM, 7, 1, 2, "Hun skriver ")).await;
    scene.say(0, part(other, 7, 2, 2, "hvad han vil")).await;
    scene.say(1, part(other, 7, 1, 2, "Han skriver ")).await;
    // Another reference, and as many parts more.
    scene.say(1, part(FROM, 8, 1, 2, "Et andet ")).await;
    scene.say(1, part(FROM, 7, 1, 3, "Et tredje ")).await;
    scene.say(0, part(FROM, 7, 2, 2, "til ham")).await;
    let messages = scene.inbox.messages().await;
    let said: Vec<_> = messages[1..]
        .iter()
        .map(|message| (message.from.reveal().clone(), message.text.clone().expect("a text").reveal().clone()))
        .collect();
    let wanted = [(other, "Han skriver hvad han vil"), (FROM, "Hun skriver til ham")];
    assert_eq!(said, wanted.map(|(from, text)| (from.to_owned(), text.to_owned())));
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn every_form_of_concatenation_is_put_together() {
    let scene = Scene::set().await;
    // References of two octets; parameters; message_payload.
    for number in [2, 1] {
        scene.say(0, written(FROM, 1, &[6, 8, 4, 1, 7, 2, number], &[b'A' + number])).await;
        scene.say(0, sar(FROM, 0x207, number, 2, ["Nul ", "et"][usize::from(number) - 1])).await;
        scene.say(1, payload(part(FROM, 9, number, 2, &"lang ".repeat(20 * usize::from(number))))).await;
        scene.say(1, payload(sar(FROM, 0x20A, number, 2, "last "))).await;
    }
    let all = async || {
        let mut texts = scene.texts().await;
        texts.sort();
        texts
    };
    assert_eq!(all().await, ["BC", "Nul et", "lang ".repeat(60).as_str(), "last last "]);
    // Ports, languages, and what nobody knows beside it; in one part before and in the other behind.
    let more = [5, 4, 0x23, 0xF4, 0, 0, 0x24, 1, 1, 0x70, 2, 9, 9];
    let before = [&[18][..], &more, &[0, 3, 11, 2, 1]].concat();
    let behind = [&[18][..], &[0, 3, 11, 2, 2], &more].concat();
    scene.say(0, written(FROM, 0, &before, b"Kun ")).await;
    scene.say(1, written(FROM, 0, &behind, b"teksten")).await;
    // A character that was cut in two.
    scene.say(0, written(FROM, 8, &[5, 0, 3, 12, 2, 1], &[0x00, 0x48, 0xD8, 0x3D])).await;
    scene.say(0, written(FROM, 8, &[5, 0, 3, 12, 2, 2], &[0xDE, 0x00])).await;
    assert_eq!(all().await[1..3], ["H😀", "Kun teksten"]);
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn parts_are_put_together_though_everything_restarts_between_them() {
    let mut scene = Scene::on(Databases::alone().await).await;
    scene.say(0, part(FROM, 7, 2, 3, "andet ")).await;
    scene.stage = scene.stage.restart().await;
    scene.stage.bound(2).await;
    scene.mouth.insist(0, part(FROM, 7, 1, 3, "Forste ")).await;
    scene.stage.databases.data.kill();
    scene.stage.databases.data.revive().await;
    scene.stage = scene.stage.restart().await;
    scene.stage.bound(2).await;
    // The answer to the first one was lost with its connector.
    scene.mouth.insist(0, part(FROM, 7, 1, 3, "Forste ")).await;
    scene.mouth.insist(1, part(FROM, 7, 3, 3, "tredje")).await;
    assert_eq!(scene.texts().await, ["Forste andet tredje"]);
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn what_lacks_a_part_after_an_hour_is_told_as_it_is() {
    let scene = Scene::set().await;
    scene.say(0, part(FROM, 7, 3, 3, "slut")).await;
    scene.say(0, part(FROM, 7, 1, 3, "Begyndelse ")).await;
    assert_eq!((scene.give_up().await, scene.inbox.messages().await.len()), (0, 1), "it is awaited");
    let waiting = scene.inbox.all().await.remove(1);
    assert_eq!((waiting.parts, waiting.missing), (3, vec![2]), "but registered, and told to who asks for all of it");

    scene.an_hour_later().await;
    let messages = scene.inbox.messages().await;
    assert_eq!(
        (messages.len(), &messages[1].missing),
        (2, &vec![2]),
        "listed, whether the worker has been there or not"
    );
    assert_eq!(messages[1].text.as_ref().expect("a text").reveal(), "Begyndelse slut");
    assert_eq!((scene.give_up().await, scene.give_up().await), (1, 0));
    assert_eq!(scene.told().await.len(), 2);
    assert_eq!(scene.inbox.messages().await.len(), 2);

    // It comes after all: nothing is lost.
    scene.say(0, part(FROM, 7, 2, 3, "midte ")).await;
    assert_eq!(scene.inbox.messages().await.len(), 2);
    scene.an_hour_later().await;
    assert_eq!((scene.give_up().await, scene.told().await.len()), (1, 3));
    let late = scene.inbox.messages().await.remove(2);
    assert_eq!((late.text.expect("a text").reveal().as_str(), late.missing), ("midte ", vec![1, 3]));
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn a_message_that_is_written_at_midnight_is_of_one_day() {
    let scene = Scene::set().await;
    scene.say(0, part(FROM, 7, 1, 2, "I aftes ")).await;
    // As if that had been before midnight: sealed to the key of yesterday, and of its day.
    let (owner, tenant) = (&scene.inbox.owner, scene.inbox.tenant);
    let yesterday = copenhagen_day(SystemClock.now()).yesterday().expect("a day");
    sqlx::query("select ensure_partitions($1, $1)")
        .bind(yesterday.to_sqlx())
        .execute(owner)
        .await
        .expect("a partition");
    let (id, name, sealed): (Uuid, String, Vec<u8>) =
        sqlx::query_as("select inbound_id, key_name, sealed from inbound where part = 1")
            .fetch_one(owner)
            .await
            .expect("it");
    let plain = scene.inbox.api.inbound_private(tenant, &name).await.expect("a key").open(id, Field::Inbound, &sealed);
    let (name, key): (String, Vec<u8>) =
        sqlx::query_as("select key_name, key from public_key where tenant_id = $1 and day = $2")
            .bind(tenant.0)
            .bind(yesterday.to_sqlx())
            .fetch_one(owner)
            .await
            .expect("yesterday's key");
    let key = PublicKey::new(tenant, &name, &key).expect("a key");
    sqlx::query("update inbound set day = $1, key_name = $2, sealed = $3 where inbound_id = $4")
        .bind(yesterday.to_sqlx())
        .bind(name)
        .bind(key.seal(id, Field::Inbound, &plain.expect("opened")).expect("sealed"))
        .bind(id)
        .execute(owner)
        .await
        .expect("yesterday");

    scene.say(1, part(FROM, 7, 2, 2, "og i dag")).await;
    assert_eq!(scene.texts().await, ["I aftes og i dag"]);
    let days: Vec<(jiff_sqlx::Date, i64)> =
        sqlx::query_as("select day, count(distinct key_name) from inbound where parts = 2 group by day")
            .fetch_all(owner)
            .await
            .expect("days");
    assert_eq!(days, [(yesterday.to_sqlx(), 2)], "both go together, and each has the key of its own day");
    scene.stage.running.stop().await;
}

#[tokio::test]
async fn where_keywords_decide_later_parts_go_where_the_first_one_went() {
    let databases = Databases::start().await;
    let tenants = [databases.tenant("one").await, databases.tenant("other").await, databases.tenant("rest").await];
    let (mut stage, mouth) = stage(databases, &tenants).await;
    let mut boxes = Vec::new();
    for (tenant, keyword) in tenants.iter().zip(["STEM", "VIND", ""]) {
        let inbox = Inbox::open(&stage.databases, *tenant).await;
        inbox.give_keyword(&stage, TO, keyword).await;
        boxes.push(inbox);
    }
    mouth.insist(0, written(FROM, 1, &[], b"Stem nu")).await;
    mouth.insist(0, written(FROM, 1, &[], b"Vind nu")).await;
    mouth.insist(0, written(FROM, 1, &[], b"Andet")).await;
    let part = |reference, number, text| part(FROM, reference, number, 2, text);

    // The first part comes last: what overtook it stays with the upstream, which brings it again.
    assert_eq!(mouth.say(0, part(7, 2, "VIND er ikke det forreste ord")).await, CommandStatus::EsmeRxTAppn);
    assert_eq!(mouth.say(1, part(7, 1, "stem her: ")).await, TAKEN);
    // By a connector that has seen nothing of it.
    stage = stage.restart().await;
    stage.bound(2).await;
    mouth.insist(0, part(7, 2, "VIND er ikke det forreste ord")).await;
    let texts = boxes[0].texts().await;
    assert_eq!(texts.len(), 2);
    assert!(texts[1].starts_with("stem her: VIND"), "{texts:?}");

    // The same reference by the same person, for another keyword: the later part waits for its own first one.
    assert_eq!(mouth.say(0, part(7, 2, "for ham")).await, CommandStatus::EsmeRxTAppn);
    let (first, second) = tokio::join!(mouth.say(1, part(7, 1, "VIND ")), mouth.say(0, part(7, 2, "for ham")));
    assert_eq!((first, second), (TAKEN, TAKEN), "one that waits for a moment needs no second try");
    assert_eq!(boxes[1].texts().await, ["VIND for ham", "Vind nu"]);
    // What is nobody's keyword goes whole to whoever has the rest.
    mouth.insist(0, part(8, 1, "Hej ")).await;
    mouth.insist(0, part(8, 2, "STEM")).await;
    assert_eq!(boxes[2].texts().await, ["Andet", "Hej STEM"]);
    assert_eq!((boxes[0].all().await.len(), boxes[1].all().await.len()), (2, 2), "and to nobody else");
    stage.running.stop().await;
}
