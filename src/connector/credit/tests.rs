use super::*;

const A: TenantId = TenantId(1);
const B: TenantId = TenantId(2);
const C: TenantId = TenantId(3);

/// A route of 20/s (ten places) and senders that submit at once whatever they have credit for; one may be a plain client.
struct Route {
    ledger: Ledger,
    plain: Option<TenantId>,
    now: Instant,
    waiting: Vec<TenantId>,
    sent: Vec<TenantId>,
}

impl Route {
    fn new(tenants: &[(TenantId, u32)]) -> Self {
        let mut ledger = Ledger::default();
        let now = Instant::now();
        ledger.set_rate(20_000);
        for (tenant, weight) in tenants {
            ledger.share(*tenant, *weight, true, now);
            ledger.bound(*tenant, true);
        }
        Self { ledger, plain: None, now, waiting: Vec::new(), sent: Vec::new() }
    }

    fn grant(&mut self) {
        for (tenant, credit) in self.ledger.grant(self.waiting.len(), self.now) {
            if self.plain == Some(tenant) {
                continue;
            }
            for _ in 0..credit {
                assert!(self.ledger.spend(tenant, self.now));
                self.waiting.push(tenant);
            }
        }
        assert!(self.waiting.len() + self.ledger.out() <= 10);
    }

    /// One submit goes upstream each fiftieth of a second.
    fn send(&mut self, count: usize) {
        for _ in 0..count {
            self.grant();
            if !self.waiting.is_empty() {
                self.sent.push(self.waiting.remove(0));
            }
            self.now += Duration::from_millis(50);
        }
    }

    /// A submit of the plain client; whether it was taken.
    fn submit_plainly(&mut self, tenant: TenantId) -> bool {
        self.plain = Some(tenant);
        if !self.ledger.spend(tenant, self.now) {
            self.ledger.miss(tenant, self.now);
            self.grant();
            if !self.ledger.spend(tenant, self.now) {
                return false;
            }
        }
        self.waiting.push(tenant);
        true
    }

    fn count(&self, tenant: TenantId, from: usize) -> usize {
        self.sent[from..].iter().filter(|sent| **sent == tenant).count()
    }
}

#[test]
fn weights_share_and_a_third_that_joins_has_its_share_within_a_second() {
    let mut route = Route::new(&[(A, 1), (B, 3), (C, 4)]);
    route.ledger.demand(A, 10_000);
    route.ledger.demand(B, 10_000);
    route.send(400);
    let (a, b) = (route.count(A, 0), route.count(B, 0));
    assert!((98..=104).contains(&a) && (296..=302).contains(&b), "{a} and {b}");
    route.ledger.demand(C, 10_000);
    route.send(20);
    let c = route.count(C, 400);
    assert!(c >= 4, "{c} of 20 in its first second");
    route.send(400);
    let shares = [A, B, C].map(|tenant| route.count(tenant, 420));
    assert!(shares.iter().zip([50, 150, 200]).all(|(is, due)| is.abs_diff(due) <= 5), "{shares:?}");
}

#[test]
fn one_message_beside_ten_thousand_goes_within_a_second() {
    let mut route = Route::new(&[(A, 1), (B, 1)]);
    route.ledger.demand(A, 10_000);
    route.send(100);
    route.ledger.demand(B, 1);
    route.send(20);
    assert_eq!(route.count(B, 100), 1);
}

#[test]
fn credit_without_use_is_taken_back_and_still_honoured() {
    let mut route = Route::new(&[(A, 1), (B, 1)]);
    route.ledger.demand(A, 100);
    let given = route.ledger.grant(0, route.now);
    assert_eq!(given.get(&A), Some(&10));
    route.ledger.demand(B, 5);
    assert!(route.ledger.grant(0, route.now).is_empty());
    route.now += UNUSED;
    route.ledger.reclaim(route.now);
    // B has room now, and A no more credit than it holds already.
    assert_eq!(route.ledger.grant(0, route.now), BTreeMap::from([(A, 5), (B, 5)]));
    for _ in 0..15 {
        assert!(route.ledger.spend(A, route.now));
    }
    assert!(!route.ledger.spend(A, route.now), "no more than was given");
}

#[test]
fn one_that_uses_nothing_is_not_given_ever_more() {
    let mut route = Route::new(&[(A, 1), (B, 1)]);
    route.plain = Some(A);
    route.ledger.demand(A, 500);
    for _ in 0..600 {
        route.grant();
        route.now += UNUSED;
        route.ledger.reclaim(route.now);
    }
    // What it was given it may use, all at once.
    let used = (0..500).take_while(|_| route.ledger.spend(A, route.now)).count();
    assert_eq!(used, 20, "a second of the rate");
}

#[test]
fn a_sender_that_forgot_its_credit_gets_new() {
    let mut route = Route::new(&[(A, 1)]);
    route.ledger.demand(A, 3);
    assert_eq!(route.ledger.grant(0, route.now).get(&A), Some(&3));
    route.now += UNUSED;
    route.ledger.reclaim(route.now);
    assert!(route.ledger.grant(0, route.now).is_empty(), "it still holds three");
    route.now += STALE;
    route.ledger.reclaim(route.now);
    assert_eq!(route.ledger.grant(0, route.now).get(&A), Some(&3));
}

#[test]
fn credit_given_back_serves_others() {
    let mut route = Route::new(&[(A, 1), (B, 1)]);
    route.ledger.demand(A, 100);
    route.ledger.grant(0, route.now);
    route.ledger.demand(A, 0);
    assert_eq!(route.ledger.out(), 0);
    assert!(!route.ledger.spend(A, route.now));
    route.ledger.demand(B, 100);
    assert_eq!(route.ledger.grant(0, route.now).get(&B), Some(&10));
}

