//! Who is a member: a host joins with a token, its certificate counts or does not.

use super::Refused;
use model::change::{Change, Edit, Proposal};
use model::cluster::Cluster;
use model::host::{Host, HostFacts, HostLink, Membership, Scheduling};
use model::id::HostId;
use model::limits::CLOCK_SKEW_MS_MAX;
use model::record::{Record, RecordKey, TokenRole};
use model::time::Timestamp;
use std::sync::Arc;

/// How a host that is refused for good comes back.
const TAKE_BACK: &str = "what runs there goes on; to take it back, on the host: \
                         remuda agent --join SERVER:7600 --token $(remuda host token create)";

/// What a certificate says whose signature is ours.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The host.
    pub host: &'a HostId,
    /// Which joining of it.
    pub enrolment: &'a str,
    /// Good from.
    pub from: Timestamp,
    /// Good until.
    pub until: Timestamp,
}

/// Why a certificate does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// It never will again: only a join token helps.
    pub void: bool,
    /// Why, and what helps.
    pub why: String,
}

/// Is the host of a certificate a member, by the joining that the certificate was made for?
///
/// # Errors
/// Why not: it was removed, or has joined anew since.
pub fn is_member(cluster: &Cluster, claim: &Claim<'_>) -> Result<(), Denied> {
    let id = claim.host;
    let void = |why: String| Denied { void: true, why: format!("{why}; {TAKE_BACK}") };
    let Some(host) = cluster.host(id) else {
        return Err(void(format!("host {id} was removed from this cluster")));
    };
    let enrolment = &host.membership.enrolment;
    if !enrolment.is_empty() && enrolment != claim.enrolment {
        return Err(void(format!(
            "host {id} has joined anew since this certificate was made, and this one is worth \
             nothing any more"
        )));
    }
    Ok(())
}

/// Does a certificate count now?
///
/// # Errors
/// Why not, with both times where it is about time.
pub fn judge(cluster: &Cluster, claim: &Claim<'_>, now: Timestamp) -> Result<(), Denied> {
    is_member(cluster, claim)?;
    let (id, here) = (claim.host, now.utc());
    if now < claim.from {
        let from = claim.from.utc();
        let why = format!(
            "the certificate of host {id} is good from {from}, and the server's clock says {here}; \
             set the clocks (chrony or ntpd), and the agent connects by itself"
        );
        return Err(Denied { void: false, why });
    }
    if now >= claim.until {
        let until = claim.until.utc();
        let why = format!(
            "the certificate of host {id} has expired: it was good until {until}, and the server's \
             clock says {here}; {TAKE_BACK}"
        );
        return Err(Denied { void: true, why });
    }
    Ok(())
}

/// Two clocks must not be far apart: certificates and tokens have an end.
///
/// # Errors
/// Both times.
pub fn check_clock(theirs: Option<Timestamp>, now: Timestamp) -> Result<(), Denied> {
    let apart = |theirs: Timestamp| theirs.since_ms(now).max(now.since_ms(theirs));
    let Some(theirs) = theirs.filter(|theirs| apart(*theirs) > CLOCK_SKEW_MS_MAX) else {
        return Ok(());
    };
    let (minutes, most) = (apart(theirs) / 60_000, CLOCK_SKEW_MS_MAX / 60_000);
    let (there, here) = (theirs.utc(), now.utc());
    let why = format!(
        "the clock of this host says {there} and the server's says {here}: {minutes} minutes apart, \
         and {most} are the most; set the clocks (chrony or ntpd), and the agent connects by itself"
    );
    Err(Denied { void: false, why })
}

/// A host that joins.
#[derive(Clone, Copy, Debug)]
pub struct Joining<'a> {
    /// Id of the token, whose secret is right.
    pub token: &'a str,
    /// Id that it would like.
    pub host: &'a HostId,
    /// What it was before, if it has shown a certificate.
    pub before: Option<&'a Claim<'a>>,
    /// Name of this joining.
    pub enrolment: &'a str,
    /// End of its certificate.
    pub until: Timestamp,
}

