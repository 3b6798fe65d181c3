//! Who joins as whom, and which certificate counts when.

use super::*;
use crate::operate::token::create;
use model::record::Token;
use model::time::Index;

const NOW: Timestamp = Timestamp(1_800_000_000_000);
const MINUTE: i64 = 60_000;

fn token(id: &str, uses_max: Option<u32>, labels: &[(&str, &str)], host: Option<&str>) -> Token {
    Token {
        id: id.into(),
        hash: String::new(),
        role: TokenRole::Join,
        expires_at: Some(NOW.plus_ms(1_000)),
        created_at: NOW,
        uses_max,
        used_by: [].into(),
        labels: labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect(),
        host: host.map(|host| host.parse().unwrap()),
    }
}

struct World(Cluster);

impl World {
    fn with(tokens: impl IntoIterator<Item = Token>) -> Self {
        let mut world = Self(Cluster::default());
        for token in tokens {
            let proposal = create(&world.0, token, NOW).unwrap();
            world.apply(&proposal);
        }
        world
    }

    fn apply(&mut self, proposal: &Proposal) {
        for (key, read) in &proposal.reads {
            assert_eq!(self.0.modified(key), *read);
        }
        let index = Index(self.0.index().0 + 1);
        self.0.apply(index, &proposal.change);
    }

    fn join_as(
        &mut self,
        token: &str,
        host: &str,
        enrolment: &str,
        before: Option<(&str, &str)>,
    ) -> Result<(), String> {
        let (host, until) = (host.parse().unwrap(), NOW.plus_ms(9_000));
        let was = before.map(|(host, enrolment)| (host.parse::<HostId>().unwrap(), enrolment));
        let before = was.as_ref().map(|(host, enrolment)| claim(host, enrolment, 0, 1));
        let (host, before) = (&host, before.as_ref());
        let joining = Joining { token, host, before, enrolment, until };
        let proposal = enroll(&self.0, &joining, NOW);
        proposal.map(|p| self.apply(&p)).map_err(|refused| refused.to_string())
    }

    fn join(&mut self, token: &str, host: &str) -> Result<(), String> {
        self.join_as(token, host, "e1", None)
    }

    fn host(&self, id: &str) -> Host {
        (**self.0.host(&id.parse().unwrap()).unwrap()).clone()
    }

    /// Its agent has connected.
    fn connect(&mut self, id: &str) {
        let host = Host { status: HostLink::Active, ..self.host(id) };
        let edits = vec![Edit::Put(Record::Host(Arc::new(host)))];
        self.apply(&Proposal { reads: vec![], change: Change { edits } });
    }
}

/// Good from and until so many minutes after `NOW`.
fn claim<'a>(host: &'a HostId, enrolment: &'a str, from: i64, until: i64) -> Claim<'a> {
    let at = |minutes: i64| Timestamp(NOW.0 + minutes * MINUTE);
    Claim { host, enrolment, from: at(from), until: at(until) }
}

#[test]
fn a_host_counts_once_however_often_it_asks_and_the_next_one_finds_it_used_up() {
    let mut world = World::with([token("a", Some(2), &[], None), token("b", None, &[], None)]);
    for host in ["h1", "h1", "h2", "h1"] {
        world.join("a", host).unwrap();
    }
    assert!(world.join("a", "h3").unwrap_err().contains("used up: it was good for 2"));
    for host in ["h3", "h4", "h5"] {
        world.join("b", host).unwrap();
    }
    assert_eq!(world.0.token("b").unwrap().used_by, [].into(), "nobody counts these");
    assert!(world.join("c", "h6").unwrap_err().contains("not known here any more"));
}

#[test]
fn who_joins_has_the_token_s_labels_beside_its_own_and_was_never_here() {
    let labels = [("zone", "east"), ("disk", "ssd")];
    let mut world =
        World::with([token("a", None, &labels, None), token("b", None, &[("zone", "west")], None)]);
    world.join("a", "h1").unwrap();
    let host = world.host("h1");
    assert_eq!((host.status, host.labels["zone"].as_str()), (HostLink::Joined, "east"));
    assert!(!host.is_away(), "it does not count among those that are away");
    world.join("b", "h1").unwrap();
    let host = world.host("h1");
    let labels: Vec<String> = host.labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(labels, ["disk=ssd", "zone=west"]);
}