#[test]
fn a_suspended_tenant_gets_nothing_until_it_is_lifted() {
    let mut route = Route::new(&[(A, 1)]);
    route.ledger.demand(A, 5);
    route.ledger.grant(0, route.now);
    route.ledger.share(A, 1, false, route.now);
    assert!(!route.ledger.spend(A, route.now));
    assert!(route.ledger.grant(0, route.now).is_empty());
    route.ledger.share(A, 1, true, route.now);
    assert_eq!(route.ledger.grant(0, route.now).get(&A), Some(&5));
    route.ledger.leave(A);
    assert_eq!((route.ledger.out(), route.ledger.wanting()), (0, 0));
}

#[test]
fn a_thousand_waiting_senders_are_served_in_turn() {
    let tenants: Vec<_> = (1..=1000).map(|id| (TenantId(id), 1)).collect();
    let mut route = Route::new(&tenants);
    for (tenant, _) in &tenants {
        route.ledger.demand(*tenant, 3);
    }
    route.send(1000);
    let mut first = route.sent.clone();
    first.sort();
    first.dedup();
    assert_eq!(first.len(), 1000, "everybody once before anybody twice");
}

#[test]
fn a_fast_route_grants_in_chunks() {
    let mut route = Route::new(&[(A, 1)]);
    route.ledger.set_rate(10_000_000);
    route.ledger.demand(A, 100_000);
    assert_eq!(route.ledger.grant(0, route.now).get(&A), Some(&5000));
    for _ in 0..100 {
        route.ledger.spend(A, route.now);
    }
    assert!(route.ledger.grant(0, route.now).is_empty());
    for _ in 0..400 {
        route.ledger.spend(A, route.now);
    }
    assert_eq!(route.ledger.grant(0, route.now).get(&A), Some(&500));
}

#[test]
fn a_plain_client_is_taken_where_there_is_room_and_refused_beyond() {
    let mut route = Route::new(&[(A, 1)]);
    assert!(route.submit_plainly(A));
    assert_eq!((route.ledger.wanting(), route.ledger.out()), (0, 0), "one is asked for and used at once");
    route.waiting.clear();
    let taken: Vec<_> = (0..30).map(|_| route.submit_plainly(A)).collect();
    assert_eq!(taken.iter().filter(|taken| **taken).count(), 10);
    assert!(taken[..10].iter().all(|taken| *taken), "the first ones");
}

#[test]
fn a_plain_client_that_tries_again_has_its_share_beside_a_sender() {
    let mut route = Route::new(&[(A, 1), (B, 1)]);
    route.ledger.demand(B, 10_000);
    route.send(40);
    for _ in 0..200 {
        route.submit_plainly(A);
        route.send(1);
    }
    let a = route.count(A, 40);
    assert!((90..=105).contains(&a), "{a} of 200");
}

#[test]
fn a_plain_client_that_does_not_come_again_holds_nothing_for_long() {
    let mut route = Route::new(&[(A, 1), (B, 1)]);
    route.ledger.demand(B, 10_000);
    route.send(40);
    // Far more often than there can be credit.
    while route.waiting.len() < 10 {
        route.grant();
    }
    assert!((0..1_000).all(|_| !route.submit_plainly(A)));
    route.send(20);
    assert!(route.ledger.out() > 0, "its turn came, and it was not there");
    route.now += UNUSED;
    route.ledger.reclaim(route.now);
    route.now += STALE;
    route.ledger.reclaim(route.now);
    let before = route.sent.len();
    route.send(40);
    assert_eq!((route.count(B, before), route.ledger.wanting(), route.ledger.out()), (40, 1, 0));
}

#[test]
fn a_plain_client_that_speaks_of_demand_is_one_no_more() {
    let mut route = Route::new(&[(A, 1)]);
    assert_eq!((0..11).filter(|_| route.submit_plainly(A)).count(), 10);
    assert_eq!(route.ledger.wanting(), 1, "the eleventh is expected again");
    route.ledger.demand(A, 1);
    assert_eq!(route.ledger.grant(0, route.now), BTreeMap::from([(A, 1)]), "what it says counts, and nothing else");
}

#[test]
fn what_one_may_have_waiting_leaves_room_for_the_others() {
    let mut route = Route::new(&[(A, 1), (B, 1)]);
    // Of ten places five are half a second of ten a second.
    route.ledger.set_cap(Some(10_000));
    route.ledger.demand(A, 10_000);
    let mut of_a = 0;
    for _ in 0..10 {
        route.grant();
        of_a = route.waiting.len();
        route.ledger.queued(A, of_a, Some(route.now), route.now);
    }
    assert_eq!(of_a, 5);
    route.ledger.demand(B, 10_000);
    route.grant();
    assert_eq!((route.waiting.len(), route.waiting.iter().filter(|tenant| **tenant == B).count()), (10, 5));
}

#[test]
fn who_has_long_to_rest_waits_with_its_sender() {
    let mut route = Route::new(&[(A, 1)]);
    route.ledger.set_cap(Some(200));
    route.ledger.demand(A, 10);
    route.ledger.queued(A, 0, Some(route.now + Duration::from_secs(5)), route.now);
    route.grant();
    assert_eq!(route.waiting.len(), 0);
    route.now += Duration::from_millis(4_400);
    route.ledger.reclaim(route.now);
    route.grant();
    assert_eq!(route.waiting.len(), 0);
    route.now += Duration::from_millis(100);
    route.ledger.reclaim(route.now);
    route.grant();
    assert_eq!(route.waiting.len(), 1, "one, a while before its turn");
}
