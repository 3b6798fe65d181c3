//! A cluster to plan for, in words, with one host whose containers do what their image's name says.

use crate::told::Told;
use crate::words::parse;
use control::cluster::{Outcome, Planner, StackDiff, diff, plan, simulate};
use control::operate;
use control::publish::Publisher;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::health::Health;
use model::host::{Environment, Host, HostFacts, HostLink, Rebalance, Scheduling};
use model::id::{HostId, ServiceId, StackName};
use model::instance::{Goal, Instance, InstanceStatus, Phase};
use model::policy::NetworkPolicy;
use model::record::{Record, RecordKey, Rollout, Run, RunOutcome, ServiceStatus};
use model::stack::StackSpec;
use model::time::{Index, Timestamp};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Virtual time that one step of the host takes, in milliseconds.
const STEP_MS: u64 = 500;

/// The cluster, its time, and what its host does.
pub(crate) struct World {
    pub(crate) cluster: Cluster,
    pub(crate) now: Timestamp,
    /// Fewest instances of `shop/web` that served at any step since it was set.
    pub(crate) fewest: usize,
    /// Most containers of one slot of `shop/web` that ran at any step.
    pub(crate) most_in_slot: usize,
    /// `service#n` of instances that do as if their image were another one.
    pub(crate) acts_as: BTreeMap<String, &'static str>,
    pub(crate) planner: Planner,
    pub(crate) hosts: Told,
    pub(crate) partial_hosts: Told,
}

fn stack() -> StackName {
    "shop".parse().unwrap()
}

pub(crate) fn service(name: &str) -> ServiceId {
    ServiceId { stack: stack(), service: name.parse().unwrap() }
}

impl World {
    /// One connected host with 4 cores and 4 GiB.
    pub(crate) fn new() -> Self {
        let mut world = Self {
            cluster: Cluster::default(),
            now: Timestamp(1_000_000),
            fewest: usize::MAX,
            most_in_slot: 0,
            acts_as: BTreeMap::new(),
            planner: Planner::default(),
            hosts: Told::new(Publisher::default(), false),
            partial_hosts: Told::new(Publisher::new(0), true),
        };
        let environment = Environment {
            id: "e1".into(),
            name: "default".into(),
            subnet: "10.42.0.0/16".parse().unwrap(),
            rebalance: Rebalance::default(),
            overlay: model::host::OverlayMode::default(),
            policy: NetworkPolicy::default(),
            keys: Default::default(),
            dns: Default::default(),
            expose: Default::default(),
            consul: Default::default(),
        };
        world.put(Record::Environment(Arc::new(environment)));
        world.host("alpha", HostLink::Active);
        world
    }

    /// Puts a host.
    pub(crate) fn host(&mut self, id: &str, status: HostLink) {
        self.host_with(id, status, &[]);
    }

    /// Sets what is done when instances could be spread better.
    pub(crate) fn rebalance(&mut self, policy: Rebalance) {
        let environment = (**self.cluster.environment().unwrap()).clone();
        self.put(Record::Environment(Arc::new(Environment { rebalance: policy, ..environment })));
        self.plan();
    }

    /// Says who may connect to whom.
    pub(crate) fn policy(&mut self, json: &str) {
        let policy: NetworkPolicy = serde_json::from_str(json).unwrap();
        policy.check().unwrap();
        let environment = (**self.cluster.environment().unwrap()).clone();
        self.put(Record::Environment(Arc::new(Environment { policy, ..environment })));
        self.plan();
    }

    /// The agent of a host comes or goes.
    pub(crate) fn set_link(&mut self, id: &str, status: HostLink) {
        let id = id.parse().unwrap();
        let mut host = (**self.cluster.host(&id).unwrap()).clone();
        if host.status != status {
            host.status = status;
            host.changed_at = self.now;
            host.unheard_since = self.now;
            self.put(Record::Host(Arc::new(host)));
        }
        self.plan();
    }

    /// Puts a host with labels.
    pub(crate) fn host_with(&mut self, id: &str, status: HostLink, labels: &[(&str, &str)]) {
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let facts = HostFacts { cpus: 4, memory: 4 << 30, labels, ..HostFacts::default() };
        let host = Host {
            id: id.parse().unwrap(),
            facts,
            status,
            changed_at: self.now,
            unheard_since: self.now,
            scheduling: Scheduling::Active,
            labels: BTreeMap::new(),
            reason: String::new(),
            membership: model::host::Membership::default(),
        };
        self.put(Record::Host(Arc::new(host)));
    }