#[test]
fn the_id_of_a_host_that_was_here_is_given_only_to_who_proves_it() {
    let tokens = || {
        let of = |id, host| token(id, None, &[], host);
        [of("any", None), of("h1", Some("h1")), of("h2", Some("h2"))]
    };
    let was = |enrolment| Some(("h1", enrolment));
    for (token, connected, before, joins) in [
        ("any", true, None, false),
        ("any", false, None, true),
        ("any", true, was("e1"), true),
        ("any", true, was("e0"), false),
        ("any", true, Some(("h2", "e1")), false),
        ("h1", true, None, true),
        ("h2", true, was("e1"), false),
        ("h2", false, None, false),
    ] {
        let mut world = World::with(tokens());
        world.join("any", "h1").unwrap();
        if connected {
            world.connect("h1");
        }
        let joined = world.join_as(token, "h1", "e2", before);
        let case = format!("{token}, connected {connected}, before {before:?}: {joined:?}");
        assert_eq!(joined.is_ok(), joins, "{case}");
        let enrolment = world.host("h1").membership.enrolment;
        assert_eq!(enrolment, if joins { "e2" } else { "e1" }, "{case}");
    }
}

#[test]
fn a_certificate_counts_in_its_time_for_a_host_that_was_not_removed_by_its_last_joining() {
    let mut world = World::with([token("a", None, &[], None)]);
    world.join("a", "h1").unwrap();
    let (h1, h2): (HostId, HostId) = ("h1".parse().unwrap(), "h2".parse().unwrap());
    for (claim, void, words) in [
        (claim(&h1, "e1", -1, 1), None, &[][..]),
        (claim(&h1, "e1", 60, 90), Some(false), &["good from 2027-01-15T09:00", "T08:00"]),
        (claim(&h1, "e1", -90, -60), Some(true), &["expired", "until 2027-01-15T07:00", "T08:00"]),
        (claim(&h1, "e1", -90, 0), Some(true), &["expired", "agent --join"]),
        (claim(&h1, "e0", -1, 1), Some(true), &["joined anew"]),
        (claim(&h2, "e1", -1, 1), Some(true), &["h2 was removed", "agent --join", "goes on"]),
        (claim(&h2, "e1", -2, -1), Some(true), &["removed"]),
    ] {
        let judged = judge(&world.0, &claim, NOW);
        assert_eq!(judged.as_ref().err().map(|denied| denied.void), void, "{claim:?}");
        for word in words {
            let why = &judged.as_ref().unwrap_err().why;
            assert!(why.contains(word), "{word} in: {why}");
        }
    }
    let mut old = world.host("h1");
    old.membership = Membership::default();
    let edits = vec![Edit::Put(Record::Host(Arc::new(old)))];
    world.apply(&Proposal { reads: vec![], change: Change { edits } });
    let before_enrolments = claim(&h1, "", -1, 1);
    assert!(judge(&world.0, &before_enrolments, NOW).is_ok(), "one of an older server");
}

#[test]
fn a_member_is_given_a_new_end_and_who_was_removed_nothing() {
    let mut world = World::with([token("a", None, &[], None)]);
    world.join("a", "h1").unwrap();
    let (h1, h2): (HostId, HostId) = ("h1".parse().unwrap(), "h2".parse().unwrap());
    let until = NOW.plus_ms(50_000);
    let proposal = renew(&world.0, &claim(&h1, "e1", -1, 1), until).unwrap();
    world.apply(&proposal);
    let expected = Membership { enrolment: "e1".into(), certificate_until: Some(until) };
    assert_eq!(world.host("h1").membership, expected);
    assert!(renew(&world.0, &claim(&h1, "e0", -1, 1), until).is_err());
    assert!(renew(&world.0, &claim(&h2, "e1", -1, 1), until).is_err());
}

#[test]
fn clocks_an_hour_apart_are_told_and_a_few_minutes_are_nothing() {
    for (minutes, good) in [(0, true), (29, true), (-29, true), (31, false), (-60, false)] {
        let theirs = Timestamp(NOW.0 + minutes * MINUTE);
        let checked = check_clock(Some(theirs), NOW);
        assert_eq!(checked.is_ok(), good, "{minutes}");
        let Err(denied) = checked else { continue };
        assert!(!denied.void, "a token would not help");
        for word in [theirs.utc(), NOW.utc(), format!("{} minutes apart", minutes.abs())] {
            assert!(denied.why.contains(&word), "{word} in: {}", denied.why);
        }
    }
    assert!(check_clock(None, NOW).is_ok(), "an older agent does not say");
}
