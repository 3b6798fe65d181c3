//! Who may have a floating address, who votes about it, and how the voters change.

use super::*;
use model::container_spec::ContainerSpec;
use model::host::{Environment, HostFacts, Membership, Scheduling};
use model::instance::{Instance, InstanceStatus, Target};
use model::record::{Orders, ServiceSettings};
use model::service::{ServiceSpec, Template};
use model::time::Index;

const VIP: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 50);

/// A cluster, in which what is decided is written.
struct World {
    cluster: Cluster,
    seats: Seats,
}

impl World {
    /// Hosts with their status, `e` after it for those with the label, and a service on each.
    fn new(hosts: &[(&str, HostLink, &str)]) -> Self {
        let mut world = Self { cluster: Cluster::default(), seats: Seats::default() };
        let subnet = "10.42.0.0/16".parse().unwrap();
        let environment = Environment::new("e1".into(), "e1", subnet);
        world.put(vec![Record::Environment(Arc::new(environment))]);
        world.service("shop/web", VIP);
        for (n, (id, status, words)) in hosts.iter().enumerate() {
            world.host(id, *status, words);
            if words.contains('i') {
                let n = u64::try_from(n).unwrap() + 1;
                world.instance(&format!("shop/web#{n}@{n}"), id, Health::Healthy);
            }
        }
        world.settle();
        world
    }

    fn put(&mut self, records: Vec<Record>) {
        let index = Index(self.cluster.index().0 + 1);
        let edits: Vec<Edit> = records.into_iter().map(Edit::Put).collect();
        self.apply(index, Change { edits });
    }

    fn apply(&mut self, index: Index, change: Change) {
        self.cluster.apply(index, &change);
        change.edits.iter().for_each(|edit| self.seats.note(&self.cluster, &edit.key()));
    }

    /// `e`: the label; `n`: on the segment; `i`: with an instance; `d`: its dataplane is dead.
    fn host(&mut self, id: &str, status: HostLink, words: &str) {
        let last = id.trim_start_matches('h');
        let facts = HostFacts {
            address: format!("192.0.2.{last}"),
            segment: words.contains('n').then(|| "192.0.2.0/24".parse().unwrap()),
            dataplane_problem: if words.contains('d') { "dead".into() } else { String::new() },
            ..HostFacts::default()
        };
        let labels = words.contains('e').then(|| ("edge".to_owned(), "true".to_owned()));
        self.put(vec![Record::Host(Arc::new(Host {
            id: id.parse().unwrap(),
            facts,
            status,
            changed_at: Timestamp(0),
            unheard_since: Timestamp(0),
            scheduling: Scheduling::Active,
            labels: labels.into_iter().collect(),
            reason: String::new(),
            membership: Membership::default(),
        }))]);
    }

    fn service(&mut self, id: &str, address: Ipv4Addr) {
        let hosts = [("edge".to_owned(), "true".to_owned())].into();
        let mut spec = ServiceSpec::of(Template::of_container(ContainerSpec::default()));
        spec.floating_ip = Some(FloatingIp { address, hosts });
        self.put(vec![Record::Service(Arc::new(Service {
            id: id.parse().unwrap(),
            settings: ServiceSettings::of(&spec),
            scale: 1,
            target: Target { revision: 1, restart: 0 },
            attempt: 0,
            orders: Orders::default(),
            goal: Goal::Run,
            created_at: Timestamp(0),
        }))]);
    }

    fn instance(&mut self, id: &str, host: &str, health: Health) {
        let id: model::id::InstanceId = id.parse().unwrap();
        let seen = InstanceStatus { phase: Phase::Running, health, ..InstanceStatus::default() };
        let instance = Instance {
            id: id.clone(),
            host: host.parse().unwrap(),
            address: None,
            sidekick_addresses: BTreeMap::new(),
            container_name: String::new(),
            target: Target { revision: 1, restart: 0 },
            ports: vec![],
            goal: Goal::Run,
            leaving: false,
            dropped: vec![],
            reason: String::new(),
            placed_at: Timestamp(0),
            goal_at: Timestamp(0),
        };
        let seen = Record::InstanceStatus(id, Arc::new(seen));
        self.put(vec![Record::Instance(Arc::new(instance)), seen]);
    }