    pub(crate) fn put(&mut self, record: Record) {
        self.apply(&Change { edits: vec![Edit::Put(record)] });
    }

    pub(crate) fn remove(&mut self, key: RecordKey) {
        self.apply(&Change { edits: vec![Edit::Delete(key)] });
    }

    fn apply(&mut self, change: &Change) {
        let index = Index(self.cluster.index().0 + 1);
        self.cluster.apply(index, change);
        // As a server does that gathers the changes of a moment.
        if !index.0.is_multiple_of(3) {
            self.publish();
        }
    }

    /// What hosts make of what they are told change by change is what is derived from nothing.
    pub(crate) fn publish(&mut self) {
        self.hosts.follow(&self.cluster);
        self.partial_hosts.follow(&self.cluster);
    }

    /// Applies a proposal; each record that it rests on must be as it was read.
    pub(crate) fn commit(&mut self, proposal: &Proposal) {
        for (key, read) in &proposal.reads {
            assert_eq!(self.cluster.modified(key), *read, "{key} is not as it was read");
        }
        self.apply(&proposal.change);
    }

    pub(crate) fn diff(&self, lines: &[&str]) -> StackDiff {
        let mut spec = StackSpec::default();
        for line in lines {
            let (name, one) = parse(line);
            spec.services.insert(name.parse().unwrap(), one);
        }
        diff(&self.cluster, &stack(), &spec, true, self.now)
    }

    /// `remuda up`, then plans.
    pub(crate) fn up(&mut self, lines: &[&str]) {
        let diff = self.diff(lines);
        self.commit(&diff.proposal);
        self.plan();
    }

    /// What `remuda plan` would say is blocked.
    pub(crate) fn preview(&self, lines: &[&str]) -> Outcome {
        simulate(&self.cluster, &self.diff(lines).proposal, &BTreeMap::new(), self.now)
    }

    /// One of `control::operate::host`, then plans.
    pub(crate) fn on_host(&mut self, id: &str, make: impl Fn(&Cluster, &HostId) -> Proposal) {
        let proposal = make(&self.cluster, &id.parse().unwrap());
        self.commit(&proposal);
        self.plan();
    }

    /// A verb of a rollout on `shop/web`, then plans; the reason when it is refused.
    pub(crate) fn verb(&mut self, word: &str, to: Option<u32>) -> Result<(), String> {
        let verb = operate::rollout::Verb::parse(word, to).unwrap();
        let proposal = operate::rollout::verb(&self.cluster, &service("web"), verb);
        let proposal = proposal.map_err(|refused| refused.why)?;
        self.commit(&proposal);
        self.plan();
        Ok(())
    }

    /// An instance has begun anew, its check too, after so many restarts.
    pub(crate) fn again(&mut self, name: &str, n: u32, restarts: u32) {
        let all: Vec<Arc<Instance>> = self.cluster.instances_of(&service(name)).cloned().collect();
        let instance = all.iter().find(|i| i.id.n == n && i.goal == Goal::Run).unwrap();
        let mut seen = self.seen(instance);
        seen.restarts = restarts;
        seen.started_at = Some(self.now);
        seen.changed_at = self.now;
        seen.health = Health::Initializing;
        self.put(Record::InstanceStatus(instance.id.clone(), Arc::new(seen)));
    }

    /// `#n on host` of each instance of `shop/web` that is to run, with `!` when it is leaving.
    pub(crate) fn places(&self) -> String {
        let mut out: Vec<String> = vec![];
        for i in self.cluster.instances_of(&service("web")).filter(|i| i.goal == Goal::Run) {
            out.push(format!("{}{}:{}", i.id.n, if i.leaving { "!" } else { "" }, i.host));
        }
        out.join(" ")
    }

    /// Ids of the instances of `shop/web` at this revision that are to run or are stopped.
    pub(crate) fn ids_of_revision(&self, revision: u32) -> Vec<String> {
        self.cluster
            .instances_of(&service("web"))
            .filter(|i| i.target.revision == revision && i.goal != Goal::Remove)
            .map(|i| i.id.to_string())
            .collect()
    }

    /// `n=address` of each instance of `shop/web`.
    pub(crate) fn addresses(&self) -> String {
        let mut out: Vec<String> = vec![];
        for i in self.cluster.instances_of(&service("web")) {
            out.push(format!(
                "{}={}",
                i.id.n,
                i.address.map(|a| a.to_string()).unwrap_or_default()
            ));
        }
        out.join(" ")
    }

