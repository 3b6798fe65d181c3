//! Services: show, scale, restart, stop, start, remove; verbs of a rollout; history.

use super::extract::{self, Path};
use crate::rows;
use crate::state::Shared;
use api::error::{ErrorInfo, Kind};
use api::routes;
use api::wire::{
    Accepted, ActionRequest, DiffQuery, History, JobRuns, RevisionDiff, ScaleRequest, ServiceDetail,
};
use axum::Json;
use axum::extract::State;
use control::operate::rollout::{self, Verb};
use control::operate::{self, Refused};
use model::change::Proposal;
use model::cluster::Cluster;
use model::id::{ServiceId, ServiceName, StackName};
use model::limits::SCALE_MAX;
use store::Store;

type Place = Path<(String, String)>;

fn service_id(Path((stack, service)): &Place) -> Result<ServiceId, ErrorInfo> {
    let bad = |e: model::id::InvalidName| ErrorInfo::invalid(e.to_string());
    Ok(ServiceId {
        stack: StackName::parse(stack).map_err(bad)?,
        service: ServiceName::parse(service).map_err(bad)?,
    })
}

fn missing(cluster: &Cluster, id: &ServiceId) -> ErrorInfo {
    super::missing::service(cluster, id.stack.as_str(), id.service.as_str())
}

async fn operate<S: Store>(
    shared: &Shared<S>,
    id: &ServiceId,
    decide: impl Fn(&Cluster, &ServiceId) -> Result<Proposal, Refused>,
) -> Result<Json<Accepted>, ErrorInfo> {
    shared
        .propose(|cluster, _| {
            cluster.service(id).ok_or_else(|| missing(cluster, id))?;
            decide(cluster, id).map_err(refused)
        })
        .await
        .map(Json)
}

/// What people asked for means nothing now.
pub(crate) fn refused(refused: Refused) -> ErrorInfo {
    ErrorInfo::new(Kind::Conflict, refused.why).hint(refused.hint)
}

/// One service.
#[utoipa::path(get, path = routes::SERVICE, responses((status = 200, body = ServiceDetail)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn show<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<ServiceDetail>, ErrorInfo> {
    let id = service_id(&place)?;
    let cluster = shared.cluster();
    rows::service_detail(&cluster, &id).map(Json).ok_or_else(|| missing(&cluster, &id))
}

/// Sets the scale.
#[utoipa::path(post, path = routes::SERVICE_SCALE, request_body = ScaleRequest,
    params(("stack" = String, Path), ("service" = String, Path)),
    responses((status = 200, body = Accepted)))]
pub(super) async fn scale<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
    extract::Json(request): extract::Json<ScaleRequest>,
) -> Result<Json<Accepted>, ErrorInfo> {
    let id = service_id(&place)?;
    let scale = request.scale;
    if scale > SCALE_MAX {
        return Err(ErrorInfo::invalid(format!("scale {scale} is over the limit {SCALE_MAX}")));
    }
    operate(&shared, &id, |cluster, id| operate::scale(cluster, id, scale)).await
}

/// Makes every instance anew, a batch at a time, with nothing dropped.
#[utoipa::path(post, path = routes::SERVICE_RESTART, responses((status = 200, body = Accepted)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn restart<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &service_id(&place)?, |cluster, id| Ok(operate::restart(cluster, id))).await
}

/// Stops it; its containers are kept.
#[utoipa::path(post, path = routes::SERVICE_STOP, responses((status = 200, body = Accepted)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn stop<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &service_id(&place)?, |cluster, id| Ok(operate::stop(cluster, id))).await
}

/// Starts it again.
#[utoipa::path(post, path = routes::SERVICE_START, responses((status = 200, body = Accepted)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn start<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &service_id(&place)?, |cluster, id| Ok(operate::start(cluster, id))).await
}

/// Removes it with its containers. Named volumes stay.
#[utoipa::path(delete, path = routes::SERVICE, responses((status = 200, body = Accepted)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn remove<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<Accepted>, ErrorInfo> {
    operate(&shared, &service_id(&place)?, |cluster, id| Ok(operate::remove_service(cluster, id)))
        .await
}