/// A host joins with a token: it counts as one use, however often the host asks, and the host gets
/// the token's labels. Its agent has not connected yet. The id of a host that was here before is
/// for that host alone, which shows its certificate, however old; or for who has a token for it.
///
/// # Errors
/// When the token is gone, used up or for another host, or the id is another host's.
pub fn enroll(
    cluster: &Cluster,
    joining: &Joining<'_>,
    now: Timestamp,
) -> Result<Proposal, Refused> {
    let Joining { token: id, host, before, enrolment, until } = *joining;
    let token = cluster.token(id).filter(|t| t.role == TokenRole::Join);
    let token = token.ok_or_else(|| {
        Refused::new(
            "the join token is not known here any more".into(),
            "make a new one: `remuda host token create`",
        )
    })?;
    let mut used = (**token).clone();
    used.used_by.insert(host.clone());
    if let Some(uses) = used.uses_max
        && used.used_by.len() > uses as usize
    {
        return Err(Refused::new(
            format!("the join token is used up: it was good for {uses}"),
            "make a new one: `remuda host token create --uses N`",
        ));
    }
    if let Some(only) = used.host.as_ref().filter(|only| *only != host) {
        return Err(Refused::new(
            format!("the join token is for host {only}, and this one says it is {host}"),
            "say --host, or make another token: `remuda host token create`",
        ));
    }
    let known = cluster.host(host);
    let proves = |known: &Host| {
        let same = |claim: &&Claim<'_>| claim.enrolment == known.membership.enrolment;
        before.filter(|claim| claim.host == host).filter(same).is_some()
    };
    let is_anothers = |known: &&Arc<Host>| {
        known.status != HostLink::Joined
            && !known.membership.enrolment.is_empty()
            && used.host.is_none()
            && !proves(known)
    };
    if known.is_some_and(|known| is_anothers(&known)) {
        return Err(Refused::new(
            format!(
                "a host {host} has joined before, and this machine does not prove that it is it"
            ),
            &format!(
                "give this one another id with --host; if it is that host and has lost its data \
                 folder: `remuda host token create --host {host}`"
            ),
        ));
    }
    let mut joined = known.map_or_else(|| new_host(host, now), |host| (**host).clone());
    joined.labels.extend(used.labels.clone());
    joined.membership =
        Membership { enrolment: enrolment.to_owned(), certificate_until: Some(until) };
    let keys = [RecordKey::Token(id.to_owned()), RecordKey::Host(host.clone())];
    let mut edits = vec![Edit::Put(Record::Host(Arc::new(joined)))];
    if used.uses_max.is_some() && used != **token {
        edits.push(Edit::Put(Record::Token(Arc::new(used))));
    }
    let reads = keys.into_iter().map(|key| (key.clone(), cluster.modified(&key))).collect();
    Ok(Proposal { reads, change: Change { edits } })
}

/// A member gets a new certificate for the same joining.
///
/// # Errors
/// Why it is none any more.
pub fn renew(cluster: &Cluster, claim: &Claim<'_>, until: Timestamp) -> Result<Proposal, Denied> {
    is_member(cluster, claim)?;
    let Some(host) = cluster.host(claim.host) else { return Ok(Proposal::default()) };
    let mut host = (**host).clone();
    host.membership.certificate_until = Some(until);
    let key = RecordKey::Host(claim.host.clone());
    Ok(Proposal {
        reads: vec![(key.clone(), cluster.modified(&key))],
        change: Change { edits: vec![Edit::Put(Record::Host(Arc::new(host)))] },
    })
}

fn new_host(id: &HostId, now: Timestamp) -> Host {
    Host {
        id: id.clone(),
        facts: HostFacts::default(),
        status: HostLink::Joined,
        changed_at: now,
        unheard_since: now,
        scheduling: Scheduling::Active,
        labels: std::collections::BTreeMap::new(),
        reason: "it has joined, and its agent has not connected yet".into(),
        membership: Membership::default(),
    }
}

#[cfg(test)]
mod tests;