    fn delete(&mut self, key: RecordKey) {
        let index = Index(self.cluster.index().0 + 1);
        self.apply(index, Change { edits: vec![Edit::Delete(key)] });
    }

    /// Plans until nothing is to be done. From nothing the same must be found.
    fn settle(&mut self) {
        for _ in 0..20 {
            let anew = Seats::of(&self.cluster).decide(&self.cluster);
            let all = self.seats.decide(&self.cluster);
            assert_eq!(all, anew, "who follows finds the same as who begins");
            if all.is_empty() {
                return;
            }
            for proposal in all {
                let index = Index(self.cluster.index().0 + 1);
                self.apply(index, proposal.change);
            }
        }
        panic!("it does not come to rest");
    }

    /// Each of these hosts says that it knows the newest voters, and that it holds with that term.
    fn say(&mut self, hosts: &[(&str, Option<u64>)]) {
        for (host, term) in hosts {
            let known = self.floating();
            let seen = FloatingSeen { settled: known.number, term: *term, problem: String::new() };
            let at = Timestamp(i64::try_from(self.cluster.index().0).unwrap());
            if let Some(next) = heard(&known, &host.parse().unwrap(), &seen, at) {
                self.put(vec![Record::Floating(Arc::new(next))]);
            }
        }
        self.settle();
    }

    fn floating(&self) -> Floating {
        (**self.cluster.floating(VIP).expect("there is a record")).clone()
    }

    fn voters(&self) -> String {
        names(self.floating().voters.iter())
    }

    fn candidates(&self) -> String {
        names(self.floating().candidates.iter())
    }

    fn why(&self) -> String {
        let service = self.cluster.service(&"shop/web".parse().unwrap()).unwrap();
        blocked(&self.cluster, service).map(|b| b.reason.to_string()).unwrap_or_default()
    }
}

use HostLink::{Active, Disconnected, Lost};

#[test]
fn hosts_with_the_label_on_the_segment_with_an_instance_may_have_it_and_others_vote_too() {
    type Row<'a> = (&'a [(&'a str, HostLink, &'a str)], &'a str, &'a str, &'a str);
    let rows: [Row<'_>; 10] = [
        (&[("h1", Active, "nie"), ("h2", Active, "nd"), ("h3", Active, "nd")], "h1", "h1", ""),
        (
            &[("h1", Active, "nie"), ("h2", Active, "nie"), ("h3", Active, "ni")],
            "h1, h2",
            "h1, h2, h3",
            "",
        ),
        (&[("h1", Active, "n"), ("h2", Active, "nie")], "h2", "h1, h2", ""),
        (&[("h1", Active, "nie")], "h1", "h1", ""),
        (
            &[("h1", Active, "n"), ("h2", Active, "n"), ("h3", Active, "n"), ("h4", Active, "nie")],
            "h4",
            "h1, h2, h4",
            "",
        ),
        (&[("h1", Active, "ni")], "", "h1", "there is no host with edge=true"),
        (&[("h1", Active, "ie")], "", "h1", "on the segment of none of 1 hosts with edge=true"),
        (
            &[("h1", Active, "ne")],
            "",
            "h1",
            "no instance of shop/web takes traffic on a host that may have it (h1)",
        ),
        (
            &[("h1", Lost, "nie"), ("h2", Active, "n")],
            "",
            "h2",
            "none of the hosts that may have it is connected (h1)",
        ),
        (&[("h50", Active, "nie")], "", "h50", "it is the own address of host h50"),
    ];
    for (hosts, candidates, voters, why) in rows {
        let world = World::new(hosts);
        assert_eq!(world.candidates(), candidates, "{hosts:?}");
        assert_eq!(world.voters(), voters, "{hosts:?}");
        assert!(
            world.why().contains(why) && (why.is_empty() == world.why().is_empty()),
            "{hosts:?}: {}",
            world.why()
        );
    }
}