/// The word that is no verb of a rollout.
const RUN: &str = "run";

/// Says what is to become of its rollout (`pause`, `resume`, `promote`, `abort`, `finish`,
/// `rollback`, or Rancher's `cancelupgrade`, `continueupgrade`, `finishupgrade`,
/// `rollbackupgrade`, `cancelrollback`), or asks for one more run of a job (`run`). What means
/// nothing now is a conflict that says why.
#[utoipa::path(post, path = routes::SERVICE_ACTION, request_body = ActionRequest,
    params(("stack" = String, Path), ("service" = String, Path), ("verb" = String, Path)),
    responses((status = 200, body = Accepted)))]
pub(super) async fn action<S: Store>(
    State(shared): State<Shared<S>>,
    Path((stack, service, word)): Path<(String, String, String)>,
    extract::OptionalJson(request): extract::OptionalJson<ActionRequest>,
) -> Result<Json<Accepted>, ErrorInfo> {
    let id = service_id(&Path((stack, service)))?;
    let verb = Verb::parse(&word, request.to);
    if request.to.is_some() && !matches!(verb, Some(Verb::Rollback(_))) {
        return Err(ErrorInfo::invalid(format!("{word} takes no revision"))
            .hint("`to` is for rollback alone"));
    }
    match verb {
        Some(verb) => operate(&shared, &id, |cluster, id| rollout::verb(cluster, id, verb)).await,
        None if word == RUN => operate(&shared, &id, operate::run).await,
        None => Err(unknown_verb(&word)),
    }
}

fn unknown_verb(word: &str) -> ErrorInfo {
    let known: Vec<&str> =
        rollout::WORDS.iter().map(|(word, _)| *word).chain(std::iter::once(RUN)).collect();
    let hint = match word {
        "upgrade" => "an upgrade is a PUT of the stack with the new spec".to_owned(),
        _ => format!("there are {}", known.join(", ")),
    };
    let shown: String = word.chars().take(60).collect();
    ErrorInfo::not_found(format!("there is no verb {shown:?}")).hint(hint)
}

/// Revisions that are kept, how each of them did, and what it changed. Secrets are hidden.
#[utoipa::path(get, path = routes::SERVICE_HISTORY, responses((status = 200, body = History)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn history<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<History>, ErrorInfo> {
    let id = service_id(&place)?;
    let cluster = shared.cluster();
    crate::history::of(&cluster, &id).map(Json).ok_or_else(|| missing(&cluster, &id))
}

/// What differs between two revisions. Secrets are hidden.
#[utoipa::path(get, path = routes::SERVICE_DIFF, responses((status = 200, body = RevisionDiff)),
    params(("stack" = String, Path), ("service" = String, Path), DiffQuery))]
pub(super) async fn diff<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
    extract::Query(query): extract::Query<DiffQuery>,
) -> Result<Json<RevisionDiff>, ErrorInfo> {
    let id = service_id(&place)?;
    let cluster = shared.cluster();
    cluster.service(&id).ok_or_else(|| missing(&cluster, &id))?;
    crate::history::diff(&cluster, &id, &query).map(Json)
}

/// When a job runs, and what came of its runs.
#[utoipa::path(get, path = routes::SERVICE_RUNS, responses((status = 200, body = JobRuns)),
    params(("stack" = String, Path), ("service" = String, Path)))]
pub(super) async fn runs<S: Store>(
    State(shared): State<Shared<S>>,
    place: Place,
) -> Result<Json<JobRuns>, ErrorInfo> {
    let id = service_id(&place)?;
    let cluster = shared.cluster();
    let service = cluster.service(&id).ok_or_else(|| missing(&cluster, &id))?;
    let status = cluster.service_status(&id);
    match rows::job_row(service, status.map(|s| &**s)) {
        Some(job) => {
            let runs = status.map(|s| s.runs.clone()).unwrap_or_default();
            Ok(Json(JobRuns { service: id.to_string(), job, runs }))
        }
        None => Err(ErrorInfo::new(Kind::Conflict, format!("service {id} is no job"))
            .hint("give it a `schedule:` to make it one")),
    }
}