    /// `number outcome` of each run of `shop/web`.
    pub(crate) fn runs(&self) -> String {
        let runs = self.status("web").map(|s| s.runs.clone()).unwrap_or_default();
        let word = |run: &Run| match &run.outcome {
            RunOutcome::Waiting => "waiting".to_owned(),
            RunOutcome::Running => "running".to_owned(),
            RunOutcome::Succeeded => "ok".to_owned(),
            RunOutcome::Failed { why } => format!("failed ({why})"),
            RunOutcome::Skipped { why } => format!("skipped ({why})"),
        };
        let each: Vec<String> = runs.iter().map(|r| format!("{} {}", r.number, word(r))).collect();
        each.join(", ")
    }

    /// One of `control::operate` on `shop/web`, then plans.
    pub(crate) fn operate(&mut self, make: impl Fn(&Cluster, &ServiceId) -> Proposal) {
        let proposal = make(&self.cluster, &service("web"));
        self.commit(&proposal);
        self.plan();
    }

    /// Plans until there is nothing more to do; audits what came out.
    pub(crate) fn plan(&mut self) {
        for round in 0.. {
            assert!(round < 50, "the planner does not come to rest:\n{}", self.show());
            let next = self.planner.plan(&self.cluster, self.now);
            if next.proposals.is_empty() {
                // Who looks at everything finds nothing more.
                let all = plan(&self.cluster, self.now);
                assert!(all.proposals.is_empty(), "{:?}\n{}", all.proposals, self.show());
                assert_eq!(all.wake_at, next.wake_at, "{}", self.show());
                assert!(next.wake_at.is_none_or(|at| at > self.now), "it wakes in the past");
                break;
            }
            for proposal in &next.proposals {
                self.commit(proposal);
            }
        }
        let found = control::audit::audit(&self.cluster);
        assert!(found.is_empty(), "{found:?}\n{}", self.show());
    }

    /// The host does one step with each instance, and reports.
    pub(crate) fn step(&mut self) {
        self.now = self.now.plus_ms(STEP_MS);
        let instances: Vec<Arc<Instance>> = self.cluster.instances().cloned().collect();
        for instance in instances {
            let host = self.cluster.host(&instance.host);
            if host.is_none_or(|host| host.status != HostLink::Active) {
                continue;
            }
            let before = self.seen(&instance);
            let mut after = self.next(&instance, &before);
            // As the server notes it.
            let key = |seen: &InstanceStatus| (seen.phase, seen.health, seen.started_at);
            if key(&after) != key(&before) {
                after.changed_at = self.now;
            }
            if after != before {
                self.put(Record::InstanceStatus(instance.id.clone(), Arc::new(after)));
            }
        }
        self.count();
    }

    fn count(&mut self) {
        let mut slots: BTreeMap<u32, usize> = BTreeMap::new();
        let mut serving = 0;
        for instance in self.cluster.instances_of(&service("web")) {
            let seen = self.seen(instance);
            if seen.phase == Phase::Running || seen.phase == Phase::Draining {
                *slots.entry(instance.id.n).or_default() += 1;
            }
            let serves = seen.phase == Phase::Running && seen.health.serves();
            serving += usize::from(serves && instance.goal == Goal::Run);
        }
        self.fewest = self.fewest.min(serving);
        self.most_in_slot = self.most_in_slot.max(slots.values().copied().max().unwrap_or(0));
    }

    pub(crate) fn seen(&self, instance: &Instance) -> InstanceStatus {
        self.cluster.instance_status(&instance.id).map(|s| (**s).clone()).unwrap_or_default()
    }