#[test]
fn who_gets_no_record_is_told_why() {
    let mut world = World::new(&[("h1", Active, "nied")]);
    assert!(world.why().contains("no host has a dataplane"), "{}", world.why());
    world.host("h1", Active, "nie");
    world.settle();
    assert_eq!((world.voters().as_str(), world.why().as_str()), ("h1", ""));
    for n in 0..FLOATING_MAX {
        let address = Ipv4Addr::new(192, 0, 2, u8::try_from(100 + n).unwrap());
        world.service(&format!("shop/w{n}"), address);
    }
    world.settle();
    let without = |service: &&Arc<Service>| {
        blocked(&world.cluster, service)
            .is_some_and(|b| b.reason.to_string().contains("no more can be had"))
    };
    let without: Vec<String> =
        world.cluster.services().filter(without).map(|s| s.id.to_string()).collect();
    assert_eq!(without.len(), 1, "{without:?}");
}

#[test]
fn one_that_is_unwell_or_goes_is_no_candidate_and_one_that_is_silent_for_a_moment_stays() {
    let mut world = World::new(&[("h1", Active, "nie"), ("h2", Active, "nie")]);
    world.instance("shop/web#1@1", "h1", Health::Unhealthy);
    world.settle();
    assert_eq!(world.candidates(), "h2");
    world.host("h2", Disconnected, "nie");
    world.settle();
    assert_eq!(world.candidates(), "h2", "nothing moves for that");
    world.host("h2", Lost, "nie");
    world.settle();
    assert_eq!(world.candidates(), "");
}

#[test]
fn voters_change_one_at_a_time_and_only_when_the_last_change_is_settled() {
    let all = [("h1", None), ("h2", None), ("h3", None), ("h4", None), ("h5", None)];
    let mut world = World::new(&[("h1", Active, "nie"), ("h2", Active, "nie")]);
    for id in ["h3", "h4", "h5"] {
        world.host(id, Active, "n");
    }
    world.settle();
    assert_eq!(world.voters(), "h1, h2", "not settled yet");
    let first = world.floating().number;
    world.say(&all[..1]);
    assert_eq!(world.voters(), "h1, h2", "one of two is no majority");
    world.say(&all[1..2]);
    assert_eq!(world.voters(), "h1, h2, h3");
    assert!(world.floating().number > first && world.floating().settled.is_empty());
    world.say(&all);
    assert_eq!(world.voters(), "h1, h2, h3, h4");
    world.say(&all);
    world.say(&all);
    assert_eq!(world.voters(), "h1, h2, h3, h4, h5");
    let last = world.floating().number;
    world.say(&all);
    assert_eq!(world.floating().number, last, "it comes to rest");
    // A number that is not the newest settles nothing.
    let known = world.floating();
    let old = FloatingSeen { settled: first, ..FloatingSeen::default() };
    assert_eq!(heard(&known, &"h1".parse().unwrap(), &old, Timestamp(0)), None);
    // One that is newer was given before a copy of the state was put back.
    let newer = FloatingSeen { settled: last + 60, ..FloatingSeen::default() };
    let next = heard(&known, &"h1".parse().unwrap(), &newer, Timestamp(0)).unwrap();
    assert!(next.number == last + 61 && next.settled.is_empty());
}

#[test]
fn a_lost_voter_is_left_out_while_a_majority_of_the_rest_is_there() {
    let say = [("h1", None), ("h2", None), ("h3", None)];
    let hosts = [("h1", Active, "nie"), ("h2", Active, "nie"), ("h3", Active, "n")];
    let mut world = World::new(&hosts);
    world.say(&say);
    world.host("h3", Disconnected, "n");
    world.settle();
    assert_eq!(world.voters(), "h1, h2, h3", "a moment of silence changes nothing");
    world.host("h3", Lost, "n");
    world.settle();
    assert_eq!(world.voters(), "h1, h2");
    world.say(&say);
    world.host("h1", Lost, "nie");
    world.settle();
    assert_eq!(
        (world.voters(), world.candidates()),
        ("h2".into(), "h2".into()),
        "of two the other"
    );
    // Two at once: nobody can tell whether they agree with each other elsewhere.
    let mut world = World::new(&hosts);
    world.say(&say);
    world.host("h1", Lost, "nie");
    world.host("h3", Lost, "n");
    world.settle();
    assert_eq!(world.voters(), "h1, h2, h3");
    assert!(world.why().contains("of its 3 voters h1, h3 cannot be heard"), "{}", world.why());
    // People say that they are gone.
    world.delete(RecordKey::Host("h1".parse().unwrap()));
    world.delete(RecordKey::Host("h3".parse().unwrap()));
    world.settle();
    assert_eq!((world.voters(), world.why()), ("h2".into(), String::new()));
}

#[test]
fn of_two_who_say_that_they_hold_the_later_one_is_believed() {
    let mut world = World::new(&[("h1", Active, "nie"), ("h2", Active, "nie")]);
    let holder = |world: &World| world.floating().holder.map(|h| format!("{} {}", h.host, h.term));
    world.say(&[("h1", Some(7))]);
    assert_eq!(holder(&world).as_deref(), Some("h1 7"));
    world.say(&[("h2", Some(8)), ("h1", Some(7))]);
    assert_eq!(holder(&world).as_deref(), Some("h2 8"), "h1 was stopped and said so before");
    world.say(&[("h1", None)]);
    assert_eq!(holder(&world).as_deref(), Some("h2 8"));
    world.say(&[("h2", None)]);
    assert_eq!(holder(&world), None);
}

#[test]
fn the_address_is_free_for_another_when_the_voters_have_heard_that_nobody_asks() {
    let say = [("h1", Some(3)), ("h2", None)];
    let mut world = World::new(&[("h1", Active, "nie"), ("h2", Active, "nie")]);
    world.say(&say);
    world.service("shop/other", VIP);
    world.settle();
    let other: ServiceId = "shop/other".parse().unwrap();
    let other = Arc::clone(world.cluster.service(&other).unwrap());
    let why = blocked(&world.cluster, &other).unwrap().reason.to_string();
    assert!(why.contains("it is that of service shop/web"), "{why}");
    let number = world.floating().number;
    world.delete(RecordKey::Service("shop/other".parse().unwrap()));
    world.delete(RecordKey::Service("shop/web".parse().unwrap()));
    world.settle();
    let left = world.floating();
    assert!(left.service.is_none() && left.candidates.is_empty() && left.number > number);
    world.say(&[("h1", None)]);
    assert!(world.cluster.floating(VIP).is_some(), "h2 may not have heard of it");
    world.say(&[("h2", None)]);
    assert!(world.cluster.floating(VIP).is_none());
}

#[test]
fn a_stack_cannot_ask_for_what_is_taken() {
    let world = World::new(&[("h1", Active, "nie")]);
    let asks = |address: &str, name: &str| {
        let mut spec = ServiceSpec::of(Template::of_container(ContainerSpec::default()));
        let address = address.parse().unwrap();
        spec.floating_ip = Some(FloatingIp { address, hosts: BTreeMap::new() });
        let services = [(name.parse().unwrap(), spec)].into();
        let stack = StackSpec { services, ..StackSpec::default() };
        may_have(&world.cluster, &"shop".parse().unwrap(), &stack).err().unwrap_or_default()
    };
    assert!(asks("192.0.2.50", "api").contains("shop/web asks for it too"));
    assert_eq!(asks("192.0.2.50", "web"), "", "it has it already");
    assert_eq!(asks("192.0.2.51", "api"), "");
    assert!(asks("10.42.3.4", "api").contains("in the managed network 10.42.0.0/16"));
    assert!(asks("192.0.2.1", "api").contains("own address of host h1"));
}

#[test]
fn a_seat_is_for_voters_and_candidates() {
    let world = World::new(&[
        ("h1", Active, "nie"),
        ("h2", Active, "n"),
        ("h3", Active, "n"),
        ("h4", Active, "n"),
    ]);
    let known = world.floating();
    let seat = |id: &str| seat(&known, &id.parse().unwrap());
    assert!(seat("h1").is_some_and(|seat| seat.candidate && seat.addresses.len() == 3));
    assert!(seat("h2").is_some_and(|seat| !seat.candidate));
    assert!(seat("h4").is_none());
}