    /// What becomes of one instance: images are called good, sick, exit, crash, missing, stuck and once.
    fn next(&self, instance: &Instance, before: &InstanceStatus) -> InstanceStatus {
        let mut after = before.clone();
        let service = &instance.id.service;
        let template = &self.cluster.revision(service, instance.target.revision).unwrap().template;
        let image = self.acts_as.get(&format!("{}#{}", service.service, instance.id.n));
        let image = image
            .copied()
            .unwrap_or_else(|| template.container().map_or("balancer", |c| c.image.as_str()));
        let checked = template.health_check.is_some();
        let runs = matches!(before.phase, Phase::Running | Phase::Draining);
        match (instance.goal, before.phase) {
            (Goal::Run, _) => {}
            (_, Phase::Running) => {
                after.phase = Phase::Draining;
                return after;
            }
            (Goal::Stop, _) => {
                after.phase = Phase::Stopped;
                return after;
            }
            (Goal::Remove, Phase::Draining) => {
                after.phase = Phase::Stopped;
                return after;
            }
            (Goal::Remove, _) => {
                after.phase = Phase::Absent;
                return after;
            }
        }
        let mut start = |health: Health| {
            if !runs {
                after.started_at = Some(self.now);
            }
            after.phase = Phase::Running;
            after.health = if checked { health } else { Health::Unchecked };
            after.reason.clear();
        };
        match image.split(':').next().unwrap() {
            "good" if runs => start(Health::Healthy),
            "good" => start(Health::Initializing),
            "balancer" => start(Health::Unchecked),
            "sick" => {
                start(Health::Unhealthy);
                after.reason = "answered 500".into();
            }
            "mute" => start(Health::Initializing),
            "exit" => {
                after.phase = Phase::Backoff;
                after.started_at = Some(self.now);
                after.restarts += 1;
                after.exit_code = Some(3);
            }
            // Well for two seconds, then it ends, and so on.
            "crash" if before.phase == Phase::Backoff => {
                after.restarts += 1;
                after.phase = Phase::Running;
                after.started_at = Some(self.now);
                after.health = if checked { Health::Healthy } else { Health::Unchecked };
            }
            "crash" if runs && before.started_at.is_none_or(|at| self.now.since_ms(at) < 2_000) => {
                start(Health::Healthy);
            }
            "crash" if runs => {
                after.phase = Phase::Backoff;
                after.health = Health::Unchecked;
                after.exit_code = Some(1);
            }
            "crash" => start(Health::Initializing),
            "missing" => {
                after.phase = Phase::Failed;
                after.reason = "no such image".into();
            }
            "stuck" => {
                after.phase = Phase::Backoff;
                after.reason = "the registry does not answer".into();
            }
            "once" => {
                after.phase = Phase::Completed;
                after.started_at = before.started_at.or(Some(self.now));
            }
            // Somebody took the container away: the host makes it anew when it is well again.
            "gone" => {
                after.phase = Phase::Backoff;
                after.restarts += 1;
            }
            "silent" => {}
            other => panic!("what does {other} do?"),
        }
        after
    }

    /// Host and planner by turns for so many milliseconds.
    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.now.plus_ms(ms);
        while self.now < until {
            self.step();
            self.plan();
        }
    }

    /// Host and planner by turns until `shop/web` is as wanted; fails after ten minutes.
    pub(crate) fn until_done(&mut self) {
        let until = self.now.plus_ms(600_000);
        while self.rollout() != "done" || !self.blocked("web").is_empty() {
            assert!(self.now < until, "it does not get done:\n{}", self.show());
            self.run(STEP_MS);
        }
    }

    pub(crate) fn status(&self, name: &str) -> Option<Arc<ServiceStatus>> {
        self.cluster.service_status(&service(name)).cloned()
    }

    /// Where the rollout of `shop/web` is.
    pub(crate) fn rollout(&self) -> &'static str {
        match self.status("web").map(|s| s.rollout.clone()) {
            None => "none",
            Some(Rollout::Done) => "done",
            Some(Rollout::Running { .. }) => "running",
            Some(Rollout::Finishing { .. }) => "finishing",
            Some(Rollout::Failed { .. }) => "failed",
        }
    }

    /// Reasons of what is blocked of a service.
    pub(crate) fn blocked(&self, name: &str) -> Vec<String> {
        let status = self.status(name);
        let all = status.iter().flat_map(|s| s.blocked.iter());
        all.map(|b| format!("#{} {}", b.n, b.reason)).collect()
    }

    /// All instances of a service: `1r2` is slot 1 of revision 2, `'` for each `svc restart`; what
    /// stops is in parentheses, what goes in brackets, and `*` stands after what serves.
    pub(crate) fn slots(&self, name: &str) -> String {
        let mut words = vec![];
        for instance in self.cluster.instances_of(&service(name)) {
            let seen = self.seen(instance);
            let restart = "'".repeat(instance.target.restart as usize);
            let serves = seen.phase == Phase::Running && seen.health.serves();
            let mark = if serves { "*" } else { "" };
            let word = format!("{}r{}{restart}{mark}", instance.id.n, instance.target.revision);
            words.push(match instance.goal {
                Goal::Run => word,
                Goal::Stop => format!("({word})"),
                Goal::Remove => format!("[{word}]"),
            });
        }
        words.join(" ")
    }

    /// Everything, for messages.
    pub(crate) fn show(&self) -> String {
        let mut out = String::new();
        for one in self.cluster.services() {
            let name = one.id.service.to_string();
            let status = self.status(&name);
            out.push_str(&format!("{name}: {}\n  {status:?}\n", self.slots(&name)));
        }
        out
    }
}
